//! Hostile brokers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spoolway::target::{Target, TargetOptions};

use super::support::agent::Setup;
use super::support::http;
use super::victim::withstands;

/// What a broker does with a connection.
type Trick = fn(TcpStream);

/// A request's correlation id, once it has come.
fn heard(stream: &mut TcpStream) -> Option<[u8; 4]> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut request = vec![0; usize::try_from(u32::from_be_bytes(len)).ok()?.min(1 << 20)];
    stream.read_exact(&mut request).ok()?;
    request.get(4..8)?.try_into().ok()
}

/// Says that so much follows, and something.
pub fn frame(stream: &mut TcpStream, len: u32, body: &[u8]) {
    let _ = stream.write_all(&len.to_be_bytes());
    let _ = stream.write_all(body);
}

/// An answer to ApiVersions (version 0) that offers everything in all versions.
pub fn versions(id: [u8; 4]) -> Vec<u8> {
    let mut body = id.to_vec();
    body.extend([0, 0]);
    body.extend(70u32.to_be_bytes());
    for key in 0..70u16 {
        body.extend(key.to_be_bytes());
        body.extend([0, 0, 0, 13]);
    }
    body
}

const TRICKS: [Trick; 10] = [
    |_| {},
    |mut s| frame(&mut s, u32::MAX, &[]),
    |mut s| {
        let _ = heard(&mut s);
        frame(&mut s, 0x7fff_ffff, &[0; 64]);
    },
    |mut s| {
        let _ = heard(&mut s);
        frame(&mut s, 0, &[]);
    },
    |mut s| {
        let _ = heard(&mut s);
        frame(&mut s, 8, &[9; 8]);
    },
    |mut s| {
        let Some(id) = heard(&mut s) else { return };
        frame(&mut s, 10, &[&id[..], &[0xff; 6]].concat());
    },
    |mut s| {
        let Some(id) = heard(&mut s) else { return };
        frame(&mut s, 10, &[&id[..], &[0, 0, 0x7f, 0xff, 0xff, 0xff]].concat());
    },
    // A good beginning, then 12 MiB of noise where metadata should be.
    |mut s| {
        let Some(id) = heard(&mut s) else { return };
        let body = versions(id);
        frame(&mut s, u32::try_from(body.len()).expect("small"), &body);
        let Some(id) = heard(&mut s) else { return };
        let noise = [&id[..], &vec![0x5a; 12 << 20]].concat();
        frame(&mut s, u32::try_from(noise.len()).expect("fits"), &noise);
        let _ = s.read(&mut [0; 16]);
    },
    // A byte now and then.
    |mut s| {
        let _ = heard(&mut s);
        for byte in [0u8, 0, 1, 0, 0, 0] {
            let _ = s.write_all(&[byte]);
            std::thread::sleep(Duration::from_millis(200));
        }
    },
    // Answers nothing, and takes everything.
    |mut s| {
        let mut sink = [0; 4096];
        while s.read(&mut sink).is_ok_and(|len| len > 0) {}
    },
];

#[test]
fn brokers_that_answer_anything_but_kafka_cost_nothing_but_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let at = count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || TRICKS[at % TRICKS.len()](stream));
        }
    });
    let lines = "request_timeout = \"1s\"\nconnect_timeout = \"1s\"\n";
    let setup = Setup::new("hostile-brokers").destination("home", port, lines);
    withstands(&setup, |agent| {
        let mut sent = 0;
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while served.load(Ordering::SeqCst) < 2 * TRICKS.len() {
            let answer = http::post(setup.http, "/v1/events/a", "", b"x\n").expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            sent += 1;
            assert!(
                std::time::Instant::now() < deadline,
                "{} connections so far",
                served.load(Ordering::SeqCst)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let status = agent.status();
        assert_eq!(status["accounts"][0]["pending"], sent, "{status:#}");
        assert_eq!(status["destinations"][0]["up"], false);
    });
}

/// Kafka's code for a partition that another broker leads, and one that Kafka does not have.
const CODES: [i16; 2] = [6, 32_000];

/// Brokers that speak Kafka well and answer every batch with the same excuse: the agent is bounded and accepts meanwhile, and
/// everything is delivered once they are honest.
#[test]
fn brokers_that_refuse_every_batch_without_end_keep_nothing_from_arriving_once_they_are_honest() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let options = TargetOptions { topics: vec![("a".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let setup = Setup::new("hostile-excuses").destination("home", target.brokers()[0].port(), "");
    withstands(&setup, |agent| {
        for code in CODES {
            target.faults().refuse_produce("a", 0, code, u32::MAX);
            let before = target.counts().borrow().refused;
            for _ in 0..100 {
                let answer = http::post(setup.http, "/v1/events/a", "", b"x\n").expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            runtime.block_on(async {
                let mut counts = target.counts();
                let tried = counts.wait_for(|counts| counts.refused >= before + 3);
                tokio::time::timeout(Duration::from_secs(30), tried)
                    .await
                    .expect("in time")
                    .expect("it lives");
            });
            let status = agent.status();
            assert!(status["accounts"][0]["pending"].as_u64() >= Some(100), "{status:#}");
            target.faults().clear_planned();
            agent.wait_drained(Some("home"), Duration::from_secs(60));
        }
        assert_eq!(agent.status()["accounts"][0]["delivered"], 200);
    });
}
