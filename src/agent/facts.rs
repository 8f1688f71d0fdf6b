//! What the agent says of itself to the admin server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::lanes::{Lanes, OpenLane};
use super::older::OlderCopy;
use super::routes_set::RoutesSet;
use crate::admin;
use crate::admin::{Command, CommandError};
use crate::deliver::{Delivery, unix_now};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName};
use crate::source::Sources;
use crate::spool::Life;
use crate::state::ledger::{Ledger, LedgerError, Page, Query, SledLedger};
use crate::state::letters::{Letter, Letters};
use crate::status::{self, Relay, Status};

/// A delivery thread comes round four times a second; after this it counts as stalled.
const STALLED_AFTER_MS: i64 = 30_000;

/// That the spool was found to be a copy, or rolled back, is said in `/readyz` for a day.
const SAID_FOR_MS: i64 = 24 * 3_600_000;

/// What the admin server is told.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) data_dir: PathBuf,
    pub(super) life: Life,
    pub(super) older: OlderCopy,
    pub(super) started: Instant,
    pub(super) lanes: Lanes,
    pub(super) ledger: Arc<SledLedger>,
    pub(super) letters: Arc<Letters<RealFs>>,
    pub(super) sources: OnceLock<Sources>,
    pub(super) stopping: AtomicBool,
    pub(super) table: RoutesSet,
}

impl Facts {
    /// A thread that ended though nobody asked it to.
    pub(super) fn dead(&self) -> Option<String> {
        let lane = self.lanes.iter().find(|open| open.lane.has_died());
        let lane = lane.map(|open| format!("a thread of lane {}", open.lane.name()));
        let delivery = self.lanes.deliveries().find(|d| d.has_died());
        lane.or_else(|| delivery.map(|d| format!("the delivery thread of {}", pair(d))))
    }
}

impl Facts {
    /// Whether a disk does not answer under a lane.
    pub(super) fn has_hung(&self) -> bool {
        self.lanes.iter().any(|open| open.lane.is_hung())
    }
}

/// For the service manager.
impl Facts {
    /// How things are, in a line.
    pub(super) fn in_a_line(&self) -> String {
        let status = admin::Facts::status(self);
        let (all, up) = (status.destinations.len(), status.destinations.iter().filter(|d| d.up).count());
        let waiting: u64 = status.accounts.iter().map(|account| account.pending).sum();
        let accepting = admin::Facts::accept_problem(self);
        let accepting =
            accepting.map_or_else(|| "accepting".to_owned(), |why| format!("not accepting: {why}"));
        format!("{accepting}; destinations up: {up} of {all}; events waiting: {waiting}")
    }
}

/// Dead letters.
impl Facts {
    /// Those that are there, by the delivery they belong to; how many have none, of which destination and lane.
    fn replay(&self, ids: &[u64]) -> Result<serde_json::Value, CommandError> {
        let found = self.letters.load(ids).map_err(|e| CommandError::Failed(e.to_string()))?;
        let mut left: Vec<_> = found.into_iter().filter(|s| self.letters.is_there(s.id)).collect();
        let there = left.len();
        for delivery in self.lanes.deliveries() {
            let mine: Vec<u64> = left.extract_if(.., |s| delivery.owns(&s.letter)).map(|s| s.id).collect();
            if !mine.is_empty() {
                delivery.replay(mine);
            }
        }
        let mut elsewhere: BTreeMap<(DestinationName, LaneName), u64> = BTreeMap::new();
        for Letter { destination, lane, .. } in left.iter().map(|s| &s.letter) {
            *elsewhere.entry((destination.clone(), lane.clone())).or_default() += 1;
        }
        let elsewhere: Vec<_> = elsewhere
            .into_iter()
            .map(|((to, lane), n)| serde_json::json!({ "destination": to, "lane": lane, "letters": n }))
            .collect();
        Ok(serde_json::json!({
            "replayed": there - left.len(),
            "unknown": ids.len() - there,
            "not_configured": left.len(),
            "of": elsewhere,
        }))
    }

    fn purge(&self, ids: &[u64]) -> Result<serde_json::Value, CommandError> {
        let found = self.letters.load(ids).map_err(|e| CommandError::Failed(e.to_string()))?;
        let there: Vec<u64> = found.iter().map(|s| s.id).filter(|id| self.letters.is_there(*id)).collect();
        self.letters.remove(&there).map_err(|e| CommandError::Failed(e.to_string()))?;
        tracing::warn!(count = there.len(), "dead letters were purged");
        Ok(serde_json::json!({ "purged": there.len(), "unknown": ids.len() - there.len() }))
    }
}

