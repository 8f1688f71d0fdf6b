//! A log that is a list of blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::super::super::log::{BlockInfo, Log, LogError, LogReader, Read, Why};
use crate::event::{Event, EventBatch, UnixMillis};
use crate::ids::{RunId, SegmentId, Seq, SeqRange, StreamName};
use crate::state::positions::Positions;

/// Blocks that never change; some become unreadable. The last: how many copies of copies it is.
#[derive(Clone, Default)]
pub(super) struct TestLog(pub(super) Arc<Mutex<Vec<Read>>>, Arc<Mutex<BTreeMap<Seq, StreamName>>>, u64);

const FIRST_RUN: u64 = 2;

/// A run as records have it.
pub(super) fn high(run: RunId) -> u32 {
    u32::try_from(run.0 >> 32).unwrap()
}

/// What an event holds: no two are alike.
pub(super) fn value(run: u32, seq: Seq) -> String {
    if run == high(RunId(FIRST_RUN << 40)) { seq.0.to_string() } else { format!("{}@{run}", seq.0) }
}

pub(super) struct TestReader {
    pub(super) log: TestLog,
    pub(super) at: Seq,
}

impl Log for TestLog {
    type Reader = TestReader;

    fn reader(&self, from: Seq) -> TestReader {
        TestReader { log: self.clone(), at: from }
    }
}

pub(super) fn range_of(read: &Read) -> SeqRange {
    match read {
        Read::Block(info, _) => info.range,
        Read::Gone { range, .. } | Read::Skipped { range, .. } => *range,
    }
}

impl LogReader for TestReader {
    fn next(
        &mut self,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Read>, LogError> {
        let log = self.log.0.lock().unwrap();
        let at = log.partition_point(|r| range_of(r).end <= self.at);
        let Some(read) = log.get(at) else { return Ok(None) };
        let from = std::mem::replace(&mut self.at, range_of(read).end);
        Ok(Some(match read {
            Read::Block(info, _) if !want(&info.stream, info.range) => {
                let (range, stream) = (info.range, info.stream.clone());
                Read::Skipped { range, stream, segment: info.segment, run: info.run }
            }
            Read::Gone { range, why } => {
                Read::Gone { range: SeqRange::new(range.first.max(from), range.end), why: *why }
            }
            other => other.clone(),
        }))
    }
}

fn is_settled(read: &Read) -> bool {
    matches!(read, Read::Gone { why: Why::Settled, .. })
}

impl TestLog {
    fn run(&self) -> RunId {
        RunId((FIRST_RUN + self.2) << 40)
    }

    /// All that it holds, and what is appended from now on has another run.
    pub(super) fn copied(&self) -> Self {
        let (blocks, streams) = (self.0.lock().unwrap().clone(), self.1.lock().unwrap().clone());
        Self(Arc::new(Mutex::new(blocks)), Arc::new(Mutex::new(streams)), self.2 + 1)
    }

    pub(super) fn append(&self, stream: &str, keys: &[Option<u8>]) -> SeqRange {
        self.append_at(stream, keys, 1_000_000)
    }

    pub(super) fn append_at(&self, stream: &str, keys: &[Option<u8>], time: UnixMillis) -> SeqRange {
        let mut log = self.0.lock().unwrap();
        let first = log.last().map_or(Seq::FIRST, |b| range_of(b).end);
        let mut batch = EventBatch::new();
        for (i, key) in (0u64..).zip(keys) {
            let key = key.map(|k| [k]);
            let value = value(high(self.run()), first.plus(i));
            batch.push(&Event { key: key.as_ref().map(|k| &k[..]), ..Event::of_value(value.as_bytes()) });
        }
        let range = SeqRange::new(first, first.plus(keys.len() as u64));
        let info = BlockInfo {
            range,
            stream: StreamName::new(stream).unwrap(),
            time,
            run: self.run(),
            segment: Some(SegmentId(1 + first.0 / 100)),
        };
        log.push(Read::Block(info, bytes::Bytes::copy_from_slice(batch.as_bytes())));
        range
    }

    /// Every event that can be read, by its run as records have it, and its number.
    pub(super) fn identities(&self) -> BTreeSet<(u32, Seq)> {
        let log = self.0.lock().unwrap();
        let blocks = log.iter().filter_map(|read| match read {
            Read::Block(info, _) => Some(info),
            _ => None,
        });
        let of = |info: &BlockInfo| {
            let run = high(info.run);
            (info.range.first.0..info.range.end.0).map(move |seq| (run, Seq(seq)))
        };
        blocks.flat_map(of).collect()
    }

    pub(super) fn lose(&self, index: usize, dropped: bool) -> Option<SeqRange> {
        // Some of it may have arrived.
        let mut known = self.streams();
        self.1.lock().unwrap().append(&mut known);
        let mut log = self.0.lock().unwrap();
        let read = log.get_mut(index).filter(|read| !is_settled(read))?;
        let range = range_of(read);
        let why = if dropped { Why::Dropped } else { Why::Lost };
        *read = Read::Gone { range, why };
        Some(range)
    }

    /// Deletes what ends at `below` or before. Returns whether there was anything.
    pub(super) fn delete(&self, below: Seq) -> bool {
        let mut known = self.streams();
        self.1.lock().unwrap().append(&mut known);
        let mut log = self.0.lock().unwrap();
        let count = log.iter().take_while(|read| range_of(read).end <= below).count();
        let Some(end) = count.checked_sub(1).map(|last| range_of(&log[last]).end) else { return false };
        log.drain(..count);
        log.insert(0, Read::Gone { range: SeqRange::new(Seq::FIRST, end), why: Why::Settled });
        count > 1
    }

    /// The stream of every event that can be read, or could before it was deleted or lost.
    pub(super) fn streams(&self) -> BTreeMap<Seq, StreamName> {
        let deleted = self.1.lock().unwrap().clone();
        let log = self.0.lock().unwrap();
        let blocks = log.iter().filter_map(|read| match read {
            Read::Block(info, _) => Some(info.clone()),
            _ => None,
        });
        let events = blocks.flat_map(|info| {
            (info.range.first.0..info.range.end.0).map(move |seq| (Seq(seq), info.stream.clone()))
        });
        deleted.into_iter().chain(events).collect()
    }

    /// That positions stand on an event of this log, behind which they name none as settled that can be read.
    pub(super) fn assert_stands(&self, positions: &Positions) {
        let log = self.0.lock().unwrap();
        let blocks = log.iter().rev().filter_map(|read| match read {
            Read::Block(info, _) => Some(info),
            _ => None,
        });
        let named = blocks.clone().find(|info| info.range.first < positions.position);
        let named = named.map_or(Seq::NONE, |info| info.range.end.min(positions.position).prev());
        let footing = positions.footing;
        assert!(footing.map_or(Seq::NONE, |f| f.seq) >= named, "{named} is settled: {positions:?}");
        let stands = footing.and_then(|f| blocks.clone().find(|info| info.range.contains(f.seq)));
        assert!(
            stands.is_none_or(|info| Some(info.run) == footing.map(|f| f.run)),
            "{stands:?}: {footing:?}"
        );
    }

    pub(super) fn end(&self) -> Seq {
        self.0.lock().unwrap().last().map_or(Seq::FIRST, |b| range_of(b).end)
    }
}
