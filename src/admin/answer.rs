//! From a request to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::metrics::Metrics;
use crate::state::ledger::{LedgerError, Query};

use super::command::{self, CommandError};
use super::facts::Facts;
use super::gauges::Gauges;
use super::peer::{self, Ends};
use super::route::{Readiness, Route, RouteError, Scope, route};
use super::{exposition, host, ready};

pub(super) type Answer = Response<Full<Bytes>>;

const PAGE: &str = include_str!("page.html");
const JSON: &str = "application/json";
/// Longest a command's body may take.
const BODY: Duration = Duration::from_secs(10);

/// Where the page's `script` and `style` elements get the nonce of this answer.
const NONCE_MARK: &str = "{{nonce}}";

/// What answers are made from.
pub(super) struct Answers {
    facts: Arc<dyn Facts>,
    metrics: Arc<Metrics>,
    gauges: Gauges,
    /// `admin.ready_max_lag`.
    max_lag: Option<Duration>,
    /// Held by whoever changes something.
    commands: tokio::sync::Mutex<()>,
}

/// Which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Over loopback, between these ends.
    Loopback(Ends),
    /// From this host itself, by another of its addresses, and asked for nothing.
    Here,
    /// From elsewhere, having shown what is asked for; or from anywhere, where nothing is.
    Afar,
}

/// The body of every refusal.
#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    message: &'a str,
}

impl Answers {
    pub(super) fn new(facts: Arc<dyn Facts>, metrics: Arc<Metrics>, max_lag: Option<Duration>) -> Self {
        Self { facts, metrics, gauges: Gauges::default(), max_lag, commands: tokio::sync::Mutex::new(()) }
    }

