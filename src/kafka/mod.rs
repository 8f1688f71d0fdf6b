//! The Kafka protocol client: batches, connections, metadata, the idempotent producer, a small consumer.
//!
//! What this room promises:
//!
//! - **A window is settled once, and truthfully.** [`Outcome::Acked`] is said only after a broker answered
//!   "no error" (or "duplicate") to this window under its own identity with `acks=-1`. [`Outcome::Refused`]
//!   and [`Outcome::Deferred`] are said only when no send of the window can have been appended.
//! - **In doubt stays in doubt.** After a send whose outcome is unknown, the same window goes out again under
//!   the same producer id, epoch and sequence until it succeeds; an error on a re-send proves nothing. A window of an
//!   earlier process, or one that has been in doubt for minutes, is looked for in its partition first.
//! - **One window in flight per partition**, many partitions in a request, several requests in flight on a
//!   connection. A restarted broker remembers only the last batch of a producer, so more in flight in one
//!   partition could not be told apart from a gap.
//! - **Every wait ends.** Connecting, the handshake, writing, waiting for an answer: each has a time limit,
//!   and a connection that misses one is dropped with all that waits on it.
//! - **Nothing from a socket is trusted.** Frames are capped, counts are checked against the bytes that are
//!   left before anything is allocated, and decoding never panics.
//!
//! How: [`RecordsBuilder`] writes records and seals them into a [`Batch`]; [`Producer`] owns one task that
//! decides (which window, to whom, what an error code means: [`errors`]) and one task a connection.
//! [`access`] is the way every connection takes: proxy, TLS, SASL.
//! [`consume`] reads topics back, for `verify`, the demo and the tests.
//!
//! On failure: the producer goes on for ever. It reports what is wrong through [`Observer::link`], holds what
//! it was given, and re-tries with [`backoff`] that never exceeds 10 s, or a minute where a person must act first.

pub mod access;
pub mod backoff;
pub mod batch;
pub(crate) mod clock;
pub mod codec;
pub mod connection;
pub mod consume;
pub mod errors;
pub mod header;
pub mod partitioner;
pub mod producer;
pub mod topology;
pub mod window;
pub mod wire;

pub use access::Access;
pub use batch::{Batch, BatchError, BatchReader, RecordBatch, RecordRef, RecordsBuilder, Stamp};
pub use consume::{ConsumeError, Consumer, ConsumerOptions, Fetched, FetchedRecord};
pub use header::{Counter, RecordHeader};
pub use partitioner::{consistent, murmur2, partition_for_key};
pub use producer::{Pace, Producer, SharedPace};
pub use topology::{PartitionInfo, Terms, TimeLimits, Times, TopicState, Topology};
pub use window::{Journaled, LinkError, LinkState, Observer, Outcome, Window};
