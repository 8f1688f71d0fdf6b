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
use crate::kafka::clock;
use crate::kafka::codec::CodecError;
use crate::kafka::consume::{ConsumeError, Consumer, ConsumerOptions, Fetched};
use crate::kafka::header;

/// Bytes read at most; fewer in tests.
const BUDGET: usize = if cfg!(test) { 8 << 20 } else { 256 << 20 };
/// Kafka's error code for a topic that may not be read.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Partitions read back at a time: each takes connections of its own.
pub(super) const AT_A_TIME: usize = 4;
/// How long one tries.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(3);
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
    /// It has no identity, and this is what was sent.
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

/// What batches show of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It is at this offset.
    Found(i64),
    /// A batch as large as it was when that was appended has some of its events, and no others.
    Thinned,
    /// It is not there.
    Nothing,
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

    /// What the next batch shows of it.
    fn sees(&self, header: &BatchHeader, batches: &mut BatchReader<'_>) -> Result<Sight, BatchError> {
        let found = Sight::Found(header.base_offset);
        match self {
            Self::Identity(identity) => Ok(if header.identity == *identity { found } else { Sight::Nothing }),
            Self::Events(..) if !header.identity.is_none() || header.is_control() => Ok(Sight::Nothing),
            Self::Events(ours, _) => {
                let batch = match batches.next().transpose() {
                    // Ours has no more than was sent.
                    Err(BatchError::Compression(CodecError::TooLarge { .. })) => None,
                    batch => batch?,
                };
                let events = batch.and_then(|batch| events(&batch)).unwrap_or_default();
                Ok(match events {
                    all if all == *ours => found,
                    some if !some.is_empty() && is_part_of(&some, ours) => Sight::Thinned,
                    _ => Sight::Nothing,
                })
            }
        }
    }
}

/// Whether all of `some` are among `all`, in the same order.
fn is_part_of(some: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

/// The header `spoolway` of each record; `None` where one has none.
fn events(batch: &RecordBatch<'_>) -> Option<Vec<Vec<u8>>> {
    let header = |record: Result<RecordRef<'_>, BatchError>| {
        record.ok()?.headers.last(header::NAME).flatten().map(<[u8]>::to_vec)
    };
    batch.records().map(header).collect()
}

impl Finder {
    /// What batches that a broker gave show of the window, and the offset behind those that were looked at.
    fn find(&self, fetched: &Fetched, at: i64) -> Result<(Sight, i64), BatchError> {
        let most = if let Mark::Events(_, most) = &self.mark { *most } else { 0 };
        let (mut batches, mut next, mut seen) = (fetched.batches_within(most), at, Sight::Nothing);
        let mut here = batches.clone();
        while let Some(header) = batches.next_header()? {
            // Not by how many records it has: compaction takes some, and keeps all else, the last one's offset too
            // (`MemoryRecords.filterTo`).
            let length = header.next_offset().saturating_sub(header.base_offset);
            let may_be = length == i64::from(self.count) && header.base_offset < fetched.high_watermark();
            match if may_be { self.mark.sees(&header, &mut here)? } else { Sight::Nothing } {
                Sight::Found(offset) => return Ok((Sight::Found(offset), next)),
                Sight::Thinned => seen = Sight::Thinned,
                Sight::Nothing => {}
            }
            next = next.max(header.next_offset());
            here = batches.clone();
        }
        Ok((seen, next))
    }
}

