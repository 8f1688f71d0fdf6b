//! Hostile senders.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::support::agent::Setup;
use super::support::http;
use super::support::ports::free_port;
use super::support::process::Process;
use super::victim::{attack, has_panicked, is_too_much, withstands};

const SOON: Duration = Duration::from_secs(20);

/// A destination that is never there: everything waits.
pub fn lonely(name: &str) -> Setup {
    Setup::new(name).destination("home", free_port(), "")
}

fn connect(port: u16) -> TcpStream {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), SOON).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    stream.set_write_timeout(Some(SOON)).expect("a socket");
    stream
}

/// Says it, and hears what comes until the other side closes, or nothing comes any more.
fn say(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port);
    // It may have heard enough before the end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Four bytes for every 128 KiB (RFC 8878: a window of 128 KiB, and blocks of one byte, repeated).
fn newlines_by_zstd(count: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for from in (0..count).step_by(128 << 10) {
        let (size, is_last) = ((count - from).min(128 << 10), count - from <= 128 << 10);
        let header = u32::try_from(size << 3).expect("small") | 1 << 1 | u32::from(is_last);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'\n');
    }
    frame
}

#[test]
fn heads_and_framing_that_are_none_leave_it_as_it_was() {
    let setup = lonely("hostile-heads");
    withstands(&setup, |_| {
        let post = "POST /v1/events/x HTTP/1.1\r\nhost: x\r\n";
        let heads: Vec<Vec<u8>> = vec![
            format!("{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").into(),
            format!("{post}content-length: -1\r\n\r\n").into(),
            format!("{post}content-length: 18446744073709551616\r\n\r\n").into(),
            format!("{post}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd").into(),
            format!("{post}content-length: 1000000\r\n\r\nabc").into(),
            format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n").into(),
            format!("{post}transfer-encoding: chunked\r\n\r\n{}", "1\r\na\r\n".repeat(10_000)).into(),
            format!("{post}x: {}\r\n\r\n", "y".repeat(1 << 20)).into(),
            format!("{post}x: a\0b\r\n\r\n").into(),
            format!("{post}x: a\rb\r\n\r\n").into(),
            b"POST /v1/events/../../etc/passwd HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na".to_vec(),
            b"POST /v1/events/%2e%2e%2fx HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
            vec![0xff; 100_000],
            b"\r\n".repeat(50_000),
        ];
        // Where a length and chunks contradict each other, the chunks count (RFC 9112, 6.3), of which there are none.
        for head in &heads {
            for port in [setup.http, setup.admin] {
                let heard = say(port, head);
                let code = heard.split(' ').nth(1).unwrap_or_default();
                assert!(
                    heard.is_empty() || code.starts_with('4') || heard.contains(r#""accepted":0"#),
                    "{:?}: {heard}",
                    String::from_utf8_lossy(&head[..100.min(head.len())])
                );
            }
        }
    });
}

#[test]
fn bodies_that_unpack_a_thousandfold_and_nest_cost_no_more_than_others() {
    let setup = lonely("hostile-bombs");
    withstands(&setup, |_| {
        let lines = gzip(&[vec![b'x'; 1_000].as_slice(), b"\n"].concat().repeat(15_000));
        let numbers = gzip(format!("[{}1]", "1,".repeat(7_000_000)).as_bytes());
        let beyond = gzip(&vec![b'\n'; 100_000_000]);
        let nested = gzip(&gzip(&gzip(b"a\n")));
        let members = gzip(b"").repeat(100_000);
        let mut cut = gzip(&vec![b'\n'; 1_000_000]);
        cut.truncate(cut.len() - 9);
        // A frame header that asks for a window of 3.75 TiB.
        let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff][..], &[0; 20]].concat();
        let bodies = [
            ("application/x-ndjson", "gzip", lines, 200),
            ("application/json", "gzip", numbers, 200),
            ("application/x-ndjson", "gzip", beyond, 413),
            ("application/x-ndjson", "gzip", nested, 200),
            ("application/x-ndjson", "gzip", members, 200),
            ("application/x-ndjson", "gzip", cut, 400),
            ("application/x-ndjson", "zstd", newlines_by_zstd(100_000_000), 413),
            ("application/x-ndjson", "zstd", newlines_by_zstd(10_000_000), 200),
            ("application/x-ndjson", "zstd", window, 400),
        ];
        std::thread::scope(|scope| {
            for _ in 0..3 {
                for (kind, coding, body, status) in &bodies {
                    let http = setup.http;
                    scope.spawn(move || {
                        let headers = format!("content-type: {kind}\r\ncontent-encoding: {coding}\r\n");
                        let answer = http::post(http, "/v1/events/bomb", &headers, body).expect("an answer");
                        let answered = (answer.status, answer.text());
                        assert!(
                            [*status, 503].contains(&answered.0),
                            "{kind}, {coding}, {status}: {answered:?}"
                        );
                    });
                }
            }
        });
    });
}

