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
        let own = PassedStream {
            stream: stream("a"),
            from: Seq(10),
            below: Seq(15),
            apart: std::sync::Arc::default(),
        };
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
    fn of_changes_they_know_the_last_that_they_were_told_of_in_either_way() {
        let fresh = super::super::Positions::fresh(crate::ids::SpoolId(1), Seq(1));
        for (known, change, expected) in [(0, 0, 0), (7, 3, 7), (3, 7, 7)] {
            let positions = super::super::Positions { known, change, ..fresh.clone() };
            assert_eq!(positions.known(), expected);
        }
    }

    #[test]
    fn the_highest_number_that_is_named_may_stand_anywhere() {
        let from = DestinationName::new("home").unwrap();
        let passed = |below| Passed {
            below: Seq(below),
            streams: Vec::new(),
            waiting: 0,
            dropped: false,
            older: false,
            ahead: 0,
            change: 0,
            inexact: None,
        };
        for [position, below, until, settled] in [[9, 1, 1, 1], [1, 9, 1, 1], [1, 1, 9, 1], [1, 1, 1, 9]] {
            let taken = Taken {
                change: 1,
                from: from.clone(),
                position: Seq(position),
                passed: vec![passed(settled), passed(1)],
                below: Seq(below),
                until: Seq(until),
                waiting: 0,
            };
            assert_eq!(taken.highest(), Seq(9));
            let alone = Taken { passed: Vec::new(), ..taken };
            let (before, at) = (alone.position.prev(), alone.position);
            assert!(alone.has_settled(&stream("a"), before) && !alone.has_settled(&stream("a"), at));
        }
    }

    #[test]
    fn what_is_left_over_of_what_was_filtered_is_counted_again_or_comes_off() {
        let mut totals = Totals { filtered: 5, delivered: 2, ..Totals::default() };
        for (left_over, filtered) in [(3, 8), (-2, 6), (-10, 0)] {
            totals.filter_left_over(left_over);
            assert_eq!((totals.filtered, totals.sum()), (filtered, filtered + 2));
        }
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
