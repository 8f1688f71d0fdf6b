//! Whole connections over an in-memory pipe, with paused time: hyper, service, fake intake.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Service, decoders, drive};
use crate::config::model::{Ack, HttpLimits};
use crate::ids::StreamName;
use crate::intake::{AcceptError, Refused};
use crate::metrics::Metrics;
use crate::source::budget::Budget;
use crate::source::tally::Tally;
use crate::source::testing::FakeIntake;

const MAX_EVENT: usize = 1000;
const MAX_BODY: usize = 20_000;

struct Bench {
    intake: Arc<FakeIntake>,
    service: Arc<Service<FakeIntake>>,
}

fn bench() -> Bench {
    bench_with(Ack::Accepted)
}

fn bench_with(ack: Ack) -> Bench {
    let intake = FakeIntake::new();
    let service = Arc::new(Service {
        intake: Arc::clone(&intake),
        tally: Tally::new("h", "http", None, 10, Metrics::new()),
        budget: Budget::new(64 * 1024),
        decoders: decoders(),
        ack,
        limits: HttpLimits {
            max_body_size: MAX_BODY,
            max_header_size: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            block_timeout: Duration::from_secs(30),
            delivered_timeout: Duration::from_secs(30),
        },
        idle_timeout: Duration::from_secs(300),
        max_event_size: MAX_EVENT,
        stop: CancellationToken::new(),
    });
    Bench { intake, service }
}

/// The sender's side of a connection.
struct Peer {
    io: DuplexStream,
    read: Vec<u8>,
    served: JoinHandle<()>,
}

#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Bench {
    fn connect(&self) -> Peer {
        let (io, theirs) = tokio::io::duplex(64 * 1024);
        let served = tokio::spawn(drive(theirs, Arc::clone(&self.service)));
        Peer { io, read: Vec::new(), served }
    }

    async fn post(&self, path: &str, headers: &str, body: &[u8]) -> Heard {
        let mut peer = self.connect();
        peer.post(path, headers, body).await;
        peer.hear().await
    }

    fn rejected(&self) -> u64 {
        self.service.tally.row().rejected
    }
}

impl Peer {
    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn post(&mut self, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        self.say(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n"))
            .await;
        // The far side may refuse before it has read everything.
        let _ = self.io.write_all(body).await;
    }

    async fn hear(&mut self) -> Heard {
        self.try_hear().await.expect("an answer")
    }

    /// `None` when the connection closes without a complete answer.
    async fn try_hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.take() {
                return Some(heard);
            }
            if self.io.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Heard> {
        let end = self.read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap().to_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |text| text.parse::<usize>().unwrap());
        let body = self.read.get(end..end + length)?.to_vec();
        self.read.drain(..end + length);
        Some(Heard { status, head, body: String::from_utf8(body).unwrap() })
    }

    async fn closes(mut self) {
        assert!(self.try_hear().await.is_none());
        self.served.await.unwrap();
    }
}

const NDJSON: &str = "content-type: application/x-ndjson\r\n";
const JSON: &str = "content-type: application/json\r\n";
const OCTETS: &str = "content-type: application/octet-stream\r\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    structured_zstd::encoding::compress_to_vec(bytes, structured_zstd::encoding::CompressionLevel::Fastest)
}

