//! From one event to one record of one window.

use std::collections::BTreeSet;

use super::super::line::{Line, Open, Sealed, Strides};
use super::super::log::BlockInfo;
use super::super::parts::{Block, Parts};
use super::super::stamp::{self, Bounds};
use super::super::topic::Topic;
use super::{Now, Settings, splitmix};
use crate::config::model::Partitioner;
use crate::event::EventRef;
use crate::ids::{Incarnation, Seq, TopicName};
use crate::kafka::{Counter, RecordHeader, RecordsBuilder, Stamp, consistent, header, partition_for_key};

/// Name of the header that holds an event's own time, in decimal milliseconds, when its record is stamped
/// with the time of sending.
const TIME_HEADER: &str = "spoolway-time";
/// What a record takes beyond its event's bytes, at most: our headers and the record's own numbers.
pub(in crate::deliver) const RECORD_OVERHEAD: usize = 128;
/// Buffers kept for the next windows.
const SPARE: usize = 2;

/// Adds the events of one block to the windows of its topic.
pub(super) struct Filler<'a> {
    pub(super) topic: &'a mut Topic,
    pub(super) settings: &'a Settings,
    pub(super) random: &'a mut u64,
    pub(super) spare: &'a mut Vec<RecordsBuilder>,
    pub(super) sendable: &'a mut BTreeSet<(TopicName, i32)>,
    pub(super) info: &'a BlockInfo,
    pub(super) now: Now,
    /// It adds dead letters that are sent again: they have windows of their own, which can be built again without the log.
    pub(super) again: bool,
    /// They all go to this partition, which has a reader of its own.
    pub(super) only: Option<i32>,
}

impl Filler<'_> {
    /// Adds event `index` of the block.
    pub(super) fn add(&mut self, index: u32, event: &EventRef<'_>) {
        let time = event.time.unwrap_or(self.info.time);
        let limits = self.topic.limits();
        let needed = if self.topic.by_time_of_sending.is_some_and(|until| self.now.instant < until) {
            Stamp::Send
        } else {
            let bounds = Bounds::new(self.settings.timestamp_max_age, &limits);
            stamp::needed(self.settings.timestamp, bounds, time, self.now.unix)
        };
        let expires = limits.expires(time, self.now.unix);
        let size = event_size(event) + RECORD_OVERHEAD;
        let mut partition = self.partition(index, event.key);
        let seq = self.info.range.first.plus(u64::from(index));
        if self.close_unless_fitting(partition, needed, (seq, size)) {
            // Without a key, the next window is another partition's.
            self.topic.sticky.forget();
            partition = self.partition(index, event.key);
            self.close_unless_fitting(partition, needed, (seq, size));
        }
        let Self { topic, settings, random, spare, sendable, info, now, again, .. } = self;
        let name = &topic.name.clone();
        let line = topic.line(partition, || draw_epoch(random));
        if line.open.is_none() {
            line.open = Some(Open { again: *again, ..open(spare, needed, line.counter.next(), *now) });
            if line.in_flight.is_none() {
                sendable.insert((name.clone(), partition));
            }
        }
        push(line, settings, info, index, event, time, || draw_epoch(random));
        if let Some(open) = line.open.as_mut().filter(|open| expires && open.stamp == Stamp::Event) {
            open.expired += 1;
        }
    }

    /// Closes the partition's open window if an event of `size` bytes that needs `stamp` can't join it. A window of readers is in the order of
    /// the log, by which it is read again after a kill: what the main reader comes back for is older than what the topic's own has read.
    fn close_unless_fitting(&mut self, partition: i32, needed: Stamp, (seq, size): (Seq, usize)) -> bool {
        let (room, most, again) =
            (self.topic.squeeze.room(self.topic.batch_size.get()), self.topic.most, self.again);
        let fits = |o: &Open| {
            stamp::may_join(o.stamp, needed)
                && o.records.bytes() + size <= room
                && o.parts.count() < most
                && o.again == again
                && (again || o.parts.last().is_none_or(|last| last < seq))
        };
        let open = self.topic.lines.get(&partition).and_then(|line| line.open.as_ref());
        let closes = open.is_some_and(|o| !fits(o));
        if closes {
            seal(self.topic, partition, self.settings.compression, self.spare);
        }
        closes
    }

    fn partition(&mut self, index: u32, key: Option<&[u8]>) -> i32 {
        if let Some(only) = self.only {
            return only;
        }
        let keyed = keyed_partition(self.settings.partitioner, key, self.topic.count);
        let seq = self.info.range.first.plus(u64::from(index));
        let patience = self.settings.limits.stuck_after;
        let sticky = || self.topic.sticky_partition(seq, self.now.instant, patience);
        keyed.or_else(sticky).unwrap_or_default()
    }
}

