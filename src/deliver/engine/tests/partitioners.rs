//! Another `partitioner` from one process to the next.

use proptest::prelude::*;

use super::world::World;
use super::{exact, play};
use crate::config::model::Partitioner;
use crate::ids::TopicName;
use crate::kafka::{consistent, partition_for_key};

fn story(seed: u64, partitions: bool, parks: bool) -> World {
    let mut world = exact(seed);
    (world.repartitions, world.partitions, world.parks) = (true, partitions, parks);
    world
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn a_partitioner_that_changes_between_processes_loses_doubles_and_reorders_nothing_of_what_is_in_doubt(seed: u64) {
        play(story(seed, false, false), 300, false);
    }

    #[test]
    fn a_partitioner_that_changes_while_partitions_are_apart_loses_doubles_and_reorders_nothing(seed: u64) {
        play(story(seed, true, false), 400, false);
    }

    #[test]
    fn a_partitioner_that_changes_while_events_are_parked_loses_doubles_and_reorders_nothing(seed: u64) {
        play(story(seed, true, true), 400, false);
    }
}

proptest! {
    #![proptest_config(super::cases(48))]

    #[test]
    fn a_partitioner_that_changes_while_topics_grow_loses_doubles_and_reorders_nothing(seed: u64) {
        let mut world = story(seed, true, false);
        world.grows = true;
        play(world, 400, false);
    }
}

/// The topic's reader led keys to a partition that only its own reader may write to.
#[test]
fn what_waited_for_a_partition_goes_where_keys_lead_by_the_new_partitioner() {
    let topic = TopicName::new("a").unwrap();
    let mut world = exact(4);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for _ in 0..400 {
        world.log.append("a", &keys);
    }
    world.cluster.leaderless.insert((topic.clone(), 1));
    world.go_on(3000);
    assert!(world.engine.topics[&topic].apart.contains(&1));
    let moved = |key: u8| partition_for_key(&[key], 3) == 1 && consistent(&[key], 3) != Some(1);
    let moved = (0..9).filter(|key| moved(*key)).count();
    assert!(moved > 0, "no key of the partition leads elsewhere by now, so nothing is tested");
    world.partitioner = Partitioner::ConsistentRandom;
    world.kill();
    let before: usize = world.cluster.logs.values().map(Vec::len).sum();
    world.go_on(3000);
    let now: usize = world.cluster.logs.values().map(Vec::len).sum();
    assert_eq!(
        (now - before, world.rejoined),
        (400 * moved, 1),
        "the partition has no leader, the others go on"
    );
    world.drain();
    world.check(true);
}
