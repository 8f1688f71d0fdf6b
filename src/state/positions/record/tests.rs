//! What sums and readers say of each other.

use super::*;

fn side(from: u64, position: u64, end: Option<u64>) -> Side {
    Side {
        topic: TopicName::new("t").unwrap(),
        from: Seq(from),
        position: Seq(position),
        end: end.map(Seq),
        waiting: 0,
        since: 0,
        dropped: false,
        missing_for: 0,
        streams: Vec::new(),
        apart: Vec::new(),
    }
}

fn at(position: u64) -> Positions {
    Positions { position: Seq(position), ..Positions::fresh(SpoolId(1), Seq(1)) }
}

#[test]
fn what_nobody_is_known_to_have_counted_is_balanced_when_all_is_settled() {
    let before = Totals { delivered: 5, dead_lettered: 1, filtered: 2, dropped: 0, lost: 1 };
    let balanced = |all, gone, dropped| {
        let mut totals = before;
        totals.balance(all, gone, dropped);
        totals
    };
    assert_eq!(balanced(9, 4, false), before);
    assert_eq!(balanced(12, 0, false), Totals { filtered: 5, ..before });
    assert_eq!(balanced(12, 2, false), Totals { filtered: 3, lost: 3, ..before });
    assert_eq!(balanced(12, 7, true), Totals { dropped: 3, ..before });
    assert_eq!(balanced(7, 0, false), Totals { filtered: 1, lost: 0, ..before });
    assert_eq!(balanced(4, 0, false), Totals { delivered: 3, filtered: 0, lost: 0, ..before });
}

#[test]
fn what_was_counted_before_is_taken_from_what_would_be_filtered_first() {
    let mut totals = Totals { delivered: 5, filtered: 2, lost: 1, ..Totals::default() };
    totals.uncount(1);
    assert_eq!((totals.delivered, totals.filtered), (5, 1));
    totals.uncount(3);
    assert_eq!((totals.delivered, totals.filtered, totals.lost), (3, 0, 1));
}

#[test]
fn sums_take_every_kind() {
    let one = Totals { delivered: 1, dead_lettered: 10, filtered: 100, dropped: 1000, lost: 10_000 };
    assert_eq!(one.sum(), 11_111);
    let mut two = one;
    two.add(&one);
    assert_eq!(two, Totals { delivered: 2, dead_lettered: 20, filtered: 200, dropped: 2000, lost: 20_000 });
}

#[test]
fn what_a_side_reader_leaves_over_is_lost_or_dropped_and_what_it_found_after_all_is_taken_back() {
    let gone = |dropped, lost| Totals { dropped, lost, ..Totals::default() };
    for (before, left_over, dropped, after) in [
        (gone(5, 3), 2, false, gone(5, 5)),
        (gone(5, 3), 2, true, gone(7, 3)),
        (gone(5, 3), 0, true, gone(5, 3)),
        (gone(5, 3), -2, false, gone(5, 1)),
        (gone(5, 3), -4, false, gone(4, 0)),
        (gone(5, 3), -4, true, gone(4, 0)),
        (gone(5, 3), -20, false, gone(0, 0)),
        (Totals { filtered: 9, ..gone(5, 3) }, -10, false, Totals { filtered: 7, ..gone(0, 0) }),
    ] {
        let mut totals = before;
        totals.even_out(left_over, dropped);
        assert_eq!(totals, after, "{left_over} {dropped}");
    }
}

#[test]
fn the_highest_number_is_that_of_whatever_is_farthest_on() {
    assert_eq!(at(9).highest(), Seq(9));
    let tally = Tally { last: Seq(30), ..Tally::default() };
    let partial = Partial::new(Seq(20), 4);
    for (farthest, expected) in [
        (Positions { sides: vec![side(12, 3, None)], ..at(9) }, 12),
        (Positions { sides: vec![side(2, 13, None)], ..at(9) }, 13),
        (Positions { sides: vec![side(2, 3, Some(14))], ..at(9) }, 14),
        (Positions { partial: vec![partial], ..at(9) }, 24),
        (Positions { tallies: [(SegmentId(1), tally)].into(), ..at(9) }, 30),
    ] {
        assert_eq!(farthest.highest(), Seq(expected));
    }
}

#[test]
fn what_the_slowest_reader_has_not_settled_is_needed() {
    assert_eq!(at(9).needed_from(), Seq(9));
    let sides = vec![side(2, 4, None), side(2, 6, None)];
    assert_eq!(Positions { sides, ..at(9) }.needed_from(), Seq(4));
}

#[test]
fn what_is_not_settled_of_what_is_counted_is_pending() {
    let mut positions = Positions::fresh(SpoolId(1), Seq(11));
    assert_eq!(positions.pending(Seq(21)), 10);
    positions.totals = Totals { delivered: 3, lost: 1, ..Totals::default() };
    assert_eq!(positions.pending(Seq(21)), 6);
    assert_eq!(positions.pending(Seq(5)), 0);
}

