//! Positions of another past of the same spool, beside a log that has gone on without them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::remove;
use super::world::{World, copy};
use crate::sabotage::{Bug, Sabotage};
use crate::spool::Cause;

/// A directory that went two ways.
struct Pasts {
    world: World,
    /// It had delivered 0..200 when a copy was made, then 200..400.
    left: PathBuf,
    /// The log of that copy, without anything beside it, which then accepted some of 1000..1300 and could deliver nothing.
    restored: PathBuf,
    accepted: std::ops::Range<u64>,
}

/// Its log ends beyond the positions of the other past.
const FURTHER: std::ops::Range<u64> = 1000..1300;
/// And before.
const SHORTER: std::ops::Range<u64> = 1000..1100;

impl Pasts {
    /// Lives through it. The copy is made between two processes; or beside a running one, so that both have events of its run.
    fn live(beside_a_running_one: bool, accepted: std::ops::Range<u64>) -> Self {
        let world = World::new();
        let (left, restored, topic) = (world.place(), world.place(), world.topic());
        let mut agent = world.start(&left, &topic).unwrap();
        agent.accept(0..200);
        agent.drain();
        if beside_a_running_one {
            copy_log(&left, &restored);
        } else {
            agent.stop();
            copy_log(&left, &restored);
            agent = world.start(&left, &topic).unwrap();
        }
        agent.accept(200..400);
        agent.drain();
        agent.stop();
        let away = world.topic();
        world.runtime.block_on(away.target.faults().cut());
        let agent = world.start(&restored, &away).unwrap();
        agent.accept(accepted.clone());
        agent.stop_within(Duration::ZERO);
        Self { world, left, restored, accepted }
    }

    /// What was delivered before is put beside what is there now.
    fn put_back(&self) {
        remove(&self.restored.join("readers"));
        copy(&self.left.join("readers"), &self.restored.join("readers"));
    }

    /// Which of the new events do not arrive, how often each does at most, and what the agent takes the directory for.
    fn run(&self) -> (Vec<u64>, u32, Cause) {
        let topic = self.world.topic();
        let mut lives = Vec::new();
        for _ in 0..2 {
            let agent = self.world.start(&self.restored, &topic).unwrap();
            lives.push(agent.stand.data.life());
            agent.settle();
            agent.stop();
        }
        assert_eq!(lives[0], lives[1], "it is said once");
        let copies = topic.copies();
        let missing = self.accepted.clone().filter(|n| !copies.contains_key(n)).collect();
        (missing, copies.into_values().max().unwrap_or_default(), lives[0].cause)
    }
}

/// Beside a running agent too: a segment that goes meanwhile is one that nobody needs.
fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("lanes/main")).unwrap();
    std::fs::copy(from.join("FORMAT"), to.join("FORMAT")).unwrap();
    for entry in std::fs::read_dir(from.join("lanes/main")).unwrap() {
        let name = entry.unwrap().file_name();
        match std::fs::copy(from.join("lanes/main").join(&name), to.join("lanes/main").join(&name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{e}"),
            _ => {}
        }
    }
}

#[test]
fn positions_of_another_past_prove_nothing_of_what_a_restored_log_has_accepted_since() {
    for beside_a_running_one in [false, true] {
        let pasts = Pasts::live(beside_a_running_one, FURTHER);
        pasts.put_back();
        assert_eq!(
            pasts.run(),
            (Vec::new(), 1, Cause::RolledBack),
            "beside a running one: {beside_a_running_one}"
        );
    }
}

/// Found by an audit: at each start, until an event was accepted.
#[test]
fn positions_beyond_the_end_of_a_restored_log_have_everything_sent_again_once_and_not_at_each_start() {
    let pasts = Pasts::live(false, SHORTER);
    pasts.put_back();
    assert_eq!(pasts.run(), (Vec::new(), 1, Cause::RolledBack));
}

#[test]
fn control_an_agent_that_believes_them_loses_what_lies_below_them_and_is_caught() {
    let pasts = Pasts::live(false, FURTHER);
    pasts.put_back();
    let _sabotage = Sabotage::begin(Bug::PositionBeyondTheLog);
    assert_eq!(pasts.run().0, (1000..1200).collect::<Vec<_>>());
}
