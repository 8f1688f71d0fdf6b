//! The dense counter of a partition: every record sent there gets the next number, so that a reader of the
//! topic sees a missing or repeated record without asking the relay.
//!
//! A counter is scoped by a random epoch, which is drawn anew when its state was lost or the topic is a new
//! one, so that a counter never seems to run backwards.

use crate::state::positions::Counter;

/// Numbers fit in 40 bits of the record header; beyond that a new epoch begins.
const LIMIT: u64 = 1 << 40;

/// The counter of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    epoch: u16,
    next: u64,
    settled: u64,
}

impl Dense {
    /// A counter that starts at 0 under an epoch of its own.
    #[must_use]
    pub fn fresh(epoch: u16) -> Self {
        Self { epoch, next: 0, settled: 0 }
    }

    /// A counter that goes on where it was saved.
    #[must_use]
    pub fn restored(saved: Counter) -> Self {
        Self { epoch: saved.epoch, next: saved.next, settled: saved.next }
    }

    /// A counter whose last `in_flight` numbers are in flight.
    #[must_use]
    pub fn resumed(first: Counter, in_flight: u32) -> Self {
        Self { epoch: first.epoch, next: first.next + u64::from(in_flight), settled: first.next }
    }

    /// Epoch of the next number, unless the numbers run out.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Epoch and number for the next record; draws a new epoch when the numbers run out.
    pub fn take(&mut self, draw: impl FnOnce() -> u16) -> (u16, u64) {
        if self.next >= LIMIT {
            *self = Self::fresh(draw());
        }
        let number = self.next;
        self.next += 1;
        (self.epoch, number)
    }

    /// The number the next record will get.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The numbers from `first` on were never sent: they are given out again.
    pub fn give_back(&mut self, first: u64) {
        self.next = self.next.min(first);
    }

    /// The numbers up to `end` (exclusive) are in the topic.
    pub fn settle(&mut self, end: u64) {
        self.settled = self.settled.max(end.min(self.next));
    }

    /// What to save.
    #[must_use]
    pub fn saved(&self) -> Counter {
        Counter { epoch: self.epoch, next: self.settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_were_not_sent_are_given_out_again() {
        let mut counter = Dense::fresh(7);
        let numbers: Vec<_> = (0..4).map(|_| counter.take(|| 0)).collect();
        assert_eq!(numbers, [(7, 0), (7, 1), (7, 2), (7, 3)]);
        counter.settle(2);
        counter.give_back(2);
        assert_eq!(counter.take(|| 0), (7, 2));
        assert_eq!(counter.saved(), Counter { epoch: 7, next: 2 });
    }

    #[test]
    fn a_new_epoch_begins_when_the_numbers_run_out() {
        let mut counter = Dense::restored(Counter { epoch: 7, next: LIMIT - 1 });
        assert_eq!(counter.take(|| 8), (7, LIMIT - 1));
        assert_eq!(counter.take(|| 8), (8, 0));
    }
}
