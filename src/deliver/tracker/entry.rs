//! One block of the log, or one stretch of numbers without one, and which of its events are taken and settled.

use crate::deliver::log::Why;
use crate::event::UnixMillis;
use crate::ids::{SegmentId, SeqRange, TopicName};
use crate::state::positions::{Bits, Partial, Totals};

/// Bytes that saving what became of given-up events takes.
pub(super) const GIVEN_UP: usize = 40;

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
    pub(super) taken: Bits,
    /// Events that are settled.
    pub(super) settled: Bits,
    /// Settled events that did not reach the destination.
    pub(super) given_up: Totals,
    /// Events that another reader has, or had: settled as far as this one goes, and counted by that one.
    pub(super) foreign: Bits,
    /// The partitions whose readers have them, and how many.
    pub(super) left: Vec<(i32, u32)>,
    /// How many events of it were counted before routes changed, where a side reader delivers it.
    pub(super) known: u64,
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
    /// How many events whoever delivers it has to count: all, unless some were counted before routes changed.
    pub owed: u64,
    /// Events that the readers of these partitions have to count.
    pub left: Vec<(i32, u32)>,
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
            foreign: Bits::default(),
            left: Vec::new(),
            known: 0,
        }
    }

    /// Of an entry that a side reader delivers: so many of its events were counted before routes changed.
    #[must_use]
    pub fn with_known(self, known: u64) -> Self {
        Self { known, ..self }
    }

    /// Events in `events` are another reader's: that of partition `of`, or one that has counted them before.
    pub fn leave(&mut self, events: &Bits, of: Option<i32>) {
        if self.foreign.is_empty() {
            self.foreign = Bits::new(self.settled.len());
        }
        let mut count = 0;
        for index in events.ones() {
            if self.foreign.set(index) {
                self.taken.set(index);
                self.settled.set(index);
                count += 1;
            }
        }
        if let Some(partition) = of.filter(|_| count > 0) {
            self.left.push((partition, count));
        }
    }

    /// Whether event `index` is another reader's.
    #[must_use]
    pub fn is_foreign(&self, index: u32) -> bool {
        self.foreign.get(index)
    }

    /// Whether all of its events are others'.
    #[must_use]
    pub fn is_all_foreign(&self) -> bool {
        self.foreign.count() == self.settled.len()
    }

    /// Whether none of its own events is in a window or settled.
    pub(super) fn is_untouched(&self) -> bool {
        self.taken.count() == self.foreign.count()
    }

    /// Its settled events, without those of other readers.
    pub(super) fn own_settled(&self) -> Bits {
        if self.foreign.is_empty() {
            return self.settled.clone();
        }
        let words = self.settled.words().iter().zip(self.foreign.words()).map(|(s, f)| s & !f);
        Bits::from_words(self.settled.len(), words)
    }

    /// Leaves `events`, whose hashes have the sum `sum`, to the reader of a partition, with all that is known of them.
    /// `None` when none of them is its own.
    pub(super) fn split(&mut self, events: &Bits, sum: u64, partition: i32) -> Option<Entry> {
        let Fate::Topic { topic, hash } = &mut self.fate else { return None };
        let len = self.settled.len();
        let (mut own, mut others) = (Bits::new(len), Bits::new(len));
        for index in 0..len {
            let is_own = events.get(index) && !self.foreign.get(index);
            if is_own {
                own.set(index)
            } else {
                others.set(index)
            };
        }
        if own.count() == 0 {
            return None;
        }
        *hash = hash.wrapping_sub(sum);
        let mut other =
            Entry { fate: Fate::Topic { topic: topic.clone(), hash: sum }, left: Vec::new(), ..self.clone() };
        other.leave(&others, None);
        self.leave(&own, Some(partition));
        // Which of the settled events were given up is not known: the sums are the same whoever counts them.
        let most = u64::from(self.own_settled().count());
        (self.given_up, other.given_up) = at_most(self.given_up, most);
        Some(other)
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

    pub(super) fn bury(&mut self, index: u32) {
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
    pub(super) fn partial_bytes(&self) -> usize {
        let given_up = if self.given_up == Totals::default() { 0 } else { GIVEN_UP };
        if self.settled.is_empty() { 0 } else { 16 + self.settled.words().len() * 8 + given_up }
    }

    pub(super) fn is_of(&self, name: &TopicName) -> bool {
        matches!(&self.fate, Fate::Topic { topic, .. } if topic == name)
    }

    pub(super) fn leave_to_side_reader(&mut self) -> Entry {
        let Fate::Topic { topic, .. } = &self.fate else { return self.clone() };
        let fate = Fate::Elsewhere { topic: topic.clone() };
        let known = u64::from(self.foreign.count());
        let stand_in = Entry::new(self.range, self.segment, self.time, fate).with_known(known);
        std::mem::replace(self, stand_in)
    }

    pub(super) fn is_done(&self) -> bool {
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

    pub(super) fn owed(&self) -> u64 {
        self.range.len().saturating_sub(self.known)
    }

    pub(super) fn finish(self) -> Finished {
        let (given_up, owed) = (self.given_up.sum(), self.owed());
        let (totals, hash, elsewhere) = match self.fate {
            Fate::Topic { hash, .. } => {
                let own = self.settled.len() - self.foreign.count();
                let delivered = u64::from(own).saturating_sub(given_up);
                (
                    Totals { delivered: delivered + self.given_up.delivered, ..self.given_up },
                    if given_up == 0 { hash } else { 0 },
                    None,
                )
            }
            Fate::Settled(totals) => (totals, 0, None),
            Fate::Elsewhere { topic } => (Totals::default(), 0, Some(topic)),
        };
        Finished { range: self.range, segment: self.segment, totals, hash, elsewhere, owed, left: self.left }
    }
}

/// The first `most` of some events that were given up, and the others.
fn at_most(given_up: Totals, most: u64) -> (Totals, Totals) {
    let (mut first, mut rest, mut left) = (given_up, Totals::default(), most);
    for (first, rest) in [
        (&mut first.delivered, &mut rest.delivered),
        (&mut first.dead_lettered, &mut rest.dead_lettered),
        (&mut first.filtered, &mut rest.filtered),
        (&mut first.dropped, &mut rest.dropped),
        (&mut first.lost, &mut rest.lost),
    ] {
        let kept = (*first).min(left);
        (*rest, left) = (*first - kept, left - kept);
        *first = kept;
    }
    (first, rest)
}
