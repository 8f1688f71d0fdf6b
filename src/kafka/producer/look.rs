//! Reading back: whether a window that may have been sent is in its partition.
//!
//! A broker tells a duplicate by what it remembers of the producer, and it forgets: after a day, when the log was emptied
//! and it was restarted, when the topic was made anew. So before a window of an earlier process is sent again, and
//! before one gets a new identity, the partition is read for a batch with its identity. One without an identity is known by its
//! records' headers `spoolway`, which name each event. So is one whose topic was made anew: with its cluster, perhaps, which then gives
//! its producer ids out once more.
//!
//! What else its producer has sent there is looked at in passing, for whoever knows the log: an event that the log has never had shows
//! that the data directory is an older copy. It costs one request where the window is found and the answer does not reach the partition's end.

use std::sync::Arc;
use std::time::Duration;

use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::batch::{Batch, BatchError, BatchHeader, BatchReader, Identity, RecordBatch, RecordRef};
use crate::kafka::clock;
use crate::kafka::codec::CodecError;
use crate::kafka::consume::{ConsumeError, Consumer, ConsumerOptions, Fetched};
use crate::kafka::header::{self, RecordHeader};

/// Bytes read at most; fewer in tests.
const BUDGET: usize = if cfg!(test) { 8 << 20 } else { 256 << 20 };
/// Of what else its producer has sent, a batch is looked into that has no more than this.
const MOST_UNPACKED: usize = 16 << 20;
/// Kafka's error code for a topic that may not be read.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Partitions read back at a time: each takes connections of its own.
pub(super) const AT_A_TIME: usize = 4;
/// How long one tries.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(3);
/// So long, at most, a window that was found is kept back for what else there may be.
const NEWEST_WITHIN: Duration = Duration::from_secs(1);
/// Brokers' clocks may differ from ours by this much, in milliseconds.
pub(super) const MARGIN: UnixMillis = 3_600_000;
/// By so much a clock that is right may be set back.
const SLEWED: UnixMillis = 60_000;

/// What is looked for, and where.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) cluster: ConsumerOptions,
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) identity: Identity,
    /// How many records it has.
    pub(super) count: u32,
    /// What was sent, where its identity does not tell it: it has none, or others may have it in a topic made anew.
    pub(super) batch: Option<Batch>,
    /// It can't be before this offset; -1 where none is known.
    pub(super) acked_offset: i64,
    /// It has a record with this time stamp or a newer one; or, where the broker stamps records and our clock was right, was
    /// appended later.
    pub(super) time: UnixMillis,
    /// When it was first sent, by our clock.
    pub(super) sent_at: UnixMillis,
}

/// Where in the log it can be.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Nothing is read before this offset, at first.
    from: i64,
    /// If it is not there, it may be from here on: our clock and the broker's may have been far apart.
    else_from: Option<i64>,
    /// It may have been before what is still there.
    may_be_deleted: bool,
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

/// Looks for a window. Of what was seen that its producer has sent besides, and behind it if it is there, says which event has the
/// highest number.
pub(super) async fn look(search: Search) -> (Looked, Option<RecordHeader>) {
    let mut beside = None;
    let looked = match search.run(&mut beside).await {
        Ok(looked) => looked,
        Err(ConsumeError::Code { code: TOPIC_AUTHORIZATION_FAILED, .. }) => Looked::Unknown(
            "reading the topic is not permitted (allow READ on it to this principal)".to_owned(),
        ),
        Err(error @ (ConsumeError::Batch(_) | ConsumeError::Wire(_))) => Looked::Unknown(error.to_string()),
        Err(error) => Looked::Failed(error.to_string()),
    };
    (looked, beside)
}

/// What batches show of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It is at this offset.
    Found(i64),
    /// A batch may be it, and nothing tells. Why.
    Unclear(&'static str),
    /// It is not there.
    Nothing,
}

/// How a window is told from all others.
#[derive(Debug)]
enum Mark {
    Identity(Identity),
    Events(Events),
}

/// A window that others may look like.
#[derive(Debug)]
struct Events {
    /// Under which it was sent, if any.
    identity: Identity,
    /// Who its records are; `None` where they say nothing.
    sent: Option<Vec<RecordHeader>>,
    /// Their bytes.
    most: usize,
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
        let identity = search.identity;
        let Some(batch) = &search.batch else { return Some(Self::Identity(identity)) };
        let mut bytes = Vec::with_capacity(batch.encoded_len());
        batch.encode(Identity::NONE, 0, &mut bytes);
        let most = batch.uncompressed().max(1);
        let sent = BatchReader::new(&bytes, most).next().and_then(Result::ok);
        let sent = sent.and_then(|sent| events(&sent)).filter(|events| !events.is_empty());
        (sent.is_some() || !identity.is_none()).then_some(Self::Events(Events { identity, sent, most }))
    }

    /// What the next batch shows of it.
    fn sees(&self, header: &BatchHeader, batches: &mut BatchReader<'_>) -> Result<Sight, BatchError> {
        match self {
            Self::Identity(identity) if header.identity == *identity => Ok(Sight::Found(header.base_offset)),
            Self::Events(ours) if ours.may_be(header) => ours.sees(header.base_offset, batches),
            _ => Ok(Sight::Nothing),
        }
    }
}

