//! The durable log: lanes of segments of self-standing blocks. `spool-format.md` specifies the bytes.
//!
//! **Promises.**
//! - An append is answered after the sync that covers it (`sync = "always"`), never before.
//! - Readers see what is durable and nothing else, without a silent gap: what is lost is given as a [`Hole`].
//! - Whatever happened to its files, a lane opens; damaged bytes are counted, and stay: see [`kept`]. It waits for a disk that does not
//!   give, for now, what says which number comes next: a start fails until it does.
//! - (run, number) names one event, for ever.
//! - A failed write or sync is believed; a full disk is waited for; both end by themselves.
//!
//! **How.** Per lane a writer thread ([`Lane`] hands it batches through a bounded queue) that commits in groups:
//! one write and one sync for all that waits. A helper thread prepares the next segment, trims closed ones and
//! deletes released ones. [`Reader`]s read files, the table of segments tells them how far. Opening a lane reads
//! headers and the last segment, writes nothing, and puts its verdict into the header of the next segment.
//!
//! **On failure** of the disk: events whose write was begun have an unknown outcome, the segment ends at its last
//! durable point, new events are refused (`Refused::Failing`) or wait (`Refused::Full`, see `when_full`), what is
//! durable goes on being read, and the writer tries a new segment until that works.

mod active;
mod block;
mod candidates;
mod catalogue;
mod data_dir;
mod encoder;
mod error;
mod floor;
pub mod format;
mod gate;
mod given;
mod host;
mod incarnation;
pub mod inspect;
mod janitor;
mod kept;
mod lane;
mod names;
pub mod passed_over;
pub mod put_aside;
mod quarantine;
mod queue;
mod reader;
mod recover;
mod room;
pub mod salvage;
mod scan;
mod seek;
mod shared;
#[cfg(any(test, feature = "simulation"))]
pub mod stepped;
mod table;
#[cfg(test)]
mod tests;
mod turn;
mod unread;
mod walk;
mod writer;

pub use block::{Block, Hole, HoleCause, Item};
pub use data_dir::{DataDir, Held, hold};
pub use error::{OpenError, ReadError};
pub use host::{Host, Stamp, SystemHost};
pub use incarnation::{Cause, Life, OLDER_COPY};
pub use lane::{Lane, default_quota};
pub use reader::Reader;
pub use table::Segment;

/// How many segments a lane's catalogue tells of.
#[cfg(test)]
pub(crate) fn catalogued(dir: &std::path::Path, spool: crate::ids::SpoolId, lane: &str) -> usize {
    catalogue::read(&crate::disk::RealFs, dir, spool, lane).len()
}
