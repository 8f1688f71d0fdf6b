//! What is refused, and how much of it is remembered.

use std::time::Duration;

use super::world::{World, settings};
use crate::ids::{Seq, TopicName};
use crate::kafka::{Outcome, partition_for_key};

fn go_on(world: &mut World, rounds: usize) -> usize {
    let mut most = 0;
    for _ in 0..rounds {
        world.elapsed += Duration::from_millis(300);
        world.pump();
        world.tell_topology();
        for _ in 0..4 {
            world.answer(false);
            most = most.max(world.engine.graves.len());
        }
    }
    most
}

/// Far more than fits into memory, half of it for a topic that refuses everything.
fn refusing() -> World {
    let mut world = World::exact(7, None);
    for i in 0..400 {
        world.log.append(if i % 2 == 0 { "a" } else { "b" }, &[Some(1), Some(2), None, Some(3), None]);
    }
    world.cluster.refusing.insert(TopicName::new("a").unwrap());
    world
}

#[test]
fn a_topic_whose_letters_can_not_be_kept_waits_and_says_so_and_few_of_them_wait_in_memory() {
    let mut world = refusing();
    world.letters.full = true;
    let most = go_on(&mut world, 3000);
    let limits = settings().limits;
    assert!(most > 0 && most <= limits.graves + limits.side_buffer / 50, "{most} letters wait");
    let delivered: usize = world.cluster.logs.values().map(Vec::len).sum();
    assert_eq!(delivered, 1000, "everything of the other topic arrives");
    let waiting = world.engine.view().waiting;
    assert_eq!(
        waiting,
        [("a".to_owned(), "an event is refused, and dead letters can't be kept: full".to_owned())]
    );
    assert_eq!(world.engine.main_position(), world.log.end());
    // Room is made.
    world.letters.full = false;
    world.drain();
    world.check(true);
    assert_eq!(world.letters.there().count(), 1000);
}

#[test]
fn without_a_journal_what_may_be_there_and_is_refused_or_taken_under_another_identity_is_counted() {
    for refused in [true, false] {
        let mut world = World::new(7);
        world.log.append("a", &[Some(1); 3]);
        for _ in 0..3 {
            world.pump();
            world.tell_topology();
        }
        let take = |world: &mut World| {
            world.pump();
            let window = world.sink.sent.lock().unwrap().pop().unwrap();
            assert_eq!(window.batch.count(), 3);
            window
        };
        let window = take(&mut world);
        let forgotten =
            Outcome::Forgotten { batch: window.batch.clone(), may_be_doubled: true, fenced: false };
        assert_eq!(world.engine.settled(window.id, forgotten, world.now()), None);
        let id = take(&mut world).id;
        let outcome = match refused {
            true => Outcome::Refused { code: 10, message: "no".into(), records: Vec::new() },
            false => Outcome::Acked { offset: 9, doubtful: false, may_be_doubled: false },
        };
        let delivered = world.engine.settled(id, outcome, world.now());
        assert_eq!(delivered.is_some_and(|delivered| delivered.doubtful), !refused);
        assert_eq!(world.engine.take_possibly_doubled(), if refused { 3 } else { 0 });
    }
}

#[test]
fn windows_grow_again_once_a_topic_takes_larger_ones() {
    let mut world = World::exact(4, None);
    world.cluster.max_bytes = 300;
    let some = |world: &World, blocks: usize| {
        (0..blocks).for_each(|_| {
            world.log.append("a", &[Some(7); 10]);
        });
    };
    some(&world, 40);
    go_on(&mut world, 1000);
    let (largest, refused) = (world.cluster.largest, world.cluster.too_large);
    assert!(largest <= 300 && refused > 0, "{largest} bytes, {refused} refused");
    world.cluster.max_bytes = 0;
    some(&world, 400);
    world.drain();
    world.check(true);
    assert!(world.cluster.largest > settings().batch_size / 2, "{}", world.cluster.largest);
}

fn topic() -> TopicName {
    TopicName::new("a").unwrap()
}

/// An event of topic "a" was refused, and would be taken by now.
fn with_a_letter(key: Option<u8>) -> World {
    let mut world = World::exact(5, None);
    world.log.append("a", &[key]);
    world.cluster.poison = 1;
    go_on(&mut world, 20);
    assert_eq!(world.letters.there().count(), 1);
    world.cluster.poison = 0;
    world
}

