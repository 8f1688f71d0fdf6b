//! The proof from outside: a topic read back, and the relays' events in it followed by what stands in their
//! `spoolway` headers alone.
//!
//! What it promises: every record between the start and the end that the partitions had when the reading began is
//! looked at once; what is told is exact, or it is said that it is not ([`TopicReport::exact`]); memory has a bound that
//! does not depend on how much the topic holds. Nothing is asked of a relay, and nothing of its state is
//! trusted.
//!
//! How: [`follow`] is pure. Per partition it follows each dense counter (missing, reordered, expired), and over all
//! partitions of a topic the events themselves by run and number (doubled). [`read`] brings it the records, several
//! partitions at a time. [`expected`] compares what was seen with what a relay noted down as delivered.
//!
//! On failure: an error of the reading ends it. What was followed so far proves nothing and is thrown away.

mod counts;
mod expected;
mod follow;
mod identity;
pub mod partitions;
mod read;
mod report;
mod series;
mod strays;

pub use counts::Counts;
pub use expected::{Claim, ClaimReport, Expected, Finding};
pub use follow::{Follower, Mark, Seen};
pub use partitions::{Extent, Plan, ReadError, survey};
pub use read::{Verification, read};
pub use report::{PartitionReport, RelayReport, TopicReport};
