//! What a target is told at its start, and how starting can fail.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::model::HostPort;

/// Settings of a [`Target`](super::Target). [`TargetOptions::default`] is one broker in memory with small
/// bounds and no topic.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// How many brokers listen, each on its own port of 127.0.0.1 (default 1). Node ids count from 0.
    pub brokers: usize,
    /// Ports to listen on, one a broker; a missing one or 0 is chosen by the operating system.
    pub ports: Vec<u16>,
    /// What Metadata says instead of the real addresses, one a broker; missing ones are the real ones.
    pub advertise: Vec<HostPort>,
    /// Topics to begin with, with their numbers of partitions.
    pub topics: Vec<(String, i32)>,
    /// Partitions of topics that a metadata request makes; `None`: it makes none.
    pub auto_create: Option<i32>,
    /// Where batches are kept.
    pub storage: Storage,
    /// `message.max.bytes`: the largest batch, prefix included (default 1048588, as Kafka).
    pub max_message_bytes: usize,
    /// Largest request frame (default 32 MiB).
    pub max_frame_bytes: usize,
    /// Open connections a broker; further ones wait in the kernel's backlog (default 256).
    pub max_connections: usize,
    /// A connection on which nothing whole is read or written for this long is closed (default 10 min).
    pub idle_timeout: Duration,
    /// Bytes one partition may hold; appends over it get error 56 (default 4 GiB).
    pub max_log_bytes: u64,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            ports: Vec::new(),
            advertise: Vec::new(),
            topics: Vec::new(),
            auto_create: None,
            storage: Storage::Memory,
            max_message_bytes: 1_048_588,
            max_frame_bytes: 32 << 20,
            max_connections: 256,
            idle_timeout: Duration::from_secs(600),
            max_log_bytes: 4 << 30,
        }
    }
}

/// Where the batches of a target are kept. Either way they outlive [`Target::kill`](super::Target::kill).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In the process.
    Memory,
    /// A file a partition in a directory, which must exist; files of earlier targets are overwritten.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether an append is synced before it is answered.
        sync: bool,
    },
}

/// Why a target could not start or do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A port can't be listened on.
    #[error("the target can't listen on {address}: {source}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log of a partition can't be made or read.
    #[error("the target's log {path} can't be used: {source}")]
    Log {
        /// Its file, or its name in memory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gives no randomness for ids.
    #[error("no random numbers for the target's ids: {0}")]
    Random(io::Error),
    /// A topic can't be made as asked.
    #[error("topic {name:?} can't be made: error {code}")]
    Topic {
        /// Its name.
        name: String,
        /// Kafka's code for the reason.
        code: super::Code,
    },
    /// There is no such topic or partition.
    #[error("the target has no partition {topic}-{partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}
