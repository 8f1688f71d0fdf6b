//! Kafka has a bad day, and the agent lives: nothing is lost, doubled or reordered.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::support::agent::{Agent, Setup, assert_accounts_balance};
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

/// How long Kafka is away: the minute of the promise.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long a destination may be unreachable before `up` says so.
const NOTICED: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(90);

fn is_up(status: &serde_json::Value) -> bool {
    status["destinations"][0]["up"] == true
}

/// Waits for the outage's end while events keep being accepted.
fn sit_out(agent: &Agent<'_>, load: &Load, since: Instant) {
    agent.wait_status("still calls the dead cluster up", NOTICED, |s| !is_up(s));
    assert!(since.elapsed() < NOTICED, "noticed after {:?}", since.elapsed());
    let before = load.accepted();
    std::thread::sleep(OUTAGE.saturating_sub(since.elapsed()));
    assert!(load.accepted() > before, "nothing was accepted while Kafka was away");
    let status = agent.status();
    assert_accounts_balance(&status);
    assert!(status["accounts"][0]["pending"].as_u64() > Some(10_000), "{status:#}");
}

fn end(agent: Agent<'_>, topic: &Topic<'_>, loads: Vec<Load>) {
    let before = loads.iter().map(Load::accepted).sum::<u64>();
    let status = agent.wait_status("does not see Kafka again", DRAIN, is_up);
    assert_accounts_balance(&status);
    loads[0].wait_accepted(before / 2, DRAIN);
    let books: Vec<_> = loads.into_iter().map(Load::stop).collect();
    agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&agent.status());
    agent.stop();
    let verdict = topic.judge(&books);
    verdict.assert_exact();
    assert!(verdict.distinct >= before, "{verdict}");
}

fn loads(setup: &Setup, stream: &str) -> Vec<Load> {
    (1..3).map(|g| Load::http(Plan::new(setup.http, stream, g).batch(50).rate(1_000))).collect()
}

pub fn kafka_killed_for_a_minute_in_mid_stream_costs_nothing() {
    let broker = Broker::start("killed");
    let topic = Topic::create(&broker, "killed", 3);
    let setup = Setup::new("killed").destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let loads = loads(&setup, "killed");
    loads[0].wait_accepted(2_000, DRAIN);
    broker.kill();
    sit_out(&agent, &loads[0], Instant::now());
    broker.run();
    end(agent, &topic, loads);
}

pub fn kafka_frozen_for_a_minute_in_mid_stream_costs_nothing() {
    let broker = Broker::start("frozen");
    let topic = Topic::create(&broker, "frozen", 3);
    let setup = Setup::new("frozen").destination("home", broker.port, "compression = \"snappy\"");
    let agent = setup.start();
    let loads = loads(&setup, "frozen");
    loads[0].wait_accepted(2_000, DRAIN);
    broker.freeze();
    sit_out(&agent, &loads[0], Instant::now());
    broker.thaw();
    end(agent, &topic, loads);
}

pub fn kafka_killed_again_and_again_under_load_costs_nothing() {
    let broker = Broker::start("again");
    let topic = Topic::create(&broker, "again", 3);
    let setup = Setup::new("again").destination("home", broker.port, "compression = \"none\"");
    let agent = setup.start();
    let loads = loads(&setup, "again");
    for round in 1..=4 {
        loads[0].wait_accepted(round * 1_500, DRAIN);
        broker.kill();
        broker.run();
        agent.wait_status("does not see Kafka again", DRAIN, is_up);
    }
    end(agent, &topic, loads);
}

pub fn kafka_restarted_with_an_empty_producer_cache_gets_no_event_twice() {
    let broker = Broker::start("forgetful");
    let topic = Topic::create(&broker, "forgetful", 3);
    let setup = Setup::new("forgetful").destination("home", broker.port, "compression = \"none\"");
    let agent = setup.start();
    let mut books = Vec::new();
    for round in 1..=3 {
        books.push(Load::http(Plan::new(setup.http, "forgetful", 2 * round).limit(5_000)).finish());
        // Nothing is in flight, so what the broker forgets is only what was acknowledged.
        agent.wait_drained(None, DRAIN);
        broker.stop();
        assert_ne!(broker.forget_producers(), 0);
        books.push(Load::http(Plan::new(setup.http, "forgetful", 2 * round + 1).limit(5_000)).finish());
        broker.run();
        agent.wait_drained(None, DRAIN);
    }
    agent.stop();
    let verdict = topic.judge(&books);
    verdict.assert_exact();
    assert_eq!(verdict.distinct, 30_000);
}
