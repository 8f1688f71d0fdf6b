//! Gauges that are true at the moment of a scrape, taken from the same facts as `/status`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::metrics::{Destination, Lane, LaneDestination, Metrics};
use crate::status::{self, Status};

/// What the gauges had labels for when they were last set, so that what is gone (a destination removed by a
/// reload) stops being shown instead of standing still.
#[derive(Debug, Default)]
struct Shown {
    lanes: BTreeSet<String>,
    destinations: BTreeSet<String>,
    pairs: BTreeSet<(String, String)>,
}

/// Sets the gauges and encodes everything, one scrape at a time.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    shown: Mutex<Shown>,
}

impl Gauges {
    /// All metrics in OpenMetrics text, gauges as of `status`.
    pub(super) fn scrape(&self, metrics: &Metrics, status: &Status) -> Result<String, std::fmt::Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Shown {
            lanes: status.lanes.iter().map(|l| l.name.to_string()).collect(),
            destinations: status.destinations.iter().map(|d| d.name.to_string()).collect(),
            pairs: status.destinations.iter().map(|d| (d.lane.to_string(), d.name.to_string())).collect(),
        };
        forget(metrics, &shown, &now);
        *shown = now;
        status.lanes.iter().for_each(|lane| set_lane(metrics, lane));
        status.destinations.iter().for_each(|destination| set_pair(metrics, destination));
        set_up(metrics, status);
        metrics.encode()
    }
}

fn forget(metrics: &Metrics, before: &Shown, now: &Shown) {
    for lane in before.lanes.difference(&now.lanes) {
        let label = Lane { lane: lane.clone() };
        metrics.spool_bytes.remove(&label);
        metrics.spool_limit_bytes.remove(&label);
        metrics.spool_full.remove(&label);
        metrics.spool_failing.remove(&label);
    }
    for destination in before.destinations.difference(&now.destinations) {
        metrics.destination_up.remove(&Destination { destination: destination.clone() });
    }
    for (lane, destination) in before.pairs.difference(&now.pairs) {
        let label = LaneDestination { lane: lane.clone(), destination: destination.clone() };
        metrics.lag_events.remove(&label);
        metrics.lag_seconds.remove(&label);
        metrics.oldest_undelivered.remove(&label);
    }
}

fn set_lane(metrics: &Metrics, lane: &status::Lane) {
    let label = Lane { lane: lane.name.to_string() };
    metrics.spool_bytes.get_or_create(&label).set(saturating(lane.bytes));
    metrics.spool_limit_bytes.get_or_create(&label).set(saturating(lane.limit_bytes));
    metrics.spool_full.get_or_create(&label).set(i64::from(lane.full));
    metrics.spool_failing.get_or_create(&label).set(i64::from(lane.failing.is_some()));
}

fn set_pair(metrics: &Metrics, destination: &status::Destination) {
    let label =
        LaneDestination { lane: destination.lane.to_string(), destination: destination.name.to_string() };
    metrics.lag_events.get_or_create(&label).set(saturating(destination.lag_events));
    metrics.lag_seconds.get_or_create(&label).set(destination.lag_seconds);
    let oldest = if destination.lag_events == 0 { 0.0 } else { unix_seconds() - destination.lag_seconds };
    metrics.oldest_undelivered.get_or_create(&label).set(oldest);
}

/// A destination that several lanes send to is up when it is up for all of them.
fn set_up(metrics: &Metrics, status: &Status) {
    let mut up: BTreeMap<&str, bool> = BTreeMap::new();
    for destination in &status.destinations {
        *up.entry(destination.name.as_str()).or_insert(true) &= destination.up;
    }
    for (destination, up) in up {
        let label = Destination { destination: destination.to_owned() };
        metrics.destination_up.get_or_create(&label).set(i64::from(up));
    }
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
