//! Topics that are deleted and made anew with fewer partitions.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{SPOOL, World};
use crate::config::model::Partitioner;
use crate::ids::{Seq, StreamName, TopicName};

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
pub(super) fn shrinking(seed: u64) -> World {
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
    fn what_is_parked_for_partitions_that_go_with_their_topic_goes_to_those_that_are_left(seed: u64) {
        let mut world = shrinking(seed);
        (world.partitions, world.parks) = (true, true);
        (0..300).for_each(|_| world.step(true, false));
        world.drain();
        world.check(true);
    }

    #[test]
    fn partitions_that_are_apart_when_their_topic_is_made_anew_get_everything_to_those_that_are_left(seed: u64) {
        tell(seed, true, true);
    }
}

/// A key's events were taken back from a partition to which another number of partitions had led them, when later ones had gone
/// where it leads now; and were sent again behind later ones since nobody knew after a kill that they had arrived. A topic that had
/// lost partitions and got some again did not wait any longer for what was in doubt in one that was gone.
#[test]
fn stories_that_once_failed_are_told_well() {
    for (seed, partitions) in [
        (13_015_839_429_026_827_897, false),
        (13_116_496_131_320_791_956, false),
        (2_955_229_848_722_316_264, false),
        (7_633_257_012_515_708_894, true),
        (18, true),
        (35, true),
    ] {
        tell(seed, true, partitions);
    }
}

/// A dead letter that was sent again to a partition that had gone with its topic came back, and was sent at once, without an end: the
/// model's clock stood still meanwhile, and the epochs of one producer id after the other ran out.
#[test]
fn a_letter_that_is_sent_again_waits_where_its_partition_is_gone() {
    story(14_819_629_769_711_964_146, false);
}

/// Partition 2 of topic "a" is apart, with a backlog of its own.
fn one_is_apart(seed: u64) -> World {
    let mut world = shrinking(seed);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..600 {
        world.log.append(if i % 4 == 0 { "b" } else { "a" }, &keys);
    }
    world.cluster.leaderless.insert((topic("a"), 2));
    world.go_on(3000);
    assert!(world.engine.topics[&topic("a")].apart.contains(&2));
    world
}

fn arrived(world: &World, name: &str) -> usize {
    world.cluster.logs.iter().filter(|((t, _), _)| *t == topic(name)).map(|(_, log)| log.len()).sum()
}

/// It waited until there were as many partitions again, or until the next start.
#[test]
fn what_waits_for_a_partition_that_went_with_its_topic_goes_to_those_that_are_left() {
    let mut world = one_is_apart(5);
    let before = arrived(&world, "a");
    world.cluster.make_anew(&topic("a"), 2);
    world.tell_topology();
    assert!(world.engine.view().waiting[0].1.contains("is no more"), "{:?}", world.engine.view().waiting);
    world.go_on(90);
    assert_eq!((arrived(&world, "a"), world.rejoined), (before, 0), "brokers that lag behind may say so");
    world.go_on(3000);
    let all = arrived(&world, "a");
    assert!(all == 450 * 9 && all > before && world.engine.view().waiting.is_empty(), "{before}, then {all}");
    assert_eq!((world.engine.topics[&topic("a")].count, world.rejoined), (2, 1));
    world.drain();
    world.check(true);
}

/// The next process read nothing at all until all that was in doubt was answered, by brokers that may be silent for days.
#[test]
fn a_topic_that_has_lost_partitions_keeps_no_other_waiting_for_what_is_in_doubt_after_a_kill() {
    for seed in 0..4 {
        let mut world = one_is_apart(seed);
        let keys: Vec<_> = (0..9).map(Some).collect();
        world.log.append("a", &keys);
        world.pump();
        assert!(world.sink.sent.lock().unwrap().iter().any(|w| w.topic == topic("a") && w.partition == 0));
        world.cluster.make_anew(&topic("a"), 2);
        world.cluster.frozen.insert((topic("a"), 0));
        world.tell_topology();
        let (positions, in_doubt) =
            (world.engine.positions(SPOOL), world.engine.in_doubt().cloned().collect());
        let book = world.book.as_mut().unwrap();
        (book.positions, book.intents, book.begun) = (positions, in_doubt, true);
        world.kill();
        let before = arrived(&world, "b");
        for round in 1..4 {
            world.log.append("b", &keys);
            world.go_on(50 * round);
            assert_eq!(arrived(&world, "b"), before + 9 * round, "seed {seed}, after {round}");
        }
        world.cluster.frozen.clear();
        world.drain();
        world.check(true);
        assert_eq!(world.engine.topics[&topic("a")].count, 2);
    }
}

