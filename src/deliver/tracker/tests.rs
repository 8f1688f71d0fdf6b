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
fn it_says_whether_the_oldest_is_finished_without_taking_it() {
    let mut tracker = Tracker::new(Seq(1));
    assert!(!tracker.has_finished(), "there is none");
    tracker.push(entry(1, 1, "a"));
    tracker.push(entry(2, 1, "b"));
    tracker.settle(Seq(2), 0..1);
    assert!(!tracker.has_finished(), "another one is");
    tracker.settle(Seq(1), 0..1);
    assert!(tracker.has_finished() && tracker.has_finished());
    assert_eq!(std::iter::from_fn(|| tracker.pop_finished()).count(), 2);
    assert!(!tracker.has_finished());
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

/// Bits for `len` events: these.
fn bits(len: u32, set: &[u32]) -> Bits {
    let mut bits = Bits::new(len);
    set.iter().for_each(|index| assert!(bits.set(*index)));
    bits
}

#[test]
fn events_of_another_reader_are_settled_here_once_and_counted_by_that_one() {
    let mut block = entry(1, 4, "a");
    assert!(block.is_untouched() && !block.is_all_foreign() && !block.is_foreign(1));
    // The sixth is beyond the block.
    block.leave(&bits(6, &[1, 2, 5]), Some(7));
    assert_eq!([0, 1, 2, 3, 5].map(|i| block.is_foreign(i)), [false, true, true, false, false]);
    assert_eq!([0, 1, 2, 3].map(|i| block.is_free(i)), [true, false, false, true]);
    assert!(block.is_untouched(), "what is another's is not its own");
    block.leave(&bits(4, &[1]), Some(8));
    block.leave(&bits(4, &[0]), None);
    assert_eq!(block.left, [(7, 2)], "nobody counts what has been counted, nor what is another's already");
    assert_eq!(block.own_settled(), Bits::new(4));
    block.take(3);
    assert!(!block.is_untouched());
    block.bury(3);
    assert_eq!(block.own_settled(), bits(4, &[3]));
    assert!(block.is_done() && !block.is_all_foreign());
    let finished = block.finish();
    assert_eq!((finished.totals.sum(), finished.totals.dead_lettered, finished.left), (1, 1, vec![(7, 2)]));
    let mut all = entry(1, 2, "a");
    all.leave(&bits(2, &[0, 1]), None);
    assert!(all.is_all_foreign() && all.is_done());
    assert_eq!(all.finish().totals, Totals::default());
}

#[test]
fn a_partition_that_is_set_apart_takes_its_events_with_all_that_is_known_of_them() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 6, "a"));
    tracker.get_mut(Seq(1)).unwrap().fate = Fate::Topic { topic: topic("a"), hash: 100 };
    tracker.get_mut(Seq(1)).unwrap().leave(&bits(6, &[5]), Some(2));
    tracker.settle(Seq(1), 0..2);
    tracker.get_mut(Seq(1)).unwrap().take(3);
    assert!(tracker.split(Seq(1), &bits(6, &[5]), 10, 4).is_none(), "the sixth is another's");
    assert!(tracker.split(Seq(9), &bits(6, &[1]), 10, 4).is_none());
    let before = tracker.get(Seq(1)).unwrap().clone();
    assert_eq!(before.fate, Fate::Topic { topic: topic("a"), hash: 100 });

    let other = tracker.split(Seq(1), &bits(6, &[1, 2, 5]), 30, 4).unwrap();
    let this = tracker.get(Seq(1)).unwrap();
    let fates = [this, &other].map(|e| e.fate.clone());
    assert_eq!(fates, [70, 30].map(|hash| Fate::Topic { topic: topic("a"), hash }));
    assert_eq!(this.foreign, bits(6, &[1, 2, 5]));
    assert_eq!(other.foreign, bits(6, &[0, 3, 4, 5]));
    assert_eq!((&this.left[..], &other.left[..]), (&[(2, 1), (4, 2)][..], &[][..]));
    // The first is settled here and the second there; the fourth is in a window; the third and the fifth are free.
    assert_eq!([this, &other].map(Entry::own_settled), [bits(6, &[0]), bits(6, &[1])]);
    assert_eq!((0..6).filter(|i| this.is_free(*i)).collect::<Vec<_>>(), [4]);
    assert_eq!((0..6).filter(|i| other.is_free(*i)).collect::<Vec<_>>(), [2]);
    assert_eq!((other.range, other.segment), (this.range, this.segment));

    // Each is counted once, by whoever has it.
    tracker.settle(Seq(1), 3..5);
    let finished = tracker.pop_finished().unwrap();
    assert_eq!((finished.totals.delivered, finished.totals.sum(), finished.hash), (3, 3, 70));
    let mut aparts = Tracker::new(Seq(1));
    aparts.push(other);
    aparts.settle(Seq(1), 2..3);
    let finished = aparts.pop_finished().unwrap();
    assert_eq!((finished.totals.delivered, finished.totals.sum(), finished.hash), (2, 2, 30));
}

