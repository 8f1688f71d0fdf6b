//! Many relays whose cluster comes back all at once.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::support::agent::{Agent, Setup, assert_accounts_balance};
use crate::support::ledger::Book;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

/// Events that each has waiting.
const EVENTS: u64 = 200;
const NONE: &str = "compression = \"none\"";
const SOON: Duration = Duration::from_secs(600);

/// How many relays: few with every push, as many as `SPOOLWAY_FLEET` says in the long version.
fn size() -> u32 {
    std::env::var("SPOOLWAY_FLEET").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

fn number(agent: &Agent<'_>, name: &str) -> u64 {
    let metrics = agent.metrics();
    let rows = metrics.lines().filter(|line| line.starts_with(name));
    rows.filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Starts one, and gives it what it keeps until there is a cluster.
fn begin<'a>(setup: &'a Setup, generator: u32) -> (Agent<'a>, Book) {
    let agent = setup.start();
    let book = Load::http(Plan::new(setup.http, "fleet", generator).limit(EVENTS)).finish();
    (agent, book)
}

pub fn relays_that_all_come_back_at_once_deliver_everything_once_and_send_nothing_again() {
    let broker = Broker::start("fleet");
    let topic = Topic::create(&broker, "fleet", 6);
    broker.stop();
    let setup = |n| Setup::new(&format!("fleet-{n}")).without_tcp().destination("home", broker.port, NONE);
    let setups: Vec<_> = (0..size()).map(setup).collect();
    let began = Instant::now();
    let (agents, books): (Vec<_>, Vec<_>) = setups.iter().zip(1..).map(|(s, n)| begin(s, n)).unzip();
    println!("fleet: {} relays have {EVENTS} events each after {:?}", agents.len(), began.elapsed());

    broker.run();
    let back = Instant::now();
    for agent in &agents {
        let status = agent.wait_drained(None, SOON);
        assert_accounts_balance(&status);
        assert_eq!(status["destinations"][0]["possibly_doubled"], 0, "{status:#}");
    }
    let took = back.elapsed();
    let sent: u64 = agents.iter().map(|agent| number(agent, "spoolway_network_sent_bytes_total{")).sum();
    let stored = broker.log_bytes("fleet");
    thread::scope(|scope| agents.into_iter().for_each(|agent| drop(scope.spawn(|| agent.stop()))));
    let verdict = topic.judge(&books);
    println!(
        "fleet: {took:?} after Kafka was back all had delivered; {sent} bytes sent, {stored} stored: {verdict}"
    );
    verdict.assert_exact();
    assert_eq!(verdict.distinct, EVENTS * u64::from(size()));
    // What is asked around the records of one relay takes some kilobytes; its records are 40 and more.
    let around = 8 * 1024 * u64::from(size());
    assert!(sent < stored + around, "{sent} bytes sent, {stored} stored: something was sent twice");
}
