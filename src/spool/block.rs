//! What a reader gives.

use bytes::Bytes;

use crate::event::{EventIter, UnixMillis};
use crate::ids::{RunId, SegmentId, Seq, SeqRange, StreamName};

/// Events of one stream with contiguous numbers, read back and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Number of the first event.
    pub first: Seq,
    /// How many events.
    pub count: u32,
    /// Their stream.
    pub stream: StreamName,
    /// When they were accepted, by the wall clock as it was then.
    pub time: UnixMillis,
    /// The boot in which that was, and the time since that boot: see [`Stamp`](super::host::Stamp).
    pub boot: u64,
    /// Nanoseconds.
    pub monotonic: u64,
    /// The run their numbers belong to.
    pub run: RunId,
    /// The segment they stand in.
    pub segment: SegmentId,
    /// The events, encoded as in [`crate::event`], uncompressed.
    pub payload: Bytes,
}

impl Block {
    /// The numbers of its events.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange::new(self.first, self.first.plus(u64::from(self.count)))
    }

    /// Its events, in order of their numbers.
    #[must_use]
    pub fn events(&self) -> EventIter<'_> {
        EventIter::new(&self.payload)
    }
}

/// Why numbers have no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoleCause {
    /// Their bytes are damaged.
    Damaged,
    /// They were deleted because the lane was full (`when_full = "drop_oldest"`).
    Dropped,
    /// Their bytes are not there.
    Missing,
    /// They were deleted after every reader had settled them: a reader that asks for them again has lost its
    /// position.
    Released,
}

/// Numbers without events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Which numbers.
    pub range: SeqRange,
    /// Why.
    pub cause: HoleCause,
}

/// What [`crate::spool::Reader`] gives: items follow each other without a gap in their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Events.
    Block(Block),
    /// Numbers without events.
    Hole(Hole),
    /// Events that the caller of `next_where` did not want, and under which run they have their numbers; not read, not checked.
    Skipped(SeqRange, RunId),
}
