//! Routes that change from one process to the next while topics are made anew, partitions come and go, and what is in doubt is given
//! up.

use proptest::prelude::*;

use super::shrinking::shrinking;
use super::world::{SPOOL, World};
use crate::ids::TopicName;
use crate::kafka::Outcome;
use crate::state::journal::fold;

fn tell(seed: u64, parks: bool) -> World {
    let mut world = shrinking(seed);
    (world.partitions, world.parks) = (true, parks);
    world.begin_rerouting();
    (0..300).for_each(|_| world.step(true, false));
    world.drain();
    world.check(true);
    world
}

proptest! {
    #![proptest_config(super::cases(48))]

    #[test]
    fn routes_that_change_while_topics_are_made_anew_and_partitions_come_and_go_lose_double_and_reorder_nothing(
        seed: u64,
    ) {
        tell(seed, false);
    }

    #[test]
    fn the_same_with_events_that_are_parked(seed: u64) {
        tell(seed, true);
    }
}

/// A key's events came behind later ones: a window that the process before had sent by other routes was given up, and it was durable that
/// the new ones hold before it was that the window is in doubt no more. So the next process had it in doubt again, did not wait for
/// it, and read on; what came back of it went the new way, behind what had been read.
#[test]
fn what_is_given_up_is_not_in_doubt_again_for_a_process_that_goes_by_the_new_routes() {
    let (mut tried, topic) = (0, TopicName::new("a").unwrap());
    for seed in 0..20 {
        let mut world = World::exact(seed, None);
        world.begin_rerouting();
        world.abandoned = Some(5);
        world.log.append("a", &[Some(1); 5]);
        for _ in 0..3 {
            world.pump();
            world.tell_topology();
        }
        // Nothing of it arrives.
        world.cluster.missing.insert(topic.clone());
        world.kill();
        world.cluster.missing.clear();
        world.tell_topology();
        let before = world.engine.positions(SPOOL).routes;
        world.pump();
        let window = world.sink.sent.lock().unwrap().pop();
        let Some(window) = window.filter(|_| before != world.engine.settings.routes) else { continue };
        tried += 1;
        let _ = world.engine.settled(window.id, Outcome::Returned { in_doubt: true }, world.now());
        let _ = world.engine.pump(world.now());
        // Saved at any time, before anything else leaves.
        let mut saved = world.engine.positions(SPOOL);
        let in_doubt = fold(&mut saved, world.book.as_ref().unwrap().intents.clone());
        assert!(in_doubt.is_empty() || saved.routes == before, "seed {seed}: {in_doubt:?}");
        world.pump();
        assert_eq!(world.engine.positions(SPOOL).routes, world.engine.settings.routes);
        world.drain();
        world.check(true);
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn a_story_that_once_failed_is_told_well() {
    tell(100, false);
}

#[test]
#[ignore = "as long as one likes"]
fn stories_at_length() {
    let mut failed = Vec::new();
    for seed in super::partitions::asked_for() {
        for parks in [false, true] {
            if std::panic::catch_unwind(|| tell(seed, parks)).is_err() {
                eprintln!("story {seed} fails, parks: {parks}");
                failed.push((seed, parks));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
