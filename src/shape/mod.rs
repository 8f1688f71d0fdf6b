//! What happens to events between source and spool.
//!
//! [`Door`] is the one way in: it is the [`crate::intake::Intake`] of all sources and hands what it lets
//! through to the lanes ([`Lanes`]). It promises:
//!
//! - an event is appended only if a route takes its stream and each topic it goes to can be named;
//! - no event is larger than `spool.max_event_size`;
//! - senders make up at most `spool.max_streams` stream names, so that whatever is kept per stream has a
//!   bound.
//!
//! INVARIANT: every check comes before the append begins, so each refusal of the door means that nothing
//! of the batch is kept. After that the lane's answer is passed on as it is.

mod door;
mod streams;

pub use door::{Door, Lanes, Limits};
