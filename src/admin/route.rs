//! Which question a request asks.

use crate::state::ledger::Query;

use super::ledger_query;

/// What a listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// `admin.listen`: all of it.
    All,
    /// `admin.metrics_listen`: `/metrics` alone.
    Metrics,
}

/// What `/readyz` is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Both.
    All,
    /// Whether events can be taken.
    Accept,
    /// Whether delivery keeps up.
    Deliver,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Page,
    Health,
    Ready(Readiness),
    Metrics,
    Status,
    Ledger(Query),
}

/// A request that asks nothing that is answered here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// Nothing stands there.
    #[error("there is nothing at this path; here are {0}")]
    NotFound(&'static str),
    /// A query parameter is wrong.
    #[error("{0}")]
    Query(String),
}

const ALL_PATHS: &str = "/, /healthz, /readyz, /metrics, /status and /ledger";

/// Reads path and query.
///
/// # Errors
/// [`RouteError`] says what would have been answered.
pub(super) fn route(scope: Scope, path: &str, query: &str) -> Result<Route, RouteError> {
    match (scope, path) {
        (_, "/metrics") => Ok(Route::Metrics),
        (Scope::Metrics, _) => Err(RouteError::NotFound("/metrics")),
        (Scope::All, "/") => Ok(Route::Page),
        (Scope::All, "/healthz") => Ok(Route::Health),
        (Scope::All, "/readyz") => readiness(query).map(Route::Ready),
        (Scope::All, "/status") => Ok(Route::Status),
        (Scope::All, "/ledger") => ledger_query::parse(query).map(Route::Ledger).map_err(RouteError::Query),
        (Scope::All, _) => Err(RouteError::NotFound(ALL_PATHS)),
    }
}

/// Name and value of each parameter, undecoded: every value that means something here is plain.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
}

fn readiness(query: &str) -> Result<Readiness, RouteError> {
    match parameters(query).find(|(name, _)| *name == "for") {
        None => Ok(Readiness::All),
        Some((_, "accept")) => Ok(Readiness::Accept),
        Some((_, "deliver")) => Ok(Readiness::Deliver),
        Some((_, other)) => {
            Err(RouteError::Query(format!("for={other:?} is not known: use for=accept or for=deliver")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_address_shows_metrics_alone() {
        assert_eq!(route(Scope::Metrics, "/metrics", ""), Ok(Route::Metrics));
        for path in ["/", "/status", "/healthz", "/readyz", "/ledger", "/metrics/"] {
            assert!(route(Scope::Metrics, path, "").is_err(), "{path}");
        }
    }

    #[test]
    fn readyz_says_what_it_can_be_asked_for() {
        assert_eq!(route(Scope::All, "/readyz", "for=accept"), Ok(Route::Ready(Readiness::Accept)));
        assert_eq!(route(Scope::All, "/readyz", "x=1&for=deliver"), Ok(Route::Ready(Readiness::Deliver)));
        assert_eq!(route(Scope::All, "/readyz", ""), Ok(Route::Ready(Readiness::All)));
        let error = route(Scope::All, "/readyz", "for=send").unwrap_err();
        assert!(error.to_string().contains("for=accept"), "{error}");
    }
}
