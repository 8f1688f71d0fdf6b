//! The agent as it is shipped, under hostile input: it does not panic, its memory stays within a bound, it serves honest senders
//! meanwhile and afterwards, it stops well, and its spool is whole.
//!
//! What is answered to each input is tested beside the code; here it is what remains of the agent.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops at the first surprise"
)]

mod brokers;
mod crowd;
mod disks;
mod panics;
mod senders;
mod spoken;
mod straits;
#[path = "../support/mod.rs"]
mod support;
mod victim;
