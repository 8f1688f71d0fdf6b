//! What the journal proves of positions, case by case.

use std::collections::BTreeMap;

use super::*;
use crate::ids::{RunId, SpoolId};
use crate::state::journal::tests::intent;
use crate::state::positions::{Bits, Counter, Keys, Side};

/// The main reader has settled everything below.
fn positions(position: u64) -> Positions {
    Positions { position: Seq(position), ..Positions::fresh(SpoolId(7), Seq(1)) }
}

/// An intent of one event, and another that says that it arrived.
fn arrived(block: u64) -> Vec<Intent> {
    vec![intent(0, block, &[true]), Intent { base_sequence: 78, ..intent(0, block + 1, &[true]) }]
}

fn topic() -> TopicName {
    intent(0, 1, &[true]).topic
}

fn replaying(id: u64, seq: u64, run: u64) -> Replaying {
    Replaying { id, seq: Seq(seq), run: RunId(run) }
}

fn is_in_doubt(positions: &Positions, intent: &Intent) -> bool {
    let doubtful = fold(&mut positions.clone(), vec![intent.clone()]);
    assert!(doubtful.is_empty() || doubtful == std::slice::from_ref(intent));
    !doubtful.is_empty()
}

#[test]
fn no_new_event_gets_a_number_that_an_intent_names() {
    assert_eq!(highest(&[]), Seq::NONE);
    let mut many = intent(0, 10, &[true; 3]);
    many.shares.extend(intent(0, 20, &[true, false]).shares);
    assert_eq!(highest(&[intent(0, 7, &[true]), many, intent(1, 5, &[true; 9])]), Seq(22));
}

#[test]
fn each_reader_is_asked_for_the_blocks_that_are_its_own() {
    let mut positions = positions(100);
    for (block, doubt) in [(98, false), (99, false), (100, true)] {
        assert_eq!(is_in_doubt(&positions, &intent(0, block, &[true])), doubt, "{block}");
    }
    assert!(is_in_doubt(&positions, &intent(0, 99, &[true, true])));
    let side = Side {
        topic: topic(),
        from: Seq(5),
        position: Seq(8),
        end: Some(Seq(30)),
        waiting: 1,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: Vec::new(),
    };
    positions.sides = vec![Side { topic: TopicName::new("other").unwrap(), ..side.clone() }];
    assert!(!is_in_doubt(&positions, &intent(0, 10, &[true])), "another topic's reader");
    positions.sides.push(side);
    for (block, doubt) in [(4, false), (5, false), (7, false), (8, true), (29, true), (30, false)] {
        assert_eq!(is_in_doubt(&positions, &intent(0, block, &[true])), doubt, "{block}");
    }
    positions.sides[1].position = Seq(5);
    assert!(is_in_doubt(&positions, &intent(0, 5, &[true])), "the first of its own");
    assert!(!is_in_doubt(&positions, &intent(0, 4, &[true])));
}

#[test]
fn a_letter_that_is_sent_again_is_known_by_its_number_its_run_and_that_it_is_alone() {
    let mut positions = positions(100);
    positions.replaying = vec![replaying(4, 10, 5), replaying(0, 200, 5)];
    let other_run = |block| {
        let mut intent = intent(0, block, &[true]);
        intent.shares[0].run = RunId(6);
        intent
    };
    assert!(
        is_in_doubt(&positions, &intent(0, 10, &[true])),
        "the readers are past it, and it is not settled"
    );
    assert!(!is_in_doubt(&positions, &intent(0, 11, &[true])));
    assert!(!is_in_doubt(&positions, &intent(0, 10, &[true, false])));
    assert!(!is_in_doubt(&positions, &other_run(10)));
    assert!(
        !is_in_doubt(&positions, &intent(0, 200, &[true])),
        "it has arrived, though no reader is past it"
    );
    assert!(is_in_doubt(&positions, &intent(0, 201, &[true])));
    assert!(is_in_doubt(&positions, &intent(0, 200, &[true, false])));
    assert!(is_in_doubt(&positions, &other_run(200)));
}

#[test]
fn a_letter_that_arrived_is_being_sent_no_more_and_counts_if_its_event_does() {
    for (since, delivered) in [(9, 1), (10, 1), (11, 0)] {
        let mut positions = positions(100);
        positions.since = Seq(since);
        positions.replaying = vec![replaying(4, 10, 5), replaying(5, 12, 5)];
        assert_eq!(fold(&mut positions, arrived(10)), []);
        assert_eq!(positions.replaying, [replaying(5, 12, 5)]);
        assert_eq!((positions.totals.delivered, positions.partial.len()), (delivered, 0));
    }
    let mut positions = positions(100);
    positions.replaying = vec![replaying(4, 10, 5)];
    assert_eq!(fold(&mut positions, arrived(20)), []);
    assert_eq!((positions.replaying.len(), positions.totals.delivered), (1, 0), "another event");
    assert_eq!(positions.partial, []);
}