/// What is in doubt.
impl Facts {
    fn abandon(&self, name: &DestinationName) -> Result<serde_json::Value, CommandError> {
        let mine: Vec<_> = self.lanes.deliveries().filter(|d| d.board().destination() == name).collect();
        if mine.is_empty() {
            let known: BTreeSet<_> =
                self.lanes.deliveries().map(|d| d.board().destination().to_string()).collect();
            let known: Vec<_> = known.into_iter().collect();
            return Err(CommandError::Wrong(format!(
                "the agent has no destination {name}; it has {}. One that is no longer configured has to be configured \
                 again first",
                known.join(", ")
            )));
        }
        let mut lanes = Vec::new();
        for delivery in mine {
            let lane = delivery.board().lane();
            let events = delivery.abandon().ok_or_else(|| {
                CommandError::Failed(format!("the delivery to {name} in lane {lane} does not answer: it may be stopping, or about to take over another \
                     configuration; ask again"))
            })?;
            if events > 0 {
                tracing::warn!(%lane, destination = %name, events, "what was in doubt is given up: it is sent anew, and may be there twice");
                lanes.push(serde_json::json!({ "lane": lane, "events": events }));
            }
        }
        let events: u64 = lanes.iter().filter_map(|lane| lane["events"].as_u64()).sum();
        if events == 0 {
            return Err(CommandError::Wrong(format!(
                "nothing is in doubt at destination {name}: what waits for it has not been sent, and is sent when it answers"
            )));
        }
        Ok(serde_json::json!({ "destination": name, "events": events, "lanes": lanes }))
    }
}

/// `home (lane main)`
fn pair(delivery: &Delivery) -> String {
    let board = delivery.board();
    format!("{} (lane {})", board.destination(), board.lane())
}

/// Why a lane takes no events.
fn lane_problem(open: &OpenLane) -> Option<String> {
    let status::Lane { name, failing, full_reason, .. } = open.status();
    let full = |why| {
        format!(
            "the spool is full: lane {name}: {why}; see why delivery is behind, free disk space, or change the setting that is named"
        )
    };
    let failing = failing.map(|why| format!("the spool can't write: lane {name}: {why}"));
    failing.or_else(|| full_reason.map(full))
}

impl admin::Facts for Facts {
    fn status(&self) -> Status {
        let now = unix_now();
        let lanes: Vec<_> = self.lanes.iter().map(OpenLane::status).collect();
        // Read after the boards would show events delivered that are not accepted yet.
        let durable: Vec<_> = lanes.iter().map(|lane| lane.durable_seq).collect();
        let boards = || {
            let lanes = self.lanes.iter().zip(&durable);
            lanes.flat_map(|(open, durable)| open.deliveries.iter().map(|d| (d.board(), *durable)))
        };
        Status {
            relay: Relay {
                id: self.id.clone(),
                incarnation: self.life.incarnation,
                incarnation_cause: self.life.cause,
                incarnation_since: self.life.since,
            },
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            sources: self.sources.get().map(Sources::status).unwrap_or_default(),
            destinations: boards().map(|(b, durable)| b.destination_row(durable, now)).collect(),
            routes: self.table.rows(),
            accounts: boards().map(|(b, durable)| b.account_row(durable)).collect(),
            lanes,
        }
    }

    fn accept_problem(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the agent is shutting down".to_owned());
        }
        if self.sources.get().is_none() {
            return Some("the agent is starting".to_owned());
        }
        let problems: Vec<_> =
            self.lanes.iter().filter(|open| !open.draining).filter_map(lane_problem).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    fn deliver_problem(&self) -> Option<String> {
        let unreached = self.lanes.deliveries().find(|d| !d.board().was_ever_up())?;
        Some(format!(
            "destination {} has not been reached since the start; events wait on disk (see last_error in /status)",
            pair(unreached)
        ))
    }

    fn stalled(&self) -> Option<String> {
        let now = unix_now();
        let stalled = |seen: i64| seen != 0 && now.saturating_sub(seen) > STALLED_AFTER_MS;
        // Who waits for a disk that hangs would wait for it again after a start anew, if a process in its hands could be killed at all.
        let mut lanes = self.lanes.iter().filter(|open| !open.lane.is_hung());
        let delivery = lanes.find_map(|open| open.deliveries.iter().find(|d| stalled(d.board().seen())));
        self.dead()
            .map(|what| format!("{what} has ended"))
            .or_else(|| delivery.map(|d| format!("the delivery thread of {} has not come round", pair(d))))
    }

    fn notes(&self) -> Vec<String> {
        let Life { incarnation, cause, since } = self.life;
        let fresh = unix_now().saturating_sub(since) < SAID_FOR_MS;
        let advice = cause.advice().filter(|_| fresh);
        let renewed = advice.map(|why| format!("new incarnation {incarnation}: {why}"));
        renewed.into_iter().chain(self.older.note()).collect()
    }

    fn command(&self, command: Command) -> Result<serde_json::Value, CommandError> {
        match command {
            Command::Replay(ids) => self.replay(&ids),
            Command::Purge(ids) => self.purge(&ids),
            Command::Abandon(name) => self.abandon(&name),
            Command::SetRoute(route) => self.table.set(&route),
            Command::UnsetRoute(stream) => self.table.unset(&stream),
        }
    }

    fn ledger(&self, query: &Query) -> Result<Page, LedgerError> {
        self.ledger.page(query)
    }
}