impl Events {
    fn may_be(&self, header: &BatchHeader) -> bool {
        let is_nobodys = self.identity.is_none() && header.identity.is_none();
        (is_nobodys || header.identity == self.identity) && !header.is_control()
    }

    /// What the next batch, at `offset`, shows of it.
    fn sees(&self, offset: i64, batches: &mut BatchReader<'_>) -> Result<Sight, BatchError> {
        let batch = match batches.next().transpose() {
            // Ours has no more than was sent.
            Err(BatchError::Compression(CodecError::TooLarge { .. })) if self.sent.is_some() => {
                return Ok(Sight::Nothing);
            }
            Err(BatchError::Compression(CodecError::TooLarge { .. })) => None,
            batch => batch?,
        };
        let events = batch.and_then(|batch| events(&batch)).unwrap_or_default();
        Ok(match &self.sent {
            Some(ours) if *ours == events => Sight::Found(offset),
            Some(ours) if !events.is_empty() && is_part_of(&events, ours) => Sight::Unclear(
                "compaction has left some of its events, and nothing that tells whose they are",
            ),
            Some(_) if !events.is_empty() => Sight::Nothing,
            _ if self.identity.is_none() => Sight::Nothing,
            _ => Sight::Unclear(
                "its topic was made anew and has a batch under its identity, with nothing that tells whose that is",
            ),
        })
    }
}

/// Whether all of `some` are among `all`, in the same order.
fn is_part_of(some: &[RecordHeader], all: &[RecordHeader]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

/// Who each record is; `None` where one does not say. Under which incarnation does not matter: it may be another by now than when they were sent.
fn events(batch: &RecordBatch<'_>) -> Option<Vec<RecordHeader>> {
    batch.records().map(|record| Some(RecordHeader { incarnation: 0, ..ours(record)? })).collect()
}

/// The header `spoolway` of a record.
fn ours(record: Result<RecordRef<'_>, BatchError>) -> Option<RecordHeader> {
    RecordHeader::decode(record.ok()?.headers.last(header::NAME).flatten()?)
}

impl Finder {
    /// What batches that a broker gave show of the window, and the offset behind those that were looked at.
    fn find(&self, fetched: &Fetched, at: i64) -> Result<(Sight, i64), BatchError> {
        let most = if let Mark::Events(ours) = &self.mark { ours.most } else { 0 };
        let (mut batches, mut next, mut seen) = (fetched.batches_within(most), at, Sight::Nothing);
        let mut here = batches.clone();
        while let Some(header) = batches.next_header()? {
            // Not by how many records it has: compaction takes some, and keeps all else, the last one's offset too
            // (`MemoryRecords.filterTo`).
            let length = header.next_offset().saturating_sub(header.base_offset);
            let may_be = length == i64::from(self.count) && header.base_offset < fetched.high_watermark();
            match if may_be { self.mark.sees(&header, &mut here)? } else { Sight::Nothing } {
                Sight::Found(offset) => return Ok((Sight::Found(offset), next)),
                unclear @ Sight::Unclear(_) => seen = unclear,
                Sight::Nothing => {}
            }
            next = next.max(header.next_offset());
            here = batches.clone();
        }
        Ok((seen, next))
    }

    /// The same, and what is [beside](Self::beside) it, behind it if it is there.
    fn look_at(&self, fetched: &Fetched, at: i64) -> Result<((Sight, i64), Beside), BatchError> {
        let (seen, next) = self.find(fetched, at)?;
        let from = if let Sight::Found(offset) = seen { offset } else { 0 };
        Ok(((seen, next), self.beside(fetched, from)))
    }

    /// What the window's producer has sent besides it, from `from` on: of the last batch. What can't be read says nothing.
    fn beside(&self, fetched: &Fetched, from: i64) -> Beside {
        // Nobody is known as its producer, neither here nor further on.
        let Mark::Identity(window) = &self.mark else { return Beside { event: None, upto: i64::MAX } };
        let mut batches = fetched.batches_within(MOST_UNPACKED);
        let (mut here, mut last, mut upto) = (batches.clone(), None, from);
        while let Ok(Some(header)) = batches.next_header() {
            let is_there = (from..fetched.high_watermark()).contains(&header.base_offset);
            if is_there && is_of_its_producer(window, &header) {
                last = Some(here);
            }
            upto = upto.max(header.next_offset());
            here = batches.clone();
        }
        Beside { event: last.and_then(last_event), upto }
    }
}

/// What was seen besides a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beside {
    /// The event with the highest number.
    event: Option<RecordHeader>,
    /// Nothing from this offset on was looked at.
    upto: i64,
}

/// Whether the window's producer, which is one process's for one lane, has sent a batch that is not the window.
fn is_of_its_producer(window: &Identity, header: &BatchHeader) -> bool {
    header.identity.producer_id == window.producer_id && header.identity != *window && !header.is_control()
}

