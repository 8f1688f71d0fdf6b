//! Many topics that nobody answers for, beside one that is well.

use std::time::Duration;

use super::super::Topic;
use super::world::{World, settings};
use crate::ids::TopicName;

const SILENT: usize = 12;

fn name(i: usize) -> String {
    format!("s{i}")
}

fn freeze(world: &mut World) {
    let all = (0..SILENT).flat_map(|i| (0..3).map(move |p| (TopicName::new(&name(i)).unwrap(), p)));
    world.cluster.frozen.extend(all);
}

/// Far more for each of them than fits into memory.
fn backlog(world: &mut World) {
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..480 {
        let stream = if i % 2 == 0 { "a".to_owned() } else { name(i / 2 % SILENT) };
        world.log.append(&stream, &keys);
    }
}

fn arrived(world: &World, topic: &str) -> usize {
    world.cluster.logs.iter().filter(|((t, _), _)| t.as_str() == topic).map(|(_, log)| log.len()).sum()
}

/// The most bytes that were in windows at a time.
fn go_on(world: &mut World, rounds: usize) -> usize {
    let mut most = 0;
    for _ in 0..rounds {
        world.elapsed += Duration::from_millis(300);
        world.pump();
        most = most.max(world.engine.topics.values().map(Topic::bytes).sum());
        world.tell_topology();
        for _ in 0..4 {
            world.answer(false);
        }
    }
    most
}

#[test]
fn topics_that_nobody_answers_for_hold_back_neither_the_others_nor_more_memory_than_is_meant_for_them() {
    for seed in 0..2 {
        let mut world = World::exact(seed, None);
        backlog(&mut world);
        freeze(&mut world);
        let most = go_on(&mut world, 2500);
        assert_eq!(arrived(&world, "a"), 240 * 9, "seed {seed}");
        assert_eq!((0..SILENT).map(|i| arrived(&world, &name(i))).sum::<usize>(), 0);
        let (limits, block) = (settings().limits, 9 * 120);
        let bound = limits.buffer + 2 * limits.apart + SILENT * 2 * block;
        assert!(most <= bound, "{most} bytes in windows, {bound} are meant");
        world.kill();
        go_on(&mut world, 100);
        world.cluster.frozen.clear();
        world.drain();
        world.check(true);
    }
}

#[test]
fn a_partition_that_answers_goes_on_though_its_topic_was_silent() {
    let mut world = World::exact(7, None);
    backlog(&mut world);
    freeze(&mut world);
    go_on(&mut world, 1000);
    let back = (TopicName::new("s1").unwrap(), 2);
    world.cluster.frozen.remove(&back);
    go_on(&mut world, 1500);
    let expected = (0..9u8).filter(|key| crate::kafka::partition_for_key(&[*key], 3) == 2).count() * 20;
    assert_eq!(world.cluster.logs.get(&back).map(Vec::len), Some(expected));
    world.cluster.frozen.clear();
    world.drain();
    world.check(false);
}

#[test]
fn a_partition_with_too_few_replicas_waits_alone() {
    let mut world = World::exact(7, None);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for _ in 0..300 {
        world.log.append("a", &keys);
    }
    let place = (TopicName::new("a").unwrap(), 1);
    world.cluster.thin.insert(place);
    go_on(&mut world, 3000);
    let of = |p| (0..9u8).filter(|key| crate::kafka::partition_for_key(&[*key], 3) == p).count() * 300;
    assert_eq!(arrived(&world, "a"), of(0) + of(2));
    let waiting = world.engine.view().waiting;
    assert_eq!(waiting, [("a".to_owned(), "partition 1 does not take events; the others go on".to_owned())]);
    world.cluster.thin.clear();
    world.drain();
    world.check(false);
}
