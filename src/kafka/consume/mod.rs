//! A small consumer, for `verify`, the demo and the tests: reads partitions from an offset on.
//!
//! What it promises: records come as they stand in the log, in order, headers in order with duplicates, with
//! the identity of the batch that brought them, up to the high watermark (everything acknowledged with
//! `acks=all` is below it). Every wait ends. No groups, no commits, no transactions: records of aborted
//! transactions are shown, transaction markers are not.
//!
//! On failure: what passes by itself (a leader change, a broker restart) is retried for
//! [`ConsumerOptions::patience`], then it is an error.

mod client;
mod fetched;

pub use client::{ConsumeError, Consumer, ConsumerOptions};
pub use fetched::{Fetched, FetchedRecord};
