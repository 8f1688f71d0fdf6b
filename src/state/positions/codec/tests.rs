//! What is written of positions is read back, and nothing else is.

use std::sync::Arc;

use super::*;
use crate::ids::{RunId, Seq, SpoolId, StreamName, TopicName};
use crate::state::positions::{Apart, Bits, Counter, Keys, PassedApart, Replaying, Side};
use proptest::prelude::*;

pub(super) fn full() -> Positions {
    let mut positions = Positions::fresh(SpoolId(7), Seq(3));
    positions.position = Seq(900);
    positions.totals = Totals { delivered: 5, dead_lettered: 1, filtered: 2, dropped: 3, lost: 4 };
    let topic = TopicName::new("orders").unwrap();
    positions.sides = vec![
        Side {
            topic: topic.clone(),
            from: Seq(30),
            position: Seq(40),
            end: None,
            waiting: 9,
            since: 77,
            dropped: true,
            missing_for: 5000,
            streams: vec![
                (StreamName::new("orders").unwrap(), Seq(30)),
                (StreamName::new("s").unwrap(), Seq(31)),
            ],
            apart: Vec::new(),
        },
        Side {
            topic: topic.clone(),
            from: Seq(1),
            position: Seq(50),
            end: Some(Seq(50)),
            waiting: -3,
            since: 77,
            dropped: false,
            missing_for: 0,
            streams: Vec::new(),
            apart: Vec::new(),
        },
    ];
    let tally = Tally { first: Seq(1), last: Seq(9), totals: positions.totals, hash: u64::MAX };
    positions.tallies.insert(SegmentId(4), tally);
    let counter = Counter { epoch: 65535, next: 1 << 40 };
    let partitions = [(0, counter), (5, counter)].into();
    positions.counters = vec![TopicCounters {
        partitions,
        newest: [(5, Seq(899))].into(),
        ..TopicCounters::none(topic, [9; 16])
    }];
    positions.partial = (0..20u64)
        .map(|i| Partial {
            first: Seq(900 + 100 * i),
            settled: Bits::from_words(100, [i, 1]),
            given_up: Totals::default(),
        })
        .collect();
    positions.partial[1].given_up = Totals { dead_lettered: 2, ..Totals::default() };
    let stream = PassedStream {
        stream: StreamName::new("s").unwrap(),
        from: Seq(3),
        below: Seq(5),
        apart: Arc::default(),
    };
    positions.passed = vec![Passed {
        below: Seq(9),
        streams: vec![stream],
        waiting: -4,
        dropped: true,
        older: true,
        ahead: 3,
        change: 5,
        inexact: None,
    }];
    positions.routes = 77;
    positions.letters = 31;
    positions.replaying = vec![Replaying { id: 12, seq: Seq(17), run: RunId(4) }];
    positions
}

#[test]
fn a_record_is_read_back() {
    let positions = full();
    assert_eq!(decode(&encode(&positions, 1 << 16)), Ok(positions));
}

#[test]
fn partial_blocks_that_do_not_fit_are_left_out_from_the_end() {
    let positions = full();
    let bytes = encode(&positions, 900);
    assert!(bytes.len() <= 900);
    let read = decode(&bytes).unwrap();
    assert!(read.partial.len() < 20 && !read.partial.is_empty());
    assert_eq!(read.partial[..], positions.partial[..read.partial.len()]);
    assert_eq!(read.counters, positions.counters);
}

#[test]
fn what_just_fits_is_kept() {
    let positions = full();
    // The last list has no other behind it whose count needs room, and leaves that room all the same.
    let just = encode(&positions, 1 << 16).len() + 8;
    assert_eq!(decode(&encode(&positions, just)).as_ref(), Ok(&positions));
    assert_eq!(decode(&encode(&positions, just - 1)).unwrap().partial.len(), positions.partial.len() - 1);
}

#[test]
fn a_topic_stuck_for_ever_so_many_segments_leaves_positions_that_can_be_kept() {
    let mut positions = full();
    let tally = positions.tallies[&SegmentId(4)];
    positions.tallies = (0..100_000).map(|id| (SegmentId(id), tally)).collect();
    let room = 1 << 16;
    let bytes = encode(&positions, room);
    assert!(bytes.len() <= room);
    let read = decode(&bytes).unwrap();
    assert!(read.tallies.len() > 100 && read.tallies.contains_key(&SegmentId(0)), "the oldest are kept");
    assert_eq!((read.sides, read.partial), (positions.sides, positions.partial));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(&full(), 1 << 16);
    for len in (0..bytes.len()).filter(|len| *len != without_newest(&full())) {
        assert!(decode(&bytes[..len]).is_err(), "{len}");
    }
}