#[tokio::test(start_paused = true)]
async fn lines_become_events_and_the_answer_names_their_numbers() {
    let bench = bench();
    let heard = bench.post("/v1/events/orders", NDJSON, b"{\"a\":1}\n\n{\"b\": 2 }\r\nlast").await;
    assert_eq!((heard.status, heard.body.as_str()), (200, r#"{"accepted":3,"first_seq":1,"last_seq":3}"#));
    assert!(heard.head.contains("content-type: application/json"), "{}", heard.head);
    assert_eq!(bench.intake.values(), vec![&b"{\"a\":1}"[..], b"{\"b\": 2 }\r", b"last"]);
    assert_eq!(bench.intake.kept()[0].stream, "orders");
    assert_eq!(bench.intake.kept()[0].key, None);
}

#[tokio::test(start_paused = true)]
async fn key_and_time_of_the_request_are_those_of_each_event() {
    let bench = bench();
    let headers = "spoolway-key: k\r\nspoolway-timestamp: 1700000000000\r\n";
    assert_eq!(bench.post("/v1/events/x", headers, b"1\n2\n").await.status, 200);
    for kept in bench.intake.kept() {
        assert_eq!((kept.key.as_deref(), kept.time), (Some(&b"k"[..]), Some(1_700_000_000_000)));
    }
}

#[tokio::test(start_paused = true)]
async fn elements_of_an_array_are_kept_as_their_bytes_stand() {
    let bench = bench();
    let body = br#" [ {"a" : 1e999, "a":2} ,"x", [1, 2],null, "\ud800" ] "#;
    let heard = bench.post("/v1/events/x", JSON, body).await;
    assert_eq!(heard.status, 200, "{heard:?}");
    let expected: [&[u8]; 5] = [br#"{"a" : 1e999, "a":2}"#, br#""x""#, b"[1, 2]", b"null", br#""\ud800""#];
    assert_eq!(bench.intake.values(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_json_value_that_is_no_array_is_one_event() {
    let bench = bench();
    assert_eq!(bench.post("/v1/events/x", JSON, b"\n {\"a\": [1] }\n").await.status, 200);
    assert_eq!(bench.intake.values(), vec![b"{\"a\": [1] }"]);
}

#[tokio::test(start_paused = true)]
async fn malformed_json_is_refused_as_a_whole_and_names_event_and_place() {
    let bench = bench();
    for (body, event) in [
        (&b"[1,2,{]"[..], 2),
        (b"[1,2", 2),
        (b"[1] x", 1),
        (b"", 0),
        (b"{\"a\":}", 0),
        (b"[\"\xff\"]", 0),
        (b"\xef\xbb\xbf[]", 0),
    ] {
        let heard = bench.post("/v1/events/x", JSON, body).await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.body.contains("\"error\":\"malformed_json\""), "{heard:?}");
        assert!(heard.body.contains(&format!("\"event\":{event}")), "{heard:?}");
        assert!(heard.body.contains("line ") && heard.body.contains("column "), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.rejected(), 7);
}

#[tokio::test(start_paused = true)]
async fn json_nested_a_hundred_thousand_deep_costs_no_stack() {
    let bench = bench();
    let deep = [vec![b'['; 9_000], vec![b']'; 9_000]].concat();
    let heard = bench.post("/v1/events/x", JSON, &deep).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("\"error\":\"too_large\""), "{heard:?}");
    let mut events = super::events::Events::new(&head_of_json(), 1 << 20, 1 << 20);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    events.take_whole(&deep).unwrap();
    assert_eq!(events.into_batch().count(), 1);
}

fn head_of_json() -> super::head::Head {
    super::head::Head {
        stream: StreamName::new("x").unwrap(),
        key: None,
        time: None,
        format: super::head::Format::Json,
        coding: super::head::Coding::Identity,
        length: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_octet_stream_is_one_event_of_any_length() {
    let bench = bench();
    assert_eq!(bench.post("/v1/events/x", OCTETS, b"").await.status, 200);
    assert_eq!(bench.post("/v1/events/x", OCTETS, b"a\nb\0").await.status, 200);
    assert_eq!(bench.intake.values(), vec![&b""[..], b"a\nb\0"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_events_is_accepted_and_keeps_nothing() {
    let bench = bench();
    for (headers, body) in [(NDJSON, &b"\n\n"[..]), (JSON, b"[]"), ("", b"")] {
        let heard = bench.post("/v1/events/x", headers, body).await;
        assert_eq!((heard.status, heard.body.as_str()), (200, r#"{"accepted":0}"#));
    }
    assert_eq!(bench.intake.batches(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_over_the_limit_refuses_the_whole_request_and_is_named() {
    let bench = bench();
    let long = "x".repeat(MAX_EVENT + 1);
    for (path, headers, body) in [
        ("/v1/events/x", NDJSON, format!("1\n2\n{long}\n4\n")),
        ("/v1/events/x", JSON, format!("[1,2,\"{long}\"]")),
        ("/v1/events/x?key=kk", NDJSON, format!("1\n2\n{}\n", "x".repeat(MAX_EVENT - 1))),
    ] {
        let heard = bench.post(path, headers, body.as_bytes()).await;
        assert_eq!(heard.status, 413, "{heard:?}");
        assert!(heard.body.contains("\"error\":\"too_large\""), "{heard:?}");
        assert!(heard.body.contains("\"event\":2"), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.post("/v1/events/x", NDJSON, &b"x".repeat(MAX_EVENT)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let bench = bench();
    let heard = bench.post("/v1/events/x", NDJSON, &b"abc\n".repeat(MAX_BODY / 4 + 1)).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("body_too_large"), "{heard:?}");
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..=MAX_BODY / 1024 {
        peer.say(format!("400\r\n{}\r\n", "abc\n".repeat(256))).await;
    }
    peer.say("0\r\n\r\n").await;
    assert_eq!(peer.hear().await.status, 413);
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_blows_up_small_lines_is_refused() {
    let bench = bench();
    let path = format!("/v1/events/x?key={}", "k".repeat(900));
    let heard = bench.post(&path, NDJSON, &b"a\n".repeat(1000)).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.body.contains("fewer"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn chunks_of_one_byte_give_the_same_events() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for byte in b"one\ntwo\nthree" {
        peer.say([b'1', b'\r', b'\n', *byte, b'\r', b'\n']).await;
    }
    peer.say("0\r\n\r\n").await;
    assert_eq!(peer.hear().await.status, 200);
    assert_eq!(bench.intake.values(), vec![&b"one"[..], b"two", b"three"]);
}

#[tokio::test]
async fn compressed_bodies_are_unpacked() {
    let bench = bench();
    let lines = b"one\ntwo\n".repeat(100);
    for (coding, body) in [
        ("gzip", gzip(&lines)),
        ("zstd", zstd(&lines)),
        ("gzip", [gzip(&lines[..400]), gzip(&lines[400..])].concat()),
    ] {
        let headers = format!("{NDJSON}content-encoding: {coding}\r\n");
        let heard = bench.post("/v1/events/x", &headers, &body).await;
        assert!(heard.body.contains("\"accepted\":200"), "{heard:?}");
    }
    let headers = format!("{JSON}content-encoding: gzip\r\n");
    assert_eq!(bench.post("/v1/events/x", &headers, &gzip(b"[1, 2]")).await.status, 200);
    assert_eq!(bench.intake.values().len(), 602);
}

#[tokio::test]
async fn bombs_and_broken_streams_are_refused() {
    let bench = bench();
    let bomb = vec![b'\n'; 50_000_000];
    let mut cut = gzip(b"one\ntwo\n");
    cut.truncate(cut.len() - 5);
    // A frame header that asks for a window of 3.75 TiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff][..], &[0; 20]].concat();
    for (coding, body, status) in [
        ("gzip", gzip(&bomb), 413),
        ("zstd", zstd(&bomb), 413),
        ("gzip", cut, 400),
        ("gzip", b"no gzip".to_vec(), 400),
        ("zstd", b"no zstd".to_vec(), 400),
        ("zstd", window, 400),
        ("gzip", gzip(b"").repeat(1000), 200),
    ] {
        let headers = format!("{NDJSON}content-encoding: {coding}\r\n");
        let body = &body[..body.len().min(MAX_BODY)];
        let heard = bench.post("/v1/events/x", &headers, body).await;
        assert_eq!(heard.status, status, "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_methods_types_and_names_are_refused_with_a_reason() {
    let bench = bench();
    assert_eq!(bench.post("/", "", b"x").await.status, 404);
    assert_eq!(bench.post("/v1/events/a%2fb", "", b"x").await.status, 400);
    let heard = bench.post("/v1/events/x", "content-type: application/xml\r\n", b"x").await;
    assert!(heard.status == 415 && heard.body.contains("\"error\":\"content_type\""), "{heard:?}");
    assert_eq!(bench.post("/v1/events/x", "content-encoding: br\r\n", b"x").await.status, 415);
    let mut peer = bench.connect();
    peer.say("GET /v1/events/x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let heard = peer.hear().await;
    assert!(heard.status == 405 && heard.head.contains("allow: post"), "{heard:?}");
    assert_eq!(bench.rejected(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_intake_refuses_is_answered_with_its_reason() {
    let bench = bench();
    let stream = StreamName::new("ordes").unwrap();
    for (refused, status, words) in [
        (Refused::NoRoute { stream, nearest: Some("orders".into()) }, 404, r#""nearest":"orders""#),
        (Refused::TooManyStreams { limit: 9 }, 429, "too_many_streams"),
        (Refused::Full("10 GiB".into()), 503, "spool_full"),
        (Refused::Failing("fsync".into()), 503, "spool_failing"),
        (Refused::ShuttingDown, 503, "shutting_down"),
        (Refused::TooLarge { index: 1, size: 9, limit: 8 }, 413, r#""event":1"#),
    ] {
        bench.intake.refuse_next(refused);
        let heard = bench.post("/v1/events/ordes", "", b"1\n2\n").await;
        assert_eq!(heard.status, status, "{heard:?}");
        assert!(heard.body.contains(words), "{heard:?}");
        assert_eq!(heard.head.contains("retry-after: "), status == 503, "{heard:?}");
    }
    assert_eq!(bench.rejected(), 12);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_closes_the_connection_without_an_answer() {
    let bench = bench();
    bench.intake.refuse_next(AcceptError::Unknown("fsync failed".into()));
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    peer.closes().await;
}

#[tokio::test(start_paused = true)]
async fn requests_come_one_after_the_other_on_one_connection_and_pipelined() {
    let bench = bench();
    let mut peer = bench.connect();
    for _ in 0..3 {
        peer.post("/v1/events/x", "", b"1\n").await;
        assert_eq!(peer.hear().await.status, 200);
    }
    peer.post("/", "", b"refused").await;
    assert_eq!(peer.hear().await.status, 404);
    for number in 0..100 {
        peer.post("/v1/events/x", "", format!("{number}\n").as_bytes()).await;
    }
    for number in 0..100 {
        assert!(peer.hear().await.body.contains(&format!("\"first_seq\":{},", number + 4)));
    }
}

#[tokio::test(start_paused = true)]
async fn lengths_that_smuggle_are_refused_or_end_the_connection() {
    let bench = bench();
    for lengths in [
        "content-length: -1\r\n",
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 1, 2\r\n",
        "content-length: +1\r\n",
        "transfer-encoding: chunked, gzip\r\n",
    ] {
        let mut peer = bench.connect();
        peer.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\n{lengths}\r\n1")).await;
        assert_eq!(peer.hear().await.status, 400, "{lengths}");
        peer.closes().await;
    }
    // Both: the chunks count (RFC 9112, 6.3), and nothing more is taken from that connection.
    let mut peer = bench.connect();
    peer.say(
        "POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    peer.say("1\r\na\r\n0\r\n\r\nPOST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nb").await;
    assert_eq!(peer.hear().await.status, 200);
    peer.closes().await;
    assert_eq!(bench.intake.values(), vec![b"a"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_chunk_size_is_refused() {
    let bench = bench();
    for size in ["zz", "ffffffffffffffffff", "-1"] {
        let mut peer = bench.connect();
        peer.say(format!(
            "POST /v1/events/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\nabc\r\n"
        ))
        .await;
        let heard = peer.hear().await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.body.contains("malformed_body"), "{heard:?}");
    }
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    let bench = bench();
    let mut peer = bench.connect();
    let _ = peer
        .io
        .write_all(format!("POST /v1/events/x HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000)).as_bytes())
        .await;
    assert_eq!(peer.hear().await.status, 431);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_ends_the_connection_and_an_idle_one_has_longer() {
    let bench = bench();
    let start = tokio::time::Instant::now();
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    assert_eq!(peer.hear().await.status, 200);
    tokio::time::sleep(Duration::from_secs(200)).await;
    peer.say("POST /v1/ev").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    peer.say("ents").await;
    peer.closes().await;
    assert_eq!(start.elapsed().as_secs(), 210);
    let start = tokio::time::Instant::now();
    bench.connect().closes().await;
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_refused_after_its_time() {
    let bench = bench();
    let start = tokio::time::Instant::now();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await;
    let mut sender = Vec::new();
    while start.elapsed() < Duration::from_secs(60) {
        sender.push(b'x');
        peer.say("x").await;
        tokio::time::sleep(Duration::from_millis(999)).await;
    }
    let heard = peer.hear().await;
    assert_eq!(heard.status, 408, "{heard:?}");
    assert!(heard.head.contains("connection: close"), "{heard:?}");
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_holds_the_request_and_then_refuses() {
    let bench = bench();
    bench.intake.block();
    let start = tokio::time::Instant::now();
    let heard = bench.post("/v1/events/x", "", b"1").await;
    assert_eq!((heard.status, start.elapsed().as_secs()), (503, 30));
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"2").await;
    bench.intake.waiting_exactly(1).await;
    bench.intake.unblock();
    assert_eq!(peer.hear().await.status, 200);
    assert_eq!(bench.intake.values(), vec![b"2"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_goes_away_while_it_is_held_withdraws_its_events() {
    let bench = bench();
    bench.intake.block();
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"1").await;
    bench.intake.waiting_exactly(1).await;
    drop(peer.io);
    bench.intake.waiting_exactly(0).await;
    bench.intake.unblock();
    peer.served.await.unwrap();
    assert!(bench.intake.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_keeps_nothing() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\none\ntwo\n").await;
    peer.io.shutdown().await.unwrap();
    peer.closes().await;
    assert!(bench.intake.values().is_empty());
    assert_eq!(bench.rejected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_asks_first_is_told_to_go_on_or_that_it_is_too_much() {
    let bench = bench();
    let mut peer = bench.connect();
    peer.say("POST /v1/events/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    assert_eq!(peer.hear().await.status, 100);
    peer.say("abc").await;
    assert_eq!(peer.hear().await.status, 200);
    let mut peer = bench.connect();
    peer.say(
        "POST /v1/events/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n",
    )
    .await;
    assert_eq!(peer.hear().await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn with_ack_delivered_the_answer_waits_and_says_when_it_did_not_wait_long_enough() {
    let bench = bench_with(Ack::Delivered);
    assert_eq!(bench.post("/v1/events/x", "", b"1").await.status, 200);
    bench.intake.never_deliver();
    let heard = bench.post("/v1/events/x", "", b"2").await;
    assert_eq!(heard.status, 202, "{heard:?}");
    assert_eq!(heard.body, r#"{"accepted":1,"first_seq":2,"last_seq":2,"delivered":false}"#);
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", b"3").await;
    bench.intake.kept_at_least(3).await;
    bench.service.stop.cancel();
    assert_eq!(peer.hear().await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_request_in_hand_finish_and_closes_idle_connections() {
    let bench = bench();
    bench.intake.block();
    let (mut busy, idle) = (bench.connect(), bench.connect());
    busy.post("/v1/events/x", "", b"1").await;
    bench.intake.waiting_exactly(1).await;
    bench.service.stop.cancel();
    idle.closes().await;
    bench.intake.unblock();
    let heard = busy.hear().await;
    assert!(heard.status == 200 && heard.head.contains("connection: close"), "{heard:?}");
    busy.closes().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_in_flight_share_one_budget_and_all_get_through() {
    let bench = bench();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = bench.connect();
        peer.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY}\r\n\r\n"))
            .await;
        peer.say(b"abcdefghi\n".repeat(MAX_BODY / 20)).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.say(b"abcdefghi\n".repeat(MAX_BODY / 20)).await;
    }
    for mut peer in peers {
        assert_eq!(peer.hear().await.status, 200);
    }
    assert_eq!(bench.intake.values().len(), 20 * MAX_BODY / 10);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_never_ends_its_body_does_not_keep_others_out_for_good() {
    let bench = bench();
    // Three hogs take the shared part and the overdraft, and stop half way.
    let mut hogs = Vec::new();
    for _ in 0..4 {
        let mut hog = bench.connect();
        hog.say(format!("POST /v1/events/x HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY}\r\n\r\n")).await;
        hog.say(b"abcdefghi\n".repeat(MAX_BODY / 10 - 1)).await;
        hogs.push(hog);
    }
    let mut peer = bench.connect();
    peer.post("/v1/events/x", "", &b"abcdefghi\n".repeat(1500)).await;
    let heard = peer.hear().await;
    assert!(heard.status == 200 || heard.status == 503, "{heard:?}");
    for mut hog in hogs {
        let status = hog.hear().await.status;
        assert!(status == 408 || status == 503, "{status}");
    }
    let heard = bench.post("/v1/events/x", "", &b"abcdefghi\n".repeat(1500)).await;
    assert_eq!(heard.status, 200);
}
