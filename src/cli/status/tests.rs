//! The command against agents that answer well, badly and not at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::nagios::{Limits, Verdict, judge};
use super::view::{Ready, Status};
use super::{ledger, text};
use crate::cli::client::address;
use crate::cli::client::{Client, ClientError};
use crate::cli::testing::{agent, answer, ok};
use crate::config::model::HostPort;
use crate::ids::{DestinationName, Incarnation, LaneName, Seq};
use crate::spool::Cause;
use crate::status;

/// What an agent says of itself, in trouble or not.
fn status(trouble: bool) -> status::Status {
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let error = status::LastError {
        at: 1_000,
        code: Some(29),
        message: "topic orders: not \x1b[31mauthorized | today".into(),
        hint: "ask for WRITE on it".into(),
        count: 1234,
    };
    status::Status {
        relay: status::Relay {
            id: "edge-042".into(),
            incarnation: Incarnation(0xab),
            incarnation_cause: Cause::New,
            incarnation_since: 0,
        },
        version: "0.1.0",
        uptime_seconds: 3 * 3600,
        sources: vec![status::Source {
            name: "app-http".into(),
            kind: "http",
            connections: 3,
            last_event_at: Some(59_000),
            accepted: 1_234_567,
            rejected: 2,
            address: Some("127.0.0.1:8080".into()),
        }],
        lanes: vec![status::Lane {
            name: lane.clone(),
            draining: false,
            first_seq: Seq(1),
            durable_seq: Seq(5000),
            bytes: 3 << 20,
            limit_bytes: 10 << 30,
            segments: 4,
            quarantined_events: u64::from(trouble),
            full: false,
            full_reason: None,
            failing: trouble.then(|| "fsync failed".into()),
        }],
        destinations: vec![status::Destination {
            name: home.clone(),
            lane: lane.clone(),
            up: !trouble,
            delivered_seq: Seq(4900),
            lag_events: if trouble { 100 } else { 0 },
            lag_seconds: if trouble { 61.5 } else { 0.0 },
            in_flight: 50,
            parked: 7,
            parked_bytes: 0,
            waiting: vec![status::Waiting { topic: "orders".into(), reason: "it is missing".into() }],
            possibly_doubled: 0,
            throttled_seconds: 0.0,
            notes: vec!["reading is not permitted".into()],
            last_error: trouble.then_some(error),
        }],
        routes: Vec::new(),
        accounts: vec![status::Account {
            lane,
            destination: home,
            since_seq: Seq(1),
            accepted: 5000,
            delivered: 4800,
            dead_lettered: 60,
            filtered: 30,
            dropped: 9,
            lost_to_damage: 1,
            pending: if trouble { 99 } else { 100 },
        }],
    }
}

fn view(trouble: bool) -> Status {
    serde_json::from_str(&serde_json::to_string(&status(trouble)).unwrap()).unwrap()
}

fn plain(styled: &str) -> String {
    anstream::adapter::strip_str(styled).to_string()
}

#[test]
fn people_see_everything_the_agent_says() {
    let ready: Ready = serde_json::from_str(
        r#"{"ready":false,"accept":{"ready":true,"reasons":[]},
            "deliver":{"ready":false,"reasons":["home lags"]},"notes":["look here"]}"#,
    )
    .unwrap();
    let shown = plain(&text::render(&view(true), &ready, 61_000));
    for part in [
        "edge-042  spoolway 0.1.0, up 3 h 0 min, incarnation 00000000000000ab",
        "accepting: ready",
        "delivering: not ready: home lags",
        "note: look here",
        "app-http  http  127.0.0.1:8080            3  1,234,567         2  2.0 s ago",
        "main  failing      1    5,000  3.0 MiB  10.0 GiB         4               1",
        "      fsync failed",
        "home  main  down   100  1 min 1 s            4,900         50       7",
        "      topic orders waits: it is missing",
        "last error, 1 min 0 s ago, 1,234 in a row: topic orders: not \u{fffd}[31mauthorized | today (code 29)",
        "ask for WRITE on it",
        "5,000        4,800               60          30          9       1         99",
        "does not add up: off by 1;",
    ] {
        assert!(shown.contains(part), "{part:?} in\n{shown}");
    }
    let shown = plain(&text::render(&view(false), &Ready::default(), 61_000));
    assert!(!shown.contains("add up") && !shown.contains("last error"), "{shown}");
}

const LIMITS: Limits = Limits { warn: Duration::from_secs(60), critical: Duration::from_secs(300) };

#[test]
fn nagios_is_told_that_all_is_well_with_figures() {
    assert_eq!(
        judge(&view(false), LIMITS),
        Verdict {
            code: 0,
            line: "SPOOLWAY OK - 1 destinations, most lag 0 s | 'main/home lag'=0.000s;60;300;0 \
                   'main/home events'=0;;;0 'main spool'=3145728B;;;0;10737418240"
                .into()
        }
    );
}

#[test]
fn nagios_is_told_the_worst_first_and_on_one_line() {
    let verdict = judge(&view(true), LIMITS);
    assert_eq!(verdict.code, 2);
    assert!(
        verdict.line.starts_with("SPOOLWAY CRITICAL - lane main can't write: fsync failed; "),
        "{}",
        verdict.line
    );
    assert!(verdict.line.contains("destination home (lane main) is down and lags 1 min 1 s"));
    assert_eq!(verdict.line.matches('|').count(), 1, "{}", verdict.line);
    assert_eq!(verdict.line.lines().count(), 1);
}

