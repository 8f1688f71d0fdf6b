//! The idempotent producer: windows in, outcomes out.
//!
//! What it promises stands in the room's doc ([`crate::kafka`]). How:
//!
//! - [`Producer`] is a handle with a mailbox; everything else belongs to one task ([`task`], [`administer`],
//!   [`settle`]), so nothing is locked while anything is waited for.
//! - A [`slot`] a partition is a pure state machine: what was sent, what is in doubt, under which identity.
//! - [`look`] reads a partition back for a window that an earlier process may have sent, or that a broker does not
//!   know any more.
//! - The [`board`] knows which slots are ready, blocked, or wait for their backoff.
//! - A [`link`] a broker carries up to five Produce requests at a time, each with all windows that were ready
//!   for that broker, of different partitions.
//! - An [`inquiry`] finds out which time stamps topics take; a window that waited until its own are too old is given
//!   back unsent ([`Outcome::Stale`](super::Outcome::Stale)).
//! - The [`control`] connection, apart from those, asks for metadata and the producer id, and notices within
//!   20 s when the cluster no longer answers, also when there is nothing to send. It is a connection of its
//!   own because a broker answers in order, as late as the slowest partition of a request.
//!
//! On failure: connections are opened again with backoff, at the addresses that metadata named and at those
//! of the configuration. Nothing is ever given up but by [`Outcome`](super::Outcome).

mod administer;
mod board;
mod calls;
mod control;
mod handle;
mod inquiry;
mod link;
mod look;
mod pace;
mod report;
mod settle;
mod slot;
#[cfg(test)]
mod slot_tests;
mod task;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unnamed_tests;

pub use handle::Producer;
pub use pace::{Pace, SharedPace};
