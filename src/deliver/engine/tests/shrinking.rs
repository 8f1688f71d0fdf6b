//! Topics that are deleted and made anew with fewer partitions.

use proptest::prelude::*;

use super::world::World;
use crate::ids::TopicName;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

impl World {
    /// A topic is made anew with one to four partitions.
    pub(super) fn topics_are_made_anew(&mut self) {
        if self.random(40) != 0 {
            return;
        }
        let name = topic(["a", "b", "late"][self.random(3)]);
        let count = 1 + i32::try_from(self.random(4)).unwrap();
        self.cluster.make_anew(&name, count);
        let sent = self.sink.sent.lock().unwrap();
        let stranded = sent.iter().filter(|w| w.topic == name && w.partition >= count);
        self.stranded += stranded.count();
        drop(sent);
        self.tell_topology();
    }
}

/// One whose topics are made anew now and then: they count anew, and what was in doubt in a partition that is gone is given up.
fn shrinking(seed: u64) -> World {
    let mut world = World::exact(seed, None);
    world.book.as_mut().unwrap().flips = true;
    (world.abandoned, world.shrinks) = (Some(0), true);
    world
}

/// The partition was set apart for good: nobody read for it, and keys went on to choose among partitions that were gone.
#[test]
fn a_topic_made_anew_with_fewer_partitions_gets_what_waited_for_one_that_is_gone() {
    for dies in [false, true] {
        let mut world = shrinking(3);
        let keys: Vec<_> = (0..9).map(Some).collect();
        for _ in 0..4 {
            world.log.append("a", &keys);
            world.log.append("b", &keys);
        }
        world.pump();
        world.tell_topology();
        world.pump();
        let for_the_last = world.sink.sent.lock().unwrap().iter().filter(|w| w.partition == 2).count();
        assert!(for_the_last > 0, "nothing is on its way there, so nothing is tested");
        world.cluster.make_anew(&topic("a"), 2);
        world.tell_topology();
        for _ in 0..20 {
            world.pump();
            world.answer(false);
        }
        if dies {
            world.kill();
        }
        world.drain();
        world.check(true);
        assert!(!world.cluster.logs.contains_key(&(topic("a"), 2)), "dies: {dies}");
        assert_eq!(world.engine.topics[&topic("a")].count, 2);
    }
}

fn story(seed: u64, kills: bool) -> usize {
    tell(seed, kills, false).stranded
}

fn tell(seed: u64, kills: bool, partitions: bool) -> World {
    let mut world = shrinking(seed);
    world.partitions = partitions;
    (0..300).for_each(|_| world.step(kills, false));
    world.drain();
    world.check(true);
    world
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn topics_made_anew_with_fewer_or_more_partitions_lose_and_double_nothing_and_get_everything(seed: u64) {
        story(seed, false);
    }

    #[test]
    fn topics_made_anew_lose_and_double_nothing_through_kills(seed: u64) {
        story(seed, true);
    }

    #[test]
    fn partitions_that_are_apart_when_their_topic_is_made_anew_get_everything_to_those_that_are_left(seed: u64) {
        tell(seed, true, true);
    }
}

/// A key's events were taken back from a partition to which another number of partitions had led them, when later ones had gone
/// where it leads now; and were sent again behind later ones since nobody knew after a kill that they had arrived.
#[test]
fn stories_that_once_failed_are_told_well() {
    for (seed, partitions) in [
        (13_015_839_429_026_827_897, false),
        (13_116_496_131_320_791_956, false),
        (7_633_257_012_515_708_894, true),
        (18, true),
        (35, true),
    ] {
        tell(seed, true, partitions);
    }
}

/// It waited until there were as many partitions again.
#[test]
fn what_waits_for_a_partition_that_went_with_its_topic_goes_to_those_that_are_left_after_a_start() {
    let mut world = shrinking(5);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..600 {
        world.log.append(if i % 4 == 0 { "b" } else { "a" }, &keys);
    }
    world.cluster.leaderless.insert((topic("a"), 2));
    for _ in 0..3000 {
        world.elapsed += std::time::Duration::from_millis(300);
        world.pump();
        world.tell_topology();
        (0..4).for_each(|_| world.answer(false));
    }
    assert!(world.engine.topics[&topic("a")].apart.contains(&2));
    world.cluster.make_anew(&topic("a"), 2);
    world.tell_topology();
    assert!(world.engine.view().waiting[0].1.contains("next start"), "{:?}", world.engine.view().waiting);
    assert!(world.engine.has_lost_partitions());
    world.drain();
    world.check(true);
    assert_eq!(world.engine.topics[&topic("a")].count, 2);
}

#[test]
#[ignore = "as long as one likes"]
fn stories_at_length() {
    let mut failed = Vec::new();
    for seed in super::partitions::asked_for() {
        for partitions in [false, true] {
            if std::panic::catch_unwind(|| tell(seed, true, partitions)).is_err() {
                failed.push((seed, partitions));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn in_the_stories_windows_are_on_their_way_to_partitions_that_go() {
    let stranded: usize = (0..12).map(|seed| story(seed, false)).sum();
    assert!(stranded > 3, "{stranded}");
}
