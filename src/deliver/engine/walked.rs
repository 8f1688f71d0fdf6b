//! Which run gave which numbers, of those that were read: what positions stand on.

use std::collections::BTreeMap;

use crate::ids::{RunId, Seq, SeqRange};
use crate::state::positions::Footing;

/// Stretches of numbers, each by its first: the last number that was met in it, and the run under which all of them were given.
/// There are as many as there were openings of the lane since the oldest that is remembered, mostly one.
#[derive(Debug, Default)]
pub(super) struct Walked(BTreeMap<Seq, (Seq, RunId)>);

impl From<Option<Footing>> for Walked {
    fn from(footing: Option<Footing>) -> Self {
        Self(footing.into_iter().map(|Footing { seq, run }| (seq, (seq, run))).collect())
    }
}

impl Walked {
    /// A block of `run` was read. Between two blocks of one run there is none of another. Positions name `settled` or more from here
    /// on: what lies further back is forgotten.
    pub(super) fn note(&mut self, range: SeqRange, run: RunId, settled: Seq) {
        let last = range.end.prev();
        if let Some((_, known)) = self.0.range_mut(..=range.first).next_back().filter(|(_, k)| k.1 == run) {
            known.0 = known.0.max(last);
            return;
        }
        let behind = self.0.range(range.first..).next().map(|(first, known)| (*first, *known));
        let goes_on = behind.filter(|(_, known)| known.1 == run);
        if let Some((first, _)) = goes_on {
            self.0.remove(&first);
        }
        self.0.insert(range.first, (goes_on.map_or(last, |(_, known)| known.0.max(last)), run));
        if let Some(below) = self.0.range(..settled).next_back().map(|(first, _)| *first) {
            self.0 = self.0.split_off(&below);
        }
    }

    /// What positions stand on that say nothing of `end` and beyond.
    ///
    /// Nothing beyond what is settled, where that can be told: what was only read may be gone after a power cut on a disk that
    /// lies, and its number be given again.
    pub(super) fn footing(&self, end: Seq) -> Option<Footing> {
        let below = self.0.range(..end).next_back().map(|(_, (last, run))| ((*last).min(end.prev()), *run));
        // Nothing below is known, and what is known beyond stands on the same: the nearest of it, which is lost the least easily.
        let (seq, run) =
            below.or_else(|| self.0.first_key_value().map(|(first, (_, run))| (*first, *run)))?;
        Some(Footing { seq, run })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(blocks: &[(u64, u64, u64)]) -> Walked {
        let mut walked = Walked::default();
        for (first, end, run) in blocks {
            walked.note(SeqRange::new(Seq(*first), Seq(*end)), RunId(*run), Seq::FIRST);
        }
        walked
    }

    fn footing(walked: &Walked, end: u64) -> Option<(u64, u64)> {
        walked.footing(Seq(end)).map(|Footing { seq, run }| (seq.0, run.0))
    }

    #[test]
    fn positions_stand_on_the_last_event_below_them_under_the_run_that_it_was_read_with() {
        let blocks = [(1, 5, 7), (5, 9, 7), (9, 12, 8), (20, 30, 9)];
        for (end, expected) in
            [(2, (1, 7)), (9, (8, 7)), (10, (9, 8)), (15, (11, 8)), (21, (20, 9)), (99, (29, 9))]
        {
            assert_eq!(footing(&walked(&blocks), end), Some(expected), "{end}");
        }
        assert_eq!(footing(&walked(&[]), 5), None, "nothing was read yet");
    }

    /// Found by an audit: they stood on the last event that was read. Of positions of an older program, which name no event, all was sent
    /// again where a disk that lies had taken that one and its number was given once more, though nothing was said of it.
    #[test]
    fn where_nothing_below_is_known_they_stand_on_the_first_event_that_was_read_and_not_on_the_last() {
        assert_eq!(footing(&walked(&[(100, 120, 7), (120, 150, 7), (150, 160, 8)]), 100), Some((100, 7)));
        // What an earlier process said is no less known for what was read since.
        let mut known = Walked::from(Some(Footing { seq: Seq(50), run: RunId(8) }));
        known.note(SeqRange::new(Seq(51), Seq(60)), RunId(8), Seq(45));
        assert_eq!([45, 51].map(|end| footing(&known, end)), [Some((50, 8)); 2]);
    }

    #[test]
    fn what_the_positions_said_holds_until_more_is_read_and_is_joined_with_it() {
        let mut known = Walked::from(Some(Footing { seq: Seq(50), run: RunId(8) }));
        assert_eq!(footing(&known, 40), Some((50, 8)), "as long as nothing below is known");
        known.note(SeqRange::new(Seq(30), Seq(35)), RunId(7), Seq(30));
        known.note(SeqRange::new(Seq(35), Seq(41)), RunId(8), Seq(30));
        assert_eq!((known.0.len(), footing(&known, 35)), (2, Some((34, 7))), "{known:?}");
        assert_eq!((footing(&known, 36), footing(&known, 51)), (Some((35, 8)), Some((50, 8))));
        known.note(SeqRange::new(Seq(51), Seq(60)), RunId(8), Seq(45));
        assert_eq!((footing(&known, 58), known.0.len()), (Some((57, 8)), 2));
        known.note(SeqRange::new(Seq(60), Seq(70)), RunId(9), Seq(59));
        assert_eq!(known.0.len(), 2, "what lies further back is forgotten: {known:?}");
        assert_eq!([59, 70].map(|end| footing(&known, end)), [Some((58, 8)), Some((69, 9))]);
    }
}
