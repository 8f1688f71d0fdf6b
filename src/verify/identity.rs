//! Which events were seen, by run and number.
//!
//! The incarnation is no part of it: an event that was sent under two of them, by a data directory and its copy, is
//! there twice. A header holds 32 bits of a run, so that ten thousand runs in one topic have two of the same name in one
//! of a hundred cases; whoever meets that asks for each relay by itself.
//!
//! A bit an event, in pages of 4096 numbers; a page of which all were seen takes next to nothing. When the pages
//! take more than their bound, the oldest are forgotten, and [`Identities::insert`] says that it does not know.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::kafka::RecordHeader;

const PAGE_BITS: u64 = 4096;
const PAGE_WORDS: usize = 64;
/// Counted for a page beside its bits.
const OVERHEAD: usize = 64;
/// Bytes that the pages of one topic may take: 480 million numbers of lanes of which the topic gets only some.
const BUDGET: usize = 64 << 20;

/// Whether an event was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    New,
    Again,
    /// It was too long ago to be known.
    Unknown,
}

/// High half of a run.
type Run = u32;

/// See the module.
#[derive(Debug)]
pub(super) struct Identities {
    runs: HashMap<Run, Pages>,
    order: VecDeque<(Run, u64)>,
    bytes: usize,
    budget: usize,
    forgotten: bool,
}

#[derive(Debug, Default)]
struct Pages {
    pages: BTreeMap<u64, Page>,
    /// Pages below may have been forgotten.
    floor: u64,
}

#[derive(Debug)]
enum Page {
    Some { bits: Box<[u64; PAGE_WORDS]>, count: u32 },
    All,
}

impl Identities {
    pub(super) fn new() -> Self {
        Self::with_budget(BUDGET)
    }

    fn with_budget(budget: usize) -> Self {
        Self { runs: HashMap::new(), order: VecDeque::new(), bytes: 0, budget, forgotten: false }
    }

    /// Notes an event down.
    pub(super) fn insert(&mut self, header: &RecordHeader) -> Before {
        let run = header.run;
        let (at, bit) = (header.seq.0 / PAGE_BITS, header.seq.0 % PAGE_BITS);
        let pages = self.runs.entry(run).or_default();
        let known = at >= pages.floor;
        let page = match pages.pages.entry(at) {
            std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                self.order.push_back((run, at));
                self.bytes += OVERHEAD + PAGE_WORDS * 8;
                place.insert(Page::Some { bits: Box::new([0; PAGE_WORDS]), count: 0 })
            }
        };
        let before = page.set(bit);
        if page.fill_up() {
            self.bytes -= PAGE_WORDS * 8;
        }
        self.forget();
        if before == Before::New && !known { Before::Unknown } else { before }
    }

    /// Whether nothing was forgotten.
    pub(super) fn is_exact(&self) -> bool {
        !self.forgotten
    }

    fn forget(&mut self) {
        while self.bytes > self.budget
            && let Some((run, at)) = self.order.pop_front()
        {
            let Some(pages) = self.runs.get_mut(&run) else { continue };
            self.forgotten = true;
            pages.floor = pages.floor.max(at + 1);
            self.bytes -= match pages.pages.remove(&at) {
                Some(Page::Some { .. }) => OVERHEAD + PAGE_WORDS * 8,
                Some(Page::All) => OVERHEAD,
                None => 0,
            };
        }
    }
}

impl Page {
    fn set(&mut self, bit: u64) -> Before {
        let Page::Some { bits, count } = self else { return Before::Again };
        let index = usize::try_from(bit / 64).unwrap_or_default();
        let Some(word) = bits.get_mut(index) else { return Before::Unknown };
        let mask = 1 << (bit % 64);
        if *word & mask != 0 {
            return Before::Again;
        }
        *word |= mask;
        *count += 1;
        Before::New
    }

    /// Gives the bits back when all are set.
    fn fill_up(&mut self) -> bool {
        let full = matches!(self, Page::Some { count, .. } if u64::from(*count) == PAGE_BITS);
        if full {
            *self = Page::All;
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, RunId, Seq};
    use crate::kafka::Counter;

    fn header(run: u64, seq: u64) -> RecordHeader {
        RecordHeader::new(Incarnation(1 << 32), RunId(run << 32), Seq(seq), 0, Counter::default())
    }

    #[test]
    fn an_event_is_known_by_run_and_number() {
        let mut seen = Identities::new();
        for run in [1, 2] {
            for seq in [0, 1, 63, 64, 4095, 4096, (1 << 48) - 1] {
                assert_eq!(seen.insert(&header(run, seq)), Before::New);
                assert_eq!(seen.insert(&header(run, seq)), Before::Again);
            }
        }
    }

    #[test]
    fn a_page_that_is_full_gives_its_bits_back_and_still_knows() {
        let mut seen = Identities::new();
        (0..PAGE_BITS).for_each(|seq| _ = seen.insert(&header(1, seq)));
        assert_eq!(seen.bytes, OVERHEAD);
        assert_eq!(seen.insert(&header(1, 17)), Before::Again);
    }

    #[test]
    fn beyond_its_bound_it_forgets_the_oldest_and_says_so() {
        let mut seen = Identities::with_budget(3 * (OVERHEAD + PAGE_WORDS * 8));
        (0..5).for_each(|page| _ = seen.insert(&header(1, page * PAGE_BITS)));
        assert!(seen.bytes <= seen.budget && !seen.is_exact());
        assert_eq!(seen.insert(&header(1, 4 * PAGE_BITS)), Before::Again);
        assert_eq!(seen.insert(&header(1, 1)), Before::Unknown);
    }
}
