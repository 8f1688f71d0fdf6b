//! Events that a topic will never take: they become dead letters, the rest flows, and a person has the last word.

use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::java;
use crate::support::agent::{Agent, Setup, assert_accounts_balance, spoolway};
use crate::support::http;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const SOON: Duration = Duration::from_secs(60);

pub fn configure(broker: &Broker, topic: &str, setting: &str) {
    java::tool(
        "org.apache.kafka.tools.ConfigCommand",
        &[
            "--bootstrap-server",
            &broker.address(),
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            topic,
            "--add-config",
            setting,
        ],
    );
}

/// What `spoolway dlq` says; it must end with this code.
fn dlq(setup: &Setup, arguments: &[&str], code: i32) -> String {
    let config = setup.dir.join("spoolway.toml");
    let mut command = spoolway();
    command.arg("dlq").args(arguments).arg("-c").arg(&config);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn letters(setup: &Setup) -> Vec<Value> {
    let listed = dlq(setup, &["list", "--json"], 0);
    listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn post(setup: &Setup, path: &str, headers: &str, value: &[u8]) {
    let answer = http::post(setup.http, path, headers, value).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn account(status: &Value) -> [u64; 4] {
    assert_accounts_balance(status);
    let row = &status["accounts"][0];
    ["accepted", "delivered", "dead_lettered", "pending"].map(|name| row[name].as_u64().expect("a number"))
}

fn wait_account(agent: &Agent<'_>, expected: [u64; 4]) {
    agent.wait_status(&format!("did not come to {expected:?}"), SOON, |s| account(s) == expected);
}

pub fn events_too_large_for_the_topic_become_dead_letters_and_arrive_once_it_takes_them() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "narrow", 1);
    configure(broker, "narrow", "max.message.bytes=20000");
    let setup = Setup::new("narrow").without_tcp().destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let mut books = vec![Load::http(Plan::new(setup.http, "narrow", 1).limit(3_000)).finish()];
    // Nothing that can be compressed (xorshift, Marsaglia 2003).
    let mut state = 88_172_645_463_325_252u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(40_000)
    .collect();
    for _ in 0..3 {
        post(&setup, "/v1/events/narrow", "Content-Type: application/octet-stream\r\n", &large);
    }
    books.push(Load::http(Plan::new(setup.http, "narrow", 2).limit(3_000)).finish());
    wait_account(&agent, [6_003, 6_000, 3, 0]);
    let listed = letters(&setup);
    assert_eq!(listed.len(), 3, "{listed:?}");
    for (row, seq) in listed.iter().zip([3_001, 3_002, 3_003]) {
        assert_eq!((row["seq"].as_u64(), row["size"].as_u64()), (Some(seq), Some(40_000)), "{row}");
        assert_eq!((row["reason"].as_str(), row["code"].as_i64()), (Some("too_large"), Some(10)), "{row}");
        assert_eq!(
            (row["stream"].as_str(), row["topic"].as_str()),
            (Some("narrow"), Some("narrow")),
            "{row}"
        );
    }
    assert!(agent.metrics().contains(
        "spoolway_events_dead_lettered_total{lane=\"main\",destination=\"home\",reason=\"too_large\"} 3"
    ));
    // They outlive a kill, and are counted as before.
    agent.kill();
    let agent = setup.start();
    wait_account(&agent, [6_003, 6_000, 3, 0]);
    // Sent again while the topic is as it was: dead letters again, under other numbers.
    let first = listed[0]["id"].to_string();
    dlq(&setup, &["replay", &first], 0);
    agent.wait_status("did not refuse it again", SOON, |s| {
        account(s) == [6_003, 6_000, 3, 0] && letters(&setup).iter().all(|row| row["id"] != listed[0]["id"])
    });
    configure(broker, "narrow", "max.message.bytes=200000");
    dlq(&setup, &["replay", "--all"], 0);
    wait_account(&agent, [6_003, 6_003, 0, 0]);
    agent.wait_status("still lists them", SOON, |_| letters(&setup).is_empty());
    agent.kill();
    let agent = setup.start();
    wait_account(&agent, [6_003, 6_003, 0, 0]);
    agent.stop();
    let mut wide = 0;
    topic.read_rskafka(|_, _, _, value| wide += usize::from(value == Some(&large[..])));
    assert_eq!((wide, topic.len()), (3, 6_003), "each of them once");
}

pub fn of_a_batch_with_one_refused_event_everything_else_arrives_once() {
    one_refused(Broker::shared(), "compacted");
}

pub fn one_refused(broker: &Broker, name: &str) {
    let topic = Topic::create(broker, name, 1);
    configure(broker, name, "cleanup.policy=compact");
    let setup = Setup::new(name).without_tcp().destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    for number in 0..200u32 {
        // A compacted topic takes no event without a key.
        let key = if number % 20 == 7 { String::new() } else { format!("?key=k{number}") };
        let kind = "Content-Type: application/octet-stream\r\n";
        post(&setup, &format!("/v1/events/{name}{key}"), kind, format!("event {number}").as_bytes());
    }
    wait_account(&agent, [200, 190, 10, 0]);
    let listed = letters(&setup);
    assert!(listed.iter().all(|row| row["code"] == 87 && row["reason"] == "refused"), "{listed:?}");
    let id = listed[0]["id"].to_string();
    assert_eq!(dlq(&setup, &["show", &id, "--raw"], 0), "event 7");
    dlq(&setup, &["purge", &id], 2);
    dlq(&setup, &["purge", &id, "--yes"], 0);
    assert_eq!(letters(&setup).len(), 9);
    dlq(&setup, &["show", &id], 2);
    agent.stop();
    dlq(&setup, &["purge", "--all", "--yes"], 0);
    assert!(letters(&setup).is_empty());
    assert_eq!(topic.len(), 190);
    let mut values = std::collections::BTreeSet::new();
    topic.read_rskafka(|_, _, _, value| {
        let _new = values.insert(value.map(<[u8]>::to_vec));
    });
    assert_eq!(values.len(), 190, "each of them once");
}

pub fn a_topic_missing_for_too_long_gives_its_events_up_and_they_can_be_sent_again() {
    let broker = Broker::shared();
    let here = Topic::create(broker, "is-there", 1);
    let lines = "compression = \"gzip\"\nmissing_topic_after = \"3s\"";
    let setup = Setup::new("too-long").without_tcp().destination("home", broker.port, lines);
    let agent = setup.start();
    let mixed = [("never-made", 1), ("is-there", 2), ("never-made", 3)];
    let books = mixed.map(|(stream, g)| Load::http(Plan::new(setup.http, stream, g).limit(2_000)).finish());
    wait_account(&agent, [6_000, 2_000, 4_000, 0]);
    let listed = letters(&setup);
    assert_eq!(listed.len(), 4_000);
    assert!(listed.iter().all(|row| row["reason"] == "topic_missing" && row["code"] == 3), "{}", listed[0]);
    here.judge([&books[1]]).assert_exact();
    let made = Topic::create(broker, "never-made", 2);
    dlq(&setup, &["replay", "--topic", "never-made"], 0);
    wait_account(&agent, [6_000, 6_000, 0, 0]);
    agent.stop();
    made.judge([&books[0], &books[2]]).assert_exact();
    here.judge([&books[1]]).assert_exact();
}

pub fn each_dead_letter_is_a_record_of_their_topic_too_and_over_a_kill_none_is_there_twice() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "refusing", 1);
    configure(broker, "refusing", "cleanup.policy=compact");
    let graveyard = Topic::create(broker, "graveyard", 1);
    let setup = Setup::new("graveyard")
        .without_tcp()
        .destination("home", broker.port, "compression = \"gzip\"")
        .section("[dead_letters]\ntopic = \"graveyard\"");
    let kind = "Content-Type: application/octet-stream\r\nSpoolway-Timestamp: 1700000000123\r\n";
    let refuse = |agent: &Agent<'_>, from: u64, letters: u64| {
        for number in from..from + 5 {
            post(&setup, "/v1/events/refusing", kind, format!("event {number}").as_bytes());
            post(&setup, "/v1/events/refusing?key=k", kind, b"kept");
        }
        wait_account(agent, [2 * letters, letters, letters, 0]);
        let end = std::time::Instant::now() + SOON;
        while graveyard.len() < letters {
            assert!(std::time::Instant::now() < end, "{} of {letters} were copied", graveyard.len());
            std::thread::sleep(Duration::from_millis(50));
        }
        let copied = "spoolway_dead_letters_copied_total{destination=\"home\"} 5";
        agent.wait_status("does not count what it copied", SOON, |_| agent.metrics().contains(copied));
    };
    let agent = setup.start();
    refuse(&agent, 0, 5);
    // The mark is durable before the count; whoever is killed later copies nothing again.
    agent.kill();
    let agent = setup.start();
    refuse(&agent, 5, 10);
    let listed = letters(&setup);
    agent.stop();
    assert_eq!((graveyard.len(), topic.len()), (10, 10));
    for (row, (letter, number)) in graveyard.by_offset().into_values().zip(listed.iter().zip(0..)) {
        assert_eq!(row.value.as_deref(), Some(format!("event {number}").as_str()));
        let id = &letter["id"];
        assert!(row.headers.contains(&format!("-{id},")), "{row:?}");
        for header in [
            "spoolway-reason:refused",
            "spoolway-code:87",
            "spoolway-destination:home",
            "spoolway-topic:refusing",
            "spoolway-stream:refusing",
            "spoolway-time:1700000000123",
        ] {
            assert!(row.headers.contains(header), "{header} is missing: {row:?}");
        }
    }
}