/// The partition that a key decides, of `count`; `None` where any will do.
pub(in crate::deliver) fn keyed_partition(
    partitioner: Partitioner,
    key: Option<&[u8]>,
    count: u32,
) -> Option<i32> {
    leads_to(partitioner, key, count).and_then(|p| i32::try_from(p).ok())
}

fn leads_to(partitioner: Partitioner, key: Option<&[u8]>, count: u32) -> Option<u32> {
    key.and_then(|key| match partitioner {
        Partitioner::Java => Some(partition_for_key(key, count)),
        Partitioner::ConsistentRandom => consistent(key, count),
    })
}

/// What the partition is the rest of, by any number of partitions; `None` where any partition will do.
pub(in crate::deliver) fn hash_of(partitioner: Partitioner, key: Option<&[u8]>) -> Option<u32> {
    leads_to(partitioner, key, u32::MAX)
}

fn draw_epoch(random: &mut u64) -> u16 {
    (splitmix(random) >> 48) as u16
}

pub(in crate::deliver) fn event_size(event: &EventRef<'_>) -> usize {
    let headers: usize = event.headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len) + 10).sum();
    event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len) + headers
}

fn open(spare: &mut Vec<RecordsBuilder>, stamp: Stamp, counter: u64, now: Now) -> Open {
    let mut records = spare.pop().unwrap_or_else(|| RecordsBuilder::new(stamp));
    records.restart(stamp);
    Open {
        records,
        parts: Parts::default(),
        stamp,
        since: now.instant,
        counter,
        restamped: 0,
        expired: 0,
        again: false,
    }
}

fn push(
    line: &mut Line,
    settings: &Settings,
    info: &BlockInfo,
    index: u32,
    event: &EventRef<'_>,
    time: i64,
    draw: impl FnOnce() -> u16,
) {
    let (epoch, value) = line.counter.take(draw);
    let Some(open) = line.open.as_mut() else { return };
    record(
        &mut open.records,
        settings.header,
        open.stamp,
        (info, index),
        (event, time),
        Counter { epoch, value },
    );
    open.restamped += u32::from(open.stamp == Stamp::Send);
    open.parts.push(block_of(info), index);
}

/// What a window's parts say of a block.
pub(super) fn block_of(info: &BlockInfo) -> Block {
    let len = u32::try_from(info.range.len()).unwrap_or(u32::MAX);
    Block { first: info.range.first, run: info.run, len }
}

/// Appends one event as a record.
pub(in crate::deliver) fn record(
    records: &mut RecordsBuilder,
    life: Option<Incarnation>,
    stamp: Stamp,
    (info, index): (&BlockInfo, u32),
    (event, time): (&EventRef<'_>, i64),
    counter: Counter,
) {
    let seq = info.range.first.plus(u64::from(index));
    let spoolway = life.map(|life| RecordHeader::new(life, info.run, seq, time, counter).encode());
    let own_time = matches!(stamp, Stamp::Send).then(|| time.to_string());
    let own_headers = [
        spoolway.as_ref().map(|value| (header::NAME, Some(value.as_slice()))),
        own_time.as_ref().map(|time| (TIME_HEADER, Some(time.as_bytes()))),
    ];
    if event.headers.is_empty() {
        records.push(event.key, event.value, own_headers.iter().flatten().copied(), time);
    } else {
        let theirs: Vec<_> = event.headers.iter().collect();
        let headers = theirs.iter().copied().chain(own_headers.iter().flatten().copied());
        records.push(event.key, event.value, headers, time);
    }
}

/// Closes the open window of a partition.
pub(super) fn seal(
    topic: &mut Topic,
    partition: i32,
    compression: crate::config::model::KafkaCompression,
    spare: &mut Vec<RecordsBuilder>,
) {
    let Some(line) = topic.lines.get_mut(&partition) else { return };
    let Some(mut open) = line.open.take() else { return };
    let before = open.records.bytes();
    let batch = open.records.seal(compression);
    let bytes = batch.encoded_len();
    topic.squeeze.note(before, bytes, topic.batch_size.get());
    line.ready.push_back(Sealed {
        batch,
        parts: open.parts,
        bytes,
        counter: open.counter,
        restamped: open.restamped,
        expired: open.expired,
        may_be_doubled: false,
        again: open.again,
        strides: Strides::default(),
    });
    if spare.len() < SPARE {
        spare.push(open.records);
    }
}
