//! What segments a lane has, in memory.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;

use crate::event::UnixMillis;
use crate::ids::{SegmentId, Seq};

use super::format::Verdict;

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub id: SegmentId,
    /// Its file.
    pub path: PathBuf,
    /// Number of the first event that may stand in it.
    pub base: Seq,
    /// The number after its last event; of the last segment, after its last durable one.
    pub end: Seq,
    /// Where its last block ends, in bytes; of the last segment, its last durable one.
    pub end_offset: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was begun; `None` if its header is damaged.
    pub created: Option<UnixMillis>,
    /// How it came to its end. [`Verdict::None`] while it is written.
    pub verdict: Verdict,
    /// Whether this version can read its blocks.
    pub readable: bool,
}

/// Why numbers below the first segment are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FloorMark {
    /// Everything below was dropped because the lane was full, or released.
    pub(super) dropped: Seq,
    /// Everything below had been settled by every reader when it was deleted.
    pub(super) released: Seq,
}

impl FloorMark {
    /// Everything below is gone on purpose.
    pub(super) fn gone(self) -> Seq {
        self.dropped.max(self.released)
    }

    /// The higher of both, each by itself.
    pub(super) fn raised_by(self, other: FloorMark) -> FloorMark {
        FloorMark { dropped: self.dropped.max(other.dropped), released: self.released.max(other.released) }
    }
}

/// Segments in order. Read as a map; every change keeps the sum of their bytes, which each commit asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Segments {
    map: BTreeMap<SegmentId, Segment>,
    bytes: u64,
}

impl Segments {
    pub(super) fn insert(&mut self, id: SegmentId, segment: Segment) {
        self.bytes = self.bytes.saturating_add(segment.bytes);
        if let Some(old) = self.map.insert(id, segment) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }

    pub(super) fn remove(&mut self, id: &SegmentId) -> Option<Segment> {
        let old = self.map.remove(id)?;
        self.bytes = self.bytes.saturating_sub(old.bytes);
        Some(old)
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Segment) -> bool) {
        self.map.retain(|_, segment| stays(segment));
        self.bytes = self.map.values().map(|s| s.bytes).sum();
    }
}

impl Deref for Segments {
    type Target = BTreeMap<SegmentId, Segment>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

/// The segments of a lane in order, and what is gone below them.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) segments: Segments,
    pub(super) floor: FloorMark,
    /// Bytes of segments that were put aside.
    pub(super) aside: u64,
}

impl Table {
    /// The segment that holds exactly this number.
    pub(super) fn holding(&self, seq: Seq) -> Option<SegmentId> {
        self.segments.values().find(|s| s.base <= seq && seq < s.end).map(|s| s.id)
    }

    pub(super) fn is_last(&self, id: SegmentId) -> bool {
        self.segments.last_key_value().is_some_and(|(last, _)| *last == id)
    }

    pub(super) fn first_seq(&self) -> Option<Seq> {
        self.segments.values().next().map(|s| s.base)
    }

    /// Bytes of all files, those put aside too.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.bytes.saturating_add(self.aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_all_files_are_those_of_the_segments_that_are_left() {
        let segment = |id, bytes| Segment {
            id: SegmentId(id),
            path: PathBuf::new(),
            base: Seq(id),
            end: Seq(id + 1),
            end_offset: 0,
            bytes,
            created: None,
            verdict: Verdict::None,
            readable: true,
        };
        let mut table = Table::default();
        (1..=4).for_each(|id| table.segments.insert(SegmentId(id), segment(id, 100 * id)));
        assert_eq!(table.bytes(), 1000);
        table.segments.insert(SegmentId(4), segment(4, 450));
        assert_eq!(table.bytes(), 1050, "one that grew");
        assert_eq!(table.segments.remove(&SegmentId(2)), Some(segment(2, 200)));
        assert_eq!(table.segments.remove(&SegmentId(2)), None);
        assert_eq!(table.bytes(), 850);
        table.segments.retain(|s| s.end > Seq(2));
        assert_eq!(table.bytes(), 750);
    }
}
