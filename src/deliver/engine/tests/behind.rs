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

/// The reader of topic "a" has its second block, and the main reader the first.
fn behind(others: impl FnOnce(&mut World) -> Vec<Side>) -> World {
    let mut world = World::exact(7, None);
    let first = world.log.append("a", &[Some(1); 5]);
    world.log.append("a", &[Some(2), Some(3), Some(4), Some(5), Some(6)]);
    let sides = std::iter::once(side("a", first.end, Vec::new())).chain(others(&mut world)).collect();
    world.book.as_mut().unwrap().positions.sides = sides;
    world.start(7);
    world.tell_topology();
    for _ in 0..3 {
        world.pump();
        world.tell_topology();
    }
    let front = world.engine.main.tracker.front().map(|entry| entry.range);
    assert_eq!((front, world.engine.sides[&topic("a")].end), (Some(first), None));
    world
}

/// They were free, and nobody read them again: the log kept all that came behind.
#[test]
fn what_comes_back_of_the_main_readers_is_read_again_though_its_topic_has_a_reader_of_its_own() {
    let refused = || Outcome::Refused { code: 10, message: "no".into(), records: Vec::new() };
    let deferred = || Outcome::Deferred { code: 3, message: "no".into() };
    for outcome in [refused as fn() -> Outcome, deferred, || Outcome::Returned { in_doubt: false }] {
        let mut world = behind(|_| Vec::new());
        while let Some(window) = { world.sink.sent.lock().unwrap().pop() } {
            let _ = world.engine.settled(window.id, outcome(), world.now());
        }
        world.drain();
        world.check(true);
    }
}

/// Its windows were taken apart and made again in every round.
#[test]
fn the_engine_comes_to_rest_where_a_topic_that_has_lost_partitions_waits_for_the_main_reader_behind_another_topics_reader()
 {
    let mut world = behind(|world| {
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
