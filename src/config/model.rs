//! The resolved configuration. No field is optional that has a default; `docs/configuration.md` is its
//! reference.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use super::link::{Mechanism, Pem, Proxy, ProxyKind, Sasl, Tls, TlsIdentity, TokenGrant, TokenUrl};
use crate::ids::{DestinationName, LaneName, StreamName, TopicName};

/// Everything the agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[relay]`
    pub relay: Relay,
    /// `[spool]`: the settings of lane `main`, and of every lane that says nothing else.
    pub spool: Spool,
    /// `[[lane]]`, in the order of the files.
    pub lanes: Vec<Lane>,
    /// `[[stream]]`, in the order of the files.
    pub streams: Vec<Stream>,
    /// `[[source]]`, in the order of the files.
    pub sources: Vec<Source>,
    /// `[[destination]]`
    pub destinations: Vec<Destination>,
    /// `[[route]]`; empty means that every stream goes to the only destination, topic = stream name.
    pub routes: Vec<Route>,
    /// `[dead_letters]`
    pub dead_letters: DeadLetters,
    /// `[admin]`
    pub admin: Admin,
}

/// `[dead_letters]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// `max_size` (default 64 MiB): bytes that dead letters may take.
    pub max_size: u64,
    /// `topic` (default: none): each letter is also sent to this topic of its destination.
    pub topic: Option<TopicName>,
}

/// `[relay]`
#[derive(Debug, Clone)]
pub struct Relay {
    /// Name of this relay for people and dashboards; default: the host name.
    pub id: String,
    /// Holds the spool and all state.
    pub data_dir: PathBuf,
    /// A changed configuration is taken over without being told.
    pub watch: bool,
}

/// `[spool]`. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// A segment is closed when it has reached this.
    pub segment_size: u64,
    /// Quota of a lane; passed by at most one segment. `None`: the smaller of 10 GiB and half of the
    /// file system, which is known only when the lane is opened.
    pub max_size: Option<u64>,
    /// Largest event: value, key and headers.
    pub max_event_size: usize,
    /// Left free on the file system, always.
    pub reserve: u64,
    /// Bytes that events of a lane may take which wait for topics of one destination elsewhere than in the lane. `None`: a
    /// quarter of its quota.
    pub park_size: Option<u64>,
    /// What happens to new events when the lane is full.
    pub when_full: WhenFull,
    /// When an event counts as accepted.
    pub sync: Sync,
    /// Answers are held up to this long so that more senders share one fsync.
    pub commit_delay: Duration,
    /// Of blocks in segments.
    pub compression: SpoolCompression,
    /// Delivered segments are kept this long.
    pub retain_delivered: Duration,
    /// How many stream names senders may make up.
    pub max_streams: usize,
}

/// `[[lane]]`: a spool of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Unique and durable: its directory has this name.
    pub name: LaneName,
    /// What `[spool]` says, and what the lane says otherwise.
    pub spool: Spool,
}

/// `[[stream]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// A name or a glob.
    pub name: String,
    /// The lane that keeps its events; of several entries that take a stream, the first counts.
    pub lane: LaneName,
}

/// `spool.when_full`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Hold senders back.
    Block,
    /// Refuse at once.
    Reject,
    /// Delete the oldest segment, counting each event dropped.
    DropOldest,
}

/// `spool.sync`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Accepted means durable.
    Always,
    /// Accepted when written; synced at this interval, so a power cut may take that much.
    Interval(Duration),
}

/// `spool.compression`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolCompression {
    /// An event's bytes stand in its segment as sent.
    None,
    /// LZ4 block format.
    Lz4,
}

/// `[[source]]`
#[derive(Debug, Clone)]
pub struct Source {
    /// Unique; label of its metrics. Default: type and address.
    pub name: String,
    /// Where events come from.
    pub kind: SourceKind,
    /// When the sender is answered (http only).
    pub ack: Ack,
}

