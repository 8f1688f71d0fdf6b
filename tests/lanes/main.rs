//! Lanes: each a spool of its own, and what becomes of them and of their streams when the configuration changes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod destinations;
mod piped;
mod routes;
#[path = "../support/mod.rs"]
mod support;
mod tenants;

use std::time::Duration;

use serde_json::Value;
use spoolway::kafka::BatchReader;
use spoolway::target::{Target, TargetOptions};
use support::agent::{Setup, assert_accounts_balance};
use support::http;
use support::ports::free_port;

const SOON: Duration = Duration::from_secs(30);

/// A small Kafka in this process.
struct Cluster {
    runtime: tokio::runtime::Runtime,
    target: Target,
}

impl Cluster {
    fn start(topics: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let topics = topics.iter().map(|t| ((*t).to_owned(), 1)).collect();
        let options = TargetOptions { topics, ..TargetOptions::default() };
        let target = runtime.block_on(Target::start(options)).expect("a target");
        Self { runtime, target }
    }

    fn port(&self) -> u16 {
        self.target.brokers()[0].port()
    }

    fn cut(&self) {
        self.runtime.block_on(self.target.faults().cut());
    }

    fn restore(&self) {
        self.runtime.block_on(self.target.faults().restore()).expect("its ports are free");
    }

    /// The values in a topic, in order.
    fn values(&self, topic: &str) -> Vec<String> {
        let mut values = Vec::new();
        for (_, bytes) in self.target.batches(topic, 0).expect("it is there") {
            for batch in BatchReader::new(&bytes, 64 << 20) {
                for record in batch.expect("a batch").records() {
                    let value = record.expect("a record").value.expect("a value").to_vec();
                    values.push(String::from_utf8(value).expect("text"));
                }
            }
        }
        values
    }
}

fn lane(name: &str, lines: &str) -> String {
    format!("[[lane]]\nname = \"{name}\"\n{lines}")
}

fn stream(name: &str, lane: &str) -> String {
    format!("[[stream]]\nname = \"{name}\"\nlane = \"{lane}\"")
}

#[track_caller]
fn post(setup: &Setup, stream: &str, body: &str) -> Value {
    let answer =
        http::post(setup.http, &format!("/v1/events/{stream}"), "", body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sends `x-first` to `x-last`, one request each.
fn send(setup: &Setup, stream: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    let values: Vec<String> = numbers.map(|n| format!("{stream}-{n}")).collect();
    for value in &values {
        post(setup, stream, value);
    }
    values
}

/// Rows of an array of `/status` in which each key has its value.
fn rows<'v>(status: &'v Value, array: &str, keys: &[(&str, &str)]) -> Vec<&'v Value> {
    let rows = status[array].as_array().expect("rows").iter();
    rows.filter(|row| keys.iter().all(|(key, value)| row[*key] == *value)).collect()
}

#[track_caller]
fn row<'v>(status: &'v Value, array: &str, keys: &[(&str, &str)]) -> &'v Value {
    let found = rows(status, array, keys);
    assert_eq!(found.len(), 1, "one row of {array} with {keys:?} in {status:#}");
    found[0]
}

fn names(status: &Value) -> Vec<&str> {
    status["lanes"].as_array().expect("lanes").iter().filter_map(|l| l["name"].as_str()).collect()
}

/// Fills a lane of 2 MiB until it refuses.
fn fill(setup: &Setup, stream: &str) -> http::Response {
    let body = [[b'x'; 199].as_slice(), b"\n"].concat().repeat(1_000);
    let refused = (0..60).find_map(|_| {
        let answer = http::post(setup.http, &format!("/v1/events/{stream}"), "", &body).expect("an answer");
        (answer.status != 200).then_some(answer)
    });
    refused.expect("12 MB do not fit into 2 MiB")
}

const SMALL: &str =
    "segment_size = \"1MiB\"\nmax_size = \"2MiB\"\nwhen_full = \"reject\"\ncompression = \"none\"";

#[test]
fn a_full_lane_refuses_its_own_streams_and_names_itself_while_the_others_accept() {
    let setup = Setup::new("full-lane")
        .spool("max_event_size = \"1KiB\"")
        .destination("home", free_port(), "")
        .section(&lane("a", SMALL))
        .section(&stream("a.*", "a"));
    let agent = setup.start();
    let answer = fill(&setup, "a.x");
    assert_eq!(answer.status, 503, "{}", answer.text());
    let first = post(&setup, "other", "still\ngoes\n");
    assert_eq!(
        (first["first_seq"].as_u64(), first["last_seq"].as_u64()),
        (Some(1), Some(2)),
        "numbers are a lane's"
    );
    let status = agent.status();
    assert_accounts_balance(&status);
    assert_eq!(names(&status), ["main", "a"]);
    assert_eq!(row(&status, "lanes", &[("name", "a")])["full"], true, "{status:#}");
    assert_eq!(row(&status, "lanes", &[("name", "main")])["full"], false, "{status:#}");
    assert_eq!(row(&status, "accounts", &[("lane", "main")])["pending"], 2, "{status:#}");
    let said = agent.wait_refusing("/readyz?for=accept", "full", SOON);
    assert!(said.contains("lane a:") && !said.contains("lane main:"), "{said}");
    let metrics = agent.metrics();
    for line in ["spoolway_spool_full{lane=\"a\"} 1", "spoolway_spool_full{lane=\"main\"} 0"] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    let shown = spoolway(&setup, &["status"]);
    assert!(shown.contains("main  ok") && shown.contains("a     full"), "{shown}");
    agent.stop();
}

