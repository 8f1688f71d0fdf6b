//! The running agent: puts the rooms together, starts and stops them.
//!
//! # Promises
//! - Nothing is accepted before everything that accepting needs stands: the data directory is locked, the
//!   lane is open, deliveries run. A cluster that is not there keeps nothing from starting.
//! - A stop (SIGTERM, SIGINT) takes at most 10 s: sources finish what they have in hand, the lane is sealed,
//!   deliveries settle what is in flight and keep their positions. What is not delivered stays on disk. A disk that does not answer is
//!   waited for, for some 30 s at most.
//! - When standard input is the only source, its end is a stop after everything was delivered.
//!
//! - SIGHUP: a configuration that has changed and is right is gone on with, by a stop and a start in this process; one that
//!   is wrong, or can't be started with, leaves the one before running.
//!
//! - A service manager that wants to know (systemd's `Type=notify`) hears when events can be taken, of reloads, of the stop,
//!   and, while every task comes round, that its watchdog need not act.
//!
//! # Order
//! Start: data directory, positions, lanes, deliveries, admin, sources. Stop: sources, lanes, deliveries, ledger,
//! admin. Each is stopped only after what feeds it.
//!
//! # On failure
//! What can't be started is an [`AgentError`] that says what, why and what to do; whatever was started is
//! stopped again. A thread that dies ends the agent with an error, so that whoever supervises it starts it
//! anew from what is on disk.

mod asked;
#[cfg(test)]
mod beside;
mod drained;
mod error;
mod facts;
mod forgotten;
mod found;
mod lanes;
mod manager;
mod older;
mod opened;
mod process;
mod rereads;
mod routed;
mod routes_set;
mod run;
mod signals;
mod stand;
mod stop;

pub use error::AgentError;
pub use process::{Configured, Reread, Rereading, run};
