use proptest::prelude::*;

use super::entry::GIVEN_UP;
use super::*;
use crate::ids::SegmentId;
use crate::state::positions::{Bits, Totals};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn entry(first: u64, count: u64, name: &str) -> Entry {
    let fate = Fate::Topic { topic: topic(name), hash: first };
    Entry::new(SeqRange::new(Seq(first), Seq(first + count)), Some(SegmentId(1)), 0, fate)
}

#[test]
fn the_position_waits_for_the_oldest_event() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 2, "a"));
    tracker.push(entry(3, 2, "b"));
    tracker.settle(Seq(3), 0..2);
    assert_eq!(tracker.pop_finished(), None);
    assert_eq!(tracker.position(), Seq(1));
    tracker.settle(Seq(1), 0..1);
    assert_eq!(tracker.partial().count(), 2);
    tracker.settle(Seq(1), 1..2);
    let popped: Vec<_> = std::iter::from_fn(|| tracker.pop_finished()).collect();
    assert_eq!(popped.iter().map(|f| f.totals.delivered).sum::<u64>(), 4);
    assert_eq!(tracker.position(), Seq(5));
}

#[test]
fn what_is_given_up_is_not_counted_as_delivered() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 4, "a"));
    tracker.settle(Seq(1), 0..1);
    tracker.get_mut(Seq(1)).unwrap().take(1);
    assert_eq!(tracker.give_up(SeqRange::new(Seq(1), Seq(5)), Why::Lost), 2);
    assert_eq!(tracker.pop_finished(), None, "event 1 is in a window");
    tracker.settle(Seq(1), 1..2);
    let finished = tracker.pop_finished().unwrap();
    assert_eq!(finished.totals, Totals { delivered: 2, lost: 2, ..Totals::default() });
}

#[test]
fn a_topic_handed_over_no_longer_holds_the_position() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 2, "stuck"));
    tracker.push(entry(3, 2, "fine"));
    tracker.settle(Seq(3), 0..2);
    let from = tracker.first_unfinished(&topic("stuck")).unwrap();
    let handed = tracker.hand_over(&topic("stuck"), from);
    assert_eq!(handed.len(), 1);
    let popped: Vec<_> = std::iter::from_fn(|| tracker.pop_finished()).collect();
    assert_eq!(popped.len(), 2);
    assert_eq!(popped[0].elsewhere, Some(topic("stuck")));
    assert_eq!(popped[0].totals.sum(), 0);
    assert_eq!(tracker.position(), Seq(5));
}

#[test]
fn an_event_is_free_until_it_is_taken_and_beyond_the_block_there_is_none() {
    let mut entry = entry(1, 2, "a");
    assert_eq!([0, 1, 2].map(|i| entry.is_free(i)), [true, true, false]);
    entry.take(0);
    assert_eq!([0, 1, 2].map(|i| entry.is_free(i)), [false, true, false]);
    assert!(entry.has_free());
    entry.take(1);
    assert!(!entry.has_free());
}

#[test]
fn what_an_earlier_process_settled_is_taken_over_if_it_is_of_the_same_block() {
    let settled = |len| Partial { settled: Bits::from_words(len, [0b01]), ..Partial::new(Seq(1), len) };
    let fits = entry(1, 2, "a").restored(&settled(2));
    assert_eq!([0, 1].map(|i| fits.is_free(i)), [false, true]);
    let other = entry(1, 2, "a").restored(&settled(3));
    assert_eq!([0, 1].map(|i| other.is_free(i)), [true, true]);
}

#[test]
fn an_entry_is_found_by_any_of_its_numbers_and_by_no_other() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(3, 2, "a"));
    tracker.push(entry(7, 2, "b"));
    let first_of = |seq: u64| tracker.get(Seq(seq)).map(|e| e.range.first.0);
    assert_eq!(
        (2..=9).map(first_of).collect::<Vec<_>>(),
        [None, Some(3), Some(3), None, None, Some(7), Some(7), None]
    );
    assert_eq!(tracker.len(), 2);
    assert!(!tracker.is_empty());
    assert_eq!(tracker.read(), Seq(9));
    tracker.skip_to(Seq(5));
    assert_eq!(tracker.read(), Seq(9), "what was read stays read");
    tracker.skip_to(Seq(20));
    assert_eq!(tracker.read(), Seq(20));
}

#[test]
fn only_what_lies_in_the_range_is_given_up() {
    let mut tracker = Tracker::new(Seq(1));
    [1, 3, 5].into_iter().for_each(|first| tracker.push(entry(first, 2, "a")));
    assert_eq!(tracker.give_up(SeqRange::new(Seq(3), Seq(5)), Why::Dropped), 2);
    assert_eq!(tracker.first_free(), Some(Seq(1)));
    tracker.settle(Seq(1), 0..2);
    assert_eq!(tracker.first_free(), Some(Seq(5)));
    let totals: Vec<_> = std::iter::from_fn(|| tracker.pop_finished()).map(|f| (f.totals, f.hash)).collect();
    let delivered = Totals { delivered: 2, ..Totals::default() };
    let dropped = Totals { dropped: 2, ..Totals::default() };
    assert_eq!(totals, [(delivered, 1), (dropped, 0)], "the hash is of events that were delivered");
    assert_eq!(tracker.front().map(|e| e.range.first), Some(Seq(5)));
    // The rest of the last one was deleted because everybody had it.
    tracker.settle(Seq(5), 0..1);
    assert_eq!(tracker.give_up(SeqRange::new(Seq(1), Seq(9)), Why::Settled), 1);
    let finished = tracker.pop_finished().unwrap();
    assert_eq!((finished.totals, finished.hash), (delivered, 0));
    assert!(tracker.is_empty() && tracker.front().is_none());
}