/// The event with the highest number of the next batch.
fn last_event(mut batches: BatchReader<'_>) -> Option<RecordHeader> {
    let batch = batches.next()?.ok()?;
    batch.records().filter_map(ours).max_by_key(|event| event.seq)
}

fn note(event: &mut Option<RecordHeader>, other: Option<RecordHeader>) {
    *event = [*event, other].into_iter().flatten().max_by_key(|event| event.seq);
}

/// A moment before which a broker can't have stamped a window, by its own clock, of which is known that it has come to `last`. `None`:
/// ours has gone back since the window was sent, so that nobody knows for how long that is.
fn before_by_their_clock(last: UnixMillis, sent_at: UnixMillis, now: UnixMillis) -> Option<UnixMillis> {
    let since = now.saturating_sub(sent_at);
    (since >= -SLEWED).then(|| last.saturating_sub(since.max(0)).saturating_sub(MARGIN))
}

impl Search {
    async fn run(&self, beside: &mut Option<RecordHeader>) -> Result<Looked, ConsumeError> {
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
        let reach = if self.acked_offset >= 0 {
            // Beyond the end: the topic is another one by now, and what it has, it has since.
            let from = if self.acked_offset > end { earliest } else { self.acked_offset };
            Reach { from, else_from: None, may_be_deleted: from < earliest }
        } else {
            self.reach_by_time(&mut consumer, (earliest, end)).await?
        };
        let (mut at, mut end, last) = (reach.from.max(earliest), end, end);
        let mut before = reach.else_from.map(|from| (from.max(earliest), at));
        let mut left = BUDGET;
        let (mut idle, mut unclear) = (0, None);
        loop {
            if at >= end {
                let Some((from, to)) = before.take() else { break };
                (at, end) = (from, to);
                continue;
            }
            let fetched = consumer.fetch(topic, partition, at).await?;
            let (bytes, finder, at_work) = (fetched.bytes(), Arc::clone(&finder), Arc::clone(&finder));
            // It may have to decompress: away from the async threads.
            let found = tokio::task::spawn_blocking(move || finder.look_at(&fetched, at)).await;
            let Ok(found) = found else { return Ok(Looked::Failed("looking for it failed".to_owned())) };
            let ((seen, next), others) = found?;
            note(beside, others.event);
            match seen {
                Sight::Found(offset) => {
                    if others.upto < last {
                        note(beside, self.newest(&mut consumer, last, at_work).await);
                    }
                    return Ok(Looked::Found(offset));
                }
                Sight::Unclear(why) => unclear = Some(why),
                Sight::Nothing => {}
            }
            let Some(rest) = left.checked_sub(bytes) else {
                // Also where all has been read where it is by our clock, and nothing says that this was wrong: that is likely, and no
                // proof.
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
        let why = reach.may_be_deleted.then_some("the part of the log where it would be has been deleted");
        Ok(why.or(unclear).map_or(Looked::Absent, |why| Looked::Unknown(why.to_owned())))
    }

    /// The same of the last batch of all: what waited when a copy was made may be more than one answer holds. It says nothing of the
    /// window, which is not kept back for it when a broker falls silent.
    async fn newest(&self, consumer: &mut Consumer, end: i64, finder: Arc<Finder>) -> Option<RecordHeader> {
        let fetch = consumer.fetch(self.topic.as_str(), self.partition, end - 1);
        let fetched = tokio::time::timeout(NEWEST_WITHIN, fetch).await.ok()?.ok()?;
        tokio::task::spawn_blocking(move || finder.beside(&fetched, 0).event).await.ok()?
    }

    /// Where it can be by the time it was sent. Where the broker stamps records that is a time by our clock, and they go by another:
    /// if ours is far ahead, what it says lies behind everything there is. So the broker's own is asked too: it has come to what
    /// the last batch says, and what was sent some time ago was not stamped longer before that.
    async fn reach_by_time(
        &self,
        consumer: &mut Consumer,
        (earliest, end): (i64, i64),
    ) -> Result<Reach, ConsumeError> {
        let (topic, partition) = (self.topic.as_str(), self.partition);
        let by_ours = consumer.offset_at(topic, partition, self.time).await?.unwrap_or(end);
        let last = if earliest < end {
            // One of an earlier format, say, tells nothing.
            consumer.fetch(topic, partition, end - 1).await?.batches().next_header().ok().flatten()
        } else {
            None
        };
        let (from, is_known) = match last.filter(BatchHeader::is_log_append_time) {
            None => (by_ours, true),
            Some(last) => match before_by_their_clock(last.max_time, self.sent_at, clock::unix_now()) {
                Some(time) => (consumer.offset_at(topic, partition, time).await?.unwrap_or(end), true),
                None => (earliest, false),
            },
        };
        // In a partition that nobody has written to for long, theirs leads back to its beginning, and says nothing of what was deleted.
        let may_be_deleted = earliest > 0 && (by_ours <= earliest || !is_known);
        // First where it is if our clock is right: after a long outage there may be more between the two than is ever read.
        let else_from = Some(from).filter(|from| *from < by_ours);
        Ok(Reach { from: by_ours, else_from, may_be_deleted })
    }
}

#[cfg(test)]
mod tests;
