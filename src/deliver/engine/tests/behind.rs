//! The main reader has events of a topic that has a reader of its own: ones before that reader's, of which positions do not know that they
//! are settled. What of it does not fit into their file is left out, and without a journal there may be much.

use std::time::Duration;

use super::world::World;
use crate::ids::{Seq, TopicName};
use crate::kafka::Outcome;
use crate::state::positions::{Apart, Keys, Side};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn side(name: &str, from: Seq, apart: Vec<Apart>) -> Side {
    Side {
        topic: topic(name),
        from,
        position: from,
        end: None,
        waiting: 0,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: vec![(crate::ids::StreamName::new(name).unwrap(), from)],
        apart,
    }
}

/// The reader of topic "a" has its last block, and the main reader those before it.
fn behind(blocks: usize, others: impl FnOnce(&mut World) -> Vec<Side>) -> World {
    let mut world = World::exact(7, None);
    let own: Vec<_> = (0..blocks).map(|_| world.log.append("a", &[Some(1); 5])).collect();
    let (front, end) = (own.first().copied(), own.last().unwrap().end);
    world.log.append("a", &[Some(2), Some(3), Some(4), Some(5), Some(6)]);
    let sides = std::iter::once(side("a", end, Vec::new())).chain(others(&mut world)).collect();
    world.book.as_mut().unwrap().positions.sides = sides;
    world.start(7);
    world.tell_topology();
    for _ in 0..3 {
        world.pump();
        world.tell_topology();
    }
    let found = world.engine.main.tracker.front().map(|entry| entry.range);
    assert_eq!((found, world.engine.sides[&topic("a")].end), (front, None));
    world
}

/// They were free, and nobody read them again: the log kept all that came behind.
#[test]
fn what_comes_back_of_the_main_readers_is_read_again_though_its_topic_has_a_reader_of_its_own() {
    let refused = || Outcome::Refused { code: 10, message: "no".into(), records: Vec::new() };
    let deferred = || Outcome::Deferred { code: 3, message: "no".into() };
    for outcome in [refused as fn() -> Outcome, deferred, || Outcome::Returned { in_doubt: false }] {
        let mut world = behind(1, |_| Vec::new());
        while let Some(window) = { world.sink.sent.lock().unwrap().pop() } {
            let _ = world.engine.settled(window.id, outcome(), world.now());
        }
        world.drain();
        world.check(true);
    }
}

/// Nobody read them again where the answer to what was sent came in the end: the log kept all that came behind them.
#[test]
fn what_is_freed_of_the_main_readers_since_nobody_answers_is_read_again_once_somebody_does() {
    let mut world = behind(3, |_| Vec::new());
    world.cluster.frozen.extend((0..3).map(|partition| (topic("a"), partition)));
    for _ in 0..3 {
        world.elapsed += Duration::from_secs(4);
        world.tell_topology();
        world.pump();
        world.answer(false);
    }
    let is_free = |world: &World| world.engine.main.tracker.first_free().is_some();
    assert!(is_free(&world), "nothing is tested");
    world.cluster.frozen.clear();
    world.drain();
    world.check(true);
}

/// The main reader stood before the first of them until the topic took events.
#[test]
fn what_the_main_reader_has_of_a_topic_that_waits_holds_back_no_other_topic() {
    let mut world = behind(3, |_| Vec::new());
    while let Some(window) = { world.sink.sent.lock().unwrap().pop() } {
        let _ =
            world.engine.settled(window.id, Outcome::Deferred { code: 3, message: "no".into() }, world.now());
    }
    assert!(world.engine.main.tracker.first_free().is_some(), "nothing is tested");
    for round in 0..3usize {
        let more = world.log.append("b", &[Some(1), Some(2), Some(3)]);
        for _ in 0..4 {
            world.pump();
            world.tell_topology();
            let sent = world.sink.sent.lock().unwrap();
            assert!(sent.iter().all(|window| window.topic == topic("b")), "a has come back");
            drop(sent);
            (0..3).for_each(|_| world.answer(false));
        }
        assert_eq!(world.engine.main.tracker.read(), more.end);
        let of_b = world.cluster.logs.iter().filter(|((name, _), _)| *name == topic("b"));
        assert_eq!(of_b.map(|(_, log)| log.len()).sum::<usize>(), 3 * (round + 1));
    }
    world.drain();
    world.check(true);
}

/// Its windows were taken apart and made again in every round.
#[test]
fn the_engine_comes_to_rest_where_a_topic_that_has_lost_partitions_waits_for_the_main_reader_behind_another_topics_reader()
 {
    let mut world = behind(1, |world| {
        let keys: Vec<_> = (0..9).map(Some).collect();
        let block = world.log.append("b", &keys);
        world.cluster.leaderless.insert((topic("b"), 2));
        // More than is on its way.
        (0..20).for_each(|_| _ = world.log.append("a", &keys));
        let apart = Apart {
            keys: Keys { partition: 2, count: 3, by: 0, extras: Vec::new() },
            from: block.first,
            position: block.first,
            end: None,
            waiting: 0,
            since: 0,
            dropped: false,
            partial: Vec::new(),
        };
        vec![side("b", block.first, vec![apart])]
    });
    world.cluster.frozen.extend((0..3).map(|partition| (topic("a"), partition)));
    world.cluster.make_anew(&topic("b"), 2);
    for _ in 0..20 {
        world.elapsed += Duration::from_secs(4);
        world.tell_topology();
        world.pump();
        world.answer(false);
    }
    assert!(world.engine.topics[&topic("b")].lost_since.is_some() || world.rejoined > 0, "nothing is tested");
    world.cluster.frozen.clear();
    world.drain();
    // A topic that is made anew counts anew.
    world.book.as_mut().unwrap().flips = true;
    world.check(true);
}
