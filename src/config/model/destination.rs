//! Where events go.

use std::time::Duration;

use crate::config::link::{Proxy, Sasl, Tls};
use crate::ids::DestinationName;

/// `[[destination]]`
#[derive(Debug, Clone)]
pub struct Destination {
    /// Unique and durable: its state files carry it.
    pub name: DestinationName,
    /// `host:port` of brokers to begin with; IPv6 hosts in brackets.
    pub bootstrap: Vec<HostPort>,
    /// `from` (default oldest): where it begins in a lane that it has read nothing of yet.
    pub from: Begin,
    /// `renamed_from`: the name it had; what is known under that name becomes its own, once.
    pub renamed_from: Option<DestinationName>,
    /// What may become of what was in flight when the agent was killed.
    pub delivery: Delivery,
    /// `client_id` in every request (default `spoolway`).
    pub client_id: String,
    /// Of record batches.
    pub compression: KafkaCompression,
    /// How keys choose partitions.
    pub partitioner: Partitioner,
    /// Record time stamps.
    pub timestamp: TimestampPolicy,
    /// `timestamp_max_age` (default 12 h), for [`TimestampPolicy::Auto`].
    pub timestamp_max_age: Duration,
    /// `linger` (default 0 ms): how long an event may wait for company when nothing is in flight to its
    /// partition.
    pub linger: Duration,
    /// `batch_size` (default 900 KiB): uncompressed bytes of one window; windows grow up to it under backlog.
    pub batch_size: usize,
    /// `request_timeout` (default 15 s): the longest a broker may take to answer.
    pub request_timeout: Duration,
    /// `connect_timeout` (default 10 s).
    pub connect_timeout: Duration,
    /// `header` (default true): put the `spoolway` header on every record.
    pub header: bool,
    /// What becomes of a window of which can't be found out whether it has arrived.
    pub in_doubt: InDoubt,
    /// `missing_topic_after` (default 24 h): a topic that is missing or forbidden this long has its events made dead letters.
    pub missing_topic_after: Duration,
    /// `required` (default true): segments wait for it.
    pub required: bool,
    /// `address_map`: replaces addresses that brokers advertise.
    pub address_map: Vec<(HostPort, HostPort)>,
    /// `tls` (default: none).
    pub tls: Option<Tls>,
    /// `sasl` (default: none).
    pub sasl: Option<Sasl>,
    /// `proxy` (default: none).
    pub proxy: Option<Proxy>,
    /// `max_rate` (default: none): bytes of requests with events, a second.
    pub max_rate: Option<u64>,
}

/// `destination.from`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest event on disk.
    Oldest,
    /// With the next event to come.
    Now,
}

/// `destination.delivery`. In both, nothing is lost, and nothing is doubled while the agent lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// What was in flight at a kill is settled from the journal first (see [`crate::state::journal`]).
    ExactlyOnce,
    /// What was in flight at a kill is sent again and may be there twice.
    AtLeastOnce,
}

/// `destination.in_doubt`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// It is sent again, and counted as possibly doubled.
    Resend,
    /// It is held, with everything behind it in its partition, until it can be found out.
    Hold,
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `destination.compression`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in xerial framing.
    Snappy,
    /// LZ4 frame with independent blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl KafkaCompression {
    /// How each is written.
    pub const WORDS: [(&str, KafkaCompression); 5] = [
        ("none", KafkaCompression::None),
        ("gzip", KafkaCompression::Gzip),
        ("snappy", KafkaCompression::Snappy),
        ("lz4", KafkaCompression::Lz4),
        ("zstd", KafkaCompression::Zstd),
    ];
}

/// `destination.partitioner`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// murmur2 as the Java client.
    Java,
    /// CRC-32 as librdkafka's `consistent_random`.
    ConsistentRandom,
}

/// `destination.timestamp`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampPolicy {
    /// The event's time.
    Event,
    /// The time of sending.
    Send,
    /// The event's time, unless it is too old or ahead of the clock.
    Auto,
}
