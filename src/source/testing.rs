//! An intake in memory for the tests of this room.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::event::EventBatch;
use crate::ids::{LaneName, Seq, StreamName};
use crate::intake::{AcceptError, Appended, Intake, Patience, Refused};

/// One accepted event: stream, key, time, value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) stream: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) time: Option<i64>,
    pub(super) value: Vec<u8>,
}

/// Accepts, blocks or refuses as it is told.
#[derive(Debug)]
pub(super) struct FakeIntake {
    kept: Mutex<Vec<Kept>>,
    kept_count: watch::Sender<usize>,
    /// Answers to give before accepting again.
    refusals: Mutex<VecDeque<AcceptError>>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    delivers: AtomicBool,
    batches: AtomicU64,
}

impl FakeIntake {
    pub(super) fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            kept: Mutex::default(),
            kept_count: watch::Sender::new(0),
            refusals: Mutex::default(),
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
            delivers: AtomicBool::new(true),
            batches: AtomicU64::new(0),
        })
    }

    /// Holds senders back until [`FakeIntake::unblock`].
    pub(super) fn block(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn unblock(&self) {
        self.open.send_replace(true);
    }

    pub(super) fn refuse_next(&self, error: impl Into<AcceptError>) {
        self.refusals.lock().unwrap().push_back(error.into());
    }

    pub(super) fn never_deliver(&self) {
        self.delivers.store(false, Ordering::Relaxed);
    }

    pub(super) fn kept(&self) -> Vec<Kept> {
        self.kept.lock().unwrap().clone()
    }

    pub(super) fn values(&self) -> Vec<Vec<u8>> {
        self.kept().into_iter().map(|kept| kept.value).collect()
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Waits until `count` events are kept.
    pub(super) async fn kept_at_least(&self, count: usize) {
        self.kept_count.subscribe().wait_for(|kept| *kept >= count).await.unwrap();
    }

    /// Waits until exactly `count` senders are held back.
    pub(super) async fn waiting_exactly(&self, count: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting == count).await.unwrap();
    }

    fn keep(&self, stream: &StreamName, batch: &EventBatch) -> Appended {
        let mut kept = self.kept.lock().unwrap();
        let first = kept.len() as u64 + 1;
        for event in batch.iter() {
            let event = event.unwrap();
            kept.push(Kept {
                stream: stream.to_string(),
                key: event.key.map(<[u8]>::to_vec),
                time: event.time,
                value: event.value.unwrap().to_vec(),
            });
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.kept_count.send_replace(kept.len());
        Appended { lane: LaneName::new("main").unwrap(), first: Seq(first), last: Seq(kept.len() as u64) }
    }
}

/// Counts a sender as waiting until dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Intake for FakeIntake {
    async fn accept(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> Result<Appended, AcceptError> {
        if let Some(error) = self.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        let mut open = self.open.subscribe();
        self.waiting.send_modify(|count| *count += 1);
        let guard = Waiting(&self.waiting);
        let wait = match patience {
            Patience::For(time) => time,
            Patience::Forever => Duration::from_secs(1_000_000),
        };
        if tokio::time::timeout(wait, open.wait_for(|open| *open)).await.is_err() {
            return Err(Refused::Full("test".to_owned()).into());
        }
        drop(guard);
        Ok(self.keep(&stream, &batch))
    }

    async fn delivered(&self, _appended: &Appended) {
        if !self.delivers.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}
