//! What a destination has taken over from another when routes changed: what the other had settled by then, so that what it had
//! not goes here, once.

use super::Bits;
use super::record::{Partial, Passed, Totals};
use crate::ids::{DestinationName, Seq, StreamName};

/// What a destination that takes streams over knows of the one that had them. It speaks of those streams only, and of nothing
/// that came after the change; of blocks that were settled in part, [`super::Positions::partial`] says which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Number of the change of routes.
    pub change: u64,
    /// The destination that the streams go to no more.
    pub from: DestinationName,
    /// It had settled everything before this,
    pub position: Seq,
    /// and what these say.
    pub passed: Vec<Passed>,
    /// What is taken over from before this had been counted here, as filtered.
    pub below: Seq,
    /// Nothing beyond this is taken over.
    pub until: Seq,
    /// Events that are counted no more, and are still to be found again.
    pub waiting: i64,
}

impl Taken {
    /// Whether the other had settled all of a block.
    #[must_use]
    pub fn has_settled(&self, stream: &StreamName, first: Seq) -> bool {
        first < self.position || self.passed.iter().any(|p| p.is_settled(stream, first))
    }

    /// The highest number it names.
    #[must_use]
    pub fn highest(&self) -> Seq {
        let named = self.passed.iter().map(Passed::end).chain([self.position, self.below]);
        named.fold(self.until, Seq::max)
    }
}

impl Partial {
    /// The number behind its last event.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.first.plus(self.settled.len().into())
    }

    /// Some of its events are another destination's business.
    pub fn settle_elsewhere(&mut self, events: &Bits) {
        for index in events.ones() {
            self.given_up.filtered += u64::from(self.settled.set(index));
        }
    }
}

impl Totals {
    /// What was filtered and is taken over is counted again as it is found; this is what is left over, or was found beyond.
    pub fn filter_left_over(&mut self, left_over: i64) {
        self.filtered = self.filtered.saturating_add_signed(left_over);
    }
}

#[cfg(test)]
mod tests {
    use super::super::PassedStream;
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn what_the_other_had_settled_is_what_lies_before_its_position_and_what_its_readers_had_passed() {
        let own = PassedStream { stream: stream("a"), from: Seq(10), below: Seq(15), apart: Vec::new() };
        let passed = Passed {
            below: Seq(30),
            streams: vec![own],
            waiting: 0,
            dropped: false,
            older: false,
            ahead: 0,
            change: 0,
            inexact: None,
        };
        let from = DestinationName::new("home").unwrap();
        let (position, until) = (Seq(12), Seq(40));
        let taken =
            Taken { change: 1, from, position, passed: vec![passed], below: Seq(50), until, waiting: 0 };
        for (name, first, expected) in
            [("a", 11, true), ("a", 12, true), ("a", 15, false), ("b", 29, true), ("b", 30, false)]
        {
            assert_eq!(taken.has_settled(&stream(name), Seq(first)), expected, "{name} {first}");
        }
        assert_eq!(taken.highest(), Seq(50));
    }

    #[test]
    fn events_that_were_settled_elsewhere_count_as_filtered_once() {
        let mut partial = Partial::new(Seq(7), 4);
        partial.settled.set(0);
        let mut elsewhere = Bits::new(4);
        elsewhere.set_all(0..2);
        (0..2).for_each(|_| partial.settle_elsewhere(&elsewhere));
        assert_eq!((partial.settled.count(), partial.given_up.filtered, partial.end()), (2, 1, Seq(11)));
    }
}
