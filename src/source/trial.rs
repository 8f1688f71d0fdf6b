//! A connection of an HTTP source in memory, for fuzzers: whatever bytes come, in whatever pieces, on a clock that moves by
//! itself.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a trial stops at the first broken promise")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::http::{Service, decoders, drive};
use super::tally::Tally;
use crate::config::model::{Ack, HttpLimits};
use crate::event::EventBatch;
use crate::guard::Gate;
use crate::ids::{LaneName, Seq, StreamName};
use crate::intake::{AcceptError, Appended, Intake, Patience};
use crate::metrics::Metrics;

/// Largest event that is taken.
pub(crate) const MAX_EVENT: usize = 256;
/// Largest body that is taken, unpacked.
pub(crate) const MAX_BODY: usize = 4096;

/// Key and value of each event of a request.
type Events = Vec<(Vec<u8>, Vec<u8>)>;

/// What came of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The events of each request that was accepted.
    pub(crate) batches: Vec<Events>,
    /// Everything that was answered.
    pub(crate) answers: Vec<u8>,
}

/// Takes everything, and remembers it.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Events>>);

impl Intake for Kept {
    async fn accept(&self, _: StreamName, batch: EventBatch, _: Patience) -> Result<Appended, AcceptError> {
        let owned = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
        let events = batch.iter().map(|event| event.map(|e| (owned(e.key), owned(e.value))));
        let events: Events = events.collect::<Result<_, _>>().expect("a batch that can be read");
        let last = Seq(events.len() as u64);
        self.0.lock().unwrap().push(events);
        Ok(Appended { lane: LaneName::new("main").unwrap(), first: Seq(1), last })
    }

    async fn delivered(&self, _: &Appended) {}
}

/// Serves a connection that says `pieces` and then nothing more, until it is closed.
///
/// # Panics
/// When it is not closed within an hour.
pub(crate) fn serve(pieces: &[&[u8]]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let intake = Arc::new(Kept::default());
        let (io, theirs) = tokio::io::duplex(64 * 1024);
        let served = tokio::spawn(drive(theirs, service(Arc::clone(&intake))));
        let (mut read, mut write) = tokio::io::split(io);
        let mut outcome = Outcome::default();
        let saying = async {
            for piece in pieces {
                // It may have been refused, and closed, in the middle of it.
                if write.write_all(piece).await.is_err() {
                    break;
                }
                // A moment in which nothing else is left to do: each piece comes alone.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (_, heard) = tokio::join!(saying, read.read_to_end(&mut outcome.answers));
        heard.expect("a pipe in memory");
        tokio::time::timeout(Duration::from_secs(3600), served).await.expect("an end").expect("no panic");
        outcome.batches = std::mem::take(&mut *intake.0.lock().unwrap());
        outcome
    })
}

fn service(intake: Arc<Kept>) -> Arc<Service<Kept>> {
    Arc::new(Service {
        intake,
        gate: Arc::new(Gate::open()),
        tally: Tally::new("fuzz", "http", None, 10, Metrics::new()),
        budget: Budget::new(1 << 20),
        decoders: decoders(),
        ack: Ack::Accepted,
        limits: limits(MAX_BODY),
        streams: vec![],
        idle_timeout: Duration::from_secs(300),
        give_way: Arc::default(),
        max_event_size: MAX_EVENT,
        stop: CancellationToken::new(),
    })
}

/// Limits of a source that is tried, with bodies of at most this size.
pub(super) fn limits(max_body_size: usize) -> HttpLimits {
    HttpLimits {
        max_body_size,
        max_header_size: 16 * 1024,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(60),
        block_timeout: Duration::from_secs(30),
        delivered_timeout: Duration::from_secs(30),
    }
}