    /// Answers one request that came to an address of `scope`.
    pub(super) async fn answer<B>(&self, request: Request<B>, scope: Scope, way: Way) -> Answer
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut answer = match self.refuse(&request, scope, way) {
            Some(refusal) => refusal,
            None if command::is_command(&request) => self.command(request, way).await,
            None => match route(scope, request.uri().path(), request.uri().query().unwrap_or_default()) {
                Ok(route) => self.ask(route, request.headers()).await,
                Err(error) => misdirected(&error),
            },
        };
        harden(answer.headers_mut());
        answer
    }

    /// Why a request is not even looked at.
    fn refuse<B>(&self, request: &Request<B>, scope: Scope, way: Way) -> Option<Answer> {
        let asks = request.method() == Method::GET || request.method() == Method::HEAD;
        let commands = scope == Scope::All && command::is_command(request);
        if !asks && !commands {
            let post = scope == Scope::All && command::PATHS.contains(&request.uri().path());
            let (message, allowed) = match post {
                true => ("only POST is known here", "POST"),
                false => ("only GET and HEAD are known here: nothing here can be changed", "GET, HEAD"),
            };
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "method", message);
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Some(answer);
        }
        if !asks && !matches!(way, Way::Loopback(_)) {
            let message = "commands are taken over loopback only: run the command on the relay's own host";
            return Some(refusal(StatusCode::FORBIDDEN, "loopback", message));
        }
        // HTTP/1.0 clients may send no Host; browsers, whom this is about, always do.
        let host = request.headers().get(header::HOST)?;
        let local = host.to_str().is_ok_and(host::is_local);
        (way != Way::Afar && !local).then(|| {
            let message = "this address answers requests to an IP address or localhost only, so that web pages \
                           can't read it through a browser: use the address in the URL";
            refusal(StatusCode::FORBIDDEN, "host", message)
        })
    }

    async fn command<B>(&self, request: Request<B>, way: Way) -> Answer
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Way::Loopback(ends) = way
            && let Ok(Err(stranger)) = tokio::task::spawn_blocking(move || peer::check(ends)).await
        {
            return refusal(StatusCode::FORBIDDEN, "account", &stranger.to_string());
        }
        let command = match tokio::time::timeout(BODY, command::read(request)).await {
            Ok(Ok(command)) => command,
            Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, "body", &error.to_string()),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "body", "the body did not come in time"),
        };
        // One command may hold many letters.
        let _turn = self.commands.lock().await;
        let facts = Arc::clone(&self.facts);
        match tokio::task::spawn_blocking(move || facts.command(command)).await {
            Ok(Ok(done)) => json(StatusCode::OK, &done),
            Ok(Err(error @ CommandError::Wrong(_))) => {
                refusal(StatusCode::BAD_REQUEST, "command", &error.to_string())
            }
            Ok(Err(error)) => refusal(StatusCode::SERVICE_UNAVAILABLE, "command", &error.to_string()),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "command", "it failed: see the log"),
        }
    }

    async fn ask(&self, route: Route, headers: &HeaderMap) -> Answer {
        match route {
            Route::Page => page(),
            Route::Health => {
                let health = ready::health(&*self.facts);
                json(ok_or_unavailable(health.healthy), &health)
            }
            Route::Ready(asked) => self.readiness(asked),
            Route::Metrics => self.scrape(headers),
            Route::Status => json(StatusCode::OK, &self.facts.status()),
            Route::Ledger(query) => self.ledger(query).await,
        }
    }

    fn readiness(&self, asked: Readiness) -> Answer {
        let ready = ready::readiness(&*self.facts, asked, self.max_lag);
        json(ok_or_unavailable(ready.ready), &ready)
    }

    fn scrape(&self, headers: &HeaderMap) -> Answer {
        let Ok(text) = self.gauges.scrape(&self.metrics, &self.facts.status()) else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "the metrics could not be written");
        };
        let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
        if exposition::wants_openmetrics(accept) {
            text_answer(StatusCode::OK, exposition::OPENMETRICS, text)
        } else {
            text_answer(StatusCode::OK, exposition::PROMETHEUS, exposition::prometheus(&text))
        }
    }

    async fn ledger(&self, query: Query) -> Answer {
        let facts = Arc::clone(&self.facts);
        match tokio::task::spawn_blocking(move || facts.ledger(&query)).await {
            Ok(Ok(page)) => json(StatusCode::OK, &page),
            Ok(Err(error)) => unreadable(&error),
            Err(_) => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, "ledger", "reading the ledger failed: see the log")
            }
        }
    }
}

/// For whoever names no token that lets in.
pub(super) fn unauthorized() -> Answer {
    let message = "from other hosts this address wants a token: send Authorization: Bearer TOKEN";
    let mut answer = refusal(StatusCode::UNAUTHORIZED, "unauthorized", message);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    harden(answer.headers_mut());
    answer
}

fn ok_or_unavailable(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn unreadable(error: &LedgerError) -> Answer {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "ledger", &error.to_string())
}

fn misdirected(error: &RouteError) -> Answer {
    match error {
        RouteError::NotFound(_) => refusal(StatusCode::NOT_FOUND, "not_found", &error.to_string()),
        RouteError::Query(_) => refusal(StatusCode::BAD_REQUEST, "query", &error.to_string()),
    }
}

fn refusal(status: StatusCode, error: &str, message: &str) -> Answer {
    json(status, &Refusal { error, message })
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => text_answer(status, JSON, text),
        Err(error) => {
            tracing::error!(%error, "an admin answer could not be written as JSON");
            text_answer(StatusCode::INTERNAL_SERVER_ERROR, JSON, r#"{"error":"json"}"#.to_owned())
        }
    }
}

fn text_answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The page for people. Its policy lets it run its own script and fetch from where it came, nothing else.
fn page() -> Answer {
    let Ok(nonce) = getrandom::u64().map(|n| format!("{n:016x}")) else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "random",
            "the system has no randomness to give yet",
        );
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut answer =
        text_answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace(NONCE_MARK, &nonce));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn harden(headers: &mut HeaderMap) {
    let always: [(HeaderName, &'static str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