#[test]
fn of_what_side_readers_had_a_block_is_settled_by_its_own_stream_and_all_others_by_the_main_reader() {
    let stream = |name: &str| StreamName::new(name).unwrap();
    let own =
        PassedStream { stream: stream("s"), from: Seq(10), below: Seq(15), apart: std::sync::Arc::default() };
    let passed = Passed {
        below: Seq(20),
        streams: vec![own],
        waiting: 0,
        dropped: false,
        older: false,
        ahead: 0,
        change: 0,
        inexact: None,
    };
    let is_settled = |name, first| passed.is_settled(&stream(name), Seq(first));
    assert_eq!([9, 10, 14, 15, 19].map(|first| is_settled("s", first)), [true, true, true, false, false]);
    assert_eq!([9, 15, 19, 20].map(|first| is_settled("other", first)), [true, true, true, false]);
    assert_eq!(passed.end(), Seq(20));
    let ahead =
        PassedStream { stream: stream("s"), from: Seq(10), below: Seq(25), apart: std::sync::Arc::default() };
    assert_eq!(Passed { streams: vec![ahead], ..passed }.end(), Seq(25));
}

#[test]
fn a_block_is_settled_whole_unless_the_reader_of_a_partition_had_not_come_as_far() {
    let stream = StreamName::new("s").unwrap();
    let keys = |partition| crate::state::positions::Keys { partition, count: 6, by: 0, extras: Vec::new() };
    let apart = |partition, from, end, below| PassedApart {
        keys: keys(partition),
        from: Seq(from),
        end: Seq(end),
        below: Seq(below),
    };
    let own = PassedStream {
        stream: stream.clone(),
        from: Seq(10),
        below: Seq(15),
        apart: [apart(1, 12, 20, 13), apart(2, 16, 18, 18)].into(),
    };
    let (below, streams) = (Seq(20), vec![own]);
    let passed = Passed {
        below,
        streams,
        waiting: 0,
        dropped: false,
        older: false,
        ahead: 0,
        change: 0,
        inexact: None,
    };
    let whole = |first| passed.is_settled_whole(&stream, Seq(first));
    // The first partition's reader stands at 13; of 17 the second's has more than the stream's.
    let blocks = [9, 11, 12, 13, 14, 15, 17, 19, 20];
    assert_eq!(blocks.map(whole), [true, true, true, false, false, false, false, false, false]);
    let otherwise =
        |first| passed.otherwise(&stream, Seq(first)).map(|a| a.keys.partition).collect::<Vec<_>>();
    assert_eq!([12, 14, 17, 19].map(otherwise), [vec![], vec![1], vec![2], vec![]]);
    assert!(passed.is_settled_whole(&StreamName::new("other").unwrap(), Seq(14)));
}

#[test]
fn what_waits_for_a_topic_waits_for_its_partitions_too() {
    assert_eq!(Side { waiting: 5, ..side(1, 1, None) }.waiting_in_all(), 5);
    let apart = |waiting| Apart {
        keys: crate::state::positions::Keys { partition: 1, count: 6, by: 0, extras: Vec::new() },
        from: Seq(1),
        position: Seq(1),
        end: None,
        waiting,
        since: 0,
        dropped: false,
        partial: Vec::new(),
    };
    let of = |waiting, aparts: &[i64]| {
        let apart = aparts.iter().map(|waiting| apart(*waiting)).collect();
        Side { waiting, apart, ..side(1, 1, None) }.waiting_in_all()
    };
    assert_eq!((of(5, &[-2, 10]), of(-7, &[3]), of(1, &[i64::MAX])), (13, -4, i64::MAX));
}

#[test]
fn a_letter_that_is_taken_back_comes_off_what_it_was_counted_as() {
    let mut totals = Totals { dead_lettered: 1, lost: 1, dropped: 1, delivered: 7, filtered: 7 };
    let counts = |t: &Totals| [t.dead_lettered, t.lost, t.dropped];
    for expected in [[0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]] {
        totals.take_back_letter();
        assert_eq!(counts(&totals), expected);
    }
    assert_eq!((totals.delivered, totals.filtered), (7, 7));
    let mut many = Totals { dead_lettered: 3, ..Totals::default() };
    many.take_back_letter();
    assert_eq!(many.dead_lettered, 2);
}

#[test]
fn two_that_speak_of_the_same_log_stand_on_what_is_later() {
    let footing = |seq, run| Some(Footing { seq: Seq(seq), run: RunId(run) });
    for (one, other, later) in [
        (footing(5, 1), footing(9, 2), footing(9, 2)),
        (footing(9, 2), footing(5, 1), footing(9, 2)),
        (None, footing(5, 1), footing(5, 1)),
        (footing(5, 1), None, footing(5, 1)),
        (None, None, None),
    ] {
        assert_eq!(Footing::later(one, other), later);
    }
}