/// `source.ack`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// When durable here.
    Accepted,
    /// When the destination has it.
    Delivered,
}

/// `source.type` and what belongs to it.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Lines of standard input.
    Stdin {
        /// Their stream.
        stream: StreamName,
    },
    /// Newline-delimited events over TCP.
    Tcp {
        /// Address to bind.
        listen: SocketAddr,
        /// Their stream.
        stream: StreamName,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
    },
    /// Newline-delimited events over a Unix stream socket.
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// Their stream.
        stream: StreamName,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
    },
    /// HTTP ingest; the stream is in the URL.
    Http {
        /// Address to bind.
        listen: SocketAddr,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
        /// Bounds on requests.
        http: HttpLimits,
    },
}

/// Bounds on what comes over a listening source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max_connections` (default 1024): further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// `idle_timeout` (default 5 min; http: between requests): a connection without a byte for this long
    /// is closed.
    pub idle_timeout: Duration,
}

/// Bounds on HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// `max_body_size` (default 16 MiB), as sent and after decompression.
    pub max_body_size: usize,
    /// `max_header_size` (default 16 KiB): request line and headers.
    pub max_header_size: usize,
    /// `header_timeout` (default 10 s): from the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// `body_timeout` (default 60 s): from the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// `block_timeout` (default 30 s): how long a request is held while the spool is full.
    pub block_timeout: Duration,
    /// `delivered_timeout` (default 30 s): with `ack = "delivered"`, then 202 is answered.
    pub delivered_timeout: Duration,
}

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

/// `[[route]]`
#[derive(Debug, Clone)]
pub struct Route {
    /// Exact names or globs.
    pub streams: Vec<String>,
    /// Where to.
    pub to: DestinationName,
    /// Which topic.
    pub topic: TopicTemplate,
    /// It was set while running: its streams go by no other route. Of several, the first counts.
    pub only: bool,
}

/// `route.topic`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicTemplate {
    /// Always the same topic.
    Fixed(TopicName),
    /// Text with `{stream}` in it, split where the stream's name goes: `pre{stream}mid{stream}post` is
    /// `["pre", "mid", "post"]`.
    Stream(Vec<String>),
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address of `/status`, `/metrics` and the rest; `None` with `listen = "off"`.
    pub listen: Option<SocketAddr>,
    /// `/readyz?for=deliver` fails beyond this lag; `None` with `"off"`.
    pub ready_max_lag: Option<Duration>,
    /// A second address for `/metrics` alone.
    pub metrics_listen: Option<SocketAddr>,
}

/// The lane that events go to unless a `[[lane]]` says otherwise.
pub const MAIN_LANE: &str = "main";

impl Config {
    /// The routes; where there are none, the one that every stream takes to each destination.
    #[must_use]
    pub fn all_routes(&self) -> Vec<Route> {
        if !self.routes.is_empty() {
            return self.routes.clone();
        }
        let all = |to: &Destination| Route {
            streams: vec!["*".to_owned()],
            to: to.name.clone(),
            topic: TopicTemplate::stream(),
            only: false,
        };
        self.destinations.iter().map(all).collect()
    }

    /// Every lane that takes events: `main` first, then the others in the order of the files.
    #[must_use]
    pub fn all_lanes(&self) -> Vec<Lane> {
        let main = Self::main_lane();
        let configured = self.lanes.iter().find(|lane| lane.name == main).cloned();
        let first = configured.unwrap_or_else(|| Lane { name: main.clone(), spool: self.spool.clone() });
        let others = self.lanes.iter().filter(|lane| lane.name != main).cloned();
        std::iter::once(first).chain(others).collect()
    }

    /// Name of the lane of every stream that no `[[stream]]` gives another.
    ///
    /// # Panics
    /// Never: `main` is a valid name.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    pub fn main_lane() -> LaneName {
        LaneName::new(MAIN_LANE).expect("main is a valid name")
    }
}
