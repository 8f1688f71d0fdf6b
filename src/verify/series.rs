//! One dense counter in one partition: which of its numbers were seen.
//!
//! INVARIANT: the numbers below `next` that are in no gap were seen, but for those below `blurred`, of which
//! it is not known any more.

use std::collections::BTreeMap;

/// Stretches of unseen numbers that are kept of one counter. A log in good order has none; one that was compacted has
/// many.
const MAX_GAPS: usize = 1 << 16;

/// What the partition's offsets have shown so far, from its start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Around {
    /// Offsets that no record has and no transaction marker.
    pub(super) holes: u64,
    /// How often the beginning was found to be gone: when the reading began, and whenever the start of the log
    /// overtook it.
    pub(super) cuts: u64,
}

/// Why numbers have no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Missing,
    /// They stood before the start of the log.
    Expired,
    /// They were in the log and are not there any more.
    Removed,
}

/// What a number is to its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Higher than all before.
    Next,
    /// Lower than some before, and new: it had been taken for gone.
    Late(Cause),
    /// Seen before.
    Again,
    /// Low, and it is not known any more whether it was seen.
    Blurred,
}

/// How many numbers were passed over, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Passed {
    pub(super) missing: u64,
    pub(super) expired: u64,
    pub(super) removed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    end: u64,
    cause: Cause,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    next: u64,
    gaps: BTreeMap<u64, Gap>,
    blurred: u64,
    last: Around,
}

impl Series {
    /// Takes in a number: what it is, and what was passed over to get there.
    pub(super) fn take(&mut self, number: u64, around: Around) -> (Place, Passed) {
        let before = std::mem::replace(&mut self.last, around);
        if number < self.next {
            return (self.low(number), Passed::default());
        }
        let passed = self.pass(number, before, around);
        self.next = number.saturating_add(1);
        (Place::Next, passed)
    }

    fn low(&mut self, number: u64) -> Place {
        let found = self.gaps.range(..=number).next_back().map(|(start, gap)| (*start, *gap));
        let Some((start, gap)) = found.filter(|(_, gap)| number < gap.end) else {
            return if number < self.blurred { Place::Blurred } else { Place::Again };
        };
        self.gaps.remove(&start);
        self.put(start, number, gap.cause);
        self.put(number.saturating_add(1), gap.end, gap.cause);
        Place::Late(gap.cause)
    }

    /// Notes that the numbers from `next` to `number` were not seen, and why that may be: the beginning is
    /// gone, or there were records where there are none now, or nothing explains it.
    fn pass(&mut self, number: u64, before: Around, around: Around) -> Passed {
        let (from, len) = (self.next, number - self.next);
        if around.cuts > before.cuts {
            self.put(from, number, Cause::Expired);
            return Passed { expired: len, ..Passed::default() };
        }
        let removed = len.min(around.holes.saturating_sub(before.holes));
        self.put(from, from + removed, Cause::Removed);
        self.put(from + removed, number, Cause::Missing);
        Passed { missing: len - removed, removed, expired: 0 }
    }

    fn put(&mut self, start: u64, end: u64, cause: Cause) {
        if start >= end {
            return;
        }
        self.gaps.insert(start, Gap { end, cause });
        if self.gaps.len() > MAX_GAPS
            && let Some((_, gap)) = self.gaps.pop_first()
        {
            self.blurred = self.blurred.max(gap.end);
        }
    }

    /// Whether it is known of every number whether it was seen.
    pub(super) fn is_exact(&self) -> bool {
        self.blurred == 0
    }

    /// How many different numbers were seen.
    pub(super) fn seen(&self) -> u64 {
        self.next - self.gaps.iter().map(|(start, gap)| gap.end - start).sum::<u64>()
    }

    /// Whether all numbers seen here were seen in another partition under the same counter.
    pub(super) fn is_within(&self, other: &Series) -> bool {
        self.next <= other.next
            && other.gaps.iter().all(|(start, gap)| self.has_none_of(*start, gap.end.min(self.next)))
    }

