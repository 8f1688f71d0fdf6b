//! Routes that change from one process to the next while topics are made anew, partitions come and go, and what is in doubt is given
//! up.

use proptest::prelude::*;

use super::shrinking::shrinking;
use super::world::{SPOOL, World};
use crate::ids::TopicName;
use crate::kafka::Outcome;
use crate::state::journal::fold;

/// What may happen besides.
#[derive(Clone, Copy, Debug)]
enum Also {
    Nothing,
    Parking,
    /// Keys choose by another partitioner from one process to the next.
    Partitioner,
    /// Some events are refused, and letters sent again.
    Poison,
    Growth,
    Losses,
}

const ALL: [Also; 6] =
    [Also::Nothing, Also::Parking, Also::Partitioner, Also::Poison, Also::Growth, Also::Losses];

fn tell(seed: u64, also: Also) -> World {
    let mut world = shrinking(seed);
    world.partitions = true;
    match also {
        Also::Nothing | Also::Losses => {}
        Also::Growth => world.grows = true,
        Also::Parking => world.parks = true,
        Also::Partitioner => world.repartitions = true,
        Also::Poison => {
            world.cluster.poison = 7;
            world.missing_topic_after = std::time::Duration::from_secs(12);
        }
    }
    world.begin_rerouting();
    (0..300).for_each(|_| world.step(true, matches!(also, Also::Losses)));
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
        tell(seed, Also::Nothing);
    }

    #[test]
    fn the_same_with_events_that_are_parked(seed: u64) {
        tell(seed, Also::Parking);
    }

    #[test]
    fn the_same_with_another_partitioner_from_one_process_to_the_next(seed: u64) {
        tell(seed, Also::Partitioner);
    }

    #[test]
    fn the_same_with_events_that_are_refused_and_letters_that_are_sent_again(seed: u64) {
        tell(seed, Also::Poison);
    }

    #[test]
    fn the_same_with_topics_that_grow(seed: u64) {
        tell(seed, Also::Growth);
    }

    #[test]
    fn the_same_with_events_that_can_not_be_read_any_more(seed: u64) {
        tell(seed, Also::Losses);
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

/// See above; and what a reader that was ahead had delivered counted once more where it could not be read by the time that the main
/// reader came there.
#[test]
fn in_these_stories_windows_are_given_up_that_other_routes_had_sent() {
    let given_up: u64 = (0..12).map(|seed| tell(seed, Also::Nothing).given_up_before).sum();
    assert!(given_up > 2, "{given_up}");
}

#[test]
fn stories_that_once_failed_are_told_well() {
    for (seed, also) in [(100, Also::Nothing), (1245, Also::Losses), (1342, Also::Losses)] {
        tell(seed, also);
    }
}

#[test]
#[ignore = "as long as one likes"]
fn stories_at_length() {
    let mut failed = Vec::new();
    for seed in super::partitions::asked_for() {
        for also in ALL {
            if std::panic::catch_unwind(|| tell(seed, also)).is_err() {
                eprintln!("story {seed} with {also:?} fails");
                failed.push((seed, also));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
