//! What is stuck holds back only itself: a dead cluster, a cluster that is not there yet, a missing topic.

use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::http;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(60);

fn row<'v>(status: &'v Value, array: &str, key: &str, name: &str) -> &'v Value {
    let rows = status[array].as_array().expect("rows");
    rows.iter().find(|r| r[key] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

pub fn of_two_destinations_the_dead_one_holds_back_only_itself() {
    let (home, away) = (Broker::shared(), Broker::create("away"));
    let topic = Topic::create(home, "twice", 2);
    let setup = Setup::new("two")
        .without_tcp()
        .destination("home", home.port, "compression = \"gzip\"")
        .destination("away", away.port, "compression = \"gzip\"")
        .route("twice", "home", "{stream}")
        .route("twice", "away", "{stream}");
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "twice", 1).limit(30_000)).finish();
    let status = agent.wait_drained(Some("home"), DRAIN);
    assert_accounts_balance(&status);
    assert_eq!(row(&status, "accounts", "destination", "away")["pending"], 30_000);
    let status = agent.wait_status("calls the dead one up", DRAIN, |s| {
        row(s, "destinations", "name", "away")["up"] == false
    });
    assert_eq!(row(&status, "destinations", "name", "home")["up"], true);
    topic.judge([&book]).assert_exact();
    // A restart with one still dead: nothing is sent to the living one again.
    agent.stop();
    let agent = setup.start();
    away.run();
    let late = Topic::create(&away, "twice", 3);
    agent.wait_drained(None, DRAIN);
    agent.stop();
    topic.judge([&book]).assert_exact();
    late.judge([&book]).assert_exact();
}

pub fn kafka_absent_at_start_is_said_and_everything_is_delivered_when_it_comes() {
    let broker = Broker::create("late");
    let setup = Setup::new("late").destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "late", 1).limit(20_000)).finish();
    let status = agent.wait_status("says nothing of the absent Kafka", DRAIN, |s| {
        !s["destinations"][0]["last_error"].is_null()
    });
    let destination = &status["destinations"][0];
    assert_eq!(destination["up"], false, "{destination}");
    let error = &destination["last_error"];
    assert!(error["message"].as_str().is_some_and(|m| m.contains(&broker.port.to_string())), "{error}");
    assert!(error["hint"].as_str().is_some_and(|h| !h.is_empty()), "{error}");
    let ready = http::get(setup.admin, "/readyz").expect("an answer");
    assert!(ready.text().contains("home"), "/readyz names the destination: {}", ready.text());
    broker.run();
    let topic = Topic::create(&broker, "late", 2);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.wait_ready("/readyz", DRAIN);
    agent.stop();
    topic.judge([&book]).assert_exact();
}

pub fn a_missing_topic_waits_alone_and_goes_on_once_it_is_made() {
    let broker = Broker::shared();
    let here = Topic::create(broker, "here", 2);
    let setup = Setup::new("missing").destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let mixed = [("absent", 1), ("here", 2), ("absent", 3), ("here", 4)];
    let books = mixed.map(|(stream, g)| Load::http(Plan::new(setup.http, stream, g).limit(5_000)).finish());
    let status = agent.wait_status("did not deliver what it can", DRAIN, |s| {
        s["accounts"][0]["delivered"] == 10_000 && s["destinations"][0]["waiting"][0]["topic"] == "absent"
    });
    assert_accounts_balance(&status);
    assert_eq!(status["accounts"][0]["pending"], 10_000);
    here.judge([&books[1], &books[3]]).assert_exact();
    let absent = Topic::create(broker, "absent", 2);
    agent.wait_drained(None, DRAIN);
    agent.stop();
    absent.judge([&books[0], &books[2]]).assert_exact();
    here.judge([&books[1], &books[3]]).assert_exact();
}

pub fn a_missing_topic_is_remembered_over_a_kill_and_nothing_else_is_sent_again() {
    let broker = Broker::shared();
    let here = Topic::create(broker, "present", 1);
    let setup = Setup::new("remembered").destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let mixed = [("not-yet", 1), ("present", 2), ("not-yet", 3), ("present", 4)];
    let books = mixed.map(|(stream, g)| Load::http(Plan::new(setup.http, stream, g).limit(3_000)).finish());
    agent.wait_status("did not deliver what it can", DRAIN, |s| s["accounts"][0]["delivered"] == 6_000);
    agent.kill();
    let agent = setup.start();
    let absent = Topic::create(broker, "not-yet", 1);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    absent.judge([&books[0], &books[2]]).assert_exact();
    here.judge([&books[1], &books[3]]).assert_exact();
}

pub fn what_waits_for_a_missing_topic_goes_the_new_way_once_the_route_is_corrected() {
    let broker = Broker::shared();
    let (here, right) = (Topic::create(broker, "beside", 1), Topic::create(broker, "corrected", 2));
    let setup = |topic: &str| {
        let setup =
            Setup::new("reroute").without_tcp().destination("home", broker.port, "compression = \"gzip\"");
        setup.route("misrouted", "home", topic).route("beside", "home", "{stream}")
    };
    let wrong = setup("corected");
    let agent = wrong.start();
    let mixed = [("misrouted", 1), ("beside", 2), ("misrouted", 3), ("beside", 4)];
    let mut books: Vec<_> =
        mixed.iter().map(|(s, g)| Load::http(Plan::new(wrong.http, s, *g).limit(3_000)).finish()).collect();
    agent.wait_status("did not deliver what it can", DRAIN, |s| s["accounts"][0]["delivered"] == 6_000);
    agent.kill();
    let mut corrected = setup("corrected");
    corrected.dir.clone_from(&wrong.dir);
    let agent = corrected.start();
    books.push(Load::http(Plan::new(corrected.http, "misrouted", 5).limit(3_000)).finish());
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    assert_eq!(status["accounts"][0]["delivered"], 15_000, "{status:#}");
    agent.stop();
    right.judge([&books[0], &books[2], &books[4]]).assert_exact();
    here.judge([&books[1], &books[3]]).assert_exact();
}
