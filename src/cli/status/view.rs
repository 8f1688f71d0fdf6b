//! The parts of the agent's answers that are shown to people. What an older agent does not say is taken as
//! empty, what a newer one says beside is left out.

use serde::Deserialize;

/// `/status`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) relay: Relay,
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    pub(super) sources: Vec<Source>,
    pub(super) lanes: Vec<Lane>,
    pub(super) destinations: Vec<Destination>,
    pub(super) accounts: Vec<Account>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Relay {
    pub(super) id: String,
    pub(super) incarnation: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) address: Option<String>,
    pub(super) connections: u64,
    pub(super) last_event_at: Option<i64>,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) first_seq: u64,
    pub(super) durable_seq: u64,
    pub(super) bytes: u64,
    pub(super) limit_bytes: u64,
    pub(super) segments: u64,
    pub(super) quarantined_events: u64,
    pub(super) full: bool,
    pub(super) failing: Option<String>,
    pub(super) draining: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) lane: String,
    pub(super) up: bool,
    pub(super) delivered_seq: u64,
    pub(super) lag_events: u64,
    pub(super) lag_seconds: f64,
    pub(super) in_flight: u64,
    pub(super) parked: u64,
    pub(super) waiting: Vec<Waiting>,
    pub(super) throttled_seconds: f64,
    pub(super) notes: Vec<String>,
    pub(super) last_error: Option<LastError>,
}

impl Destination {
    /// Age of the oldest event that is not settled; none, no age.
    pub(super) fn lag(&self) -> f64 {
        if self.lag_events == 0 { 0.0 } else { self.lag_seconds }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) topic: String,
    pub(super) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LastError {
    pub(super) at: i64,
    pub(super) code: Option<i16>,
    pub(super) message: String,
    pub(super) hint: String,
    pub(super) count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    pub(super) lane: String,
    pub(super) destination: String,
    pub(super) since_seq: u64,
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) dead_lettered: u64,
    pub(super) filtered: u64,
    pub(super) dropped: u64,
    pub(super) lost_to_damage: u64,
    pub(super) pending: u64,
}

impl Account {
    /// What `accepted` must be.
    pub(super) fn sum(&self) -> u64 {
        [self.delivered, self.dead_lettered, self.filtered, self.dropped, self.lost_to_damage, self.pending]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// `/readyz`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ready {
    pub(super) accept: Part,
    pub(super) deliver: Part,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub(super) ready: bool,
    pub(super) reasons: Vec<String>,
}

/// A page of `/ledger`; its rows are kept as they came for `--json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct LedgerPage {
    pub(super) rows: Vec<serde_json::Value>,
    pub(super) next: Option<String>,
    pub(super) unreadable: u64,
    pub(super) missed: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LedgerRow {
    pub(super) lane: String,
    pub(super) destination: String,
    pub(super) segment: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) filtered: u64,
    pub(super) dead_lettered: u64,
    pub(super) dropped: u64,
    pub(super) lost_to_damage: u64,
    pub(super) hash: String,
    pub(super) finished_at: i64,
}
