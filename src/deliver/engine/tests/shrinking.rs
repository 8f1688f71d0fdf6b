//! Topics that are deleted and made anew with fewer partitions.

use proptest::prelude::*;

use super::world::World;
use crate::ids::TopicName;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

impl World {
    /// A topic is made anew with one to four partitions, as long as none is apart: the count of those that are is frozen.
    pub(super) fn topics_are_made_anew(&mut self) {
        let are_apart = self.engine.sides.values().any(|side| !side.apart.is_empty());
        if self.random(40) != 0 || are_apart {
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

fn story(seed: u64) -> usize {
    let mut world = shrinking(seed);
    (0..300).for_each(|_| world.step(false, false));
    world.drain();
    world.check(true);
    world.stranded
}

proptest! {
    #![proptest_config(super::cases(24))]

    #[test]
    fn topics_made_anew_with_fewer_or_more_partitions_lose_and_double_nothing_and_get_everything(seed: u64) {
        story(seed);
    }
}

#[test]
fn in_the_stories_windows_are_on_their_way_to_partitions_that_go() {
    let stranded: usize = (0..12).map(story).sum();
    assert!(stranded > 3, "{stranded}");
}
