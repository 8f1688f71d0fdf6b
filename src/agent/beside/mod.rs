//! Everything in a data directory that is not the log: deleted, damaged, of another moment, or not a file at all.
//!
//! Each trial takes a copy of a data directory in which everything of that kind stands, does something to it, and
//! runs the agent on it (without its sources and admin server) against the small Kafka of [`crate::target`]. The
//! outside ledger is this test's: it knows what was accepted, the agent is never asked. A trial demands that the
//! agent starts, that every accepted event arrives, that the accounts add up, and that a new event is taken and
//! arrives.
//!
//! What is tried is found by walking through a directory that holds one of each ([`full`]).
//!
//! `SPOOLWAY_SOAK=1` runs the long version of [`random`]; `SPOOLWAY_SEED` repeats one.

mod clones;
mod every;
mod files;
mod full;
mod golden;
mod pasts;
mod random;
mod world;
