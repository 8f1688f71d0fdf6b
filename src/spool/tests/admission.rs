//! What the writer does about room, on a lane that is driven by hand.

use super::stepped::{Site, plain, send};
use super::*;
use crate::disk::Space;
use crate::disk::faulty::{Faulty, Op};
use crate::spool::encoder::Encoder;
use crate::spool::stepped::SteppedLane;

/// Some room is to stay free, so that none is left where nothing is free.
fn with_reserve() -> Spool {
    Spool { reserve: 1 << 20, ..plain() }
}

fn no_room() -> Option<Space> {
    Some(Space { available: 0, total: 1 << 40 })
}

/// As long as the file system stays as it is.
fn for_a_while(site: &Site, lane: &mut SteppedLane<Faulty>) {
    for _ in 0..5 {
        site.host.advance(Duration::from_secs(1));
        lane.turn();
        while lane.tidy() {}
    }
}

#[test]
fn a_full_lane_of_one_segment_ends_it_once_so_that_it_can_go() {
    let site = Site::new();
    let mut lane = site.lane(&with_reserve());
    assert_eq!(send(&mut lane, &[("a", 100)]), 1);
    let old = segments(site.dir.path());
    site.fs.set_space(no_room());
    site.host.advance(Duration::from_secs(1));
    assert_eq!(send(&mut lane, &[("a", 100)]), 0);
    assert_eq!(lane.lane().status().segments, 2, "the next one is proven, so that this one is not the last");
    lane.lane().release(Seq(2));
    while lane.tidy() {}
    let (left, made) = (segments(site.dir.path()), site.fs.count(Op::Create));
    assert!(left.len() == 1 && left != old, "{left:?}");
    // It holds nothing, and is let alone.
    for_a_while(&site, &mut lane);
    assert_eq!((segments(site.dir.path()), site.fs.count(Op::Create)), (left, made));
    site.fs.set_space(Some(Space { available: 1 << 30, total: 1 << 40 }));
    for_a_while(&site, &mut lane);
    assert_eq!(send(&mut lane, &[("a", 100)]), 1);
    lane.close();
}

/// It was the last for good: nothing came into the one behind it, without which it may not go.
#[test]
fn a_lane_that_is_full_when_it_is_opened_lets_its_only_segment_go_too() {
    let site = Site::new();
    let mut lane = site.lane(&with_reserve());
    assert_eq!(send(&mut lane, &[("a", 100)]), 1);
    lane.close();
    let old = segments(site.dir.path());
    site.fs.set_space(no_room());
    let mut lane = site.lane(&with_reserve());
    assert_eq!(send(&mut lane, &[("a", 100)]), 0);
    lane.lane().release(Seq(2));
    for_a_while(&site, &mut lane);
    let (left, made) = (segments(site.dir.path()), site.fs.count(Op::Create));
    assert!(left.len() == 1 && left != old, "{left:?}");
    let syncs = site.fs.count(Op::SyncData);
    for_a_while(&site, &mut lane);
    assert_eq!((segments(site.dir.path()), site.fs.count(Op::Create)), (left, made));
    assert_eq!(site.fs.count(Op::SyncData), syncs, "once is enough");
    lane.close();
}

#[test]
fn a_full_lane_of_several_segments_begins_no_other() {
    let site = Site::new();
    let mut lane = site.lane(&with_reserve());
    (0..6).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    for_a_while(&site, &mut lane);
    let before = (lane.lane().status().segments, site.fs.count(Op::Create));
    assert_eq!(before.0, 2);
    site.fs.set_space(no_room());
    site.host.advance(Duration::from_secs(1));
    assert_eq!(send(&mut lane, &[("a", 5000)]), 0);
    for_a_while(&site, &mut lane);
    assert_eq!((lane.lane().status().segments, site.fs.count(Op::Create)), before);
    lane.close();
}

#[test]
fn a_request_that_might_leave_no_room_for_a_seal_begins_the_next_segment() {
    // What a request takes at most, and a seal.
    let end = |lane: &SteppedLane<Faulty>, size: usize| {
        let need = Encoder::at_most(batch(&[vec![5; size]]).as_bytes().len());
        lane.lane().status().bytes + need + 1024
    };
    for (more, expected) in [(0, 1), (1, 2)] {
        let site = Site::new();
        let mut lane = site.lane(&plain());
        assert_eq!(send(&mut lane, &[("a", 10_000)]), 1);
        let size = (1..20_000).find(|size| end(&lane, *size) == 32 << 10).unwrap();
        assert_eq!(send(&mut lane, &[("a", size + more)]), 1);
        assert_eq!(lane.lane().status().segments, expected);
        lane.close();
    }
}

#[test]
fn of_a_full_lane_the_oldest_segment_goes_once_it_may_be_dropped() {
    let site = Site::new();
    let mut lane = site.lane(&Spool { max_size: Some(64 << 10), ..plain() });
    while send(&mut lane, &[("a", 5000)]) == 1 {}
    for_a_while(&site, &mut lane);
    lane.lane().may_drop(Seq(4));
    for_a_while(&site, &mut lane);
    assert_eq!((lane.lane().first(), lane.lane().status().full), (Seq(1), true));
    lane.lane().may_drop(Seq(5));
    for_a_while(&site, &mut lane);
    assert_eq!(lane.lane().first(), Seq(5));
    assert_eq!(lane.lane().dropped(), crate::ids::SeqRange::new(Seq::NONE, Seq(5)));
    lane.close();
}
