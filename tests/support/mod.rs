//! What tests of the running program share: the agent as a process, load from outside with a ledger of what
//! was accepted, and the comparison of that ledger with what Kafka holds.
//!
//! The ledger is kept here, in the test's process. The agent never sees it, and killing the agent cannot
//! change it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are known")]
#![allow(clippy::print_stdout, reason = "a seed has to be seen")]

pub mod agent;
pub mod certificates;
pub mod compare;
pub mod http;
pub mod ledger;
pub mod load;
pub mod payload;
pub mod ports;
pub mod process;
pub mod random;
pub mod readme;
pub mod records;
pub mod sabotaged;
pub mod verify;
