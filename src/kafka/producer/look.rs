//! Reading back: whether a window that may have been sent is in its partition.
//!
//! A broker tells a duplicate by what it remembers of the producer, and it forgets: after a day, when the log was emptied
//! and it was restarted, when the topic was made anew. So before a window of an earlier process is sent again, and
//! before one gets a new identity, the partition is read for a batch with its identity. One without an identity is known by its
//! records' headers `spoolway`, which name each event.

use std::sync::Arc;
use std::time::Duration;

use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::batch::{Batch, BatchError, BatchHeader, BatchReader, Identity, RecordBatch, RecordRef};
use crate::kafka::codec::CodecError;
use crate::kafka::consume::{ConsumeError, Consumer, ConsumerOptions, Fetched};
use crate::kafka::header;

/// Bytes read at most.
const BUDGET: usize = 256 << 20;
/// Kafka's error code for a topic that may not be read.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Partitions read back at a time: each takes connections of its own.
pub(super) const AT_A_TIME: usize = 4;
/// How long one tries.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(3);
/// Brokers' clocks may differ from ours by this much, in milliseconds.
pub(super) const MARGIN: UnixMillis = 3_600_000;

/// What is looked for, and where.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) cluster: ConsumerOptions,
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) identity: Identity,
    /// How many records it has.
    pub(super) count: u32,
    /// It has no identity, and this is what was sent.
    pub(super) batch: Option<Batch>,
    /// It can't be before this offset; -1 where none is known.
    pub(super) acked_offset: i64,
    /// It has a record with this time stamp or a newer one; or, where the broker stamps records, was appended later.
    pub(super) time: UnixMillis,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is there, and replicated.
    Found(i64),
    /// It is not there.
    Absent,
    /// It can't be told, now or later.
    Unknown(String),
    /// The partition could not be read for now.
    Failed(String),
}

pub(super) async fn look(search: Search) -> Looked {
    match search.run().await {
        Ok(looked) => looked,
        Err(ConsumeError::Code { code: TOPIC_AUTHORIZATION_FAILED, .. }) => Looked::Unknown(
            "reading the topic is not permitted (allow READ on it to this principal)".to_owned(),
        ),
        Err(error @ (ConsumeError::Batch(_) | ConsumeError::Wire(_))) => Looked::Unknown(error.to_string()),
        Err(error) => Looked::Failed(error.to_string()),
    }
}

/// How a window is told from all others.
#[derive(Debug)]
enum Mark {
    Identity(Identity),
    /// The header `spoolway` of each of its records, and their bytes.
    Events(Vec<Vec<u8>>, usize),
}

/// What to look for in what a broker gives.
#[derive(Debug)]
struct Finder {
    mark: Mark,
    count: u32,
}

impl Mark {
    /// Of a window that was sent; `None` where nothing tells it apart.
    fn of(search: &Search) -> Option<Self> {
        let Some(batch) = &search.batch else { return Some(Self::Identity(search.identity)) };
        let mut bytes = Vec::with_capacity(batch.encoded_len());
        batch.encode(Identity::NONE, 0, &mut bytes);
        let most = batch.uncompressed().max(1);
        let sent = BatchReader::new(&bytes, most).next()?.ok()?;
        events(&sent).map(|events| Self::Events(events, most))
    }

    /// Whether the next batch has it.
    fn is_next(&self, header: &BatchHeader, batches: &mut BatchReader<'_>) -> Result<bool, BatchError> {
        match self {
            Self::Identity(identity) => Ok(header.identity == *identity),
            Self::Events(..) if !header.identity.is_none() || header.is_control() => Ok(false),
            Self::Events(ours, _) => {
                let batch = match batches.next().transpose() {
                    // Ours has no more than was sent.
                    Err(BatchError::Compression(CodecError::TooLarge { .. })) => None,
                    batch => batch?,
                };
                Ok(batch.and_then(|batch| events(&batch)).is_some_and(|found| found == *ours))
            }
        }
    }
}

/// The header `spoolway` of each record; `None` where one has none.
fn events(batch: &RecordBatch<'_>) -> Option<Vec<Vec<u8>>> {
    let header = |record: Result<RecordRef<'_>, BatchError>| {
        record.ok()?.headers.last(header::NAME).flatten().map(<[u8]>::to_vec)
    };
    batch.records().map(header).collect()
}

impl Finder {
    /// The offset of the window among batches that a broker gave, and the offset behind those.
    fn find(&self, fetched: &Fetched, at: i64) -> Result<(Option<i64>, i64), BatchError> {
        let most = if let Mark::Events(_, most) = &self.mark { *most } else { 0 };
        let (mut batches, mut next) = (fetched.batches_within(most), at);
        let mut here = batches.clone();
        while let Some(header) = batches.next_header()? {
            let replicated = header.count == self.count && header.base_offset < fetched.high_watermark();
            if replicated && self.mark.is_next(&header, &mut here)? {
                return Ok((Some(header.base_offset), next));
            }
            next = next.max(header.next_offset());
            here = batches.clone();
        }
        Ok((None, next))
    }
}

impl Search {
    async fn run(&self) -> Result<Looked, ConsumeError> {
        let Some(mark) = Mark::of(self) else {
            return Ok(Looked::Unknown(
                "it was sent without a producer id, and its records have no header `spoolway` to know it by"
                    .to_owned(),
            ));
        };
        let finder = Arc::new(Finder { mark, count: self.count });
        let (topic, partition) = (self.topic.as_str(), self.partition);
        let mut consumer = Consumer::new(&self.cluster);
        let end = consumer.latest(topic, partition).await?;
        let earliest = consumer.earliest(topic, partition).await?;
        let from = if self.acked_offset >= 0 {
            // Beyond the end: the topic is another one by now, and what it has, it has since.
            if self.acked_offset > end { earliest } else { self.acked_offset }
        } else {
            consumer.offset_at(topic, partition, self.time).await?.unwrap_or(end)
        };
        let mut at = from.max(earliest);
        let mut left = BUDGET;
        let mut idle = 0;
        while at < end {
            let fetched = consumer.fetch(topic, partition, at).await?;
            let (bytes, finder) = (fetched.bytes(), Arc::clone(&finder));
            // It may have to decompress: away from the async threads.
            let found = tokio::task::spawn_blocking(move || finder.find(&fetched, at)).await;
            let Ok(found) = found else { return Ok(Looked::Failed("looking for it failed".to_owned())) };
            let (found, next) = found?;
            if let Some(offset) = found {
                return Ok(Looked::Found(offset));
            }
            let Some(rest) = left.checked_sub(bytes) else {
                let read = BUDGET >> 20;
                return Ok(Looked::Unknown(format!(
                    "{read} MiB of the partition were read without finding it"
                )));
            };
            left = rest;
            idle = if next > at { 0 } else { idle + 1 };
            if idle > 20 {
                return Ok(Looked::Failed("the broker gives no records below the end of the log".to_owned()));
            }
            at = next;
        }
        let deleted = from < earliest || (self.acked_offset < 0 && from == earliest && earliest > 0);
        Ok(if deleted {
            Looked::Unknown("the part of the log where it would be has been deleted".to_owned())
        } else {
            Looked::Absent
        })
    }
}
