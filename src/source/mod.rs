//! Where events come in: HTTP, TCP, Unix sockets, standard input.
//!
//! # What it promises
//! - A sender that can be answered is answered after [`Intake::accept`](crate::intake::Intake::accept)
//!   resolved, and hears what it said. Where the outcome is not known, HTTP closes the connection without
//!   an answer.
//! - A sender that can't be answered (tcp, unix, stdin) is held back instead: nothing more is read while
//!   the spool takes nothing. A batch the spool could not take is offered again until it is taken or the
//!   agent stops, so such a sender's events may be doubled by a failing disk, and are not lost by it.
//! - Events of one connection are offered in the order they came; one append of a connection is under way
//!   at a time, and what arrives meanwhile becomes the next batch, so batches grow with the load.
//! - Everything from outside has a bound: connections, header and body sizes and times, line length, idle
//!   time, over all sources together the bytes held in memory (`Budget`), and how slowly that may be filled (`Pace`).
//! - Every event that came in whole and is not accepted is counted as rejected, with the reason.
//!
//! # How
//! [`Sources::start`] binds every listener before anything is served. Each connection is a task; lines are
//! cut by `Lines` straight into the [`EventBatch`](crate::event::EventBatch) that goes to the spool.
//!
//! # On failure
//! A listener that can't be bound is a [`BindError`] that names source, address, cause and remedy. Errors
//! of one connection end that connection only. When no descriptor is left, accepting pauses and goes on.
//!
//! INVARIANT: this room knows the [`Intake`](crate::intake::Intake) trait, never what stands behind it.

mod budget;
mod error;
mod http;
mod lines;
mod listen;
mod pace;
mod pump;
mod sources;
mod stdin;
mod tally;
mod unix;

#[cfg(test)]
mod testing;
#[cfg(any(test, feature = "simulation"))]
pub(crate) mod trial;

pub use error::{BindError, EndError};
pub use sources::Sources;
