//! Windows in doubt that were cut by another number of partitions than there is by now.

use std::time::Duration;

use super::world::World;
use crate::config::model::Partitioner;
use crate::ids::TopicName;
use crate::kafka::{Outcome, consistent, partition_for_key};

fn topic() -> TopicName {
    TopicName::new("a").unwrap()
}

fn wait_and_pump(world: &mut World) {
    world.elapsed += Duration::from_secs(4);
    world.tell_topology();
    world.pump();
}

/// It was taken for one that fits any number.
#[test]
fn what_can_be_read_of_a_window_in_doubt_that_can_not_comes_before_later_events_of_its_keys() {
    let moves = |key: &u8| partition_for_key(&[*key], 3) != partition_for_key(&[*key], 4);
    let keys: Vec<u8> = (0..9).filter(moves).collect();
    assert!(keys.len() > 1, "{keys:?}");
    for key in keys {
        let mut world = World::exact(7, None);
        for _ in 0..2 {
            world.log.append("a", &[Some(key); 5]);
        }
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        assert_eq!(world.sink.sent.lock().unwrap().len(), 1, "a window is on its way");
        world.cluster.missing.insert(topic());
        world.kill();
        world.cluster.missing.clear();
        world.cluster.grown.insert(topic(), 1);
        let range = world.log.lose(0, false).unwrap();
        world.lost.extend((range.first.0..range.end.0).map(crate::ids::Seq));
        world.log.append("a", &[Some(key); 5]);
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        let windows = world.sink.sent.lock().unwrap().len();
        assert_eq!(windows, 1, "what follows waits, though it is another partition's");
        world.drain();
        world.check(true);
        let log = &world.cluster.logs[&(topic(), partition_for_key(&[key], 4).cast_signed())];
        assert_eq!(log.len(), 10);
    }
}

/// After a kill it was looked for, perhaps in vain, and sent behind later events of its keys.
#[test]
fn what_has_arrived_by_another_number_of_partitions_is_durable_before_anything_more_is_read() {
    let mut seen = 0;
    for seed in 0..10 {
        let mut world = World::exact(seed, None);
        let keys: Vec<_> = (0..9).map(Some).collect();
        world.log.append("a", &keys);
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        world.kill();
        world.cluster.grown.insert(topic(), 1);
        world.log.append("a", &keys);
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        while !world.sink.sent.lock().unwrap().is_empty() {
            let strays = |world: &World| {
                let lines = world.engine.topics.get(&topic()).into_iter().flat_map(|topic| &topic.lines);
                lines.flat_map(|(_, line)| line.strides()).filter(|strides| !strides.fit(4)).count()
            };
            let before = strays(&world);
            world.answer(false);
            if strays(&world) < before {
                seen += 1;
                assert!(world.engine.wants_durable_positions(), "seed {seed}");
            }
            world.pump();
        }
        world.drain();
        world.check(true);
    }
    assert!(seen > 5, "{seen}");
}

/// The topic went on by the old number and the new partitioner, and what was taken back of the window came behind.
#[test]
fn a_topic_that_grows_while_what_strays_is_in_doubt_waits_for_that() {
    let strays = |key: &u8| consistent(&[*key], 3) != Some(partition_for_key(&[*key], 3));
    let keys: Vec<u8> = (0..9).filter(strays).collect();
    assert!(keys.len() > 1, "{keys:?}");
    for key in keys {
        let mut world = World::exact(7, None);
        world.log.append("a", &[Some(key); 5]);
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        assert_eq!(world.sink.sent.lock().unwrap().len(), 1, "a window is on its way");
        // It has not arrived.
        world.cluster.missing.insert(topic());
        world.partitioner = Partitioner::ConsistentRandom;
        world.kill();
        world.cluster.missing.clear();
        world.log.append("a", &[Some(key); 5]);
        wait_and_pump(&mut world);
        wait_and_pump(&mut world);
        world.cluster.grown.insert(topic(), 1);
        (0..4).for_each(|_| wait_and_pump(&mut world));
        assert!(world.engine.topics[&topic()].has_grown(), "it has counted anew, so nothing is tested");
        assert_eq!(world.sink.sent.lock().unwrap().len(), 1, "what follows waits");
        // It comes back.
        let window = world.sink.sent.lock().unwrap().remove(0);
        let _ = world.engine.settled(window.id, Outcome::Returned { in_doubt: false }, world.now());
        world.drain();
        world.check(true);
    }
}

/// They went into other windows, and nobody counted that they may be there twice.
#[test]
fn events_of_a_window_that_may_have_arrived_and_is_taken_apart_are_counted() {
    let mut world = World::exact(7, None);
    world.log.append("a", &[Some(1); 5]);
    wait_and_pump(&mut world);
    wait_and_pump(&mut world);
    let window = world.sink.sent.lock().unwrap().remove(0);
    let outcome = Outcome::Forgotten { batch: window.batch, may_be_doubled: true, fenced: false };
    let _ = world.engine.settled(window.id, outcome, world.now());
    world.engine.set_apart(&topic());
    assert_eq!(world.engine.take_possibly_doubled(), 5);
    world.drain();
    world.check(true);
}

/// Each window that came back was remembered once more.
#[test]
fn a_topic_that_only_puts_off_what_it_gets_takes_no_more_and_more_memory() {
    let mut world = World::exact(7, None);
    let keys: Vec<_> = (0..9).map(Some).collect();
    (0..20).for_each(|_| _ = world.log.append("a", &keys));
    world.cluster.thin.extend((0..3).map(|partition| (topic(), partition)));
    for _ in 0..200 {
        world.go_on(1);
        world.elapsed += Duration::from_secs(3);
    }
    let (fresh, sent) = (world.engine.topics[&topic()].fresh.len(), world.engine.next_window);
    assert!(sent > 100 && fresh <= 3, "{fresh} of {sent}");
    world.drain();
    world.check(true);
}