/// It was sent, came back, and was sent at once, as long as there was no leader.
#[test]
fn a_letter_that_is_sent_again_waits_until_its_partition_has_a_leader() {
    let mut world = with_a_letter(Some(7));
    let leads_to = i32::try_from(partition_for_key(&[7], 3)).unwrap();
    world.cluster.leaderless.insert((topic(), leads_to));
    world.tell_topology();
    (0..20).for_each(|_| world.replay());
    go_on(&mut world, 20);
    let before = world.engine.next_window;
    go_on(&mut world, 200);
    assert_eq!((world.engine.redo_len(), world.engine.next_window), (1, before));
    assert!(world.engine.view().waiting.iter().any(|(waits, _)| waits.starts_with('a')), "nothing says so");
    world.drain();
    world.check(true);
    let arrived: usize = world.cluster.logs.values().map(Vec::len).sum();
    assert_eq!((arrived, world.letters.there().count()), (1, 0));
}

/// It went again as soon as it had come back, each time under another epoch, until these were spent.
#[test]
fn a_letter_that_is_sent_again_to_a_partition_with_too_few_replicas_goes_no_more_often_than_what_is_read_for_it()
 {
    let mut world = with_a_letter(Some(7));
    let leads_to = i32::try_from(partition_for_key(&[7], 3)).unwrap();
    world.cluster.thin.insert((topic(), leads_to));
    (0..20).for_each(|_| world.replay());
    go_on(&mut world, 20);
    let before = world.engine.next_window;
    let rounds = 200u32;
    go_on(&mut world, rounds as usize);
    let (passed, patience) = (rounds * Duration::from_millis(300), settings().limits.stuck_after);
    let (sent, most) =
        (u128::from(world.engine.next_window - before), passed.as_millis() / patience.as_millis());
    assert!(sent > 0 && sent <= most + 1, "{sent} times in {passed:?}");
    world.drain();
    world.check(true);
    assert_eq!((world.engine.redo_len(), world.letters.there().count()), (0, 0));
}

/// It went into the line of partition 0 behind the back of that one's reader, and came back without an end.
#[test]
fn a_letter_without_a_key_that_is_sent_again_waits_where_every_partition_is_apart() {
    let mut world = with_a_letter(None);
    let keys: Vec<_> = (0..9).map(Some).collect();
    for i in 0..600 {
        world.log.append(if i % 4 == 0 { "b" } else { "a" }, &keys);
    }
    world.cluster.leaderless.insert((topic(), 0));
    go_on(&mut world, 1000);
    assert!(world.engine.topics[&topic()].apart.contains(&0));
    // Of the topic made anew it is the only one.
    world.cluster.make_anew(&topic(), 1);
    world.cluster.leaderless.insert((topic(), 0));
    go_on(&mut world, 10);
    assert!(world.engine.topics[&topic()].has_none_left());
    (0..20).for_each(|_| world.replay());
    world.cluster.leaderless.clear();
    go_on(&mut world, 1);
    assert_eq!(world.engine.redo_len(), 1);
    let line = world.engine.topics[&topic()].lines.get(&0);
    let again = line.and_then(|line| line.in_flight.as_ref()).is_some_and(|window| window.again);
    assert!(!again && world.cluster.logs.get(&(topic(), 0)).is_none_or(Vec::is_empty), "{line:?}");
    world.drain();
    world.check(true);
}

/// Its event was taken for ever, and the whole destination waited for it until a restart.
#[test]
fn what_the_routes_before_had_sent_and_is_refused_and_gone_before_it_is_a_letter_holds_nothing_back() {
    let mut tried = 0;
    for seed in 0..20 {
        let mut world = World::exact(seed, None);
        world.begin_rerouting();
        let one = world.log.append("a", &[Some(1)]);
        for _ in 0..3 {
            world.pump();
            world.tell_topology();
        }
        world.cluster.missing.insert(topic());
        world.kill();
        world.cluster.missing.clear();
        world.tell_topology();
        let changed = world.engine.positions(super::world::SPOOL).routes != world.engine.settings.routes;
        world.pump();
        let window = world.sink.sent.lock().unwrap().pop();
        let Some(window) = window.filter(|_| changed) else { continue };
        let refused = Outcome::Refused { code: 10, message: "no".into(), records: Vec::new() };
        let _ = world.engine.settled(window.id, refused, world.now());
        if world.engine.resumed.is_empty() || world.engine.graves.is_empty() {
            continue;
        }
        tried += 1;
        world.lost.extend((one.first.0..one.end.0).map(Seq));
        world.log.lose(0, true).unwrap();
        world.drain();
        assert!(world.engine.resumed.is_empty());
        world.check(true);
    }
    assert!(tried > 2, "{tried}");
}