fn forget_newest(positions: &Positions) -> Positions {
    let mut positions = positions.clone();
    positions.counters.iter_mut().for_each(|c| c.newest.clear());
    positions
}

fn without_newest(positions: &Positions) -> usize {
    encode(&forget_newest(positions), 1 << 16).len()
}

#[test]
fn what_partitions_took_last_stands_behind_a_record_as_it_was_before() {
    let (positions, forgets) = (full(), forget_newest(&full()));
    let (with, without) = (encode(&positions, 1 << 16), encode(&forgets, 1 << 16));
    assert!(with.starts_with(&without));
    assert_eq!(decode(&without), Ok(forgets));
}

/// Records as a version of the program wrote them: the bytes stay as they are, whatever is written today.
#[test]
fn records_of_every_version_are_read_as_they_were_written() {
    let plain = Positions { passed: Vec::new(), ..full() };
    let written: [(u16, &[u8], Positions); 4] = [
        (2, include_bytes!("../golden/version-2"), plain),
        (3, include_bytes!("../golden/version-3"), full()),
        (4, include_bytes!("../golden/version-4"), with_apart()),
        (4, include_bytes!("../golden/version-4-footing"), with_footing()),
    ];
    for (version, bytes, positions) in written {
        assert_eq!(bytes[..2], u16::to_le_bytes(version));
        assert_eq!(decode(bytes), Ok(positions), "version {version}");
    }
}

