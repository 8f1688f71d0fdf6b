//! The agent is killed. Nothing that was accepted is lost, and nothing is there twice: what was in flight is settled
//! from the journal. With `delivery = "at-least-once"` it may be there twice, and no more than that.

use std::time::Duration;

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::compare::Verdict;
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::random::Random;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(90);
const PARTITIONS: u64 = 3;
/// Events in one window: 32 KiB of 200-byte events at most, so what is in flight at a kill is known.
const WINDOW: &str = "batch_size = \"32KiB\"\ncompression = \"gzip\"";
const EVENTS_A_WINDOW: u64 = 32 * 1024 / 200;

pub fn the_agent_killed_again_and_again_under_load_loses_nothing() {
    let kills = kills(20);
    let broker = Broker::shared();
    let topic = Topic::create(broker, "crash", PARTITIONS as i32);
    let setup = Setup::new("crash").destination("home", broker.port, WINDOW);
    let mut random = Random::new("crash");
    let loads = [1, 2, 3].map(|g| Load::http(Plan::new(setup.http, "crash", g).batch(40)));
    for _ in 0..kills {
        let agent = setup.start();
        std::thread::sleep(random.millis(50..700)); // the random moment is what is tested
        agent.kill();
    }
    finish(&setup, &topic, loads, kills).assert_exact();
}

pub fn killed_without_a_journal_only_what_was_in_flight_is_doubled() {
    let kills = kills(20);
    let broker = Broker::shared();
    let topic = Topic::create(broker, "crash-twice", PARTITIONS as i32);
    let once = format!("{WINDOW}\ndelivery = \"at-least-once\"");
    let setup = Setup::new("crash-twice").destination("home", broker.port, &once);
    let mut random = Random::new("crash-twice");
    let loads = [1, 2, 3].map(|g| Load::http(Plan::new(setup.http, "crash-twice", g).batch(40)));
    for _ in 0..kills {
        let agent = setup.start();
        std::thread::sleep(random.millis(50..700));
        agent.kill();
    }
    let verdict = finish(&setup, &topic, loads, kills);
    verdict.assert_lossless(kills * PARTITIONS * EVENTS_A_WINDOW);
    // The control of the tests with a journal: the same kills do find windows in flight.
    assert!(verdict.doubled > 0, "{kills} kills under load and nothing was in flight: {verdict}");
}

pub fn the_agent_and_kafka_both_killed_under_load_lose_nothing() {
    both_killed(&Broker::start("both"), "both", kills(8));
}

/// How often the agent is killed: as often as `SPOOLWAY_KILLS` says (`just soak-kills`), or `usually`.
pub fn kills(usually: u64) -> u64 {
    let said = std::env::var("SPOOLWAY_KILLS");
    said.map_or(usually, |said| said.parse().expect("SPOOLWAY_KILLS is a number"))
}

/// The agent is killed as often as that, every other time with the broker.
pub fn both_killed(broker: &Broker, name: &str, kills: u64) {
    let topic = Topic::create(broker, name, PARTITIONS as i32);
    let setup = Setup::new(name).destination("home", broker.port, WINDOW);
    let mut random = Random::new(name);
    let loads = [1, 2].map(|g| Load::http(Plan::new(setup.http, name, g).batch(40).rate(4_000)));
    for round in 0..kills {
        let agent = setup.start();
        std::thread::sleep(random.millis(50..700));
        if round % 2 == 0 {
            broker.kill();
            std::thread::sleep(random.millis(0..300));
        }
        agent.kill();
        if round % 2 == 0 {
            broker.run();
        }
    }
    finish(&setup, &topic, loads, kills).assert_exact();
}

fn finish<const N: usize>(setup: &Setup, topic: &Topic<'_>, loads: [Load; N], kills: u64) -> Verdict {
    let agent = setup.start();
    loads[0].wait_accepted(loads[0].accepted() + 1_000, DRAIN); // accepts again, by itself
    let books = loads.map(Load::stop);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let accepted: u64 = books.iter().map(|b| b.count(Told::Accepted)).sum();
    let verdict = topic.judge(&books);
    println!("{}: {kills} kills, {accepted} accepted, {verdict}", topic.name);
    assert!(accepted > 1_000 * kills.min(10), "too little load to prove anything: {accepted}");
    assert!(verdict.unanswered <= kills * 40 * N as u64, "one request a generator at each kill: {verdict}");
    verdict
}
