//! The answers of `/healthz` and `/readyz`.

use std::time::Duration;

use serde::Serialize;

use crate::status::Status;

use super::facts::Facts;
use super::route::Readiness;

/// The body of `/healthz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    pub(super) healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// Whether the agent's tasks are progressing.
pub(super) fn health(facts: &dyn Facts) -> Health {
    let reason = facts.stalled();
    Health { healthy: reason.is_none(), reason }
}

/// One half of readiness.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    pub(super) ready: bool,
    pub(super) reasons: Vec<String>,
}

impl Part {
    fn new(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }
}

/// The body of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accept: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deliver: Option<Part>,
    /// Worth knowing, and no reason against being ready.
    pub(super) notes: Vec<String>,
}

/// Whether the agent can take events, delivers them in time, or both.
pub(super) fn readiness(facts: &dyn Facts, asked: Readiness, max_lag: Option<Duration>) -> Ready {
    let status = facts.status();
    let accept =
        (asked != Readiness::Deliver).then(|| Part::new(facts.accept_problem().into_iter().collect()));
    let deliver = (asked != Readiness::Accept).then(|| {
        let lagging = max_lag.map(|max| lagging(&status, max)).unwrap_or_default();
        Part::new(facts.deliver_problem().into_iter().chain(lagging).collect())
    });
    let ready = [&accept, &deliver].into_iter().flatten().all(|part| part.ready);
    let notes = facts.notes().into_iter().chain(unreachable(&status)).collect();
    Ready { ready, accept, deliver, notes }
}

fn lagging(status: &Status, max: Duration) -> Vec<String> {
    let over = |d: &&crate::status::Destination| d.lag_events > 0 && d.lag_seconds > max.as_secs_f64();
    let say = |d: &crate::status::Destination| {
        let cause = d.last_error.as_ref().map(|e| format!("; last error: {}", e.message)).unwrap_or_default();
        format!(
            "destination {} (lane {}) lags {:.0} s and {} events behind, allowed are {} s (admin.ready_max_lag){cause}",
            d.name,
            d.lane,
            d.lag_seconds,
            d.lag_events,
            max.as_secs()
        )
    };
    status.destinations.iter().filter(over).map(say).collect()
}

fn unreachable(status: &Status) -> Vec<String> {
    let say = |d: &crate::status::Destination| match &d.last_error {
        Some(e) => format!("destination {} (lane {}) is not reachable: {}", d.name, d.lane, e.message),
        None => format!("destination {} (lane {}) is not reachable", d.name, d.lane),
    };
    status.destinations.iter().filter(|d| !d.up).map(say).collect()
}
