//! Clusters as they are run: three brokers that are restarted, killed and frozen in turn, partitions that are added, topics
//! that are made anew.

use std::time::Duration;

use crate::broker::Broker;
use crate::crash;
use crate::java;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::ledger::Told;
use crate::support::load::{Load, Plan};
use crate::support::random::Random;
use crate::topic::Topic;

const DRAIN: Duration = Duration::from_secs(120);

fn topics(broker: &Broker, arguments: &[&str]) {
    let address = broker.address();
    let arguments: Vec<&str> =
        ["--bootstrap-server", &address].into_iter().chain(arguments.iter().copied()).collect();
    java::tool("org.apache.kafka.tools.TopicCommand", &arguments);
}

/// What happens to a broker.
fn befall(broker: &Broker, round: usize, random: &mut Random) {
    match round % 3 {
        // In good order: leaders move away, and are elected again when it is back.
        0 => broker.stop(),
        1 => broker.kill(),
        _ => {
            broker.freeze();
            std::thread::sleep(random.millis(1_000..9_000)); // some are given up by the controller, some are not
            return broker.thaw();
        }
    }
    std::thread::sleep(random.millis(0..2_000));
    broker.run();
}

pub fn three_brokers_restarted_killed_and_frozen_in_turn_under_a_killed_agent_get_every_event_once() {
    let brokers = Broker::cluster("three");
    topics(&brokers[0], &["--create", "--topic", "three", "--partitions", "6", "--replication-factor", "3"]);
    let topic = Topic::existing(&brokers[0], "three", 6);
    let lines = "batch_size = \"32KiB\"\ncompression = \"gzip\"";
    let setup = Setup::new("three").without_tcp().destination("home", brokers[0].port, lines);
    let mut random = Random::new("three");
    let loads = [1, 2].map(|g| Load::http(Plan::new(setup.http, "three", g).batch(20).rate(2_000)));
    let mut kills = 0;
    let rounds = usize::try_from(crash::kills(12).div_ceil(2)).expect("few");
    for round in 0..rounds {
        let agent = setup.start();
        std::thread::scope(|scope| {
            let faults =
                scope.spawn(|| befall(&brokers[(round + 1) % 3], round, &mut Random::new("three-fault")));
            std::thread::sleep(random.millis(200..4_000)); // the random moment is what is tested
            agent.kill();
            kills += 1;
            let between = setup.start();
            faults.join().expect("the broker is back");
            between.kill();
            kills += 1;
        });
    }
    let agent = setup.start();
    loads[0].wait_accepted(loads[0].accepted() + 1_000, DRAIN);
    let books = loads.map(Load::stop);
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let accepted: u64 = books.iter().map(|b| b.count(Told::Accepted)).sum();
    let verdict = topic.judge(&books);
    println!(
        "three brokers: {kills} kills of the agent, {rounds} faults of brokers, {accepted} accepted, {verdict}"
    );
    assert!(accepted > 10_000, "too little load to prove anything: {accepted}");
    verdict.assert_exact();
}

/// How many events were delivered by now, and how many of them within half a second or so of being accepted.
fn delivered(metrics: &str) -> (f64, f64) {
    let values = |start: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let bucket = |line: &&str| {
        let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse::<f64>().ok());
        line.starts_with("spoolway_delivery_seconds_bucket") && bound.is_some_and(|bound| bound <= 1.0)
    };
    let counts =
        metrics.lines().filter(bucket).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    (values("spoolway_delivery_seconds_count"), counts.fold(0.0, f64::max))
}

pub fn a_partition_whose_only_broker_is_dead_holds_back_only_its_own_keys() {
    let brokers = Broker::cluster("lone");
    topics(&brokers[0], &["--create", "--topic", "lone", "--replica-assignment", "1,2,3"]);
    let topic = Topic::existing(&brokers[0], "lone", 3);
    let setup =
        Setup::new("lone").without_tcp().destination("home", brokers[0].port, "compression = \"none\"");
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "lone", 1).batch(20).keys(50).rate(4_000));
    load.wait_accepted(4_000, DRAIN);
    brokers[2].kill();
    let is_apart = |s: &serde_json::Value| {
        let reason = s["destinations"][0]["waiting"][0]["reason"].as_str();
        reason.is_some_and(|reason| reason.starts_with("partition 2 "))
    };
    agent.wait_status("does not set the partition apart", DRAIN, is_apart);
    let (before, soon_before) = delivered(&agent.metrics());
    let accepted = load.accepted();
    load.wait_accepted(accepted + 20_000, DRAIN);
    let (after, soon_after) = delivered(&agent.metrics());
    let (others, soon) = (after - before, soon_after - soon_before);
    println!("while the partition is apart: {others} of 20000 delivered, {soon} of them within a second");
    assert!(others > 8_000.0, "the other partitions' keys wait too: {others}");
    assert!(soon > 0.99 * others, "they are late: {soon} of {others}");
    agent.kill();
    let agent = setup.start();
    load.wait_accepted(load.accepted() + 4_000, DRAIN);
    agent.wait_status("does not remember that the partition is apart", DRAIN, is_apart);
    brokers[2].run();
    load.wait_accepted(load.accepted() + 4_000, DRAIN);
    let book = load.stop();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    topic.judge([&book]).assert_exact();
}

pub fn partitions_that_are_added_under_load_are_used_and_nothing_is_lost_or_doubled() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "grown", 2);
    let setup = Setup::new("grown").without_tcp().destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let load = Load::http(Plan::new(setup.http, "grown", 1).batch(20).keys(200).rate(4_000));
    load.wait_accepted(4_000, DRAIN);
    topics(broker, &["--alter", "--topic", "grown", "--partitions", "5"]);
    load.wait_accepted(load.accepted() + 4_000, DRAIN);
    agent.kill();
    let agent = setup.start();
    let topic = Topic::existing(broker, &topic.name, 5);
    agent.wait_status("never writes to the new partitions", DRAIN, |_| {
        topic.offsets().iter().all(|(first, end)| end > first)
    });
    let book = load.stop();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge([&book]);
    // Keys move when partitions are added: that is Kafka's, and their order across it nobody's.
    assert!(verdict.missing + verdict.doubled + verdict.corrupt + verdict.foreign == 0, "{verdict}");
}

pub fn a_topic_deleted_and_made_anew_gets_everything_that_is_accepted_since() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "anew", 2);
    let setup = Setup::new("anew").without_tcp().destination("home", broker.port, "compression = \"gzip\"");
    let agent = setup.start();
    let before = Load::http(Plan::new(setup.http, "anew", 1).limit(5_000)).finish();
    agent.wait_drained(None, DRAIN);
    topic.judge([&before]).assert_exact();
    topics(broker, &["--delete", "--topic", "anew"]);
    let meanwhile = Load::http(Plan::new(setup.http, "anew", 2).limit(5_000)).finish();
    let topic = Topic::create(broker, "anew", 3);
    let since = Load::http(Plan::new(setup.http, "anew", 3).limit(5_000)).finish();
    let status = agent.wait_drained(None, DRAIN);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge([&since]);
    assert!(
        verdict.missing + verdict.doubled + verdict.corrupt == 0,
        "what was accepted once it was there: {verdict}"
    );
    let verdict = topic.judge([&meanwhile, &since]);
    assert!(verdict.missing + verdict.doubled + verdict.corrupt == 0, "and what waited for it: {verdict}");
}
