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
}
