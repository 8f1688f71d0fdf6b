//! What is not permitted costs what is said at the start, and no more.

use std::time::{Duration, Instant};

use serde_json::Value;
use spoolway::config::model::HostPort;
use spoolway::kafka::{Consumer, ConsumerOptions, FetchedRecord};

use crate::broker::Broker;
use crate::exactly;
use crate::java;
use crate::support::agent::{Setup, spoolway};
use crate::support::certificates::put;
use crate::support::load::{Load, Plan};
use crate::support::ports::free_port;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

/// A broker with access rules, whose listener `SASL` knows a user `relay`; the plain one is everybody's.
pub fn guarded(name: &str) -> (Broker, u16) {
    guarded_with(name, "")
}

fn guarded_with(name: &str, more: &str) -> (Broker, u16) {
    let port = free_port();
    let lines = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n\
                 listener.name.sasl.sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                 required user_relay=\"relay-secret\";\n";
    let lines = format!("{lines}{more}");
    let broker = Broker::create_with(name, &[("SASL", port, "SASL_PLAINTEXT")], &lines, &[]);
    broker.run();
    (broker, port)
}

pub fn allow(broker: &Broker, operation: &str, topic: &str) {
    rule(broker, &["--allow-principal", "User:relay", "--operation", operation, "--topic", topic]);
}

/// Whatever is allowed.
pub fn deny(broker: &Broker, operation: &str, topic: &str) {
    rule(broker, &["--deny-principal", "User:relay", "--operation", operation, "--topic", topic]);
}

/// Takes [`deny`] back.
pub fn permit(broker: &Broker, operation: &str, topic: &str) {
    let rule = ["--deny-principal", "User:relay", "--operation", operation, "--topic", topic];
    change_rules(broker, &["--remove", "--force"], &rule);
}

fn rule(broker: &Broker, rule: &[&str]) {
    change_rules(broker, &["--add"], rule);
}

fn change_rules(broker: &Broker, how: &[&str], rule: &[&str]) {
    let address = broker.address();
    let whole = [&["--bootstrap-server", &address][..], how, rule].concat();
    java::tool("org.apache.kafka.tools.AclCommand", &whole);
}

fn setup(name: &str, port: u16) -> Setup {
    let setup = Setup::new(name);
    put(&setup.dir, "password", "relay-secret");
    let sasl = "sasl = { mechanism = \"PLAIN\", username = \"relay\", password = { file = \"password\" } }";
    setup.destination("home", port, &format!("{}\n{sasl}", exactly::WINDOW))
}

fn notes(status: &Value) -> String {
    status["destinations"][0]["notes"].to_string()
}

fn possibly_doubled(metrics: &str) -> u64 {
    let row = metrics.lines().find(|l| l.starts_with("spoolway_events_possibly_doubled_total{"));
    row.and_then(|row| row.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

pub fn with_reading_forbidden_only_what_was_in_doubt_may_be_doubled_and_that_is_counted() {
    let (broker, port) = guarded("guarded");
    for (name, forgets) in [("closed", false), ("closed-and-forgotten", true)] {
        let topic = Topic::create(&broker, name, 2);
        allow(&broker, "Write", name);
        let setup = setup(name, port);
        let books = exactly::in_flight_and_appended(&setup, &broker, &topic);
        if forgets {
            broker.stop();
            assert_ne!(broker.forget_producers(), 0);
            broker.run();
        }
        let agent = setup.start();
        agent.wait_drained(None, DRAIN);
        let says = |s: &Value| notes(s).contains("reading is not permitted on topic closed");
        agent.wait_status("says what that costs", DRAIN, says);
        let counted = possibly_doubled(&agent.metrics());
        agent.stop();
        let verdict = topic.judge(&books);
        println!("{name}: {counted} counted, {verdict}");
        assert!(counted > 0 && verdict.is_lossless(), "{counted} {verdict}");
        if forgets {
            verdict.assert_lossless(counted);
            assert!(verdict.doubled > 0, "the broker has forgotten nothing, so nothing is tested: {verdict}");
        } else {
            // The broker's memory tells them apart all the same.
            verdict.assert_exact();
        }
    }
}

pub fn what_is_forbidden_is_said_and_works_as_soon_as_it_is_permitted() {
    let (broker, port) = guarded("forbidding");
    let topic = Topic::create(&broker, "forbidden", 1);
    let setup = setup("forbidden", port).without_tcp().route("forbidden", "home", "forbidden");
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "forbidden", 1).limit(500)).finish();
    // No topic may be written to at all, so there is no producer id to be had either.
    agent.wait_status("does not say what is forbidden", DRAIN, |s| {
        let said = s["destinations"][0].to_string();
        said.contains("forbidden") && said.contains("allow WRITE")
    });
    let path = setup.dir.join("spoolway.toml");
    let check = || spoolway().args(["check", "--connect", "-c"]).arg(&path).output().expect("it runs");
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let refused = check();
    assert!(!refused.status.success() && told(&refused).contains("allow WRITE"), "{}", told(&refused));
    let began = Instant::now();
    allow(&broker, "Read", "forbidden");
    allow(&broker, "Write", "forbidden");
    agent.wait_drained(None, DRAIN);
    assert!(began.elapsed() < DRAIN);
    let permitted = check();
    assert!(permitted.status.success(), "{}", told(&permitted));
    let said = agent.wait_status("says what holds no more", DRAIN, |s| notes(s) == "[]");
    assert_eq!(said["destinations"][0]["up"], true);
    agent.stop();
    topic.judge([&book]).assert_exact();
}