/// Runs a command with the setup's configuration; returns what it printed.
fn spoolway(setup: &Setup, arguments: &[&str]) -> String {
    let mut command = support::agent::spoolway();
    command.args(arguments).arg("-c").arg(setup.dir.join("spoolway.toml"));
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_destination_has_a_row_in_each_lane_whose_streams_go_to_it_and_none_in_others() {
    let cluster = Cluster::start(&["a", "b", "c"]);
    let setup = Setup::new("pairs")
        .without_tcp()
        .destination("home", cluster.port(), "")
        .destination("away", cluster.port(), "")
        .route("a", "home", "{stream}")
        .route("b", "home", "{stream}")
        .route("c", "away", "{stream}")
        .section(&lane("b", ""))
        .section(&lane("c", ""))
        .section(&stream("b", "b"))
        .section(&stream("c", "c"));
    let agent = setup.start();
    let sent: Vec<_> = ["a", "b", "c"].iter().map(|s| send(&setup, s, 0..20)).collect();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    let pairs: Vec<_> = status["accounts"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| (&r["lane"], &r["destination"]))
        .collect();
    let expected = [("main", "home"), ("b", "home"), ("c", "away")];
    assert_eq!(pairs.len(), 3, "{status:#}");
    assert!(pairs.iter().zip(expected).all(|((l, d), (lane, to))| **l == lane && **d == to), "{status:#}");
    for (stream, values) in ["a", "b", "c"].iter().zip(&sent) {
        assert_eq!(cluster.values(stream), *values);
    }
    let metrics = agent.metrics();
    let line = "spoolway_events_delivered_total{lane=\"c\",destination=\"away\",topic=\"c\"} 20";
    assert!(metrics.contains(line), "{metrics}");
    agent.stop();
}

#[test]
fn delivered_waits_for_the_lane_of_the_stream_and_for_no_other() {
    let cluster = Cluster::start(&["a", "b"]);
    let setup = Setup::new("acknowledged")
        .without_tcp()
        .http("ack = \"delivered\"\ndelivered_timeout = \"10s\"")
        .destination("home", cluster.port(), "")
        .destination("dead", free_port(), "")
        .route("a", "home", "{stream}")
        .route("b", "dead", "{stream}")
        .section(&lane("b", ""))
        .section(&stream("b", "b"));
    let agent = setup.start();
    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| http::post(setup.http, "/v1/events/b", "", b"x").expect("an answer"));
        agent.wait_status("has b", SOON, |s| row(s, "lanes", &[("name", "b")])["durable_seq"] == 1);
        let answer = http::post(setup.http, "/v1/events/a", "", b"y").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!waits.is_finished(), "the dead destination can't have it");
        waits.join().expect("an answer")
    });
    assert_eq!(waits.status, 202, "{}", waits.text());
    agent.stop();
}

#[test]
fn a_lane_that_is_no_longer_configured_takes_nothing_and_is_emptied() {
    let cluster = Cluster::start(&["x"]);
    let port = cluster.port();
    cluster.cut();
    let with = |setup: Setup| {
        setup.destination("home", port, "").section(&lane("old", "")).section(&stream("x", "old"))
    };
    let setup = with(Setup::new("drained").without_tcp());
    let agent = setup.start();
    let mut sent = send(&setup, "x", 0..30);
    agent.stop();
    let setup = setup.anew().destination("home", port, "");
    let agent = setup.start();
    let status = agent.status();
    assert_eq!(names(&status), ["main", "old"]);
    assert_eq!(row(&status, "lanes", &[("name", "old")])["draining"], true, "{status:#}");
    assert_eq!(row(&status, "accounts", &[("lane", "old")])["pending"], 30, "{status:#}");
    assert!(spoolway(&setup, &["status"]).contains("draining"));
    assert_eq!(post(&setup, "x", "x-30")["first_seq"], 1, "it is taken by main");
    sent.push("x-30".to_owned());
    cluster.restore();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    assert_eq!(cluster.values("x"), sent);
    agent.stop();
    // Nothing waits in it any more, so the next start removes it.
    let agent = setup.start();
    assert_eq!(names(&agent.status()), ["main"]);
    assert!(!setup.data_dir().join("lanes/old").exists() && !setup.data_dir().join("readers/old").exists());
    agent.stop();
    assert_eq!(cluster.values("x"), sent);
}