/// A frame of 128 KiB blocks of one byte in 30 bytes, whose blocks count as compressed and so need all that a decoder has (RFC 8878:
/// a window of 128 KiB; literals of one byte, repeated, and no sequences).
fn little_that_needs_a_whole_decoder() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for is_last in [0, 0, 1] {
        frame.extend_from_slice(&(5u32 << 3 | 2 << 1 | is_last).to_le_bytes()[..3]);
        frame.extend_from_slice(&((128u32 << 10) << 4 | 3 << 2 | 1).to_le_bytes()[..3]);
        frame.extend_from_slice(b"\n\0");
    }
    frame
}

/// Once a few slow bodies have all the memory that senders share, whoever comes with a packed one waits, and by then his decoder,
/// ten thousand times what he has sent, must be gone: a thousand of them were 330 MiB.
#[test]
fn a_thousand_packed_bodies_that_wait_for_memory_wait_without_their_decoders() {
    let setup = lonely("hostile-decoders").http("body_timeout = \"4s\"");
    withstands(&setup, |_| {
        assert!(raise_files() > 1_100, "a connection for each");
        let body = little_that_needs_a_whole_decoder();
        let head = format!(
            "POST /v1/events/packed HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-encoding: zstd\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        let (hogging, ended, longest) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicU64::new(0));
        let answers: Vec<String> = std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        let mut hog = connect(setup.http);
                        let head =
                            "POST /v1/events/hog HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n";
                        hog.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
                        hog.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
                        let _ = hog.write_all(&[head.as_bytes(), &vec![b'x'; 3_000_000]].concat());
                        hogging.fetch_add(1, Ordering::SeqCst);
                        // It is told in the end, and comes again: however long the crowd takes, the memory stays short.
                        let mut told = false;
                        while !told && !ended.load(Ordering::SeqCst) {
                            let heard = hog.read(&mut [0; 1]);
                            told = !heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                        }
                    }
                });
            }
            let begun = Instant::now();
            while hogging.load(Ordering::SeqCst) < 6 && begun.elapsed() < SOON {
                std::thread::yield_now();
            }
            // The crowd may get what hogs leave just before it has waited in vain: that the memory was short shows in how long one waits.
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let asked = Instant::now();
                    let mut one = connect(setup.http);
                    let _ = one.write_all(&request);
                    let _ = one.read_to_string(&mut String::new());
                    let waited = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
                    longest.fetch_max(waited, Ordering::SeqCst);
                }
            });
            let crowd: Vec<TcpStream> = (0..1_000)
                .map(|_| {
                    let mut one = connect(setup.http);
                    let _ = one.write_all(&request);
                    one
                })
                .collect();
            let heard = crowd.into_iter().map(|mut one| {
                let mut heard = String::new();
                let _ = one.read_to_string(&mut heard);
                heard
            });
            let heard = heard.collect();
            ended.store(true, Ordering::SeqCst);
            heard
        });
        let mut waited = 0;
        for heard in answers {
            let code = heard.split(' ').nth(1).unwrap_or_default();
            assert!(["200", "503"].contains(&code), "{heard}");
            waited += u32::from(code == "503");
        }
        let longest = longest.into_inner();
        println!("{waited} of 1,000 waited in vain, one for {longest} ms");
        assert!(longest > 1_000, "the memory was never short");
    });
}

/// Three of them have all the memory that large bodies share, and would for a minute each time.
#[test]
fn large_bodies_that_stop_again_and_again_keep_an_honest_one_waiting_for_seconds() {
    let setup = lonely("hostile-stops");
    withstands(&setup, |_| {
        let head = "POST /v1/events/hog HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n";
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        let mut hog = connect(setup.http);
                        hog.set_write_timeout(Some(Duration::from_secs(3))).expect("a socket");
                        hog.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
                        let _ = hog.write_all(&[head.as_bytes(), &vec![b'1'; 3_000_000]].concat());
                        // It is told in the end, and comes again.
                        let mut told = false;
                        while !told && !ended.load(Ordering::SeqCst) {
                            let heard = hog.read(&mut [0; 1]);
                            told = !heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_secs(1));
            let body = [vec![b'x'; 999], vec![b'\n']].concat().repeat(1_000);
            let start = Instant::now();
            let answer = http::post(setup.http, "/v1/events/large", "", &body);
            let waited = start.elapsed();
            ended.store(true, Ordering::SeqCst);
            println!("an honest body of 1 MB waited {waited:?}");
            assert_eq!(answer.expect("an answer").status, 200);
            assert!(waited < Duration::from_secs(40), "{waited:?}");
            assert!(waited > Duration::from_secs(1), "the memory was never short");
        });
    });
}

