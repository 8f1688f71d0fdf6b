//! Whole connections over an in-memory pipe, with paused time: hyper, service, fake intake.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Service, decoders, drive};
use crate::config::model::Ack;
use crate::guard::Gate;
use crate::metrics::Metrics;
use crate::source::budget::Budget;
use crate::source::tally::Tally;
use crate::source::testing::FakeIntake;
use crate::source::trial::limits;

mod connections;
mod formats;
mod limits;
mod tokens;

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
    bench_behind(Gate::open(), ack)
}

fn bench_behind(gate: Gate, ack: Ack) -> Bench {
    bench_of(gate, ack, MAX_BODY)
}

fn bench_of(gate: Gate, ack: Ack, max_body: usize) -> Bench {
    let intake = FakeIntake::new();
    let service = Arc::new(Service {
        intake: Arc::clone(&intake),
        gate: Arc::new(gate),
        tally: Tally::new("h", "http", None, 10, Metrics::new()),
        budget: Budget::new(16 * 1024),
        decoders: decoders(),
        ack,
        limits: limits(max_body),
        streams: vec![],
        idle_timeout: Duration::from_secs(300),
        give_way: Arc::default(),
        max_event_size: MAX_EVENT,
        stop: CancellationToken::new(),
    });
    Bench { intake, service }
}

fn connect(service: Arc<Service<FakeIntake>>) -> Peer {
    let (io, theirs) = tokio::io::duplex(64 * 1024);
    Peer { io, read: Vec::new(), served: tokio::spawn(drive(theirs, service)) }
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
        connect(Arc::clone(&self.service))
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
