//! The bytes on disk. `spool-format.md` is the specification; `golden.rs` holds this code to it.
//!
//! Everything here is a pure function over bytes. All numbers are little-endian. INVARIANT: no length that was
//! read is trusted before the checksum that covers it holds, and none is allocated by without a bound.

mod block;
mod fields;
#[cfg(test)]
mod golden;
mod root;
mod segment;

pub use block::{
    BLOCK_ALIGN, BLOCK_MAGIC, BlockHeader, FIXED_HEADER, FLAG_LZ4, Kind, MAX_EVENTS_RAW, MAX_HEADER,
    MAX_PAYLOAD, PREFIX, padded,
};
pub use root::{HAS_INCARNATION, Root, RootError};
pub use segment::{DATA_START, Predecessor, SEGMENT_COPY, SEGMENT_MAGIC, SegmentHeader, Verdict};
