//! What segments a lane has, in memory.

use std::collections::BTreeMap;
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

/// The segments of a lane in order, and what is gone below them.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) segments: BTreeMap<SegmentId, Segment>,
    pub(super) floor: FloorMark,
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

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.bytes).sum()
    }
}
