//! The shapes of `/status`: what the agent says of itself. Names are the contract; they may only grow.

use serde::Serialize;

use crate::event::UnixMillis;
use crate::ids::{DestinationName, Incarnation, LaneName, Seq};
use crate::spool::Cause;

/// The whole of `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Who it is.
    pub relay: Relay,
    /// Of the binary.
    pub version: &'static str,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// One row a source.
    pub sources: Vec<Source>,
    /// One row a lane.
    pub lanes: Vec<Lane>,
    /// One row a (lane, destination).
    pub destinations: Vec<Destination>,
    /// Where streams go: what was set while running, which stands above the rest, then the routes of the files.
    pub routes: Vec<Route>,
    /// One row a (lane, destination); see [`Account`].
    pub accounts: Vec<Account>,
}

/// `relay` of `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Relay {
    /// `relay.id` of the configuration.
    pub id: String,
    /// Which life of the data directory this is.
    pub incarnation: Incarnation,
    /// Why it was drawn.
    pub incarnation_cause: Cause,
    /// When it was drawn, milliseconds since 1970; 0 if not known.
    pub incarnation_since: UnixMillis,
}

/// A row of `sources`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Source {
    /// As configured.
    pub name: String,
    /// `http`, `tcp`, `unix`, `stdin`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Open connections.
    pub connections: u64,
    /// Milliseconds since 1970 of the last accepted event.
    pub last_event_at: Option<UnixMillis>,
    /// Events accepted since the process started.
    pub accepted: u64,
    /// Events or requests refused since the process started.
    pub rejected: u64,
    /// Where it listens, once bound.
    pub address: Option<String>,
}

/// A row of `lanes`.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// Name.
    pub name: LaneName,
    /// It is no longer configured: it takes no events, and what it holds is delivered.
    pub draining: bool,
    /// Oldest event still on disk (or the next to come).
    pub first_seq: Seq,
    /// Newest durable event.
    pub durable_seq: Seq,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Its quota.
    pub limit_bytes: u64,
    /// How many segments it has.
    pub segments: u64,
    /// Events lost to damage, of those still within the lane.
    pub quarantined_events: u64,
    /// Whether it takes no events for lack of room.
    pub full: bool,
    /// What is full: the quota, or the file system; while it is.
    pub full_reason: Option<String>,
    /// Why it can't write (a failed fsync, a read-only file system), while it can't.
    pub failing: Option<String>,
}

/// A row of `destinations`.
#[derive(Debug, Clone, Serialize)]
pub struct Destination {
    /// Name.
    pub name: DestinationName,
    /// The lane this row is about.
    pub lane: LaneName,
    /// Whether the cluster answers.
    pub up: bool,
    /// Everything up to here is settled.
    pub delivered_seq: Seq,
    /// Events accepted and not settled.
    pub lag_events: u64,
    /// Age of the oldest of them.
    pub lag_seconds: f64,
    /// Events sent and not yet answered.
    pub in_flight: u64,
    /// Events that wait for a stuck topic or partition.
    pub parked: u64,
    /// Bytes that some of these take elsewhere than in the lane.
    pub parked_bytes: u64,
    /// Topics that hold back their own events, with the reason.
    pub waiting: Vec<Waiting>,
    /// Events sent again since the process started though it is not known whether they had arrived.
    pub possibly_doubled: u64,
    /// Seconds since the process started for which its brokers have asked for silence: a quota of the cluster.
    pub throttled_seconds: f64,
    /// What works, and costs something that a person should know.
    pub notes: Vec<String>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
}

/// A row of `routes`.
#[derive(Debug, Clone, Serialize)]
pub struct Route {
    /// Exact names or globs.
    pub streams: Vec<String>,
    /// Where to.
    pub to: DestinationName,
    /// Which topic.
    pub topic: String,
    /// `file`: of the configuration; `set`: by `spoolway route set`.
    pub origin: &'static str,
    /// It stays when the files change.
    pub pinned: bool,
}

/// A topic that can't take its events for now.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// The topic.
    pub topic: String,
    /// What it waits for.
    pub reason: String,
}

/// The last error of a destination.
#[derive(Debug, Clone, Serialize)]
pub struct LastError {
    /// Milliseconds since 1970.
    pub at: UnixMillis,
    /// Kafka's error code, if a broker said it.
    pub code: Option<i16>,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// How often this same error has come in a row.
    pub count: u64,
}

/// The sum that always holds for a lane and a destination:
/// `accepted = delivered + dead_lettered + filtered + dropped + lost_to_damage + pending`.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The lane.
    pub lane: LaneName,
    /// The destination.
    pub destination: DestinationName,
    /// The first event counted here; moves only when the counts' file was lost.
    pub since_seq: Seq,
    /// Every event of the lane since then.
    pub accepted: u64,
    /// Held by the destination.
    pub delivered: u64,
    /// Set aside for good.
    pub dead_lettered: u64,
    /// Sent here by no route.
    pub filtered: u64,
    /// Given up because the spool was full.
    pub dropped: u64,
    /// Lost to damaged bytes.
    pub lost_to_damage: u64,
    /// Still to be settled.
    pub pending: u64,
}
