//! What is known of a cluster: its brokers, the tracked topics, who leads what, and when to ask again.
//!
//! [`Cluster`] merges metadata answers; it never does I/O. INVARIANT: the bootstrap list is never forgotten.
//! Whatever brokers the metadata named, when none of them answers the addresses of the configuration are
//! tried again.

mod cluster;
mod leaders;
mod names;
mod refresh;
mod state;
mod terms;

pub(crate) use cluster::{Cluster, Place};
pub(crate) use refresh::{Health, Refresh};
pub use state::{PartitionInfo, TopicState, Topology};
pub use terms::{Terms, TimeLimits, Times};