#[test]
fn a_window_that_arrived_settles_its_events_unless_its_reader_is_past_them() {
    let mut positions = positions(10);
    let mut first = intent(0, 7, &[true]);
    first.shares.extend(intent(0, 12, &[true, false]).shares);
    let second = Intent { base_sequence: 79, ..intent(0, 20, &[true]) };
    assert_eq!(fold(&mut positions, vec![first, second.clone()]), [second]);
    let [partial] = &positions.partial[..] else { panic!("{:?}", positions.partial) };
    assert_eq!((partial.first, partial.settled.count()), (Seq(12), 1));
}

/// A topic's counters as they are known, with another partition that must not be lost.
fn known(id: u8, epoch: u16, next: u64, newest: u64) -> TopicCounters {
    TopicCounters {
        topic: topic(),
        id: [id; 16],
        partitions: BTreeMap::from([(0, Counter { epoch, next }), (1, Counter { epoch: 1, next: 1 })]),
        newest: BTreeMap::from([(0, Seq(newest))]),
    }
}

/// The counter behind an intent of one event at block 20 with counter 9:20.
fn counted(known: TopicCounters, topic_id: u8, is_news: bool) -> (u8, Counter, bool, Seq) {
    let mut positions = positions(if is_news { 20 } else { 100 });
    positions.counters = vec![known];
    let [mut first, mut second] = [20, 21].map(|block| intent(0, block, &[true]));
    (first.topic_id, second.topic_id) = ([topic_id; 16], [topic_id; 16]);
    second.base_sequence = 78;
    second.before = if is_news { Before::Appended } else { Before::Withdrawn };
    second.shares.clear();
    // Without news, it is the last of its partition, and its reader is past it.
    let intents = if is_news { vec![first, second] } else { vec![first] };
    assert_eq!(fold(&mut positions, intents), []);
    let [counters] = &positions.counters[..] else { panic!("{:?}", positions.counters) };
    (counters.id[0], counters.partitions[&0], counters.partitions.contains_key(&1), counters.newest[&0])
}

#[test]
fn a_counter_goes_on_behind_what_arrived_and_never_back() {
    let counter = |epoch, next| Counter { epoch, next };
    for is_news in [true, false] {
        assert_eq!(counted(known(3, 9, 15, 30), 3, is_news), (3, counter(9, 21), true, Seq(30)));
        assert_eq!(counted(known(3, 9, 40, 10), 3, is_news), (3, counter(9, 40), true, Seq(20)));
    }
    // Another epoch counts if the positions did not know of the window.
    assert_eq!(counted(known(3, 8, 40, 10), 3, true), (3, counter(9, 21), true, Seq(20)));
    assert_eq!(counted(known(3, 8, 15, 10), 3, false), (3, counter(8, 15), true, Seq(20)));
    assert_eq!(counted(known(3, 8, 40, 10), 3, false), (3, counter(8, 40), true, Seq(20)));
}

#[test]
fn a_topic_that_was_made_anew_counts_anew() {
    let counter = |epoch, next| Counter { epoch, next };
    // Also in an epoch that the topic before it had.
    for epoch in [8, 9] {
        assert_eq!(counted(known(2, epoch, 40, 30), 3, true), (3, counter(9, 21), false, Seq(20)));
    }
    // The positions knew, or the cluster gives topics no ids.
    assert_eq!(counted(known(2, 9, 40, 30), 3, false), (2, counter(9, 40), true, Seq(30)));
    assert_eq!(counted(known(2, 8, 40, 30), 0, true), (2, counter(9, 21), true, Seq(30)));
}

#[test]
fn what_arrived_is_told_to_the_readers_of_single_partitions_that_may_have_it_and_are_not_past_it() {
    let known = |block, bits| Partial { settled: Bits::from_words(2, [bits]), ..Partial::new(Seq(block), 2) };
    let apart = Apart {
        keys: Keys { partition: 2, count: 3, by: 0, extras: Vec::new() },
        from: Seq(5),
        position: Seq(30),
        end: Some(Seq(50)),
        waiting: 0,
        since: 0,
        dropped: false,
        partial: vec![known(40, 0b01), known(44, 0b01)],
    };
    let side = Side {
        topic: topic(),
        from: Seq(1),
        position: Seq(60),
        end: None,
        waiting: 1,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: vec![apart],
    };
    let told = |block| {
        let mut positions = Positions { sides: vec![side.clone()], ..positions(60) };
        let second = Intent { base_sequence: 79, ..intent(0, 90, &[true]) };
        assert_eq!(fold(&mut positions, vec![intent(0, block, &[false, true]), second]).len(), 1);
        let partial = &positions.sides[0].apart[0].partial;
        partial.iter().map(|p| (p.first.0, p.settled.words()[0])).collect::<Vec<_>>()
    };
    let before = vec![(40, 0b01), (44, 0b01)];
    for block in [3, 20, 28, 50, 60] {
        assert_eq!(told(block), before, "{block}");
    }
    assert_eq!(told(29), [vec![(29, 0b10)], before.clone()].concat());
    assert_eq!(told(40), [(40, 0b11), (44, 0b01)]);
    assert_eq!(told(44), [(40, 0b01), (44, 0b11)]);
    assert_eq!(told(46), [before, vec![(46, 0b10)]].concat());
}
