//! A disk in memory that fails on purpose: for tests, fuzzers and simulations, never in a release.
//!
//! **Promises.**
//! - It keeps what programs see (*live*) apart from what a power cut leaves (*durable*), bytes and names each by
//!   itself. Only `sync_data` makes a file's bytes durable, only `sync_dir` a directory's names: less than any
//!   kernel does, so that nothing is believed that a kernel merely happens to do.
//! - After a power cut any of the unsynced changes may have happened, in any combination; a write may be torn at
//!   any 512-byte sector ([`World::after_power_cut`]).
//! - A failed sync leaves the pages clean: what was unsynced reads back as if it were there, is covered by no later
//!   sync, and is gone after a power cut (Rebello et al., ATC 2020).
//! - A failed write leaves a part of it behind.
//! - The same calls have the same effects: no clock, no randomness, no threads of its own.
//!
//! **How.** [`SimFs`] counts every call. A [`Fault`] makes call N fail, once or from then on. With
//! [`SimFs::record`] it keeps the [`World`] as it was before each call that changes something: the [`Moment`]s at which
//! a crash can be tried afterwards, without running the program again.

mod cut;
mod file;
mod fs;
mod world;

pub use cut::{Choice, Cuts, Pending};
pub use file::SimFile;
pub use fs::{Call, Fault, Lasting, Moment, SimFs, SimLock};
pub use world::World;
#[cfg(test)]
mod tests;