/// Streams in lane `fast`, with a destination.
fn in_fast(setup: &Setup, port: u16, streams: &[&str]) -> Setup {
    let moved = setup.anew().destination("home", port, "").section(&lane("fast", ""));
    streams.iter().fold(moved, |setup, name| setup.section(&stream(name, "fast")))
}

#[test]
fn a_stream_that_moves_to_another_lane_and_back_keeps_its_order_over_kills() {
    let cluster = Cluster::start(&["x", "y"]);
    let port = cluster.port();
    cluster.cut();
    let setup = Setup::new("moved").without_tcp().destination("home", port, "");
    let agent = setup.start();
    let mut sent = send(&setup, "x", 0..30);
    let mut beside = send(&setup, "y", 0..10);
    agent.kill();
    let moved = in_fast(&setup, port, &["x"]);
    let agent = moved.start();
    sent.extend(send(&moved, "x", 30..60));
    beside.extend(send(&moved, "y", 10..20));
    let status = agent.status();
    assert_eq!(row(&status, "lanes", &[("name", "fast")])["durable_seq"], 30, "{status:#}");
    agent.kill();
    // And once more before anything could be delivered.
    let back = in_fast(&setup, port, &["y"]);
    let agent = back.start();
    sent.extend(send(&back, "x", 60..90));
    beside.extend(send(&back, "y", 20..30));
    agent.kill();
    cluster.restore();
    let agent = back.start();
    sent.extend(send(&back, "x", 90..100));
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    assert_eq!(cluster.values("x"), sent);
    assert_eq!(cluster.values("y"), beside);
    agent.stop();
    // All is settled, so nothing waits for anything any more.
    let agent = moved.start();
    sent.extend(send(&setup, "x", 100..110));
    agent.wait_drained(None, SOON);
    assert_eq!(cluster.values("x"), sent);
    agent.stop();
}

#[test]
fn while_a_moved_stream_waits_for_its_old_lane_the_others_of_its_new_lane_go_on() {
    let cluster = Cluster::start(&["y"]);
    let setup = Setup::new("waits").without_tcp().destination("home", cluster.port(), "");
    let agent = setup.start();
    let mut sent = send(&setup, "x", 0..5);
    agent.wait_status("waits for topic x", SOON, |s| s["destinations"][0]["parked"] == 5);
    agent.kill();
    let moved = in_fast(&setup, cluster.port(), &["*"]);
    let agent = moved.start();
    sent.extend(send(&moved, "x", 5..10));
    let beside = send(&moved, "y", 0..20);
    agent.wait_status("delivers y", SOON, |s| row(s, "accounts", &[("lane", "fast")])["delivered"] == 20);
    assert_eq!(cluster.values("y"), beside);
    cluster.target.create_topic("x", 1).expect("a topic");
    agent.wait_drained(None, SOON);
    assert_eq!(cluster.values("x"), sent);
    agent.stop();
}

#[test]
fn under_a_rate_that_lanes_share_one_that_goes_first_does_not_queue_behind_the_backlog_of_the_others() {
    let cluster = Cluster::start(&["bulk", "alarm"]);
    let setup = Setup::new("first")
        .without_tcp()
        .destination(
            "home",
            cluster.port(),
            "max_rate = \"300KiB/s\"\nbatch_size = \"64KiB\"\ncompression = \"none\"",
        )
        .section(&lane("alarms", "first = true"))
        .section(&stream("alarm", "alarms"));
    cluster.cut();
    let agent = setup.start();
    let backlog = ([vec![b'x'; 999], b"\n".to_vec()].concat()).repeat(500);
    for _ in 0..4 {
        let answer = http::post(setup.http, "/v1/events/bulk", "", &backlog).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    cluster.restore();
    let began = std::time::Instant::now();
    let pending = |status: &Value, lane: &str| {
        row(status, "accounts", &[("lane", lane)])["pending"].as_u64().expect("a number")
    };
    agent.wait_status("the backlog is on its way", SOON, |s| pending(s, "main") < 2_000);
    for number in 0..5 {
        send(&setup, "alarm", number..number + 1);
        let status = agent.wait_status("the alarm is there", SOON, |s| pending(s, "alarms") == 0);
        assert!(pending(&status, "main") > 0, "it went before the backlog");
    }
    agent.wait_drained(None, SOON);
    assert!(began.elapsed() > Duration::from_secs(5), "2 MB take six seconds: {:?}", began.elapsed());
    assert_eq!((cluster.values("bulk").len(), cluster.values("alarm").len()), (2_000, 5));
    agent.stop();
}
