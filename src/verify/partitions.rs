//! Reads partitions of topics from one offset to another, several at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::kafka::{BatchError, ConsumeError, Consumer, ConsumerOptions, Fetched, RecordBatch};

/// Partitions that are read at the same time, each over connections of its own: a broker answers a connection's
/// requests one after the other.
const READERS: usize = 4;
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

/// A partition to read.
#[derive(Debug)]
pub struct Job {
    /// Number of its topic in the plan.
    pub topic: usize,
    /// Its topic.
    pub name: String,
    /// Its number.
    pub partition: i32,
    /// From where to where.
    pub extent: Extent,
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

/// Takes in what is read. Shared by the readers.
pub trait Visitor: Send + Sync + 'static {
    /// A batch, of which the records from offset `from` to [`Job::extent`]'s end count.
    ///
    /// # Errors
    /// When its records can't be read.
    fn batch(&self, job: &Job, batch: &RecordBatch<'_>, from: i64) -> Result<(), BatchError>;

    /// The log begins at `start` now: what was before was deleted while it was read.
    fn cut(&self, job: &Job, start: i64);

    /// So many offsets more have been passed. Whether to go on.
    fn passed(&self, offsets: i64) -> bool;
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

/// Reads what is planned, or until the visitor has had enough.
///
/// # Errors
/// The first [`ReadError`].
pub async fn visit<V: Visitor>(
    options: &ConsumerOptions,
    plan: &Plan,
    visitor: &Arc<V>,
) -> Result<(), ReadError> {
    let jobs = Arc::new(Mutex::new(plan.jobs()));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let reader = Reader {
            consumer: Consumer::new(options),
            patience: options.patience,
            jobs: Arc::clone(&jobs),
            visitor: Arc::clone(visitor),
        };
        readers.spawn(reader.run());
    }
    // Dropping the set ends the others.
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|e| ReadError::Reader(e.to_string()))??;
    }
    Ok(())
}

struct Reader<V> {
    consumer: Consumer,
    patience: Duration,
    jobs: Arc<Mutex<VecDeque<Job>>>,
    visitor: Arc<V>,
}

impl<V: Visitor> Reader<V> {
    async fn run(mut self) -> Result<(), ReadError> {
        while let Some(job) = self.next_job() {
            if !self.partition(&job).await? {
                break;
            }
        }
        Ok(())
    }

    fn next_job(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether to go on with another.
    async fn partition(&mut self, job: &Job) -> Result<bool, ReadError> {
        let (mut next, end) = job.extent;
        let mut until = Instant::now() + self.patience;
        while next < end {
            let after = match self.consumer.fetch(&job.name, job.partition, next).await {
                Ok(fetched) => self.take(job, &fetched, next)?,
                Err(ConsumeError::Code { code: 1, .. }) => self.cut(job, next).await?,
                Err(error) => return Err(error.into()),
            };
            if after > next {
                if !self.visitor.passed(after.min(end) - next) {
                    return Ok(false);
                }
                (next, until) = (after, Instant::now() + self.patience);
            } else if Instant::now() > until {
                let topic = job.name.clone();
                return Err(ReadError::Stuck { topic, partition: job.partition, offset: next, end });
            } else {
                sleep(PAUSE).await;
            }
        }
        Ok(true)
    }

    /// The offset is not in the log any more: the log's start has overtaken it, or the log was cut off.
    async fn cut(&mut self, job: &Job, next: i64) -> Result<i64, ReadError> {
        let start = self.consumer.earliest(&job.name, job.partition).await?;
        if start > next {
            self.visitor.cut(job, start);
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
        let mut next = from;
        for batch in fetched.batches() {
            let batch = batch.map_err(failed)?;
            self.visitor.batch(job, &batch, from).map_err(failed)?;
            next = next.max(batch.header.next_offset());
        }
        Ok(next)
    }
}