/// A broker on which `relay` may write to topics that have no rules, and gets no producer id all the same. Kafka gives one to
/// whoever may write to some topic, and finds that out by trying one named `hardcode`.
fn without_producer_ids(name: &str) -> (Broker, u16) {
    let (broker, port) = guarded_with(name, "allow.everyone.if.no.acl.found=true\n");
    rule(&broker, &["--allow-principal", "User:other", "--operation", "Write", "--topic", "hardcode"]);
    rule(&broker, &["--allow-principal", "User:other", "--operation", "IdempotentWrite", "--cluster"]);
    (broker, port)
}

/// How many records have a producer id, and how many have none.
fn named_and_unnamed(broker: &Broker, topic: &Topic<'_>) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bootstrap = HostPort { host: "127.0.0.1".to_owned(), port: broker.port };
    let mut consumer = Consumer::new(&ConsumerOptions::new(vec![bootstrap]));
    let mut counts = (0, 0);
    for (partition, ends) in (0..).zip(topic.offsets()) {
        let count = |record: FetchedRecord<'_>| match record.identity.is_none() {
            true => counts.1 += 1,
            false => counts.0 += 1,
        };
        runtime.block_on(consumer.scan(&topic.name, partition, ends, count)).expect("records");
    }
    counts
}

pub fn without_producer_ids_events_flow_what_it_costs_is_said_and_it_ends_with_the_permission() {
    let (broker, port) = without_producer_ids("unnamed");
    let topic = Topic::create(&broker, "unnamed", 2);
    let setup = setup("unnamed", port);
    let mut books = exactly::in_flight_and_appended(&setup, &broker, &topic).to_vec();
    let agent = setup.start();
    agent.wait_drained(None, DRAIN);
    // All of it may have been in flight, and be found before the cluster has refused an id for long enough.
    let says = |s: &Value| notes(s).contains("allow IDEMPOTENT_WRITE on the cluster");
    agent.wait_status("says what that costs", DRAIN, says);
    // What was in flight when the agent died is in the topic, and found there.
    assert_eq!(possibly_doubled(&agent.metrics()), 0);
    topic.judge(&books).assert_exact();
    assert_eq!(named_and_unnamed(&broker, &topic), (0, topic.len()));

    rule(&broker, &["--allow-principal", "User:relay", "--operation", "IdempotentWrite", "--cluster"]);
    agent.wait_status("says what holds no more", DRAIN, |s| notes(s) == "[]");
    books.push(Load::http(Plan::new(setup.http, "unnamed", 3).limit(1_000)).finish());
    agent.wait_drained(None, DRAIN);
    agent.stop();
    topic.judge(&books).assert_exact();
    assert_eq!(named_and_unnamed(&broker, &topic), (1_000, 10_000));
}
