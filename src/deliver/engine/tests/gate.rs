//! Events that have to wait for others which are in another lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::world::World;
use crate::ids::{Seq, StreamName, TopicName};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// A gate that holds back stream `a` from number 11 on until it is opened.
fn gated(world: &mut World) -> Arc<AtomicBool> {
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    world.engine.set_gate(Box::new(move |stream: &StreamName, _: &TopicName, seq: Seq| {
        let held = stream.as_str() == "a" && seq >= Seq(11) && !is_open.load(Ordering::Relaxed);
        held.then(|| "others go first".to_owned())
    }));
    open
}

fn go_on(world: &mut World) {
    for _ in 0..200 {
        world.elapsed += Duration::from_millis(300);
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
}

fn delivered(world: &World, name: &str) -> usize {
    world.cluster.logs.iter().filter(|((t, _), _)| t.as_str() == name).map(|(_, log)| log.len()).sum()
}

#[test]
fn a_stream_that_is_held_back_waits_alone_and_goes_on_in_order_when_it_may() {
    let mut world = World::new(7);
    let open = gated(&mut world);
    for i in 0..100 {
        world.log.append(if i % 2 == 0 { "a" } else { "b" }, &[Some(1), Some(2), None, Some(1), None]);
    }
    go_on(&mut world);
    assert_eq!(
        (delivered(&world, "a"), delivered(&world, "b")),
        (5, 250),
        "only what comes before the eleventh"
    );
    let view = world.engine.view();
    assert_eq!((view.parked, world.engine.settled_of(&topic("a"))), (245, Seq(11)));
    assert_eq!(world.engine.settled_of(&topic("b")), Seq(501));
    open.store(true, Ordering::Relaxed);
    world.drain();
    world.check(false);
    assert_eq!(world.engine.settled_of(&topic("a")), Seq(501));
}

#[test]
fn what_was_held_back_before_a_kill_is_held_back_after_it() {
    let mut world = World::exact(7, None);
    let _open = gated(&mut world);
    for i in 0..40 {
        world.log.append(if i % 2 == 0 { "a" } else { "b" }, &[Some(1), Some(2), None, Some(1), None]);
    }
    go_on(&mut world);
    world.kill();
    let open = gated(&mut world);
    go_on(&mut world);
    assert_eq!((delivered(&world, "a"), delivered(&world, "b")), (5, 100));
    open.store(true, Ordering::Relaxed);
    world.drain();
    world.check(true);
}

#[test]
fn what_comes_before_an_event_that_is_held_back_is_sent_though_it_is_read_in_one_go_with_it() {
    let mut world = World::exact(7, None);
    world.engine.set_gate(Box::new(|_: &StreamName, _: &TopicName, seq: Seq| {
        (seq >= Seq(51)).then(|| "others go first".to_owned())
    }));
    for _ in 0..20 {
        let _appended = world.log.append("a", &[Some(1), Some(2), None, Some(1), None]);
    }
    go_on(&mut world);
    assert_eq!(delivered(&world, "a"), 50);
    assert_eq!(world.engine.settled_of(&topic("a")), Seq(51));
    assert_eq!(world.engine.view().waiting, [("a".to_owned(), "others go first".to_owned())]);
}
