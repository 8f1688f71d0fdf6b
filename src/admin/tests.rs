//! The server from outside, over real sockets, with a fake agent.

use super::command::{Command, CommandError};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::server::Limits;
use super::{Facts, Server};
use crate::config::model::Admin;
use crate::ids::{DestinationName, Incarnation, LaneName, SegmentId, Seq};
use crate::metrics::Metrics;
use crate::spool::Cause;
use crate::state::ledger::{Key, LedgerError, Page, Query, Row};
use crate::status::{Account, Destination, Lane, LastError, Relay, Source, Status, Waiting};

mod guarded;

#[derive(Default)]
struct Fake {
    accept: Mutex<Option<String>>,
    stalled: Mutex<Option<String>>,
    lag: Mutex<(u64, f64)>,
    gone: Mutex<bool>,
}

fn lane() -> LaneName {
    LaneName::new("main").unwrap()
}

fn home() -> DestinationName {
    DestinationName::new("home").unwrap()
}

impl Facts for Fake {
    fn command(&self, command: Command) -> Result<serde_json::Value, CommandError> {
        match command {
            Command::Purge(ids) if ids.is_empty() => Err(CommandError::Wrong("nothing to purge".into())),
            done => Ok(serde_json::json!({ "done": format!("{done:?}") })),
        }
    }

    fn status(&self) -> Status {
        let (lag_events, lag_seconds) = *self.lag.lock().unwrap();
        let destination = Destination {
            name: home(),
            lane: lane(),
            up: lag_events == 0,
            delivered_seq: Seq(9),
            lag_events,
            lag_seconds,
            in_flight: 0,
            parked: 0,
            parked_bytes: 0,
            waiting: vec![Waiting { topic: "orders".into(), reason: "it is missing".into() }],
            possibly_doubled: 0,
            throttled_seconds: 0.0,
            notes: vec!["reading is not permitted".into()],
            last_error: Some(LastError {
                at: 1,
                code: Some(6),
                message: "no route to host".into(),
                hint: "look".into(),
                count: 2,
            }),
        };
        let account = Account {
            lane: lane(),
            destination: home(),
            since_seq: Seq(1),
            accepted: 9,
            delivered: 9,
            dead_lettered: 0,
            filtered: 0,
            dropped: 0,
            lost_to_damage: 0,
            pending: 0,
        };
        let lane = Lane {
            name: lane(),
            draining: false,
            first_seq: Seq(1),
            durable_seq: Seq(9),
            bytes: 4096,
            limit_bytes: 8192,
            segments: 1,
            quarantined_events: 0,
            full: true,
            full_reason: None,
            failing: None,
        };
        Status {
            relay: Relay {
                id: "<b>edge</b>".into(),
                incarnation: Incarnation(7),
                incarnation_cause: Cause::New,
                incarnation_since: 0,
            },
            version: "0",
            uptime_seconds: 3,
            sources: vec![Source { name: "app".into(), kind: "tcp", ..Source::default() }],
            lanes: vec![lane],
            destinations: if *self.gone.lock().unwrap() { vec![] } else { vec![destination] },
            routes: vec![crate::status::Route {
                streams: vec!["a.*".into()],
                to: home(),
                topic: "{stream}".into(),
                origin: "file",
                pinned: false,
            }],
            accounts: vec![account],
        }
    }

    fn accept_problem(&self) -> Option<String> {
        self.accept.lock().unwrap().clone()
    }

    fn deliver_problem(&self) -> Option<String> {
        None
    }

    fn stalled(&self) -> Option<String> {
        self.stalled.lock().unwrap().clone()
    }

    fn ledger(&self, query: &Query) -> Result<Page, LedgerError> {
        let key = Key { lane: lane(), destination: home(), segment: SegmentId(4) };
        if query.limit == 1 {
            return Err(LedgerError::Closed("shutting down".into()));
        }
        let row = Row {
            key: key.clone(),
            run: None,
            first_seq: Seq(1),
            last_seq: Seq(9),
            accepted: 9,
            delivered: 9,
            filtered: 0,
            dead_lettered: 0,
            dropped: 0,
            lost_to_damage: 0,
            hash: 0xabc,
            finished_at: 5,
        };
        Ok(Page { rows: vec![row], next: Some(key), ..Page::default() })
    }
}

