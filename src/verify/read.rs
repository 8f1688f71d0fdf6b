//! Brings the records of the topics to the followers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::expected::Expected;
use super::follow::{Follower, Mark, Seen};
use super::partitions::{Extent, Job, Plan, ReadError, Visitor, visit};
use super::report::TopicReport;
use crate::kafka::{BatchError, ConsumerOptions, RecordBatch, RecordHeader, RecordRef, header};
use crate::state::ledger::EventSum;

/// Records that are handed over at once.
const CHUNK: usize = 4096;

/// The followers of the topics, and what a relay says it has delivered.
#[derive(Debug)]
pub struct Verification {
    followers: Vec<Follower>,
    expected: Option<Expected>,
    passed: u64,
}

impl Verification {
    /// Nothing read yet. `only`: high halves of the incarnations that are asked for; none: all.
    #[must_use]
    pub fn new(plan: &Plan, only: &[u32], expected: Option<Expected>) -> Self {
        let follower = |(name, extents): &(String, Vec<Extent>)| Follower::new(name, extents, only);
        Self { followers: plan.topics.iter().map(follower).collect(), expected, passed: 0 }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> (Vec<TopicReport>, Option<Expected>) {
        (self.followers.into_iter().map(Follower::finish).collect(), self.expected)
    }

    fn see(&mut self, job: &Job, seen: &[Seen]) {
        let partition = usize::try_from(job.partition).unwrap_or(usize::MAX);
        if let Some(follower) = self.followers.get_mut(job.topic) {
            follower.see(partition, seen, self.expected.as_mut().map(|expected| (job.topic, expected)));
        }
    }
}

/// Reads what is planned; `progress` is told how many offsets have been passed.
///
/// # Errors
/// The first [`ReadError`]; then nothing is proven.
pub async fn read(
    options: &ConsumerOptions,
    plan: &Plan,
    verification: Verification,
    progress: impl FnMut(u64) + Send + 'static,
) -> Result<Verification, ReadError> {
    let shared = Arc::new(Shared {
        sums: verification.expected.is_some(),
        state: Mutex::new((verification, Box::new(progress))),
    });
    visit(options, plan, &shared).await?;
    let shared = Arc::into_inner(shared).ok_or_else(|| ReadError::Reader("it has not ended".to_owned()))?;
    Ok(shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

type State = (Verification, Box<dyn FnMut(u64) + Send>);

struct Shared {
    /// Whether the events' hashes are wanted.
    sums: bool,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, job: &Job, seen: &[Seen]) {
        self.state().0.see(job, seen);
    }
}

impl Visitor for Shared {
    fn batch(&self, job: &Job, batch: &RecordBatch<'_>, from: i64) -> Result<(), BatchError> {
        let (base, next) = (batch.header.base_offset, batch.header.next_offset());
        if batch.header.is_control() {
            self.see(job, &[Seen::Marker { from: base.max(from), to: next.min(job.extent.1) }]);
            return Ok(());
        }
        let count = usize::try_from(batch.header.count).unwrap_or(CHUNK);
        let mut seen = Vec::with_capacity(count.min(CHUNK) + 1);
        for record in batch.records() {
            let record = record?;
            if record.offset < from || record.offset >= job.extent.1 {
                continue;
            }
            let hash = if self.sums { sum(&record) } else { 0 };
            seen.push(Seen::Record { offset: record.offset, mark: mark(&record), hash });
            if seen.len() >= CHUNK {
                self.see(job, &seen);
                seen.clear();
            }
        }
        // Where compaction has removed the last records of a batch, the batch still says where it ended.
        seen.push(Seen::End { at: next.min(job.extent.1) });
        self.see(job, &seen);
        Ok(())
    }

    fn cut(&self, job: &Job, start: i64) {
        self.see(job, &[Seen::Cut { start }]);
    }

    fn passed(&self, offsets: i64) -> bool {
        let (verification, progress) = &mut *self.state();
        verification.passed += u64::try_from(offsets).unwrap_or(0);
        progress(verification.passed);
        true
    }
}

/// What a record's header says; of several, the last is the relay's.
fn mark(record: &RecordRef<'_>) -> Mark {
    match record.headers.last(header::NAME) {
        None => Mark::Foreign,
        Some(value) => value.and_then(RecordHeader::decode).map_or(Mark::Unreadable, Mark::Relay),
    }
}

fn sum(record: &RecordRef<'_>) -> u64 {
    let Some(header) = record.headers.last(header::NAME).flatten().and_then(RecordHeader::decode) else {
        return 0;
    };
    let mut sum = EventSum::new();
    sum.add(header.seq, record.key, record.value);
    sum.get()
}
