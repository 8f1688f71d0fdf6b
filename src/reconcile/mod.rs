//! Two topics side by side: an old and a new pipeline that were given the same events.
//!
//! What it promises: the two are compared as multisets of (key, value), exactly, whatever their order, partitions,
//! headers and time stamps; memory has a bound. What is told of pace is what the records' own time stamps say.
//!
//! How: both sides are read at the same time, and what is on both cancels out in a [`Tally`], so that memory holds only what
//! the one side has shown and the other has not yet. When that is more than the bound, both are read again in
//! several passes, each of which looks at its part of the hashes alone. Nothing is written to the disk.
//!
//! On failure: an error of the reading ends it; half a comparison is none.

mod compare;
mod file;
mod pace;
mod sources;
mod tally;
#[cfg(test)]
mod tests;

pub use compare::{Comparison, Example, Failed, SideReport, Sides, compare};
pub use file::{FileError, has_rows};
pub use pace::{Pace, Spread};
pub use sources::{Shown, Source, TopicSource};
pub use tally::{Hash, Side, Tally};