/// A moment before which a broker can't have stamped a window, by its own clock, of which is known that it has come to `last`. `None`:
/// ours has gone back since the window was sent, so that nobody knows for how long that is.
fn before_by_their_clock(last: UnixMillis, sent_at: UnixMillis, now: UnixMillis) -> Option<UnixMillis> {
    let since = now.saturating_sub(sent_at);
    (since >= -SLEWED).then(|| last.saturating_sub(since.max(0)).saturating_sub(MARGIN))
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
        let reach = if self.acked_offset >= 0 {
            // Beyond the end: the topic is another one by now, and what it has, it has since.
            let from = if self.acked_offset > end { earliest } else { self.acked_offset };
            Reach { from, else_from: None, may_be_deleted: from < earliest }
        } else {
            self.reach_by_time(&mut consumer, (earliest, end)).await?
        };
        let (mut at, mut end) = (reach.from.max(earliest), end);
        let mut before = reach.else_from.map(|from| (from.max(earliest), at));
        let mut left = BUDGET;
        let (mut idle, mut thinned) = (0, false);
        loop {
            if at >= end {
                let Some((from, to)) = before.take() else { break };
                (at, end) = (from, to);
                continue;
            }
            let fetched = consumer.fetch(topic, partition, at).await?;
            let (bytes, finder) = (fetched.bytes(), Arc::clone(&finder));
            // It may have to decompress: away from the async threads.
            let found = tokio::task::spawn_blocking(move || finder.find(&fetched, at)).await;
            let Ok(found) = found else { return Ok(Looked::Failed("looking for it failed".to_owned())) };
            let (seen, next) = found?;
            if let Sight::Found(offset) = seen {
                return Ok(Looked::Found(offset));
            }
            thinned |= seen == Sight::Thinned;
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
        Ok(if reach.may_be_deleted {
            Looked::Unknown("the part of the log where it would be has been deleted".to_owned())
        } else if thinned {
            Looked::Unknown(
                "compaction has left some of its events, and nothing that tells whose they are".to_owned(),
            )
        } else {
            Looked::Absent
        })
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
mod tests {
    use super::*;
    use crate::config::model::KafkaCompression;
    use crate::kafka::batch::{RecordsBuilder, Stamp};

    const ID: Identity = Identity { producer_id: 7, epoch: 2, base_sequence: 40 };

    /// A window of the events that these bytes name.
    fn window(events: &[u8]) -> Batch {
        let mut builder = RecordsBuilder::new(Stamp::Event);
        for event in events {
            let header = [*event];
            builder.push(None, Some(b"v"), [(header::NAME, Some(&header[..]))], 5);
        }
        builder.seal(KafkaCompression::None)
    }

    /// A batch at offset 100 that held `sent` records when it was appended.
    fn stored(events: &[u8], sent: i32, identity: Identity) -> Vec<u8> {
        let mut bytes = Vec::new();
        window(events).encode(identity, 0, &mut bytes);
        bytes[..8].copy_from_slice(&100i64.to_be_bytes());
        bytes[23..27].copy_from_slice(&(sent - 1).to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// One of which compaction has left nothing but what is to be remembered of its producer
    /// (`DefaultRecordBatch.writeEmptyHeader`).
    fn emptied(sent: i32, identity: Identity) -> Vec<u8> {
        let mut bytes = stored(&[1], sent, identity);
        bytes.truncate(61);
        bytes[8..12].copy_from_slice(&(61i32 - 12).to_be_bytes());
        bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// What is found of a window of the events 1 to 4 that was sent under `identity`.
    fn find(stored: Vec<u8>, identity: Identity) -> (Sight, i64) {
        let search = Search {
            cluster: ConsumerOptions::new(Vec::new()),
            topic: TopicName::new("t").unwrap(),
            partition: 0,
            identity,
            count: 4,
            batch: Some(window(&[1, 2, 3, 4])).filter(|_| identity.is_none()),
            acked_offset: -1,
            time: 0,
            sent_at: 0,
        };
        let finder = Finder { mark: Mark::of(&search).unwrap(), count: 4 };
        finder.find(&Fetched::of(stored.into(), 100, 1000), 100).unwrap()
    }

    #[test]
    fn where_a_broker_stamps_records_a_window_is_looked_for_from_before_it_can_have_come_by_its_clock() {
        let (minute, hour) = (60_000, 3_600_000);
        // Ten minutes after it was sent our clock says the same as the broker's, five hours more, five less.
        for ours in [0, 5 * hour, -5 * hour] {
            let now = 100 * hour;
            let before = before_by_their_clock(now - minute, now + ours - 10 * minute, now + ours).unwrap();
            assert_eq!(before, now - 11 * minute - hour);
        }
        // It was set right meanwhile: a little, and by more than that.
        assert_eq!(before_by_their_clock(0, minute, 0), Some(-hour));
        assert_eq!(before_by_their_clock(0, minute + 1, 0), None);
        assert!(before_by_their_clock(i64::MIN, 0, i64::MAX).is_some());
    }

    #[test]
    fn a_window_is_known_by_its_identity_however_many_of_its_records_compaction_has_taken() {
        for events in [&[1, 2, 3, 4][..], &[1, 3], &[4]] {
            assert_eq!(find(stored(events, 4, ID), ID), (Sight::Found(100), 100));
        }
        assert_eq!(find(emptied(4, ID), ID), (Sight::Found(100), 100));
        let other = Identity { base_sequence: 36, ..ID };
        for elsewhere in [stored(&[1, 2, 3, 4], 4, other), stored(&[1, 2, 3], 3, ID), emptied(3, ID)] {
            let next = if elsewhere == stored(&[1, 2, 3, 4], 4, other) { 104 } else { 103 };
            assert_eq!(find(elsewhere, ID), (Sight::Nothing, next));
        }
    }

    #[test]
    fn of_a_window_without_an_identity_that_compaction_has_thinned_it_is_not_said_that_it_is_absent() {
        let none = Identity::NONE;
        assert_eq!(find(stored(&[1, 2, 3, 4], 4, none), none), (Sight::Found(100), 100));
        for left in [&[1, 2, 4][..], &[3]] {
            assert_eq!(find(stored(left, 4, none), none), (Sight::Thinned, 104));
        }
        // Other events, in another order, another number, somebody else's.
        for other in [
            stored(&[1, 5], 4, none),
            stored(&[2, 1], 4, none),
            stored(&[1, 2], 2, none),
            stored(&[1, 2, 3], 4, ID),
            emptied(4, none),
        ] {
            assert!(matches!(find(other, none), (Sight::Nothing, 102 | 104)));
        }
    }
}
