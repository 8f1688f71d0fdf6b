//! What a reader has taken from the log and what of it is settled: block by block, event by event.
//!
//! A pure state machine. [`Tracker::position`] is the number below which everything is settled, so a
//! position never claims more than that (promise 4 of the design), whatever order windows come back in.
//!
//! INVARIANT: entries stand in the order of their numbers and never overlap; an event's settled bit implies
//! its taken bit.
//! INVARIANT: an entry leaves from the front only, when everything in it is settled. Its counts enter the
//! totals at that moment, so totals count exactly what lies before the position.

use std::collections::VecDeque;

use super::log::Why;
use crate::event::UnixMillis;
use crate::ids::{SegmentId, Seq, SeqRange, TopicName};
use crate::state::positions::{Bits, Partial, Totals};

/// Bytes that saving what became of given-up events takes.
const GIVEN_UP: usize = 40;

/// One block, or one stretch of numbers without one.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its numbers.
    pub range: SeqRange,
    /// The segment it is in, where it is known.
    pub segment: Option<SegmentId>,
    /// When it was accepted.
    pub time: UnixMillis,
    /// What its events are to become.
    pub fate: Fate,
    /// Events that are in a window or settled.
    taken: Bits,
    /// Events that are settled.
    settled: Bits,
    /// Settled events that did not reach the destination.
    given_up: Totals,
}

/// What becomes of the events of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They go to a topic.
    Topic {
        /// Which.
        topic: TopicName,
        /// Sum (wrapping) of the hashes of its events.
        hash: u64,
    },
    /// They are settled as they stand: filtered, dropped, or lost.
    Settled(Totals),
    /// A side reader delivers them.
    Elsewhere {
        /// The side reader's topic.
        topic: TopicName,
    },
}

/// A finished entry, with what is to be added to the sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its numbers.
    pub range: SeqRange,
    /// The segment it is in, where it is known.
    pub segment: Option<SegmentId>,
    /// What became of its events.
    pub totals: Totals,
    /// Sum of the hashes of its delivered events.
    pub hash: u64,
    /// The side reader that delivers its events, if one does.
    pub elsewhere: Option<TopicName>,
}

impl Entry {
    /// An entry none of whose events is taken yet.
    #[must_use]
    pub fn new(range: SeqRange, segment: Option<SegmentId>, time: UnixMillis, fate: Fate) -> Self {
        let len = match fate {
            Fate::Topic { .. } => u32::try_from(range.len()).unwrap_or(u32::MAX),
            Fate::Settled(_) | Fate::Elsewhere { .. } => 0,
        };
        Self {
            range,
            segment,
            time,
            fate,
            taken: Bits::new(len),
            settled: Bits::new(len),
            given_up: Totals::default(),
        }
    }

    /// Marks as settled what an earlier process is known to have settled.
    #[must_use]
    pub fn restored(mut self, known: &Partial) -> Self {
        if known.settled.len() == self.settled.len() {
            self.taken = known.settled.clone();
            self.settled = known.settled.clone();
            self.given_up = known.given_up;
        }
        self
    }

    /// Whether event `index` is neither in a window nor settled.
    #[must_use]
    pub fn is_free(&self, index: u32) -> bool {
        index < self.taken.len() && !self.taken.get(index)
    }

    /// Puts event `index` in a window.
    pub fn take(&mut self, index: u32) {
        self.taken.set(index);
    }

    fn bury(&mut self, index: u32) {
        if !self.settled.get(index) {
            self.taken.set(index);
            self.settled.set(index);
            self.given_up.dead_lettered += 1;
        }
    }

