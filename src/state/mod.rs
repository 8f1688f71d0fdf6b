//! What stands on disk beside the log: positions, totals, the delivery ledger.
//!
//! The log is the only truth. Everything here can be lost: the agent starts, and at most sends again what
//! was delivered already. Therefore:
//!
//! - INVARIANT: a position never claims more than has been settled, and totals count exactly what lies
//!   before the positions they are written with.
//! - INVARIANT: positions work with no byte free on the disk: their files are allocated when they are made
//!   (see [`crate::disk::Slots`]).
//! - A file that is missing, damaged, or of another spool is reported and replaced; it never keeps the agent
//!   from starting.

pub mod beside;
pub mod handover;
pub mod homes;
pub mod journal;
pub mod known;
pub mod ledger;
pub mod letters;
pub mod orphans;
pub mod overrides;
pub mod park;
pub mod positions;
pub mod routes;

#[cfg(test)]
mod syncs;