/// A server over an agent that leaves no list of its status empty.
pub(super) fn running_with_everything() -> Running {
    running(Limits::DEFAULT)
}

pub(super) struct Running {
    server: Server,
    facts: Arc<Fake>,
    stop: CancellationToken,
}

impl Running {
    fn address(&self) -> SocketAddr {
        self.server.address().unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        get(self.address(), path, "Host: localhost\r\n").await
    }
}

fn running(limits: Limits) -> Running {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Admin { listen: Some(any), metrics_listen: Some(any), ..Admin::default() };
    start(&config, limits)
}

fn start(config: &Admin, limits: Limits) -> Running {
    let facts = Arc::new(Fake::default());
    let stop = CancellationToken::new();
    let server =
        Server::start_with(config, Arc::clone(&facts) as _, Metrics::new(), stop.clone(), limits).unwrap();
    Running { server, facts, stop }
}

pub(super) struct Reply {
    code: u16,
    head: String,
    body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

async fn request(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
    let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
    Reply { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> Reply {
    request(address, &format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await
}

#[tokio::test]
async fn health_follows_the_tasks() {
    let run = running(Limits::DEFAULT);
    let reply = run.get("/healthz").await;
    assert_eq!((reply.code, reply.body.as_str()), (200, r#"{"healthy":true}"#));
    *run.facts.stalled.lock().unwrap() = Some("lane main: the writer has not come round for 40 s".into());
    let reply = run.get("/healthz").await;
    assert_eq!(reply.code, 503);
    assert!(reply.body.contains("40 s"), "{}", reply.body);
}

#[tokio::test]
async fn a_full_spool_is_not_ready_to_accept_and_still_ready_to_deliver() {
    let run = running(Limits::DEFAULT);
    assert_eq!(run.get("/readyz").await.code, 200);
    *run.facts.accept.lock().unwrap() = Some("the spool is full".into());
    let reply = run.get("/readyz?for=accept").await;
    assert_eq!(reply.code, 503);
    assert_eq!(reply.json()["accept"]["reasons"][0], "the spool is full");
    assert_eq!(reply.json()["deliver"], serde_json::Value::Null);
    assert_eq!(run.get("/readyz?for=deliver").await.code, 200);
    assert_eq!(run.get("/readyz").await.code, 503);
    assert_eq!(run.get("/readyz?for=x").await.code, 400);
}

#[tokio::test]
async fn lag_over_the_threshold_is_not_ready_to_deliver_and_says_why() {
    let run = running(Limits::DEFAULT);
    *run.facts.lag.lock().unwrap() = (12, 299.0);
    let reply = run.get("/readyz?for=deliver").await;
    assert_eq!(reply.code, 200);
    assert!(reply.json()["notes"][0].as_str().unwrap().contains("no route to host"), "{}", reply.body);
    *run.facts.lag.lock().unwrap() = (12, 301.0);
    let reply = run.get("/readyz?for=deliver").await;
    assert_eq!(reply.code, 503);
    let reason = reply.json()["deliver"]["reasons"][0].as_str().unwrap().to_owned();
    for word in ["home", "301 s", "12 events", "300 s", "no route to host"] {
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(run.get("/readyz?for=accept").await.code, 200);
}

#[tokio::test]
async fn metrics_have_gauges_of_the_moment_in_the_format_asked_for() {
    let run = running(Limits::DEFAULT);
    *run.facts.lag.lock().unwrap() = (12, 30.0);
    let reply = run.get("/metrics").await;
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    for line in [
        "spoolway_lag_events{lane=\"main\",destination=\"home\"} 12",
        "spoolway_lag_seconds{lane=\"main\",destination=\"home\"} 30",
        "spoolway_spool_bytes{lane=\"main\"} 4096",
        "spoolway_spool_limit_bytes{lane=\"main\"} 8192",
        "spoolway_spool_full{lane=\"main\"} 1",
        "spoolway_spool_failing{lane=\"main\"} 0",
        "spoolway_destination_up{destination=\"home\"} 0",
        "# TYPE spoolway_build_info gauge",
    ] {
        assert!(reply.body.contains(line), "{line} in {}", reply.body);
    }
    let accept = "Host: localhost\r\nAccept: application/openmetrics-text; version=1.0.0\r\n";
    let reply = get(run.address(), "/metrics", accept).await;
    assert!(reply.head.contains("content-type: application/openmetrics-text"), "{}", reply.head);
    assert!(reply.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_destination_that_is_gone_is_no_longer_shown_by_the_gauges() {
    let run = running(Limits::DEFAULT);
    assert!(run.get("/metrics").await.body.contains("spoolway_destination_up{destination=\"home\"} 1"));
    *run.facts.gone.lock().unwrap() = true;
    let body = run.get("/metrics").await.body;
    assert!(!body.contains("destination=\"home\""), "{body}");
}

#[tokio::test]
async fn the_metrics_address_has_metrics_alone_and_takes_any_host() {
    let run = running(Limits::DEFAULT);
    let address = run.server.metrics_address().unwrap();
    assert_eq!(get(address, "/metrics", "Host: 127.0.0.1\r\n").await.code, 200);
    assert_eq!(get(address, "/status", "Host: 127.0.0.1\r\n").await.code, 404);
}

#[tokio::test]
async fn status_and_ledger_are_json() {
    let run = running(Limits::DEFAULT);
    let reply = run.get("/status").await;
    assert!(reply.head.contains("content-type: application/json"));
    assert_eq!(reply.json()["relay"]["incarnation"], "0000000000000007");
    let reply = run.get("/ledger?limit=50").await.json();
    assert_eq!(reply["rows"][0]["hash"], "0000000000000abc");
    assert_eq!(reply["rows"][0]["segment"], 4);
    assert_eq!(reply["next"], "main/home/4");
    let reply = run.get("/ledger?limit=1").await;
    assert_eq!(reply.code, 503);
    assert!(reply.body.contains("shutting down"));
    assert_eq!(run.get("/ledger?limit=none").await.code, 400);
}

#[tokio::test]
async fn the_page_runs_only_its_own_script_and_loads_nothing_from_elsewhere() {
    let run = running(Limits::DEFAULT);
    let reply = run.get("/").await;
    assert_eq!(reply.code, 200);
    let nonce = reply.head.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert_eq!(reply.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert_ne!(run.get("/").await.head, reply.head, "the nonce is drawn for each answer");
    for banned in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "http://",
        "https://",
        " style=",
        "{{",
    ] {
        assert!(!reply.body.contains(banned), "{banned}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_known() {
    let run = running(Limits::DEFAULT);
    let reply = request(
        run.address(),
        "POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(reply.code, 405);
    assert!(reply.head.contains("allow: get, head"));
    let reply =
        request(run.address(), "HEAD /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((reply.code, reply.body.as_str()), (200, ""));
}

async fn post(address: SocketAddr, path: &str, kind: &str, body: &str) -> Reply {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nConnection: close\r\n");
    request(address, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await
}

#[tokio::test]
async fn dead_letters_are_sent_again_or_purged_by_a_post_of_json_and_by_nothing_else() {
    let run = running(Limits::DEFAULT);
    let json = "application/json";
    let ids = r#"{"ids": [1, 2]}"#;
    for (path, body, done) in [
        ("/dead-letters/replay", ids, "Replay([1, 2])"),
        ("/dead-letters/purge", ids, "Purge([1, 2])"),
        ("/destinations/abandon", r#"{"destination": "home"}"#, "Abandon(DestinationName(\"home\"))"),
        (
            "/routes/set",
            r#"{"stream": "a.*", "to": "home"}"#,
            "SetRoute(SetRoute { stream: \"a.*\", to: \"home\", topic: None, pin: false })",
        ),
        ("/routes/unset", r#"{"stream": "a.*"}"#, "UnsetRoute(\"a.*\")"),
    ] {
        let reply = post(run.address(), path, json, body).await;
        assert_eq!((reply.code, reply.json()["done"].as_str()), (200, Some(done)));
        // What a form on a web page elsewhere can send.
        assert_eq!(post(run.address(), path, "text/plain", r#"{"ids": [1, 2]}"#).await.code, 400);
        for wrong in
            ["", "[1]", "{}", r#"{"ids": [-1]}"#, r#"{"ids": [1], "all": true}"#, r#"{"destination": 7}"#]
        {
            let reply = post(run.address(), path, json, wrong).await;
            assert_eq!(reply.code, 400, "{wrong}");
            assert!(reply.body.contains("the body is not"), "{}", reply.body);
        }
        assert_eq!(
            post(run.server.metrics_address().unwrap(), path, json, r#"{"ids": [1]}"#).await.code,
            405
        );
        let reply = run.get(path).await;
        assert_eq!(reply.code, 404, "{}", reply.body);
    }
    assert_eq!(post(run.address(), "/dead-letters/purge", json, r#"{"ids": []}"#).await.code, 400);
    let long = format!("{{\"ids\": [{}]}}", "1,".repeat(600_000));
    assert_eq!(post(run.address(), "/dead-letters/purge", json, &long).await.code, 400);
}

#[tokio::test]
async fn over_loopback_a_name_that_anybody_can_point_here_is_refused() {
    let run = running(Limits::DEFAULT);
    let reply = get(run.address(), "/status", "Host: evil.example:9674\r\n").await;
    assert_eq!(reply.code, 403);
    assert!(!reply.body.contains("lanes"));
    assert_eq!(get(run.address(), "/status", "Host: 127.0.0.1:9674\r\n").await.code, 200);
    let reply = request(run.address(), "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.code, 200);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let run = running(Limits::DEFAULT);
    let reply = run.get("/nothing").await;
    assert_eq!(reply.code, 404);
    assert!(reply.body.contains("/healthz"));
    assert_eq!(run.get(&format!("/{}", "x".repeat(20_000))).await.code, 431);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_loses_its_place() {
    let limits = Limits { connections: 1, head: Duration::from_millis(50), ..Limits::DEFAULT };
    let run = running(limits);
    let mut slow = TcpStream::connect(run.address()).await.unwrap();
    slow.write_all(b"GET /healthz HT").await.unwrap();
    assert_eq!(run.get("/healthz").await.code, 200, "served once the slow one has lost the only place");
    let mut idle = TcpStream::connect(run.address()).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(run.get("/healthz").await.code, 200, "an idle kept connection goes too");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_loses_its_place() {
    let brief = Duration::from_millis(50);
    let run = running(Limits { connections: 1, life: brief, grace: brief, ..Limits::DEFAULT });
    let mut deaf = TcpStream::connect(run.address()).await.unwrap();
    let flood = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    // Pipelined until both sockets' buffers are full; the cut ends it.
    let _cut = deaf.write_all(flood.as_bytes()).await;
    assert_eq!(run.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn it_stops_when_told_and_frees_the_port() {
    let run = running(Limits::DEFAULT);
    let address = run.address();
    let kept = TcpStream::connect(address).await.unwrap();
    run.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), run.server.stopped()).await.unwrap();
    drop(kept);
    std::net::TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let run = running(Limits::DEFAULT);
    let config = Admin { listen: Some(run.address()), ..Admin::off() };
    let error =
        Server::start(&config, Arc::clone(&run.facts) as _, Metrics::new(), run.stop.clone()).unwrap_err();
    let text = error.to_string();
    for word in ["admin.listen", &run.address().to_string(), "in use", "choose another port"] {
        assert!(text.contains(word), "{text}");
    }
}
