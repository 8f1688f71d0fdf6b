//! An agent started on a spool of an earlier version goes on with it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spoolway::kafka::BatchReader;
use spoolway::target::{Target, TargetOptions};
use tokio::runtime::Runtime;

use crate::golden::Golden;
use crate::readers::{program, second};
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::http;

const LIMIT: Duration = Duration::from_secs(30);

/// Key, value, headers of each event, by stream, in order. Lanes that are not configured are emptied too.
type Streams = BTreeMap<String, Vec<Value>>;

fn streams(events: &str) -> Streams {
    let mut streams = Streams::new();
    for line in events.lines() {
        let mut row: Value = serde_json::from_str(line).expect("JSON");
        let stream = row["stream"].as_str().expect("a stream").to_owned();
        let mut kept = json!({});
        for name in ["key", "key_base64", "value", "value_base64"] {
            if row.get(name).is_some() {
                kept[name] = row[name].take();
            }
        }
        kept["headers"] = row["headers"].take();
        streams.entry(stream).or_default().push(kept);
    }
    streams
}

fn put(row: &mut Value, name: &str, bytes: Option<&[u8]>, always: bool) {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None if !always => {}
        None => row[name] = Value::Null,
        Some((_, Ok(text))) => row[name] = json!(text),
        Some((bytes, Err(_))) => row[format!("{name}_base64")] = json!(STANDARD.encode(bytes)),
    }
}

/// Everything the topic holds, as [`streams`] has it; the relay's own headers are left out.
fn topic(target: &Target, name: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for (_, bytes) in target.batches(name, 0).expect("a topic") {
        for batch in BatchReader::new(&bytes, 16 << 20) {
            for record in batch.expect("a whole batch").records() {
                let record = record.expect("a whole record");
                let mut row = json!({});
                put(&mut row, "key", record.key, false);
                put(&mut row, "value", record.value, true);
                let senders = record.headers.iter().filter(|(name, _)| !name.starts_with("spoolway"));
                let headers: Vec<Value> = senders
                    .map(|(name, value)| {
                        let mut header = json!({ "name": name });
                        put(&mut header, "value", value, true);
                        header
                    })
                    .collect();
                row["headers"] = if headers.is_empty() { Value::Null } else { json!(headers) };
                rows.push(row);
            }
        }
    }
    rows
}

/// Starts an agent on a copy of the spool; what it delivers must be what is written down, and the spool goes on.
fn is_taken_over(golden: &Golden, runtime: &Runtime) {
    let expected = golden.expected();
    let streams = streams(&expected.events);
    let topics = streams.keys().cloned().chain(["new".to_owned()]).map(|name| (name, 1)).collect();
    let options = TargetOptions { topics, ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let port = target.brokers()[0].port();
    let setup = Setup::new("takeover").destination("home", port, "");
    golden.copy(&setup.data_dir());
    let last = expected.events.lines().map(|l| number(l, "main")).max().unwrap_or(0);
    let agent = setup.start();
    let status = agent.wait_drained(Some("home"), LIMIT);
    assert_accounts_balance(&status);
    let lost: u64 = expected.lost.iter().map(|(_, first, last)| last - first + 1).sum();
    assert_eq!(status["accounts"][0]["lost_to_damage"], lost, "{}: {status:#}", golden.name);
    for (stream, rows) in streams {
        assert_eq!(topic(&target, &stream), rows, "{}, stream {stream}", golden.name);
    }
    let answer = http::post(setup.http, "/v1/events/new", "", b"and on it goes").expect("an answer");
    let first = answer.json()["first_seq"].as_u64().expect("a number");
    let end = last.max(expected.lost.iter().map(|(.., last)| *last).max().unwrap_or(0));
    assert_eq!(first, end + 1, "{}: numbers go on", golden.name);
    agent.wait_drained(Some("home"), LIMIT);
    agent.stop();
    assert_eq!(second(&setup.data_dir()), program(&setup.data_dir()), "{}: afterwards", golden.name);
}

fn number(line: &str, lane: &str) -> u64 {
    let row: Value = serde_json::from_str(line).expect("JSON");
    if row["lane"] == lane { row["seq"].as_u64().expect("a number") } else { 0 }
}

#[test]
fn an_agent_takes_over_every_golden_spool_and_delivers_what_is_written_down() {
    let runtime = Runtime::new().expect("a runtime");
    for golden in Golden::all() {
        is_taken_over(&golden, &runtime);
    }
}
