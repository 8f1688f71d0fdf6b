//! Real sockets: binding, serving, limits on connections, stopping.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::Sources;
use crate::config::model::{
    Ack, ConnectionLimits, Guard, HttpLimits, Source, SourceKind, Spool, SpoolCompression, Sync, WhenFull,
};
use crate::ids::StreamName;
use crate::metrics::Metrics;
use crate::source::testing::FakeIntake;
use crate::source::{BindError, EndError};

mod guarded;

fn spool() -> Spool {
    Spool {
        segment_size: 1 << 20,
        max_size: None,
        max_event_size: 1_000_000,
        reserve: 0,
        park_size: None,
        when_full: WhenFull::Block,
        sync: Sync::Always,
        commit_delay: Duration::ZERO,
        compression: SpoolCompression::None,
        retain_delivered: Duration::ZERO,
        max_streams: 10,
    }
}

fn limits(max_connections: usize) -> ConnectionLimits {
    ConnectionLimits { max_connections, idle_timeout: Duration::from_secs(300) }
}

fn named(name: &str, kind: SourceKind) -> Source {
    Source { name: name.to_owned(), kind, ack: Ack::Accepted, guard: Guard::default() }
}

fn app() -> StreamName {
    StreamName::new("app").unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn tcp(listen: SocketAddr, max_connections: usize) -> Source {
    named("t", SourceKind::Tcp { listen, stream: app(), limits: limits(max_connections) })
}

fn unix(path: PathBuf) -> Source {
    named("u", SourceKind::Unix { path, allow_users: vec![], stream: app(), limits: limits(4) })
}

fn http() -> Source {
    let http = HttpLimits {
        max_body_size: 1 << 20,
        max_header_size: 16 * 1024,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(60),
        block_timeout: Duration::from_secs(30),
        delivered_timeout: Duration::from_secs(30),
    };
    named("h", SourceKind::Http { listen: any_port(), limits: limits(4), http, streams: vec![] })
}

struct Bench {
    intake: Arc<FakeIntake>,
    sources: Sources,
    stop: CancellationToken,
}

fn start(sources: &[Source]) -> Result<Bench, BindError> {
    let (intake, stop) = (FakeIntake::new(), CancellationToken::new());
    let sources = Sources::start(sources, &spool(), &intake, &Metrics::new(), &stop)?;
    Ok(Bench { intake, sources, stop })
}

impl Bench {
    async fn connect(&self, row: usize) -> TcpStream {
        TcpStream::connect(self.sources.status()[row].address.clone().unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn every_kind_of_listener_takes_events_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let bench = start(&[tcp(any_port(), 4), unix(path.clone()), http()]).unwrap();
    let mut by_tcp = bench.connect(0).await;
    by_tcp.write_all(b"one\ntwo\n").await.unwrap();
    bench.intake.kept_at_least(2).await;
    let mut by_unix = UnixStream::connect(&path).await.unwrap();
    by_unix.write_all(b"three").await.unwrap();
    by_unix.shutdown().await.unwrap();
    bench.intake.kept_at_least(3).await;
    let mut by_http = bench.connect(2).await;
    by_http
        .write_all(b"POST /v1/events/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nfour")
        .await
        .unwrap();
    let mut answer = [0; 12];
    by_http.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let rows = bench.sources.status();
    let row = |n: usize| (rows[n].name.as_str(), rows[n].kind, rows[n].accepted, rows[n].rejected);
    assert_eq!((row(0), row(1), row(2)), (("t", "tcp", 2, 0), ("u", "unix", 1, 0), ("h", "http", 1, 0)));
    assert_eq!((rows[0].connections, rows[2].connections), (1, 1));
    assert!(rows.iter().all(|row| row.last_event_at.is_some_and(|at| at > 1_700_000_000_000)));
    bench.stop.cancel();
    bench.sources.stopped().await;
    assert_eq!(by_tcp.read(&mut answer).await.unwrap(), 0);
    assert!(!path.exists());
    assert!(bench.sources.status().iter().all(|row| row.connections == 0));
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_remedy_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let error = start(&[unix(path.clone()), tcp(taken, 4)]).err().unwrap().to_string();
    assert!(error.starts_with(&format!("source t: can't listen on {taken}: ")), "{error}");
    assert!(error.contains("stop the process that uses it or choose another port"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_place() {
    let bench = start(&[tcp(any_port(), 1)]).unwrap();
    let mut first = bench.connect(0).await;
    first.write_all(b"one\n").await.unwrap();
    bench.intake.kept_at_least(1).await;
    let mut second = bench.connect(0).await;
    second.write_all(b"two\n").await.unwrap();
    first.write_all(b"three\n").await.unwrap();
    bench.intake.kept_at_least(2).await;
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"three"]);
    assert_eq!(bench.sources.status()[0].connections, 1);
    drop(first);
    bench.intake.kept_at_least(3).await;
    assert_eq!(bench.intake.values()[2], b"two");
}

/// They kept all others out for `header_timeout`, and the next ones after them.
#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out_for_longer_than_a_second() {
    let bench = start(&[http()]).unwrap();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(bench.connect(0).await);
    }
    let start = std::time::Instant::now();
    let mut honest = bench.connect(0).await;
    honest.write_all(b"POST /v1/events/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
    let mut answer = [0; 12];
    honest.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Four of them have places for a second, and then the other four.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(bench.sources.status()[0].connections <= 4);
    let mut gone = 0;
    for one in &mut silent {
        let closed = tokio::time::timeout(Duration::from_millis(10), one.read(&mut answer)).await;
        gone += u32::from(closed.is_ok());
    }
    assert!((5..8).contains(&gone), "as many as were needed: {gone}");
}

#[tokio::test]
async fn standard_input_can_be_read_by_one_source_only() {
    let stdin = |name| named(name, SourceKind::Stdin { stream: app() });
    let error = start(&[stdin("a"), stdin("b")]).err().unwrap();
    assert!(matches!(error, BindError::StdinTwice { .. }), "{error}");
}

#[tokio::test]
async fn sources_that_listen_never_finish() {
    let bench = start(&[tcp(any_port(), 1)]).unwrap();
    bench.stop.cancel();
    bench.sources.stopped().await;
    tokio::select! {
        biased;
        _ = bench.sources.finished() => panic!("finished"),
        () = tokio::task::yield_now() => {}
    }
}

mod stdin {
    use std::io::{self, Cursor, Read};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::source::budget::{Budget, FREE};
    use crate::source::pump::{End, Pump};
    use crate::source::sources::{BUDGET, Start, stdin_end};
    use crate::source::stdin;
    use crate::source::tally::Tally;

    fn pump(intake: &Arc<FakeIntake>) -> Pump<FakeIntake> {
        Pump {
            intake: Arc::clone(intake),
            tally: Tally::new("s", "stdin", None, 10, Metrics::new()),
            stream: app(),
            budget: Budget::new(1 << 20),
            max_event_size: 1_000_000,
            idle: None,
            stop: CancellationToken::new(),
        }
    }

    async fn run(pump: &Pump<FakeIntake>, input: impl Read + Send + 'static) -> End {
        let feed = stdin::start(input, &pump.stop).unwrap();
        pump.run(feed, &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn all_of_it_is_accepted_before_it_ends() {
        let intake = FakeIntake::new();
        let input: String = (0..100_000).map(|number| format!("{number}\n")).collect();
        let end = run(&pump(&intake), Cursor::new(input.trim_end().to_owned())).await;
        assert!(stdin_end(end, false).is_ok());
        let kept = intake.values();
        assert_eq!(kept.len(), 100_000);
        assert!(kept.iter().enumerate().all(|(number, value)| *value == number.to_string().into_bytes()));
    }

    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Err(io::ErrorKind::Interrupted.into()),
                2 => {
                    buffer[..5].copy_from_slice(b"one\ntw"[..5].as_ref());
                    Ok(5)
                }
                _ => Err(io::Error::other("the disk is gone")),
            }
        }
    }

    #[tokio::test]
    async fn a_read_error_is_an_end_that_is_said() {
        let intake = FakeIntake::new();
        let end = run(&pump(&intake), Broken(0)).await;
        let error = stdin_end(end, false).unwrap_err();
        assert!(matches!(&error, EndError::Read(cause) if cause.contains("disk is gone")), "{error}");
        assert_eq!(intake.values(), vec![b"one"]);
    }

    #[tokio::test]
    async fn a_stop_accepts_what_was_read_from_the_pipe() {
        let intake = FakeIntake::new();
        let pump = pump(&intake);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let stop = pump.stop.clone();
        let running = tokio::spawn(async move { run(&pump, theirs).await });
        std::io::Write::write_all(&mut &ours, b"one\ntwo\nhal").unwrap();
        intake.kept_at_least(2).await;
        stop.cancel();
        let end = running.await.unwrap();
        assert!(stdin_end(end, true).is_ok());
        assert_eq!(intake.values(), vec![b"one", b"two"]);
        drop(ours);
    }

    /// Nobody can close it, and what it had it kept from all others, the one overdraft too: no body of the largest size got through.
    #[tokio::test]
    async fn a_line_that_stands_still_on_standard_input_takes_no_memory_that_others_share() {
        let (intake, metrics, stop, spool) =
            (FakeIntake::new(), Metrics::new(), CancellationToken::new(), spool());
        let all = Start {
            spool: &spool,
            intake: &intake,
            metrics: &metrics,
            stop: &stop,
            budget: Budget::new(BUDGET),
            tracker: TaskTracker::new(),
            tallies: vec![],
            ended: None,
            most_connections: 1,
        };
        let pump = all.stdin_pump(Tally::new("s", "stdin", None, 10, Arc::clone(&metrics)), &app());
        let (mut shares, mut overdraws) = (all.budget.holder(), all.budget.holder());
        assert!(shares.try_cover(BUDGET + FREE), "all there is");
        overdraws.cover(2 * BUDGET).await;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let running = tokio::spawn(async move { run(&pump, theirs).await });
        let ours = tokio::task::spawn_blocking(move || {
            std::io::Write::write_all(&mut &ours, &[b'x'; 900_000]).unwrap();
            ours
        });
        let ours = tokio::time::timeout(Duration::from_secs(20), ours).await.expect("it is read").unwrap();
        drop((shares, overdraws));
        assert!(all.budget.holder().try_cover(BUDGET + FREE), "the half line has none of it");
        std::io::Write::write_all(&mut &ours, b"\n").unwrap();
        drop(ours);
        assert!(stdin_end(running.await.unwrap(), false).is_ok());
        assert_eq!(intake.values(), vec![vec![b'x'; 900_000]]);
    }
}

#[test]
fn connections_leave_files_for_the_spool_and_for_kafka() {
    use super::share_of_files;
    assert_eq!([share_of_files(Some(1024), 1), share_of_files(Some(1024), 3)], [768, 256]);
    assert_eq!(share_of_files(Some(100), 2), 1, "one is always let in");
    assert_eq!((share_of_files(None, 4), share_of_files(Some(4096), 0)), (usize::MAX, 3840));
}