#[test]
fn of_a_block_in_part_settled_is_said_what_is_settled_and_what_was_given_up_of_it() {
    let mut tracker = Tracker::new(Seq(1));
    [1, 3, 5].into_iter().for_each(|first| tracker.push(entry(first, 2, "a")));
    tracker.settle(Seq(3), 1..2);
    tracker.settle(Seq(5), 0..1);
    tracker.give_up(SeqRange::new(Seq(5), Seq(7)), Why::Lost);
    tracker.bury(Seq(1), 1);
    let partial: Vec<_> = tracker.partial().collect();
    let block =
        |first, bits, given_up| Partial { first: Seq(first), settled: Bits::from_words(2, [bits]), given_up };
    let buried = Totals { dead_lettered: 1, ..Totals::default() };
    let lost = Totals { lost: 1, ..Totals::default() };
    let expected = [block(1, 0b10, buried), block(3, 0b10, Totals::default()), block(5, 0b11, lost)];
    assert_eq!(partial, expected);
    assert_eq!(tracker.partial_bytes(), 3 * 24 + 2 * GIVEN_UP);
    let again = entry(5, 2, "a").restored(&partial[2]).finish();
    assert_eq!((again.totals.delivered, again.totals.lost), (1, 1));
}

#[test]
fn entries_of_a_topic_go_to_its_side_reader_from_where_that_begins() {
    let mut tracker = Tracker::new(Seq(1));
    [(1, "a"), (3, "b"), (5, "a")].into_iter().for_each(|(first, name)| tracker.push(entry(first, 2, name)));
    assert_eq!(tracker.first_unfinished(&topic("a")), Some(Seq(1)));
    tracker.settle(Seq(1), 0..2);
    assert_eq!(tracker.first_unfinished(&topic("a")), Some(Seq(5)));
    assert_eq!(tracker.elsewhere(), 0);
    let handed: Vec<_> = tracker.hand_over(&topic("a"), Seq(5)).iter().map(|e| e.range.first).collect();
    assert_eq!(handed, [Seq(5)]);
    assert_eq!(tracker.elsewhere(), 2);
    assert_eq!(tracker.first_unfinished(&topic("a")), None);
}

#[test]
fn what_leaves_a_window_unsettled_is_free_again_and_what_is_settled_stays_taken() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 3, "a"));
    tracker.get_mut(Seq(1)).unwrap().take(0);
    tracker.get_mut(Seq(1)).unwrap().take(1);
    tracker.settle(Seq(1), 1..2);
    tracker.free(Seq(1), 0..2);
    let entry = tracker.get(Seq(1)).unwrap();
    assert_eq!([0, 1, 2].map(|i| entry.is_free(i)), [true, false, true]);
}

proptest! {
    /// Whatever order events are settled and freed in, the position is the first unsettled entry and
    /// nothing is counted twice.
    #[test]
    fn the_sum_is_what_lies_before_the_position(
        sizes in proptest::collection::vec(1u64..70, 1..12),
        steps in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..200),
    ) {
        let mut tracker = Tracker::new(Seq(1));
        let mut first = 1;
        let mut events = Vec::new();
        for size in sizes {
            tracker.push(entry(first, size, "t"));
            events.extend((0..u32::try_from(size).unwrap()).map(|i| (Seq(first), i)));
            first += size;
        }
        let mut settled = std::collections::HashSet::new();
        let mut delivered = 0;
        for (index, settle) in steps {
            let (block, i) = events[index.index(events.len())];
            if settle {
                tracker.settle(block, i..i + 1);
                settled.insert((block, i));
            } else {
                tracker.free(block, i..i + 1);
            }
            while let Some(f) = tracker.pop_finished() {
                delivered += f.totals.delivered;
            }
            let oldest = events.iter().find(|e| !settled.contains(e));
            prop_assert_eq!(tracker.position(), oldest.map_or(Seq(first), |e| e.0));
            prop_assert_eq!(delivered, tracker.position().0 - 1);
        }
    }
}

#[test]
fn only_an_entry_that_goes_to_a_topic_is_one_that_it_has() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 2, "a"));
    tracker.push(entry(3, 2, "stuck"));
    assert_eq!([1, 2, 3, 5].map(|block| tracker.has(Seq(block))), [true, true, true, false]);
    tracker.hand_over(&topic("stuck"), Seq(3));
    assert_eq!([1, 3].map(|block| tracker.has(Seq(block))), [true, false]);
}
