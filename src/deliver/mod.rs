//! From spool to Kafka: what is durable is read, routed, cut into windows, sent, and counted when the
//! destination has it.
//!
//! # Promises
//! - Nothing is sent that is not durable (the log's readers see to that).
//! - An event is acknowledged by the destination exactly once, and the events of one partition arrive in the order of
//!   their numbers. With a journal also over a kill and a power cut: what was in flight is settled first, under the identity
//!   it had ([`crate::state::journal`]). Without one, at most what was in flight is sent again.
//! - Positions and totals are saved together and say the same: everything counted lies before a position.
//! - A topic that can't take its events holds back only itself.
//! - Memory does not grow with the backlog.
//!
//! # How
//! What waits for a stuck topic and would fill the lane is *parked* (`parking`; [`crate::state::park`]), and read from there
//! under its numbers (`parked`).
//!
//! [`Delivery`] is one lane's way to one destination: a plain thread (`worker`) around a state machine
//! without I/O (`engine`), and a [`Producer`](crate::kafka::Producer) on the async side. They meet in an
//! inbox. `tracker` is the heart of the bookkeeping: which events of which block are settled.
//!
//! # On failure
//! Positions that can't be saved are saved later: nothing is deleted meanwhile, and a restart sends more
//! again. A journal that can't be written holds windows back for three seconds; then they go without it, and a kill may
//! double them. A log that can't be read is read again later. Both are shown as the destination's last error.

mod batch_size;
mod board;
mod clock;
mod copies;
mod counters;
mod counts;
mod crossing;
mod delivery;
mod departing;
mod engine;
mod graves;
mod inbox;
mod line;
mod log;
mod needs;
mod parked;
mod parking;
mod parts;
pub mod replay;
mod saves;
mod scribe;
mod spool_log;
mod squeeze;
mod stamp;
mod sticky;
mod takeover;
mod topic;
mod tracker;
mod waits;
mod ways;
mod worker;

pub use board::Board;
pub use copies::{Copies, Means};
pub use crossing::{Crossing, Progress};
pub use delivery::{Delivery, Parts};
pub use needs::{Need, Needed, Needs};
pub use takeover::{Hindrance, Holder, Role, hand_over};
pub use worker::{Judge, unix_now};
