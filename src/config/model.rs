//! The resolved configuration. No field is optional that has a default; `docs/configuration.md` is its
//! reference.

mod destination;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::destination::{
    Begin, Delivery, Destination, HostPort, InDoubt, KafkaCompression, Partitioner, TimestampPolicy,
};
pub use self::source::{Ack, ConnectionLimits, HttpLimits, Source, SourceKind};
pub use super::link::{
    Guard, Mechanism, Pem, Proxy, ProxyKind, Sasl, ServerTls, Tls, TlsIdentity, TokenGrant, TokenUrl,
};
use crate::ids::{DestinationName, LaneName, StreamName, TopicName};
pub use crate::secret::SecretSource;

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
    /// Where a destination's `max_rate` is shared with other lanes, this one is served before those that do not go first.
    pub first: bool,
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
    /// What is asked of those who come from other hosts.
    pub guard: Guard,
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

    /// The destination that had this name before.
    #[must_use]
    pub fn heir(&self, old: &DestinationName) -> Option<&Destination> {
        self.destinations.iter().find(|d| d.renamed_from.as_ref() == Some(old))
    }

    /// The streams that are named in full, by sources, routes and `[[stream]]`.
    pub fn named_streams(&self) -> impl Iterator<Item = StreamName> {
        let sources = self.sources.iter().flat_map(|s| s.kind.named_streams()).map(StreamName::as_str);
        let routes = self.routes.iter().flat_map(|route| &route.streams).map(String::as_str);
        let streams = self.streams.iter().map(|stream| stream.name.as_str());
        // A glob is no name.
        sources.chain(routes).chain(streams).filter_map(|name| StreamName::new(name).ok())
    }

    /// Every lane that takes events: `main` first, then the others in the order of the files.
    #[must_use]
    pub fn all_lanes(&self) -> Vec<Lane> {
        let main = Self::main_lane();
        let configured = self.lanes.iter().find(|lane| lane.name == main).cloned();
        let first = configured.unwrap_or_else(|| Lane {
            name: main.clone(),
            spool: self.spool.clone(),
            first: false,
        });
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
