//! Where numbers stand, names of streams, parts of blocks.

use super::*;
use crate::spool::format::Verdict;
use crate::spool::table::FloorMark;

/// Segments of ten numbers each, from these on.
fn table(bases: &[u64], dropped: u64, released: u64) -> Table {
    let mut table = Table::default();
    for (id, base) in (1..).map(SegmentId).zip(bases) {
        let segment = Segment {
            id,
            path: std::path::PathBuf::new(),
            base: Seq(*base),
            end: Seq(base + 10),
            end_offset: 0,
            bytes: 0,
            created: None,
            verdict: Verdict::Closed,
            readable: true,
        };
        table.segments.insert(id, segment);
    }
    table.floor = FloorMark { dropped: Seq(dropped), released: Seq(released) };
    table
}

fn told(table: &Table, position: u64) -> Option<(HoleCause, u64, u64)> {
    match place(table, Seq(position), Seq(69)) {
        Place::Nowhere => Some((HoleCause::Released, 0, 0)),
        Place::In(segment) => {
            assert!(segment.base <= Seq(position) && Seq(position) < segment.end);
            None
        }
        Place::Gap(Hole { range, cause }, _) => {
            assert_eq!(range.first, Seq(position));
            Some((cause, range.first.0, range.end.0))
        }
    }
}

#[test]
fn what_is_in_no_segment_was_deleted_up_to_the_floor_and_is_missing_from_there() {
    use HoleCause::{Dropped, Missing, Released};
    // Numbers 30 to 39 and 50 to 59 are there.
    let table = table(&[30, 50], 20, 10);
    for (position, expected) in [
        (1, Some((Released, 1, 10))),
        (9, Some((Released, 9, 10))),
        (10, Some((Dropped, 10, 20))),
        (19, Some((Dropped, 19, 20))),
        (20, Some((Missing, 20, 30))),
        (29, Some((Missing, 29, 30))),
        (30, None),
        (39, None),
        (40, Some((Missing, 40, 50))),
        (59, None),
        (60, Some((Missing, 60, 70))),
        (69, Some((Missing, 69, 70))),
        (70, Some((Released, 0, 0))),
    ] {
        assert_eq!(told(&table, position), expected, "{position}");
    }
}

#[test]
fn between_segments_nothing_was_deleted_on_purpose_whatever_the_floor_says() {
    assert_eq!(told(&table(&[30, 50], 45, 45), 40), Some((HoleCause::Missing, 40, 50)));
    assert_eq!(told(&table(&[30], 0, 35), 20), Some((HoleCause::Released, 20, 30)));
    assert_eq!(told(&table(&[], 0, 0), 5), Some((HoleCause::Missing, 5, 70)));
    assert_eq!(told(&table(&[], 0, 70), 5), Some((HoleCause::Released, 5, 70)));
}

#[test]
fn names_of_streams_are_remembered_within_bounds_and_none_that_is_no_name() {
    let mut streams = HashMap::new();
    for n in 0..=STREAMS {
        let name = format!("s{n}");
        assert_eq!(intern(&mut streams, &name), StreamName::new(&name).ok());
        assert!(streams.len() <= STREAMS && streams.len() >= (n + 1).min(STREAMS) % STREAMS);
    }
    assert_eq!(intern(&mut streams, "a/b"), None);
    assert_eq!(streams.len(), 1);
}

#[test]
fn events_before_the_position_are_left_out() {
    let mut batch = crate::event::EventBatch::new();
    (0..3u8).for_each(|i| batch.push(&crate::event::Event::of_value(&vec![i; usize::from(i) * 70])));
    let payload = Bytes::copy_from_slice(batch.as_bytes());
    for skip in 0..=3 {
        let left = trim(payload.clone(), skip).unwrap();
        let values = crate::event::EventIter::new(&left).map(|event| event.unwrap().value.unwrap().len());
        assert_eq!(
            values.collect::<Vec<_>>(),
            [0, 70, 140].into_iter().skip(usize::try_from(skip).unwrap()).collect::<Vec<_>>()
        );
    }
    assert_eq!(trim(payload, 4), None);
}
