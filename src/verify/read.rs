//! Brings the records of the topics to the followers, several partitions at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::expected::Expected;
use super::follow::{Follower, Mark, Seen};
use super::report::TopicReport;
use crate::kafka::{
    BatchError, ConsumeError, Consumer, ConsumerOptions, Fetched, RecordBatch, RecordHeader, RecordRef,
    header,
};
use crate::state::ledger::EventSum;

/// Partitions that are read at the same time, each over connections of its own: a broker answers a connection's
/// requests one after the other.
const READERS: usize = 4;
/// Records that are handed over at once.
const CHUNK: usize = 4096;
/// A topic that is asked for and does not exist is waited for this long: brokers that have just started say so too.
const LOOK_UP: Duration = Duration::from_secs(8);

/// Before a partition that gave nothing is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// First and end offset of a partition.
pub type Extent = (i64, i64);

/// What is to be read.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Topics, with the extents of their partitions at the beginning.
    pub topics: Vec<(String, Vec<Extent>)>,
}

impl Plan {
    /// Offsets to pass.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        let extents = self.topics.iter().flat_map(|(_, extents)| extents);
        extents.map(|(start, end)| u64::try_from(end - start).unwrap_or(0)).sum()
    }

    fn jobs(&self) -> VecDeque<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        for (topic, (name, extents)) in self.topics.iter().enumerate() {
            let numbered = (0i32..).zip(extents).filter(|(_, (start, end))| start < end);
            jobs.extend(numbered.map(|(partition, &extent)| Job {
                topic,
                name: name.clone(),
                partition,
                extent,
            }));
        }
        // The longest first, so that none of them is left alone at the end.
        jobs.sort_by_key(|job| job.extent.0 - job.extent.1);
        jobs.into()
    }
}

#[derive(Debug)]
struct Job {
    topic: usize,
    name: String,
    partition: i32,
    extent: Extent,
}

/// Why a topic could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The cluster, or the topic.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A batch.
    #[error("topic {topic}, partition {partition}, from offset {offset} on: {source}")]
    Batch {
        /// Its topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Where the reading was.
        offset: i64,
        /// What is wrong with it.
        source: BatchError,
    },
    /// Nothing came though there should be something.
    #[error(
        "topic {topic}, partition {partition}: its leader gives no record from offset {offset} on, though the log \
         ended at {end} when the reading began; was the topic cut off or made anew meanwhile?"
    )]
    Stuck {
        /// Its topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Where the reading was.
        offset: i64,
        /// Where it should have ended.
        end: i64,
    },
    /// A reader ended without a word.
    #[error("a reader failed: {0}")]
    Reader(String),
}

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

/// Asks for the extents of the topics' partitions.
///
/// # Errors
/// [`ReadError`] when the cluster does not answer, or does not have a topic.
pub async fn survey(options: &ConsumerOptions, topics: &[String]) -> Result<Plan, ReadError> {
    let options = ConsumerOptions { patience: options.patience.min(LOOK_UP), ..options.clone() };
    let mut consumer = Consumer::new(&options);
    let mut plan = Plan::default();
    for topic in topics {
        let mut extents = Vec::new();
        for partition in 0..consumer.partitions(topic).await? {
            let start = consumer.earliest(topic, partition).await?;
            extents.push((start, consumer.latest(topic, partition).await?));
        }
        plan.topics.push((topic.clone(), extents));
    }
    Ok(plan)
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
        jobs: Mutex::new(plan.jobs()),
        sums: verification.expected.is_some(),
        state: Mutex::new((verification, Box::new(progress))),
    });
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let reader = Reader {
            consumer: Consumer::new(options),
            patience: options.patience,
            shared: Arc::clone(&shared),
        };
        readers.spawn(reader.run());
    }
    // Dropping the set ends the others.
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|e| ReadError::Reader(e.to_string()))??;
    }
    drop(readers);
    let shared = Arc::into_inner(shared).ok_or_else(|| ReadError::Reader("it has not ended".to_owned()))?;
    Ok(shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

type State = (Verification, Box<dyn FnMut(u64) + Send>);

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    /// Whether the events' hashes are wanted.
    sums: bool,
    state: Mutex<State>,
}

impl Shared {
    fn next_job(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, job: &Job, seen: &mut Vec<Seen>) {
        self.state().0.see(job, seen);
        seen.clear();
    }

    fn passed(&self, offsets: i64) {
        let (verification, progress) = &mut *self.state();
        verification.passed += u64::try_from(offsets).unwrap_or(0);
        progress(verification.passed);
    }
}

struct Reader {
    consumer: Consumer,
    patience: Duration,
    shared: Arc<Shared>,
}

impl Reader {
    async fn run(mut self) -> Result<(), ReadError> {
        while let Some(job) = self.shared.next_job() {
            self.partition(&job).await?;
        }
        Ok(())
    }

    async fn partition(&mut self, job: &Job) -> Result<(), ReadError> {
        let (mut next, end) = job.extent;
        let mut until = Instant::now() + self.patience;
        while next < end {
            let after = match self.consumer.fetch(&job.name, job.partition, next).await {
                Ok(fetched) => self.take(job, &fetched, next)?,
                Err(ConsumeError::Code { code: 1, .. }) => self.cut(job, next).await?,
                Err(error) => return Err(error.into()),
            };
            if after > next {
                self.shared.passed(after.min(end) - next);
                (next, until) = (after, Instant::now() + self.patience);
            } else if Instant::now() > until {
                let topic = job.name.clone();
                return Err(ReadError::Stuck { topic, partition: job.partition, offset: next, end });
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// The offset is not in the log any more: the log's start has overtaken it, or the log was cut off.
    async fn cut(&mut self, job: &Job, next: i64) -> Result<i64, ReadError> {
        let start = self.consumer.earliest(&job.name, job.partition).await?;
        if start > next {
            self.shared.see(job, &mut vec![Seen::Cut { start }]);
        }
        Ok(start)
    }

    /// Hands over what a Fetch brought; the offset to go on with.
    fn take(&self, job: &Job, fetched: &Fetched, from: i64) -> Result<i64, ReadError> {
        let failed = |source| ReadError::Batch {
            topic: job.name.clone(),
            partition: job.partition,
            offset: from,
            source,
        };
        let (mut next, mut seen) = (from, Vec::with_capacity(CHUNK));
        for batch in fetched.batches() {
            let batch = batch.map_err(failed)?;
            self.batch(job, &batch, from, &mut seen).map_err(failed)?;
            next = next.max(batch.header.next_offset());
        }
        self.shared.see(job, &mut seen);
        Ok(next)
    }

    fn batch(
        &self,
        job: &Job,
        batch: &RecordBatch<'_>,
        from: i64,
        seen: &mut Vec<Seen>,
    ) -> Result<(), BatchError> {
        let (base, next) = (batch.header.base_offset, batch.header.next_offset());
        if batch.header.is_control() {
            seen.push(Seen::Marker { from: base.max(from), to: next.min(job.extent.1) });
            return Ok(());
        }
        for record in batch.records() {
            let record = record?;
            if record.offset < from || record.offset >= job.extent.1 {
                continue;
            }
            let hash = if self.shared.sums { sum(&record) } else { 0 };
            seen.push(Seen::Record { offset: record.offset, mark: mark(&record), hash });
            if seen.len() >= CHUNK {
                self.shared.see(job, seen);
            }
        }
        // Where compaction has removed the last records of a batch, the batch still says where it ended.
        seen.push(Seen::End { at: next.min(job.extent.1) });
        Ok(())
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