    /// Whether some event is in no window and not settled.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.taken.is_full()
    }

    /// Number of its first event and bits for its events, as they are saved.
    fn partial_bytes(&self) -> usize {
        let given_up = if self.given_up == Totals::default() { 0 } else { GIVEN_UP };
        if self.settled.is_empty() { 0 } else { 16 + self.settled.words().len() * 8 + given_up }
    }

    fn is_of(&self, name: &TopicName) -> bool {
        matches!(&self.fate, Fate::Topic { topic, .. } if topic == name)
    }

    fn leave_to_side_reader(&mut self) -> Entry {
        let Fate::Topic { topic, .. } = &self.fate else { return self.clone() };
        let fate = Fate::Elsewhere { topic: topic.clone() };
        let stand_in = Entry::new(self.range, self.segment, self.time, fate);
        std::mem::replace(self, stand_in)
    }

    fn is_done(&self) -> bool {
        self.settled.is_full()
    }

    /// Counts every event that is in no window and not settled as given up; returns how many that were.
    pub fn give_up_free(&mut self, why: Why) -> u64 {
        let mut count = 0;
        for index in 0..self.taken.len() {
            if !self.taken.get(index) {
                self.taken.set(index);
                self.settled.set(index);
                count += 1;
            }
        }
        why.count(&mut self.given_up, count);
        count
    }

    fn finish(self) -> Finished {
        let given_up = self.given_up.sum();
        let (totals, hash, elsewhere) = match self.fate {
            Fate::Topic { hash, .. } => {
                let delivered = u64::from(self.settled.len()).saturating_sub(given_up);
                (
                    Totals { delivered: delivered + self.given_up.delivered, ..self.given_up },
                    if given_up == 0 { hash } else { 0 },
                    None,
                )
            }
            Fate::Settled(totals) => (totals, 0, None),
            Fate::Elsewhere { topic } => (Totals::default(), 0, Some(topic)),
        };
        Finished { range: self.range, segment: self.segment, totals, hash, elsewhere }
    }
}

/// The entries between what is settled and what has been read.
#[derive(Debug)]
pub struct Tracker {
    entries: VecDeque<Entry>,
    read: Seq,
    /// Of all entries: see [`Tracker::partial_bytes`].
    partial_bytes: usize,
}

impl Tracker {
    /// Nothing read yet; the next to be read is `from`.
    #[must_use]
    pub fn new(from: Seq) -> Self {
        Self { entries: VecDeque::new(), read: from, partial_bytes: 0 }
    }