    /// Whether no number of a stretch was seen: one gap, or several that touch, cover it.
    fn has_none_of(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            let gap = self.gaps.range(..=at).next_back().filter(|(_, gap)| at < gap.end);
            let Some((_, gap)) = gap else { return false };
            at = gap.end;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: Around = Around { holes: 0, cuts: 0 };

    fn passed(missing: u64, expired: u64, removed: u64) -> Passed {
        Passed { missing, expired, removed }
    }

    #[test]
    fn what_is_passed_over_is_missing_and_what_comes_late_is_not() {
        let mut series = Series::default();
        assert_eq!(series.take(0, WHOLE), (Place::Next, passed(0, 0, 0)));
        assert_eq!(series.take(4, WHOLE), (Place::Next, passed(3, 0, 0)));
        assert_eq!(series.take(2, WHOLE), (Place::Late(Cause::Missing), passed(0, 0, 0)));
        assert_eq!(series.take(2, WHOLE).0, Place::Again);
        assert_eq!(series.take(1, WHOLE).0, Place::Late(Cause::Missing));
        assert_eq!(series.take(3, WHOLE).0, Place::Late(Cause::Missing));
        assert_eq!((series.seen(), series.gaps.len()), (5, 0));
    }

    #[test]
    fn what_lay_before_the_start_of_the_log_is_expired() {
        let cut = |cuts| Around { holes: 0, cuts };
        let mut series = Series::default();
        assert_eq!(series.take(7, cut(1)).1, passed(0, 7, 0));
        assert_eq!(series.take(9, cut(1)).1, passed(1, 0, 0), "behind the start");
        assert_eq!(series.take(12, cut(2)).1, passed(0, 2, 0), "the start has overtaken the reader");
        assert_eq!(series.take(3, cut(2)).0, Place::Late(Cause::Expired));
    }

    #[test]
    fn what_left_a_hole_in_the_offsets_was_there_once() {
        let holes = |holes| Around { holes, cuts: 0 };
        let mut series = Series::default();
        assert_eq!(series.take(3, holes(2)).1, passed(1, 0, 2));
        assert_eq!(series.take(6, holes(2)).1, passed(2, 0, 0), "the holes were used up");
        assert_eq!(series.take(8, holes(50)).1, passed(0, 0, 1));
    }

    #[test]
    fn more_gaps_than_are_kept_make_it_inexact_and_no_larger() {
        let mut series = Series::default();
        (0..=MAX_GAPS as u64).for_each(|n| _ = series.take(2 * n + 1, WHOLE));
        assert_eq!((series.gaps.len(), series.is_exact()), (MAX_GAPS, false));
        assert_eq!(series.take(0, WHOLE).0, Place::Blurred);
        assert_eq!(series.take(2, WHOLE).0, Place::Late(Cause::Missing));
    }

    proptest! {
        #[test]
        fn every_order_of_numbers_is_followed_exactly(
            numbers in proptest::collection::vec(0u64..60, 0..120),
        ) {
            let (mut series, mut seen) = (Series::default(), std::collections::BTreeSet::new());
            let mut missing = 0;
            for number in numbers {
                let highest = seen.last().copied();
                let (place, passed) = series.take(number, WHOLE);
                let expected = match highest {
                    _ if seen.contains(&number) => Place::Again,
                    Some(highest) if number < highest => Place::Late(Cause::Missing),
                    _ => Place::Next,
                };
                prop_assert_eq!(place, expected);
                missing += passed.missing;
                missing -= u64::from(matches!(place, Place::Late(_)));
                seen.insert(number);
                prop_assert_eq!(series.seen(), seen.len() as u64);
                prop_assert_eq!(missing, seen.last().unwrap() + 1 - seen.len() as u64);
            }
        }

        #[test]
        fn within_is_what_sets_say(
            a in proptest::collection::btree_set(0u64..30, 1..15),
            b in proptest::collection::btree_set(0u64..30, 1..25),
        ) {
            let series = |set: &std::collections::BTreeSet<u64>| {
                let mut series = Series::default();
                set.iter().for_each(|n| _ = series.take(*n, WHOLE));
                series
            };
            prop_assert_eq!(series(&a).is_within(&series(&b)), a.is_subset(&b));
        }
    }
}
