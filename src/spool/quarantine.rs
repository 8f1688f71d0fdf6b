//! Numbers known to be lost to damage: each counted once, whoever meets it first.

use std::collections::BTreeMap;

use crate::ids::{Seq, SeqRange};

/// Ranges kept apart; beyond it the lowest are known by their count alone.
const MAX_RANGES: usize = 10_000;

/// Disjoint ranges.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    ranges: BTreeMap<Seq, Seq>,
    /// Everything below was met already and has left the ranges,
    below: Seq,
    /// and so much of it is lost.
    lost_below: u64,
}

impl Quarantine {
    /// Adds a range; returns how many of its numbers were not known to be lost.
    pub(super) fn add(&mut self, range: SeqRange) -> u64 {
        let mut first = range.first.max(self.below);
        let mut end = range.end;
        let mut new = SeqRange::new(first, end).len();
        let touching: Vec<(Seq, Seq)> = self
            .ranges
            .range(..=end)
            .rev()
            .take_while(|(_, e)| **e >= first)
            .map(|(f, e)| (*f, *e))
            .collect();
        for (known_first, known_end) in touching {
            let overlap = SeqRange::new(first.max(known_first), end.min(known_end)).len();
            new -= overlap.min(new);
            self.ranges.remove(&known_first);
            first = first.min(known_first);
            end = end.max(known_end);
        }
        if !SeqRange::new(first, end).is_empty() {
            self.ranges.insert(first, end);
        }
        while self.ranges.len() > MAX_RANGES
            && let Some((first, end)) = self.ranges.pop_first()
        {
            self.below = end;
            self.lost_below += SeqRange::new(first, end).len();
        }
        new
    }

    /// Forgets what is below `first`: it has left the lane.
    pub(super) fn forget_below(&mut self, first: Seq) {
        if first >= self.below {
            self.lost_below = 0;
        }
        while let Some(entry) = self.ranges.first_entry() {
            let (from, end) = (*entry.key(), *entry.get());
            if from >= first {
                break;
            }
            entry.remove();
            if end > first {
                self.ranges.insert(first, end);
            }
        }
    }

    /// How many numbers are lost.
    pub(super) fn count(&self) -> u64 {
        let apart: u64 = self.ranges.iter().map(|(first, end)| SeqRange::new(*first, *end).len()).sum();
        self.lost_below + apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Those that were no longer kept apart had left the count, too.
    #[test]
    fn more_ranges_than_are_kept_apart_are_counted_all_the_same() {
        let mut quarantine = Quarantine::default();
        let range = |n: u64| SeqRange::new(Seq(10 * n), Seq(10 * n + 3));
        let many = MAX_RANGES as u64 + 5;
        for n in 1..=many {
            assert_eq!(quarantine.add(range(n)), 3);
            assert!(quarantine.ranges.len() <= MAX_RANGES, "{n}");
            // To count takes a while.
            assert!(n < MAX_RANGES as u64 || quarantine.count() == 3 * n, "{n}");
        }
        assert_eq!(quarantine.ranges.len(), MAX_RANGES);
        assert_eq!((1..=many).map(|n| quarantine.add(range(n))).sum::<u64>(), 0, "each is known");
        quarantine.forget_below(Seq(51));
        assert_eq!(quarantine.count(), 3 * many);
        quarantine.forget_below(Seq(53));
        assert_eq!(quarantine.count(), 3 * (many - 5));
        quarantine.forget_below(Seq(62));
        assert_eq!(quarantine.count(), 3 * (many - 6) + 1);
    }

    proptest! {
        #[test]
        fn every_number_is_counted_once(ranges in proptest::collection::vec((1u64..60, 0u64..20), 0..30)) {
            let mut quarantine = Quarantine::default();
            let mut model = std::collections::BTreeSet::new();
            for (first, len) in ranges {
                let before = model.len() as u64;
                model.extend(first..first + len);
                let new = quarantine.add(SeqRange::new(Seq(first), Seq(first + len)));
                prop_assert_eq!(new, model.len() as u64 - before);
                prop_assert_eq!(quarantine.count(), model.len() as u64);
            }
            quarantine.forget_below(Seq(30));
            prop_assert_eq!(quarantine.count(), model.range(30..).count() as u64);
        }
    }
}