/// They could not be kept, and nothing was read or given free for anybody.
#[test]
fn where_too_much_would_have_to_be_remembered_a_topic_that_has_lost_partitions_waits_alone() {
    let mut world = one_is_apart(5);
    let stream = |n: usize| StreamName::new(&format!("{n:0>200}")).unwrap();
    let side = world.engine.sides.get_mut(&topic("a")).unwrap();
    side.streams.extend((0..2000).map(|n| (stream(n), Seq(1))));
    world.cluster.make_anew(&topic("a"), 2);
    world.go_on(300);
    let (before, waiting) = (arrived(&world, "b"), world.engine.view().waiting);
    assert_eq!((world.rejoined, waiting[0].1.contains("is no more")), (0, true), "{waiting:?}");
    world.log.append("b", &[Some(1)]);
    world.go_on(30);
    assert_eq!(arrived(&world, "b"), before + 1);
    // Once there is room it is made up for.
    world.engine.sides.get_mut(&topic("a")).unwrap().streams.retain(|name, _| name.as_str() == "a");
    world.go_on(300);
    assert_eq!(world.rejoined, 1);
    world.drain();
    world.check(true);
}

/// It went on through an outage, and from one topic to the next.
#[test]
fn partitions_are_lost_when_that_is_said_of_one_topic_for_half_a_minute_while_the_cluster_is_reached() {
    let mut world = one_is_apart(5);
    world.cluster.make_anew(&topic("a"), 2);
    world.go_on(90);
    world.engine.link(false);
    world.go_on(10);
    world.engine.link(true);
    world.go_on(75);
    assert_eq!(world.rejoined, 0, "nobody was there to say anything else");
    let lost_since = |world: &World, name| world.engine.topics[&topic(name)].lost_since;
    world.engine.topics.get_mut(&topic("b")).unwrap().lost_since = lost_since(&world, "a");
    world.cluster.make_anew(&topic("a"), 3);
    world.go_on(2);
    assert_eq!(["a", "b"].map(|name| lost_since(&world, name)), [None; 2]);
    world.cluster.make_anew(&topic("a"), 2);
    world.go_on(90);
    assert_eq!(world.rejoined, 0, "it was told otherwise in between");
    world.go_on(300);
    assert_eq!(world.rejoined, 1);
    world.drain();
    world.check(true);
}

/// All readers of the destination became one: what waited for others was read once more, and so were those whose half minute had only
/// begun.
#[test]
fn only_the_readers_of_the_topic_that_has_lost_partitions_become_one() {
    let mut world = World::exact(5, None);
    (world.abandoned, world.book.as_mut().unwrap().flips) = (Some(0), true);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..600 {
        world.log.append(if i % 2 == 0 { "b" } else { "a" }, &keys);
    }
    world.cluster.leaderless.extend(["a", "b"].map(|name| (topic(name), 2)));
    world.log.append("late", &keys);
    world.go_on(3000);
    let is_apart = |world: &World, name| world.engine.topics[&topic(name)].apart.contains(&2);
    assert!(is_apart(&world, "a") && is_apart(&world, "b"));
    let others = |world: &World| {
        let positions = world.engine.positions(SPOOL);
        let sides: Vec<_> = positions.sides.into_iter().filter(|side| side.topic != topic("a")).collect();
        let told = |side: &crate::state::positions::Side| (side.position, side.waiting, side.apart.clone());
        (positions.position, sides.iter().map(told).collect::<Vec<_>>())
    };
    let before = others(&world);
    world.cluster.make_anew(&topic("a"), 2);
    world.go_on(85);
    // Of this one it has only been said for a moment.
    world.cluster.make_anew(&topic("b"), 2);
    world.go_on(20);
    assert_eq!((world.rejoined, is_apart(&world, "a"), is_apart(&world, "b")), (1, false, true));
    assert_eq!(others(&world), before);
    world.go_on(300);
    assert_eq!((world.rejoined, arrived(&world, "a"), arrived(&world, "b")), (2, 300 * 9, 300 * 9));
    world.drain();
    world.check(true);
}

/// What is remembered of it is its own: beyond the main reader's place a later process would have counted it as not routed.
#[test]
fn a_topic_whose_windows_the_main_reader_waits_for_is_given_a_reader_before_another_has_one_again() {
    for seed in 0..6 {
        let mut world = one_is_apart(seed);
        let keys: Vec<_> = (0..9).map(Some).collect();
        world.log.append("b", &keys);
        world.pump();
        world.cluster.frozen.extend((0..3).map(|partition| (topic("b"), partition)));
        (0..4).for_each(|_| _ = world.log.append("a", &keys));
        world.go_on(30);
        let (main, of_a) = (world.engine.main_position(), world.engine.sides[&topic("a")].furthest());
        assert!(main < of_a, "the main reader does not wait, so nothing is tested: {main:?}, {of_a:?}");
        world.cluster.make_anew(&topic("a"), 2);
        world.go_on(300);
        // Once more, where the process dies before that is durable.
        assert!(world.rejoined > 0 && world.engine.sides.contains_key(&topic("b")), "seed {seed}");
        world.kill();
        world.cluster.frozen.clear();
        world.drain();
        world.check(true);
    }
}

