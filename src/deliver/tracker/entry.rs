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

    /// Whether it is a gap, and `range` follows at once.
    pub(super) fn is_gap_before(&self, range: SeqRange) -> bool {
        matches!(self.fate, Fate::Settled(_)) && self.segment.is_none() && self.range.end == range.first
    }

    pub(super) fn is_of(&self, name: &TopicName) -> bool {
        matches!(&self.fate, Fate::Topic { topic, .. } if topic == name)
    }

    pub(super) fn leave_to_side_reader(&mut self) -> Entry {
        let Fate::Topic { topic, .. } = &self.fate else { return self.clone() };
        let fate = Fate::Elsewhere { topic: topic.clone() };
        let stand_in = Entry::new(self.range, self.segment, self.time, fate);
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

    pub(super) fn finish(self) -> Finished {
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
