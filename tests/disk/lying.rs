//! A sync that fails once and then lies: the device has no room for what the file system has promised, `fdatasync`
//! says so once, and from then on says "done" while the bytes are nowhere but in memory.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cycle::{each_round, small_segments};
use crate::outside::{Finding, Outside};
use crate::says;
use crate::site::STREAM;
use crate::support::agent::{Agent, Setup, spoolway};
use crate::support::load::{Load, Plan};
use crate::support::ports::free_port;
use crate::support::sabotaged::sabotaged;
use crate::volume::Volume;

const SOON: Duration = Duration::from_secs(20);

pub fn an_fsync_that_fails_once_and_then_lies_loses_nothing() {
    let (mut rounds, mut accepted) = (0, 0);
    for round in each_round(3, 500) {
        let finding = lie(spoolway(), believed);
        assert!(finding.is_lossless(), "round {round}: {finding}");
        accepted += finding.accepted;
        rounds = round;
    }
    println!("lying: {rounds} syncs that failed once and then lied, {accepted} accepted, 0 lost");
}

pub fn an_agent_that_tries_a_failed_sync_again_is_caught() {
    let finding = lie(sabotaged("retry-after-failed-sync"), |_, loads| {
        // It believes the lie, and answers.
        let told: u64 = loads.iter().map(Load::accepted).sum();
        until("it answers", || loads.iter().map(Load::accepted).sum::<u64>() > told + 400);
    });
    println!("caught: {finding}");
    assert!(finding.lost > 0, "retry-after-failed-sync was not noticed: {finding}");
}

/// What an honest agent does when a sync has failed.
fn believed(agent: &Agent<'_>, _: &[Load; 2]) {
    until("the failed sync is counted", || says::metric(agent, "spoolway_fsync_errors_total") > 0.0);
    says::not_accepting(agent, "No space left on device");
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5)); // another process's state can only be asked for
    }
}

/// One life of `program` in which the device runs out of room and gets it back; then what is really on it.
fn lie(program: Command, meanwhile: impl Fn(&Agent<'_>, &[Load; 2])) -> Finding {
    let setup = small_segments(Setup::new("lying")).destination("home", free_port(), "");
    let volume = Volume::thin(&setup.data_dir());
    let agent = setup.spawn_by(program);
    agent.wait_ready("/readyz?for=accept", SOON);
    let loads = [(1, 40, 200), (2, 8, 20_000)].map(|(generator, batch, size)| {
        let plan = Plan::new(setup.http, STREAM, generator).batch(batch);
        Load::http(Plan { size, ..plan })
    });
    loads.iter().for_each(|load| load.wait_accepted(80, SOON));
    volume.settle();
    volume.fill(0);
    meanwhile(&agent, &loads);
    volume.empty();
    agent.wait_ready("/readyz?for=accept", SOON);
    loads.iter().for_each(|load| load.wait_accepted(load.accepted() + 80, SOON));
    agent.kill();
    let mut outside = Outside::default();
    loads.into_iter().for_each(|load| outside.add(load.stop()));
    volume.remount();
    outside.look(volume.point(), None)
}
