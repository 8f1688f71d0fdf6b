//! What a reader has taken from the log and what of it is settled: block by block, event by event.
//!
//! A pure state machine. [`Tracker::position`] is the number below which everything is settled, so a
//! position never claims more than that (promise 4 of the design), whatever order windows come back in.
//!
//! INVARIANT: entries stand in the order of their numbers and never overlap; an event's settled bit implies
//! its taken bit.
//! INVARIANT: an entry leaves from the front only, when everything in it is settled. Its counts enter the
//! totals at that moment, so totals count exactly what lies before the position.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use entry::{Entry, Fate, Finished};

use super::log::Why;
use crate::ids::{Seq, SeqRange, TopicName};
use crate::state::positions::{Bits, Partial, Totals};

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

    /// Adds numbers whose events are gone. Gaps that follow each other are one entry, however many there are.
    pub fn push_gone(&mut self, range: SeqRange, totals: Totals) {
        if let Some(last) = self.entries.back_mut()
            && last.segment.is_none()
            && last.range.end == range.first
            && let Fate::Settled(before) = &mut last.fate
        {
            before.add(&totals);
            (last.range.end, self.read) = (range.end, self.read.max(range.end));
            return;
        }
        self.push(Entry::new(range, None, 0, Fate::Settled(totals)));
    }

    /// What of its entries can't be delivered any more, though they are not finished.
    #[must_use]
    pub fn gaps(&self) -> Totals {
        let mut gaps = Totals::default();
        for entry in &self.entries {
            let Totals { dropped, lost, .. } = match entry.fate {
                Fate::Settled(totals) => totals,
                _ => entry.given_up,
            };
            gaps.add(&Totals { dropped, lost, ..Totals::default() });
        }
        gaps
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

    /// Whether there is a finished entry at the front.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.entries.front().is_some_and(Entry::is_done)
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

    /// Whether some event of `topic` is in no window and not settled.
    #[must_use]
    pub fn has_free_of(&self, topic: &TopicName) -> bool {
        self.entries.iter().any(|e| e.is_of(topic) && e.has_free())
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

    /// Leaves `events` of the entry that begins at `block` to the reader of a partition; see [`Entry::split`].
    pub fn split(&mut self, block: Seq, events: &Bits, sum: u64, partition: i32) -> Option<Entry> {
        let entry = self.get_mut(block)?;
        let before = entry.partial_bytes();
        let split = entry.split(events, sum, partition);
        let less = before.saturating_sub(entry.partial_bytes());
        self.partial_bytes = self.partial_bytes.saturating_sub(less);
        split
    }

    /// The blocks that have an entry with events for a topic, from `from` on.
    pub fn blocks_from(&self, from: Seq) -> impl Iterator<Item = Seq> + '_ {
        let entries = self.entries.iter().filter(move |e| e.range.first >= from);
        entries.filter(|e| matches!(e.fate, Fate::Topic { .. })).map(|e| e.range.first)
    }

    /// Forgets the newest entries nothing of which is in a window or settled: they will be read again.
    pub fn forget_untouched(&mut self) {
        while let Some(entry) = self.entries.pop_back_if(|e| e.is_untouched()) {
            self.partial_bytes = self.partial_bytes.saturating_sub(entry.partial_bytes());
            self.read = entry.range.first;
        }
    }

    /// Events of entries that a side reader delivers.
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.entries.iter().filter(|e| matches!(e.fate, Fate::Elsewhere { .. })).map(Entry::owed).sum()
    }

    /// Blocks of which some events are settled, oldest first: what a position alone can't say.
    pub fn partial(&self) -> impl Iterator<Item = Partial> + '_ {
        let started =
            self.entries.iter().map(|e| (e, e.own_settled())).filter(|(_, settled)| settled.count() > 0);
        started.map(|(e, settled)| Partial { first: e.range.first, settled, given_up: e.given_up })
    }
}
