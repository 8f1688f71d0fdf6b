//! A link that comes and goes for hours: what is accepted arrives once, and the agent's memory stays where it is.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::support::agent::{Setup, assert_accounts_balance};
use crate::support::load::{Load, Plan};
use crate::support::random::Random;
use crate::topic::Topic;
use crate::wire::Wire;

const SOON: Duration = Duration::from_secs(120);
/// What an allocator may keep of a larger backlog than any before.
const SLACK: u64 = 4 << 10;

/// How long: seconds with every push, as many hours as `SPOOLWAY_HOURS` says in the long version.
fn length() -> Duration {
    let hours = std::env::var("SPOOLWAY_HOURS").ok().and_then(|hours| hours.parse::<f64>().ok());
    hours.map_or(Duration::from_secs(15), |hours| Duration::from_secs_f64(hours * 3600.0))
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    row.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub fn a_link_that_comes_and_goes_costs_nothing_and_memory_stays_where_it_is() {
    let broker = Broker::start("hours");
    let topic = Topic::create(&broker, "hours", 6);
    let wire = Wire::to(broker.port);
    let lines = format!("compression = \"none\"\n{}", wire.lines());
    let setup = Setup::new("hours").without_tcp().destination("home", wire.port, &lines);
    let agent = setup.start();
    let loads = (1..3).map(|n| Load::http(Plan::new(setup.http, "hours", n).batch(20).rate(200)));
    let loads: Vec<_> = loads.collect();
    let mut random = Random::new("hours");
    let (began, length) = (Instant::now(), length());
    let mut memory = Vec::new();
    while began.elapsed() < length {
        thread::sleep(random.millis(1_000..4_000));
        wire.deafen();
        thread::sleep(random.millis(500..if memory.len() % 5 == 4 { 30_000 } else { 4_000 }));
        if memory.len() % 20 == 19 {
            broker.kill();
            broker.run();
        }
        wire.cut();
        // Nothing waits but what came just now.
        agent.wait_status("does not catch up", SOON, |s| s["accounts"][0]["pending"].as_u64() < Some(400));
        memory.push(resident(agent.process.pid()));
        if memory.len() % 20 == 0 {
            println!("hours: {:?}: {} outages, {:?} KiB", began.elapsed(), memory.len(), memory.last());
        }
    }
    let books: Vec<_> = loads.into_iter().map(Load::stop).collect();
    let status = agent.wait_drained(None, SOON);
    assert_accounts_balance(&status);
    agent.stop();
    let verdict = topic.judge(&books);
    let third = memory.len() / 3;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, last) = (most(&memory[..third]), most(&memory[memory.len() - third..]));
    println!(
        "hours: {:?}, {} outages: at most {first} KiB in the first third, {last} in the last; {verdict}",
        began.elapsed(),
        memory.len()
    );
    verdict.assert_exact();
    assert!(memory.len() < 30 || last <= first + SLACK, "memory grows: {memory:?}");
}