    /// Everything below this is settled.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.entries.front().map_or(self.read, |e| e.range.first)
    }

    /// The first number that no entry has been made for.
    #[must_use]
    pub fn read(&self) -> Seq {
        self.read
    }

    /// Skips numbers that are nobody's business here. Only with no entries beyond `to`.
    pub fn skip_to(&mut self, to: Seq) {
        self.read = self.read.max(to);
    }

    /// The oldest entry.
    #[must_use]
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything read is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what was read next.
    pub fn push(&mut self, entry: Entry) {
        debug_assert!(entry.range.first >= self.read, "entries come in order");
        self.read = self.read.max(entry.range.end);
        self.partial_bytes += entry.partial_bytes();
        self.entries.push_back(entry);
    }

    fn index_of(&self, seq: Seq) -> Option<usize> {
        let after = self.entries.partition_point(|e| e.range.first <= seq);
        let index = after.checked_sub(1)?;
        self.entries.get(index).filter(|e| seq < e.range.end).map(|_| index)
    }

    /// The entry that holds `seq`.
    pub fn get_mut(&mut self, seq: Seq) -> Option<&mut Entry> {
        self.index_of(seq).and_then(|i| self.entries.get_mut(i))
    }

    /// The entry that holds `seq`.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<&Entry> {
        self.index_of(seq).and_then(|i| self.entries.get(i))
    }

    /// Events of the entry that begins at `block` were delivered.
    pub fn settle(&mut self, block: Seq, events: std::ops::Range<u32>) {
        if let Some(entry) = self.get_mut(block) {
            for index in events {
                entry.taken.set(index);
                entry.settled.set(index);
            }
        }
    }

    /// Events of the entry that begins at `block` are in no window any more.
    pub fn free(&mut self, block: Seq, events: std::ops::Range<u32>) {
        if let Some(entry) = self.get_mut(block) {
            events
                .filter(|&i| !entry.settled.get(i))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|i| entry.taken.clear(i));
        }
    }

    /// What is free in `range` can't be read any more: counts it and returns how many events that were.
    pub fn give_up(&mut self, range: SeqRange, why: Why) -> u64 {
        let overlapping =
            self.entries.iter_mut().filter(|e| e.range.first < range.end && range.first < e.range.end);
        let (mut count, mut more) = (0, 0);
        for entry in overlapping {
            let before = entry.partial_bytes();
            count += entry.give_up_free(why);
            more += entry.partial_bytes().saturating_sub(before);
        }
        self.partial_bytes += more;
        count
    }

    /// Event `index` of the entry that begins at `block` is a dead letter, durably.
    pub fn bury(&mut self, block: Seq, index: u32) {
        let Some(entry) = self.get_mut(block) else { return };
        let before = entry.partial_bytes();
        entry.bury(index);
        let more = entry.partial_bytes().saturating_sub(before);
        self.partial_bytes += more;
    }

    /// Takes the next finished entry from the front.
    pub fn pop_finished(&mut self) -> Option<Finished> {
        if !self.entries.front()?.is_done() {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.partial_bytes = self.partial_bytes.saturating_sub(entry.partial_bytes());
        Some(entry.finish())
    }

    /// Most that saving what is settled of its entries can take.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Whether there is an entry for a block.
    #[must_use]
    pub fn has(&self, block: Seq) -> bool {
        self.get(block).is_some_and(|e| matches!(e.fate, Fate::Topic { .. }))
    }

    /// The first number of the first entry with an event in no window: where reading must start again.
    #[must_use]
    pub fn first_free(&self) -> Option<Seq> {
        self.entries.iter().find(|e| e.has_free()).map(|e| e.range.first)
    }

    /// The first entry of `topic` that is not finished.
    #[must_use]
    pub fn first_unfinished(&self, topic: &TopicName) -> Option<Seq> {
        self.entries.iter().find(|e| e.is_of(topic) && !e.is_done()).map(|e| e.range.first)
    }

    /// Hands the entries of `topic` from `from` on over to another tracker, finished ones too; their places
    /// here become [`Fate::Elsewhere`].
    pub fn hand_over(&mut self, topic: &TopicName, from: Seq) -> Vec<Entry> {
        let mine = self.entries.iter_mut().filter(|e| e.is_of(topic) && e.range.first >= from);
        let handed: Vec<Entry> = mine.map(Entry::leave_to_side_reader).collect();
        let bytes: usize = handed.iter().map(Entry::partial_bytes).sum();
        self.partial_bytes = self.partial_bytes.saturating_sub(bytes);
        handed
    }

    /// Events of entries that a side reader delivers.
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.entries.iter().filter(|e| matches!(e.fate, Fate::Elsewhere { .. })).map(|e| e.range.len()).sum()
    }

    /// Blocks of which some events are settled, oldest first: what a position alone can't say.
    pub fn partial(&self) -> impl Iterator<Item = Partial> + '_ {
        let started = self.entries.iter().filter(|e| e.settled.count() > 0);
        started.map(|e| Partial { first: e.range.first, settled: e.settled.clone(), given_up: e.given_up })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let totals: Vec<_> =
            std::iter::from_fn(|| tracker.pop_finished()).map(|f| (f.totals, f.hash)).collect();
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
        let block = |first, bits, given_up| Partial {
            first: Seq(first),
            settled: Bits::from_words(2, [bits]),
            given_up,
        };
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
        [(1, "a"), (3, "b"), (5, "a")]
            .into_iter()
            .for_each(|(first, name)| tracker.push(entry(first, 2, name)));
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
}