#[test]
fn a_lag_is_a_warning_then_critical_and_a_lag_of_no_events_is_none() {
    let lagging = |events, seconds| {
        let mut status = view(false);
        status.destinations[0].lag_events = events;
        status.destinations[0].lag_seconds = seconds;
        judge(&status, LIMITS).code
    };
    assert_eq!([lagging(1, 59.9), lagging(1, 60.0), lagging(1, 300.0), lagging(0, 900.0)], [0, 1, 2, 0]);
    let mut away = view(false);
    away.destinations[0].up = false;
    assert_eq!(judge(&away, LIMITS).code, 1, "away without a lag yet");
}

#[test]
fn an_answer_is_taken_as_it_is_and_refusals_are_told() {
    let client = Client::new(agent(vec![
        ok("{\"a\":1}\n"),
        answer("503 Service Unavailable", "{}"),
        answer("503 Service Unavailable", "the ledger is busy"),
    ]));
    assert_eq!(client.get("/status").unwrap(), "{\"a\":1}\n");
    assert_eq!(client.get("/readyz").unwrap(), "{}", "its reasons come with a 503");
    let error = client.get("/ledger").unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code: 503, .. }), "{error}");
    assert!(error.to_string().contains("the ledger is busy"), "{error}");
}

#[test]
fn whatever_else_listens_there_is_not_taken_for_an_agent() {
    for odd in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\n\r\nno length",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncut",
        "HTTP/1.1 what\r\ncontent-length: 0\r\n\r\n",
        "",
    ] {
        let error = Client::new(agent(vec![odd.into()])).get("/status").unwrap_err();
        assert!(matches!(&error, ClientError::Foreign { .. }), "{odd:?}: {error}");
    }
    let client = Client::new(agent(vec![ok("<html>")]));
    let error = client.read::<Status>(&client.get("/status").unwrap()).unwrap_err();
    assert!(error.to_string().contains("not a spoolway agent"), "{error}");
}

#[test]
fn where_nobody_listens_it_says_what_to_look_at() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        Client::new(HostPort { host: free.ip().to_string(), port: free.port() }).get("/status").unwrap_err();
    for part in [&free.to_string(), "no agent answers", "spoolway run", "admin.listen", "--admin"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    assert_eq!(Verdict::silent(&error).code, 2);
}

#[test]
fn an_agent_that_never_answers_is_left_after_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = HostPort { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let error = Client::within(at, Duration::from_millis(50)).get("/status").unwrap_err();
    assert!(matches!(&error, ClientError::Broken { .. }), "{error}");
}

#[test]
fn the_ledger_is_read_page_by_page() {
    let row = |segment: u64| {
        format!(
            r#"{{"lane":"main","destination":"home","segment":{segment},"first_seq":1,"last_seq":9,"accepted":9,
            "delivered":9,"hash":"00000000000000ff","finished_at":1763700000000,"new_field":1}}"#
        )
    };
    let pages = vec![
        ok(&format!(r#"{{"rows":[{}],"next":"main/home/1","unreadable":1,"missed":0}}"#, row(1))),
        ok(&format!(r#"{{"rows":[{}],"next":null,"unreadable":0,"missed":0}}"#, row(2))),
    ];
    let client = Client::new(agent(pages));
    let mut segments = Vec::new();
    let last = ledger::each_page(&client, |rows| {
        segments.extend(rows.iter().map(|row| row["segment"].as_u64().unwrap()));
        Ok(())
    });
    assert_eq!(segments, [1, 2]);
    assert_eq!(last.unwrap().unreadable, 1);
    let rows: Vec<_> = [row(7)].iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let shown = ledger::render(&rows);
    assert!(shown.contains("00000000000000ff  2025-11-21T04:40:00Z"), "{shown}");
    assert!(ledger::render(&[]).contains("No segment"));
}

#[test]
fn an_address_may_be_written_as_a_url() {
    let at = HostPort { host: "127.0.0.1".into(), port: 9674 };
    assert_eq!(address("http://127.0.0.1:9674/"), Ok(at.clone()));
    assert_eq!(address("127.0.0.1:9674"), Ok(at));
    assert!(address("127.0.0.1").is_err());
}

/// An agent that had just been told other routes, and took them over, was said not to run.
#[test]
fn whoever_has_an_agent_do_something_waits_a_moment_for_one_that_is_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(HostPort { host: free.ip().to_string(), port: free.port() });
    assert!(client.get("/status").is_err(), "who looks hears it at once");
    let begun = std::time::Instant::now();
    assert!(client.post("/routes/set", "{}").unwrap_err().to_string().contains("is `spoolway run` running"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let agent = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        let (mut stream, _) = TcpListener::bind(free).unwrap().accept().unwrap();
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).unwrap();
        stream.write_all(ok("{}").as_bytes()).unwrap();
    });
    assert_eq!(client.post("/routes/set", "{}").unwrap(), "{}");
    agent.join().unwrap();
}
