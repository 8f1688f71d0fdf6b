//! SIGTERM under load: exit 0 within ten seconds, and nothing lost or doubled over the restart.

use std::time::Duration;

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::topic::Topic;

const LIMIT: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(60);

pub fn sigterm_under_load_ends_in_time_and_costs_nothing() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "sigterm", 3);
    let lines = Topic::create(broker, "sigterm-tcp", 1);
    let setup = Setup::new("sigterm")
        .destination("home", broker.port, "compression = \"gzip\"")
        .route("sigterm", "home", "sigterm")
        .route("tcp", "home", "sigterm-tcp");
    let mut books = Vec::new();
    let mut tcp_books = Vec::new();
    for round in 0..3 {
        let agent = setup.start();
        let loads = [0, 1].map(|n| Load::http(Plan::new(setup.http, "sigterm", 10 * round + n).batch(40)));
        let tcp = Load::tcp(Plan::new(setup.tcp, "tcp", 10 * round + 2).batch(10));
        loads[0].wait_accepted(2_000, DRAIN);
        tcp.wait_accepted(2_000, DRAIN);
        let (status, took) = agent.terminate(LIMIT);
        assert!(status.success(), "ended with {status} after {took:?}");
        books.extend(loads.map(Load::stop));
        tcp_books.push(tcp.stop());
    }
    let agent = setup.start();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(&books);
    verdict.assert_exact();
    assert_eq!(verdict.unanswered, 0, "whoever was accepted in the last moment was told so: {verdict}");
    // Of each TCP connection a beginning arrived: what was read before the end, without a hole.
    let verdict = lines.judge(&tcp_books);
    verdict.assert_exact();
    let mut highest = vec![0; tcp_books.len()];
    lines.read_rskafka(|_, _, _, value| {
        let id = crate::support::payload::id_of(value.unwrap_or_default()).expect("one of ours");
        let n = &mut highest[id.generator as usize / 10];
        *n = id.number.max(*n);
    });
    assert_eq!(verdict.distinct, highest.iter().map(|n| n + 1).sum::<u64>(), "holes: {verdict}");
}

pub fn sigterm_while_kafka_is_dead_ends_in_time_and_costs_nothing() {
    let broker = Broker::start("gone");
    let topic = Topic::create(&broker, "gone", 2);
    let window = "compression = \"gzip\"\nbatch_size = \"32KiB\"";
    let setup = Setup::new("gone").destination("home", broker.port, window);
    let agent = setup.start();
    let first = Load::http(Plan::new(setup.http, "gone", 1).limit(5_000)).finish();
    agent.wait_drained(None, DRAIN);
    broker.freeze();
    let second = Load::http(Plan::new(setup.http, "gone", 2).limit(5_000)).finish();
    let (status, took) = agent.terminate(LIMIT);
    assert!(status.success(), "ended with {status} after {took:?}");
    broker.thaw();
    let agent = setup.start();
    agent.wait_drained(None, DRAIN);
    agent.stop();
    assert_eq!(first.count(Told::Accepted) + second.count(Told::Accepted), 10_000);
    // What stood in the frozen broker's socket was in flight, and is settled from the journal.
    topic.judge([&first, &second]).assert_exact();
}