#[test]
fn keys_that_are_copied_into_each_of_thousands_of_events_are_paid_for() {
    // The lane is full at once, so that all of them wait with what they have.
    let setup = lonely("hostile-keys")
        .spool("segment_size = \"4MiB\"\nmax_size = \"16MiB\"")
        .spool("when_full = \"block\"")
        .http("block_timeout = \"2s\"");
    withstands(&setup, |_| {
        let headers = format!("spoolway-key: {}\r\n", "k".repeat(8_000));
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    for _ in 0..2 {
                        let body = b"a\n".repeat(2_000);
                        let answer =
                            http::post(setup.http, "/v1/events/keys", &headers, &body).expect("an answer");
                        assert!([200, 503].contains(&answer.status), "{}", answer.text());
                    }
                });
            }
        });
        make_room(&setup);
    });
}

/// A lane that is full refuses honest senders too: another takes them.
fn make_room(setup: &Setup) {
    let deadline = Instant::now() + SOON;
    // What waited has been answered; small events still fit between the events of the attack and the quota, or never.
    while http::post(setup.http, "/v1/events/honest", "", b"x\n").map_or(0, |a| a.status) != 200 {
        assert!(Instant::now() < deadline, "no room for a small event");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn payloads_that_break_parsers_are_taken_as_bytes_or_refused() {
    let setup = lonely("hostile-payloads");
    withstands(&setup, |_| {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let bodies: Vec<Vec<u8>> = vec![
            deep.into(),
            br#"{"a":1,"a":2,"n":1e999,"s":"\ud800"}"#.to_vec(),
            vec![0xff, 0xfe, 0x00, b'{'],
            b"\xef\xbb\xbf{}".to_vec(),
            b"".to_vec(),
            b"\0\0\0".to_vec(),
            b"[1,".to_vec(),
        ];
        for kind in ["application/json", "application/x-ndjson", "application/octet-stream"] {
            for body in &bodies {
                let headers = format!("content-type: {kind}\r\n");
                let answer = http::post(setup.http, "/v1/events/odd", &headers, body).expect("an answer");
                assert!([200, 400].contains(&answer.status), "{kind}: {} {}", answer.status, answer.text());
            }
        }
        for time in ["0", "-1", "9223372036854775807", "9223372036854775808", "1e9", "31556889864403199000"] {
            let headers = format!("spoolway-timestamp: {time}\r\n");
            let answer = http::post(setup.http, "/v1/events/times", &headers, b"x").expect("an answer");
            assert!([200, 400].contains(&answer.status), "{time}: {}", answer.text());
        }
    });
}

#[test]
fn lines_that_never_end_and_bytes_that_drip_keep_nobody_out() {
    let setup = lonely("hostile-lines");
    withstands(&setup, |_| {
        let mut hogs = Vec::new();
        for _ in 0..40 {
            let mut hog = connect(setup.tcp);
            hog.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
            // It stops taking bytes when memory for them runs out.
            let _ = hog.write_all(&vec![b'x'; 900_000]);
            hogs.push(hog);
        }
        for port in [setup.http, setup.admin, setup.tcp] {
            for _ in 0..50 {
                let mut drip = connect(port);
                drip.write_all(b"P").expect("it takes a byte");
                hogs.push(drip);
            }
        }
        let answer = http::post(setup.http, "/v1/events/honest", "", b"meanwhile\n").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
}

/// Raises the limit of open files of this process; how many are left.
pub fn raise_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let now = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(now).unwrap_or(1 << 20).saturating_sub(200)
}

/// The control: one that is followed by a screenful of other lines is seen.
#[test]
fn a_panic_is_noticed() {
    let script = |first: &str| format!("echo \"{first}\"; seq 100");
    let says = |first: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &script(first)]);
        let process = Process::spawn("sh", command);
        process.wait(Duration::from_secs(10));
        has_panicked(&process)
    };
    assert!(says("thread 'main' panicked at src/main.rs:1:1:") && !says("nothing"));
}

/// The control: where a person allows bodies of 256 MiB, they are seen.
#[test]
fn what_takes_too_much_memory_is_caught() {
    let setup = lonely("hostile-control").http("max_body_size = \"256MiB\"");
    let most = attack(&setup, |_| {
        let body = format!("[{}1]", "1,".repeat(40_000_000));
        let headers = "content-type: application/json\r\n";
        let answer = http::post(setup.http, "/v1/events/x", headers, body.as_bytes()).expect("an answer");
        assert!([200, 413, 503].contains(&answer.status), "{}", answer.text());
    });
    assert!(is_too_much(most), "{} MiB", most >> 20);
}