/// Which of the settled events were given up is not known.
#[test]
fn what_was_given_up_of_a_block_is_counted_once_by_whichever_reader_can_have_it() {
    for (settled_here, first, rest) in [
        (
            3,
            Totals { dead_lettered: 2, dropped: 1, ..Totals::default() },
            Totals { dropped: 1, lost: 1, ..Totals::default() },
        ),
        (
            1,
            Totals { dead_lettered: 1, ..Totals::default() },
            Totals { dead_lettered: 1, dropped: 2, lost: 1, ..Totals::default() },
        ),
    ] {
        let mut tracker = Tracker::new(Seq(1));
        tracker.push(entry(1, 8, "a"));
        (0..2).for_each(|index| tracker.bury(Seq(1), index));
        for (index, why) in [(2, Why::Dropped), (3, Why::Dropped), (4, Why::Lost)] {
            (0..8).filter(|i| *i != index).for_each(|i| tracker.get_mut(Seq(1)).unwrap().take(i));
            assert_eq!(tracker.give_up(SeqRange::new(Seq(1), Seq(9)), why), 1);
            tracker.free(Seq(1), 0..8);
        }
        let bytes = tracker.partial_bytes();
        let others: Vec<u32> = (settled_here..6).collect();
        let other = tracker.split(Seq(1), &bits(8, &others), 0, 4).unwrap();
        let this = tracker.get(Seq(1)).unwrap();
        assert_eq!((this.given_up, other.given_up), (first, rest));
        assert_eq!(tracker.partial_bytes(), bytes);
    }
    // Nothing is left to be said of what was given up.
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 3, "a"));
    tracker.bury(Seq(1), 1);
    let other = tracker.split(Seq(1), &bits(3, &[1]), 0, 4).unwrap();
    assert_eq!((tracker.partial_bytes(), other.partial_bytes()), (24, 24 + GIVEN_UP));
}

#[test]
fn gaps_that_follow_each_other_are_one_entry_and_a_block_is_none_of_them() {
    let gone = |first, end| SeqRange::new(Seq(first), Seq(end));
    let lost = |lost| Totals { lost, ..Totals::default() };
    let mut tracker = Tracker::new(Seq(1));
    tracker.push_gone(gone(1, 3), lost(2));
    tracker.push_gone(gone(3, 6), Totals { dropped: 3, ..Totals::default() });
    assert_eq!((tracker.len(), tracker.read(), tracker.position()), (1, Seq(6), Seq(1)));
    // What lies between was for nobody here.
    tracker.push_gone(gone(8, 9), lost(1));
    assert_eq!(tracker.len(), 2);
    // Filtered, and a block of the log.
    let filtered = Fate::Settled(Totals { filtered: 2, ..Totals::default() });
    tracker.push(Entry::new(gone(9, 11), Some(SegmentId(1)), 0, filtered));
    tracker.push_gone(gone(11, 12), lost(1));
    tracker.push(entry(12, 1, "a"));
    tracker.push_gone(gone(13, 14), lost(1));
    assert_eq!((tracker.len(), tracker.read()), (6, Seq(14)));
    tracker.settle(Seq(12), 0..1);
    let popped: Vec<_> = std::iter::from_fn(|| tracker.pop_finished()).collect();
    let ranges: Vec<_> = popped.iter().map(|f| (f.range.first.0, f.range.end.0)).collect();
    assert_eq!(ranges, [(1, 6), (8, 9), (9, 11), (11, 12), (12, 13), (13, 14)]);
    assert_eq!(popped[0].totals, Totals { lost: 2, dropped: 3, ..Totals::default() });
    assert_eq!(popped.iter().map(|f| f.totals.lost).sum::<u64>(), 5);
}

#[test]
fn what_can_not_be_delivered_any_more_is_known_before_its_entry_is_finished() {
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(entry(1, 4, "a"));
    tracker.push_gone(
        SeqRange::new(Seq(5), Seq(12)),
        Totals { dropped: 3, lost: 4, filtered: 1, ..Totals::default() },
    );
    tracker.get_mut(Seq(1)).unwrap().take(0);
    tracker.bury(Seq(1), 1);
    assert_eq!(tracker.gaps(), Totals { dropped: 3, lost: 4, ..Totals::default() });
    assert_eq!(tracker.give_up(SeqRange::new(Seq(1), Seq(5)), Why::Dropped), 2);
    assert_eq!(tracker.gaps(), Totals { dropped: 5, lost: 4, ..Totals::default() });
    let mut lost = Tracker::new(Seq(1));
    lost.push(entry(1, 2, "a"));
    lost.get_mut(Seq(1)).unwrap().take(0);
    lost.give_up(SeqRange::new(Seq(1), Seq(3)), Why::Lost);
    assert_eq!(lost.gaps(), Totals { lost: 1, ..Totals::default() });
}

#[test]
fn the_newest_entries_are_forgotten_up_to_one_of_which_something_is_known() {
    let mut tracker = Tracker::new(Seq(1));
    [1, 3, 5, 7].into_iter().for_each(|first| tracker.push(entry(first, 2, "a")));
    tracker.get_mut(Seq(7)).unwrap().leave(&bits(2, &[0]), Some(1));
    tracker.get_mut(Seq(3)).unwrap().take(1);
    tracker.forget_untouched();
    assert_eq!((tracker.len(), tracker.read(), tracker.partial_bytes()), (2, Seq(5), 2 * 24));
    tracker.forget_untouched();
    assert_eq!((tracker.len(), tracker.read()), (2, Seq(5)));
    tracker.free(Seq(3), 0..2);
    tracker.settle(Seq(1), 0..1);
    tracker.forget_untouched();
    assert_eq!((tracker.len(), tracker.read(), tracker.position()), (1, Seq(3), Seq(1)));
}

#[test]
fn what_was_counted_before_routes_changed_is_not_owed_again() {
    let fate = Fate::Elsewhere { topic: topic("stuck") };
    let mut tracker = Tracker::new(Seq(1));
    tracker.push(Entry::new(SeqRange::new(Seq(1), Seq(6)), None, 0, fate).with_known(2));
    assert_eq!(tracker.elsewhere(), 3);
    assert_eq!(tracker.pop_finished().unwrap().owed, 3);
}