/// It had been missing for as long as before, and its next event was a dead letter the sooner.
#[test]
fn a_topic_that_has_come_meanwhile_and_goes_again_is_missing_anew() {
    let mut world = one_is_apart(5);
    world.log.append("late", &[Some(1)]);
    world.go_on(100);
    another_partitioner(&mut world);
    world.go_on(150);
    let before = |world: &World| world.engine.topics[&topic("late")].missing_before;
    assert_eq!((world.rejoined, before(&world) > Duration::from_secs(20)), (1, true), "{:?}", before(&world));
    world.cluster.refusing.insert(topic("late"));
    world.cluster.missing.clear();
    world.go_on(100);
    assert!(world.letters.there().count() == 1 && !world.engine.sides.contains_key(&topic("late")));
    assert_eq!(before(&world), Duration::ZERO);
    world.cluster.refusing.clear();
    world.drain();
    world.check(true);
}

/// The next process is to choose by another partitioner; what this one knows is durable.
fn another_partitioner(world: &mut World) {
    let (positions, in_doubt) = (world.engine.positions(SPOOL), world.engine.in_doubt().cloned().collect());
    let book = world.book.as_mut().unwrap();
    (book.positions, book.intents, book.begun) = (positions, in_doubt, true);
    world.partitioner = Partitioner::ConsistentRandom;
    world.kill();
}

/// Its time began anew where all readers became one, of a topic that had nothing on its way always.
#[test]
fn a_topic_that_is_missing_meanwhile_has_been_missing_all_the_time() {
    for all in [true, false] {
        let mut world = one_is_apart(5);
        world.log.append("late", &[Some(1)]);
        world.go_on(100);
        let missing_for = |world: &World| world.engine.sides[&topic("late")].missing_for;
        let before = missing_for(&world);
        assert!(before > Duration::from_secs(20), "{before:?}");
        match all {
            true => another_partitioner(&mut world),
            false => world.cluster.make_anew(&topic("a"), 2),
        }
        world.go_on(300);
        assert_eq!(world.rejoined, 1);
        assert!(missing_for(&world) >= before + Duration::from_secs(60), "{:?}", missing_for(&world));
        world.drain();
        world.check(true);
    }
}

/// Found by a review: where a topic had lost partitions, all readers became one though what another had refused waited to be kept, and
/// that was refused once more.
#[test]
fn before_keys_choose_by_another_partitioner_what_is_refused_is_kept_also_where_a_topic_has_lost_partitions()
{
    let mut world = one_is_apart(5);
    let keys: Vec<_> = (0..9).map(Some).collect();
    (0..2).for_each(|p| assert!(world.cluster.frozen.insert((topic("a"), p))));
    world.log.append("a", &keys);
    world.log.append("b", &[Some(1)]);
    world.pump();
    // Of what is on its way nothing arrives; what is sent again of it is refused.
    world.sink.sent.lock().unwrap().clear();
    world.cluster.refusing.insert(topic("b"));
    world.letters.full = true;
    another_partitioner(&mut world);
    // The journal can't be begun anew for now.
    for _ in 0..20 {
        let _ = world.engine.pump(world.now());
        world.depart();
        world.answer(false);
    }
    assert!(!world.engine.graves.is_empty() && world.engine.has_other_keys(), "nothing is tested");
    world.cluster.make_anew(&topic("a"), 2);
    world.go_on(300);
    assert_eq!((world.rejoined, world.engine.has_other_keys(), world.engine.graves.len()), (0, true, 1));
    assert!(world.engine.topics[&topic("a")].lost_since.is_some(), "nothing is tested");
    world.letters.full = false;
    world.go_on(300);
    assert_eq!((world.rejoined, world.letters.there().count()), (1, 1));
    world.cluster.refusing.clear();
    world.drain();
    world.check(true);
}

#[test]
fn in_the_stories_all_readers_become_one_while_their_process_lives() {
    let rejoined: Vec<u64> = (0..40).map(|seed| tell(seed, true, true).rejoined).collect();
    assert!(rejoined.iter().filter(|n| **n > 0).count() > 3, "{rejoined:?}");
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
