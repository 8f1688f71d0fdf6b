//! A broker that lets go of what it knows of producers while nobody writes (`producer.id.expiration.ms`).

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Broker;
use crate::exactly;
use crate::java;
use crate::support::agent::Setup;
use crate::support::load::{Load, Plan};
use crate::support::process::Signal;
use crate::times::now;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);
/// In milliseconds.
const DAY: i64 = 24 * 3_600_000;

/// A broker that forgets a producer three seconds after its last event.
fn forgetful(name: &str) -> Broker {
    let lines = "producer.id.expiration.ms=3000\nproducer.id.expiration.check.interval.ms=500\n";
    let broker = Broker::create_with(name, &[], lines, &[]);
    broker.run();
    broker
}

/// How many producers a partition's leader remembers.
fn remembered(broker: &Broker, topic: &Topic<'_>, partition: &str) -> usize {
    let address = broker.address();
    let whose = ["--bootstrap-server", &address, "describe-producers", "--topic", &topic.name];
    let told = java::tool(
        "org.apache.kafka.tools.TransactionsCommand",
        &[&whose[..], &["--partition", partition]].concat(),
    );
    let rows: Vec<_> = told.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(rows[0].contains("ProducerId"), "{told}");
    rows.len() - 1
}

/// Waits until nothing is remembered of anybody who has written to a topic of two partitions.
fn wait_forgotten(broker: &Broker, topic: &Topic<'_>) {
    let end = Instant::now() + DRAIN;
    for partition in ["0", "1"] {
        while remembered(broker, topic, partition) > 0 {
            assert!(Instant::now() < end, "{} is not forgotten", topic.name);
        }
    }
}

pub fn a_producer_that_was_silent_until_it_was_forgotten_goes_on_and_nothing_is_lost_or_doubled() {
    let broker = forgetful("forgetful");
    let topic = Topic::create(&broker, "silence", 2);
    let setup = Setup::new("silence").without_tcp().destination("home", broker.port, exactly::WINDOW);
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "silence", 1).batch(10).rate(500));
    load.wait_accepted(500, DRAIN);
    // While it writes it is remembered, and seen to be.
    assert!(remembered(&broker, &topic, "0") > 0);
    let mut books = vec![load.stop()];
    for generator in 2..4 {
        agent.wait_drained(None, DRAIN);
        wait_forgotten(&broker, &topic);
        books.push(Load::http(Plan::new(setup.http, "silence", generator).limit(2_000)).finish());
    }
    let status = agent.wait_drained(None, DRAIN);
    let row = &status["destinations"][0];
    assert!(row["up"] == true && row["possibly_doubled"] == 0, "{row:#}");
    agent.stop();
    let verdict = topic.judge(&books);
    println!("silence: {verdict}");
    verdict.assert_exact();
}

pub fn what_was_in_flight_is_read_back_once_its_producer_has_been_forgotten_and_doubled_without_a_journal() {
    let broker = forgetful("expired");
    let setup = |name: &str, more: &str| {
        let lines = format!("{}\n{more}", exactly::WINDOW);
        Setup::new(name).without_tcp().destination("home", broker.port, &lines)
    };
    let (with, without) = (setup("expired", ""), setup("expired-twice", "delivery = \"at-least-once\""));
    let topic = Topic::create(&broker, "expired", 2);
    let twice = Topic::create(&broker, "expired-twice", 2);
    let books = exactly::in_flight_and_appended(&with, &broker, &topic);
    let books_of_twice = exactly::in_flight_and_appended(&without, &broker, &twice);
    wait_forgotten(&broker, &topic);
    wait_forgotten(&broker, &twice);
    exactly::finish(&with, &topic, &books);
    // The control: the windows were in flight, and the broker takes them twice.
    let agent = without.start();
    agent.wait_drained(None, DRAIN);
    agent.stop();
    let verdict = twice.judge(&books_of_twice);
    println!("expired-twice: {verdict}");
    assert!(verdict.is_lossless() && verdict.doubled > 0, "{verdict}");
}

/// The agent lives, and its broker is restarted between the append and the answer. Of a producer whose newest event is older
/// than `producer.id.expiration.ms`, a day, a broker that starts remembers nothing.
pub fn events_older_than_what_brokers_remember_are_looked_for_before_they_are_sent_again() {
    let broker = Broker::start("old-events");
    let topic = Topic::create(&broker, "old-events", 2);
    let lines = format!("{}\ntimestamp = \"event\"\nrequest_timeout = \"2s\"", exactly::WINDOW);
    let setup = Setup::new("old-events").without_tcp().destination("home", broker.port, &lines);
    let load = |generator| {
        let plan = Plan::new(setup.http, "old-events", generator).time(now() - 2 * DAY);
        Load::http(plan.limit(2_000)).finish()
    };
    let agent = setup.start();
    let first = load(1);
    agent.wait_drained(None, DRAIN);
    broker.freeze();
    let second = load(2);
    let timed_out =
        |s: &Value| s["destinations"][0]["last_error"].to_string().contains("sent, but not answered");
    agent.wait_status("is still sure", DRAIN, timed_out);
    // It can't send it again while the broker takes what is in its socket, and is restarted.
    agent.process.signal(Signal::STOP);
    broker.thaw();
    let end = Instant::now() + DRAIN;
    while topic.len() <= 2_000 {
        assert!(Instant::now() < end, "nothing was in flight, so nothing is tested");
    }
    broker.stop();
    broker.run();
    assert_eq!(remembered(&broker, &topic, "0") + remembered(&broker, &topic, "1"), 0);
    agent.process.signal(Signal::CONT);
    agent.wait_drained(None, DRAIN);
    agent.stop();
    let verdict = topic.judge([&first, &second]);
    println!("old-events: {verdict}");
    verdict.assert_exact();
}
