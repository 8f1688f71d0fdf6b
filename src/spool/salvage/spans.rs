//! Which numbers are there, in memory that grows with the number of gaps.

use std::collections::BTreeMap;

use crate::ids::{RunId, Seq, SeqRange};

/// Numbers that are there, each under a run.
#[derive(Debug, Default)]
pub(super) struct Spans {
    ends: BTreeMap<(u64, Seq), Seq>,
}

impl Spans {
    pub(super) fn add(&mut self, run: RunId, range: SeqRange) {
        if let Some((_, end)) = self.ends.range_mut((run.0, Seq::NONE)..=(run.0, range.first)).next_back()
            && *end >= range.first
        {
            *end = (*end).max(range.end);
            return;
        }
        self.ends.insert((run.0, range.first), range.end);
    }

    /// Whether every number of the range is there under this run.
    pub(super) fn has(&self, run: RunId, range: SeqRange) -> bool {
        let before = self.ends.range((run.0, Seq::NONE)..=(run.0, range.first)).next_back();
        before.is_some_and(|(_, end)| *end >= range.end)
    }
}

/// What is missing of `begin..end` between ranges given in order.
pub(super) fn missing(ranges: &[SeqRange], begin: Seq, end: Seq) -> Vec<SeqRange> {
    let mut at = begin;
    let mut missing = Vec::new();
    for range in ranges {
        let gap = SeqRange::new(at, range.first.min(end));
        if !gap.is_empty() {
            missing.push(gap);
        }
        at = at.max(range.end);
    }
    let rest = SeqRange::new(at, end);
    if !rest.is_empty() {
        missing.push(rest);
    }
    missing
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    fn range(first: u64, end: u64) -> SeqRange {
        SeqRange::new(Seq(first), Seq(end))
    }

    #[test]
    fn numbers_of_one_run_say_nothing_of_another() {
        let mut spans = Spans::default();
        spans.add(RunId(1), range(1, 5));
        spans.add(RunId(1), range(5, 9));
        spans.add(RunId(2), range(3, 20));
        assert!(spans.has(RunId(1), range(2, 9)) && spans.has(RunId(2), range(3, 20)));
        assert!(!spans.has(RunId(1), range(2, 10)) && !spans.has(RunId(2), range(2, 4)));
        assert!(!spans.has(RunId(3), range(3, 4)));
    }

    #[test]
    fn what_is_missing_is_named_to_the_number() {
        let there = [range(3, 5), range(5, 7), range(9, 12)];
        assert_eq!(missing(&there, Seq(1), Seq(14)), [range(1, 3), range(7, 9), range(12, 14)]);
        assert_eq!(missing(&there, Seq(6), Seq(10)), [range(7, 9)]);
        assert_eq!(missing(&[], Seq(1), Seq(1)), []);
    }

    fn ranges() -> impl Strategy<Value = Vec<(u64, SeqRange)>> {
        proptest::collection::vec((1u64..3, 1u64..40, 0u64..8), 0..12)
            .prop_map(|all| all.into_iter().map(|(run, at, len)| (run, range(at, at + len))).collect())
    }

    proptest! {
        #[test]
        fn of_ranges_in_order_it_is_known_what_a_set_would_know(mut added in ranges()) {
            added.sort_by_key(|(_, range)| range.first);
            let (mut spans, mut set) = (Spans::default(), BTreeSet::new());
            for (run, range) in added {
                spans.add(RunId(run), range);
                set.extend((range.first.0..range.end.0).map(|seq| (run, seq)));
            }
            for (run, at, len) in (1..3).flat_map(|run| (1..50).flat_map(move |at| [1, 2, 9].map(|n| (run, at, n)))) {
                let all = (at..at + len).all(|seq| set.contains(&(run, seq)));
                prop_assert_eq!(spans.has(RunId(run), range(at, at + len)), all, "{} {} {}", run, at, len);
            }
        }

        #[test]
        fn what_is_missing_is_what_is_in_no_range(mut there in ranges(), begin in 1u64..50, len in 0u64..50) {
            there.sort_by_key(|(_, range)| (range.first, range.end));
            let there: Vec<_> = there.into_iter().map(|(_, range)| range).collect();
            let found = missing(&there, Seq(begin), Seq(begin + len));
            let expected: Vec<u64> = (begin..begin + len)
                .filter(|seq| !there.iter().any(|range| range.contains(Seq(*seq))))
                .collect();
            let named: Vec<u64> = found.iter().flat_map(|r| r.first.0..r.end.0).collect();
            prop_assert_eq!(named, expected);
            prop_assert!(found.iter().all(|r| !r.is_empty()));
        }
    }
}
