//! What is not permitted costs what is said at the start, and no more.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Broker;
use crate::exactly;
use crate::java;
use crate::support::agent::Setup;
use crate::support::certificates::put;
use crate::support::ports::free_port;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);

/// A broker with access rules, whose listener `SASL` knows a user `relay`; the plain one is everybody's.
fn guarded(name: &str) -> (Broker, u16) {
    let port = free_port();
    let lines = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n\
                 listener.name.sasl.sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                 required user_relay=\"relay-secret\";\n";
    let broker = Broker::create_with(name, &[("SASL", port, "SASL_PLAINTEXT")], lines, &[]);
    broker.run();
    (broker, port)
}

fn allow(broker: &Broker, operation: &str, topic: &str) {
    let address = broker.address();
    let rule = ["--add", "--allow-principal", "User:relay", "--operation", operation, "--topic", topic];
    java::tool(
        "org.apache.kafka.tools.AclCommand",
        &[&["--bootstrap-server", &address][..], &rule[..]].concat(),
    );
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
        let status = agent.wait_drained(None, DRAIN);
        let counted = possibly_doubled(&agent.metrics());
        agent.stop();
        let verdict = topic.judge(&books);
        println!("{name}: {counted} counted, {verdict}");
        assert!(notes(&status).contains("reading is not permitted on topic closed"), "{}", notes(&status));
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
    let setup = setup("forbidden", port);
    let agent = setup.start();
    let load = crate::support::load::Load::http(
        crate::support::load::Plan::new(setup.http, "forbidden", 1).limit(500),
    );
    let book = load.finish();
    // No topic may be written to at all, so there is no producer id to be had either.
    agent.wait_status("does not say what is forbidden", DRAIN, |s| {
        let said = s["destinations"][0].to_string();
        said.contains("forbidden") && said.contains("allow WRITE")
    });
    let began = Instant::now();
    allow(&broker, "Read", "forbidden");
    allow(&broker, "Write", "forbidden");
    agent.wait_drained(None, DRAIN);
    assert!(began.elapsed() < DRAIN);
    let said = agent.wait_status("says what holds no more", DRAIN, |s| notes(s) == "[]");
    assert_eq!(said["destinations"][0]["up"], true);
    agent.stop();
    topic.judge([&book]).assert_exact();
}