#[test]
#[ignore = "it makes what every later version reads; for a new version, once"]
fn makes_golden_records() {
    let plain = Positions { passed: Vec::new(), ..full() };
    for positions in [plain, full(), with_apart(), with_footing()] {
        let bytes = encode(&positions, 1 << 16);
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/positions/golden");
        let more = if positions.footing.is_some() { "-footing" } else { "" };
        let path = place.join(format!("version-{}{more}", bytes[0]));
        // A golden record is never changed.
        if std::fs::metadata(&path).map_or(true, |there| there.len() == 0) {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_newer_version_is_named() {
    assert_eq!(decode(&[5, 0, 0]), Err(DecodeError::Version(5)));
}

fn with_footing() -> Positions {
    Positions { footing: Some(Footing { seq: Seq(2899), run: RunId(u64::MAX - 3) }), ..with_apart() }
}

#[test]
fn what_positions_stand_on_comes_behind_a_record_as_it_was_before_and_every_truncation_is_refused_or_one() {
    let footing = with_footing().footing;
    for before in [full(), forget_newest(&full()), with_apart(), Positions::fresh(SpoolId(7), Seq(3))] {
        let positions = Positions { footing, ..before.clone() };
        let (with, without) = (encode(&positions, 1 << 16), encode(&before, 1 << 16));
        assert!(with.starts_with(&without));
        assert_eq!(decode(&with).as_ref(), Ok(&positions));
        let mut whole = 0;
        for len in without_newest(&before)..with.len() {
            match decode(&with[..len]) {
                Ok(read) => {
                    assert_eq!((read.footing, read.position), (None, before.position), "{len}");
                    whole += 1;
                }
                Err(e) => assert_eq!(e, DecodeError::Malformed, "{len}"),
            }
        }
        assert_eq!(whole, 2, "without the footing, and without what partitions took last");
    }
}

#[test]
fn what_they_stand_on_is_kept_however_little_room_there_is() {
    let positions = with_footing();
    let bytes = encode(&positions, 900);
    let read = decode(&bytes).unwrap();
    assert!(read.partial.len() < positions.partial.len());
    assert_eq!(read.footing, positions.footing);
}

/// With partitions that have a reader of their own, and that had one when routes changed.
fn with_apart() -> Positions {
    let mut positions = full();
    let keys = Keys {
        partition: 2,
        count: 6,
        by: 1,
        extras: vec![(Seq(31), Bits::from_words(70, [5, 1])), (Seq(120), Bits::full(3))],
    };
    let partial = vec![Partial { settled: Bits::from_words(9, [6]), ..Partial::new(Seq(40), 9) }];
    let apart = Apart {
        keys: keys.clone(),
        from: Seq(31),
        position: Seq(35),
        end: Some(Seq(60)),
        waiting: -2,
        since: 8,
        dropped: true,
        partial,
    };
    let other = Apart { end: None, partial: Vec::new(), dropped: false, ..apart.clone() };
    positions.sides[1].apart = vec![apart, other];
    positions.passed[0].inexact = Some(7);
    positions.passed[0].streams[0].apart =
        [PassedApart { keys, from: Seq(1), end: Seq(u64::MAX), below: Seq(77) }].into();
    positions
}

#[test]
fn partitions_with_a_reader_of_their_own_are_read_back_and_every_truncation_is_refused() {
    let positions = with_apart();
    let bytes = encode(&positions, 1 << 16);
    assert_eq!(decode(&bytes).as_ref(), Ok(&positions));
    for len in (0..bytes.len()).filter(|len| *len != without_newest(&positions)) {
        assert!(decode(&bytes[..len]).is_err(), "{len}");
    }
}

/// Each stream had them once more: at some fifty streams of one topic, whose partition was apart with a full window on its way, nothing
/// could be kept any more.
#[test]
fn what_was_apart_of_a_topic_is_written_once_for_all_its_streams() {
    let mut positions = with_apart();
    let mut apart = positions.passed[0].streams[0].apart.to_vec();
    let block = |n: u64| (Seq(1000 + 100 * n), Bits::from_words(100, [n, 1]));
    apart[0].keys.extras = (0..190).map(block).collect();
    let first = positions.passed[0].streams[0].clone();
    let (streams, apart) = (&mut positions.passed[0].streams, Arc::from(apart));
    for n in 0..500 {
        let stream = StreamName::new(&format!("stream-{n}")).unwrap();
        streams.push(PassedStream { stream, apart: Arc::clone(&apart), ..first.clone() });
    }
    // Of another topic, of which none was apart, and the first again.
    streams.push(PassedStream { apart: Arc::default(), ..first.clone() });
    streams.push(PassedStream { apart, ..first });
    let bytes = encode(&positions, 0);
    assert!(bytes.len() < 48 << 10, "{}", bytes.len());
    let whole = encode(&positions, 1 << 20);
    assert_eq!(decode(&whole).as_ref(), Ok(&positions));
    for len in (0..whole.len()).step_by(7).filter(|len| *len != without_newest(&positions)) {
        assert!(decode(&whole[..len]).is_err(), "{len}");
    }
}

/// Small, so that it is quick.
#[test]
fn streams_that_had_other_partitions_apart_than_the_one_before_say_so() {
    let mut positions = with_apart();
    let first = positions.passed[0].streams[0].clone();
    let other: Arc<[_]> = [PassedApart { below: Seq(78), ..first.apart[0].clone() }].into();
    let in_turn = [&first.apart, &other, &other, &Arc::default(), &Arc::default(), &first.apart];
    positions.passed[0].streams =
        in_turn.map(|apart| PassedStream { apart: Arc::clone(apart), ..first.clone() }).to_vec();
    assert_eq!(decode(&encode(&positions, 1 << 16)), Ok(positions));
}

#[test]
fn of_counters_a_record_needs_the_bytes_that_they_take() {
    let mut positions = with_apart();
    let counter = positions.counters[0].partitions[&0];
    positions.counters.clear();
    let before = (needs(&positions), encode(&positions, 1 << 20).len());
    assert_eq!(before.0, least(&positions));
    let of = |topic: i32| TopicCounters {
        partitions: (0..topic * 3).map(|partition| (partition, counter)).collect(),
        ..TopicCounters::none(TopicName::new(&"t".repeat(200)).unwrap(), [7; 16])
    };
    positions.counters = (1..8).map(of).collect();
    assert_eq!(needs(&positions) - before.0, encode(&positions, 1 << 20).len() - before.1);
}

#[test]
fn a_record_that_says_nothing_of_partitions_is_one_that_older_versions_read() {
    let plain = Positions { passed: Vec::new(), ..full() };
    assert_eq!(encode(&plain, 1 << 16)[..2], [2, 0]);
    assert_eq!(encode(&full(), 1 << 16)[..2], [3, 0]);
    assert_eq!(encode(&with_apart(), 1 << 16)[..2], [4, 0]);
}

#[test]
fn the_lowest_and_the_highest_number_are_those_of_partitions_too() {
    let mut positions = with_apart();
    positions.sides.iter_mut().flat_map(|s| &mut s.apart).for_each(|a| a.position = Seq(2));
    assert_eq!(positions.needed_from(), Seq(2));
    positions.sides[1].apart[1].end = Some(Seq(1 << 30));
    assert_eq!(positions.highest(), Seq(1 << 30));
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if bytes.len() > 1 { bytes[0] = 1 + bytes[0] % 4; bytes[1] = 0; }
        let _ = decode(&bytes);
    }
}

#[test]
fn a_record_of_the_first_version_is_read_too() {
    let mut bytes = 1u16.to_le_bytes().to_vec();
    put(&mut bytes, [7, 3, 900, 5, 1, 2, 3, 4, 1]);
    put_text(&mut bytes, "orders");
    put(&mut bytes, [30, 40, 0, 9, 77, 1]);
    // No tallies, counters or blocks that are settled in part.
    put(&mut bytes, [0, 0, 0]);
    let side = Side { missing_for: 0, streams: Vec::new(), ..full().sides[0].clone() };
    let (position, totals) = (Seq(900), full().totals);
    let expected = Positions { position, totals, sides: vec![side], ..Positions::fresh(SpoolId(7), Seq(3)) };
    assert_eq!(decode(&bytes), Ok(expected));
}

#[test]
fn each_thing_that_is_said_of_a_partition_by_itself_makes_a_record_that_keeps_it() {
    let (plain, all) = (full(), with_apart());
    let set_apart = Positions { sides: all.sides.clone(), ..plain.clone() };
    let passed = |change: fn(&mut Passed)| {
        let mut positions = all.clone();
        positions.sides = plain.sides.clone();
        change(&mut positions.passed[0]);
        positions
    };
    let inexact = passed(|passed| passed.streams[0].apart = Arc::default());
    let had_readers = passed(|passed| passed.inexact = None);
    for positions in [set_apart, inexact, had_readers] {
        assert!(positions.knows_apart());
        assert_eq!(decode(&encode(&positions, 1 << 16)), Ok(positions));
    }
    assert!(!plain.knows_apart());
}

#[test]
fn what_partitions_took_last_takes_an_eighth_of_the_room_and_blocks_keep_theirs() {
    let mut positions = full();
    positions.counters = (0..400)
        .map(|n| TopicCounters {
            newest: (0..10).map(|partition| (partition, Seq(899))).collect(),
            ..TopicCounters::none(TopicName::new(&format!("t{n}")).unwrap(), [9; 16])
        })
        .collect();
    let room = 1 << 15;
    let bytes = encode(&positions, room);
    assert!(bytes.len() <= room, "{}", bytes.len());
    let read = decode(&bytes).unwrap();
    assert_eq!((read.counters.len(), &read.partial), (400, &positions.partial));
    let known = read.counters.iter().take_while(|topic| !topic.newest.is_empty()).count();
    assert!((20..40).contains(&known), "{known}");
    assert!(read.counters[known..].iter().all(|topic| topic.newest.is_empty()));
}

/// Found by an audit: what stands behind everything else was added to a room that counters had used up, and nothing could be saved.
#[test]
fn whatever_there_is_to_say_it_takes_no_more_than_its_room_or_the_least_that_it_can() {
    let mut many = with_footing();
    many.counters = (0..60)
        .map(|n| TopicCounters {
            partitions: (0..7).map(|partition| (partition, Counter { epoch: 1, next: n })).collect(),
            newest: (0..3).map(|partition| (partition, Seq(899))).collect(),
            ..TopicCounters::none(TopicName::new(&format!("t{n}")).unwrap(), [9; 16])
        })
        .collect();
    let apart = &mut many.sides[1].apart[0];
    apart.partial = (0..40).map(|n| Partial::new(Seq(100 * n), 90)).collect();
    for positions in [many.clone(), Positions { footing: None, ..many }, with_footing(), full()] {
        for room in (least(&positions)..least(&positions) + 16_000).step_by(29) {
            let bytes = encode(&positions, room);
            assert!(bytes.len() <= room, "{} of {room}", bytes.len());
            let read = decode(&bytes).unwrap();
            assert_eq!((read.footing, read.position), (positions.footing, positions.position));
        }
        let whole = encode(&positions, 1 << 20).len();
        assert!(whole < least(&positions) + 16_000, "{whole}");
        assert!((least(&positions)..=whole).contains(&needs(&positions)));
    }
}

#[test]
fn more_events_ahead_than_can_be_written_are_written_as_the_most_and_spoil_no_flag() {
    for (dropped, older) in [(false, false), (true, false), (false, true)] {
        let mut positions = full();
        positions.passed[0] = Passed { dropped, older, ahead: u64::MAX, ..positions.passed[0].clone() };
        let read = decode(&encode(&positions, 1 << 16)).unwrap();
        positions.passed[0].ahead = u64::MAX >> 2;
        assert_eq!(read, positions);
    }
}

#[test]
fn a_record_of_the_second_version_is_read_too() {
    let mut bytes = 2u16.to_le_bytes().to_vec();
    put(&mut bytes, [7, 3, 900, 5, 1, 2, 3, 4, 0]);
    // Letters, none that is sent again, routes, and where readers stood when they changed: of no number.
    put(&mut bytes, [31, 0, 77, 1]);
    put(&mut bytes, [9, (-4_i64).cast_unsigned(), 3 << 2 | 2 | 1, 1]);
    put_text(&mut bytes, "s");
    put(&mut bytes, [3, 5]);
    put(&mut bytes, [0, 0, 0]);
    let Positions { position, totals, letters, routes, mut passed, .. } = full();
    passed[0].change = 0;
    let fresh = Positions::fresh(SpoolId(7), Seq(3));
    assert_eq!(decode(&bytes), Ok(Positions { position, totals, letters, routes, passed, ..fresh }));
}
