//! Which events are this destination's, and which of them are settled since before routes changed.

use std::collections::{BTreeSet, HashMap};

use super::super::log::BlockInfo;
use super::super::ways::Ways;
use super::Router;
use super::apart::own_events;
use crate::ids::{Seq, SeqRange, StreamName, TopicName};
use crate::state::positions::{Bits, Passed, Positions, Taken};

/// See the module.
pub(super) struct Claims {
    router: Router,
    ways: HashMap<StreamName, Ways>,
    /// See [`Positions::passed`].
    pub(super) passed: Vec<Passed>,
    /// See [`Positions::taken`].
    pub(super) taken: Vec<Taken>,
    /// See [`Positions::kept`].
    pub(super) kept: BTreeSet<Seq>,
    /// Blocks that were taken over, of those that the main reader has and had counted as filtered before.
    regained: BTreeSet<Seq>,
    /// Blocks that the main reader has, and that a reader which was ahead of it had settled or passed over.
    ahead: BTreeSet<Seq>,
}

impl Claims {
    pub(super) fn new(router: Router, positions: &Positions) -> Self {
        Self {
            router,
            ways: HashMap::new(),
            passed: positions.passed.clone(),
            taken: positions.taken.clone(),
            kept: positions.kept.iter().copied().collect(),
            regained: BTreeSet::new(),
            ahead: BTreeSet::new(),
        }
    }

    /// All readers have become one again.
    pub(super) fn begin_anew(&mut self, passed: Vec<Passed>, taken: Vec<Taken>) {
        (self.passed, self.taken) = (passed, taken);
        self.regained.clear();
        self.ahead.clear();
    }

    /// Of each stream it is asked once.
    fn ways<'a>(ways: &'a mut HashMap<StreamName, Ways>, router: &Router, stream: &StreamName) -> &'a Ways {
        if !ways.contains_key(stream) {
            ways.insert(stream.clone(), router(stream));
        }
        ways.get(stream).unwrap_or(const { &Ways::NOWHERE })
    }

    /// The topic of a block; `None` if it is not this destination's.
    pub(super) fn topic(&mut self, stream: &StreamName, first: Seq) -> Option<TopicName> {
        let ways = Self::ways(&mut self.ways, &self.router, stream);
        let topic = if self.kept.contains(&first) { ways.anyway(first) } else { ways.of(first) };
        topic.cloned()
    }

    /// The topic of a block that is still to be delivered here.
    pub(super) fn wanted(&mut self, stream: &StreamName, first: Seq) -> Option<TopicName> {
        if self.is_passed(stream, first) { None } else { self.topic(stream, first) }
    }

    /// Streams whose events may go to a topic, of those that were met.
    pub(super) fn leading_to<'a>(&'a self, topic: &'a TopicName) -> impl Iterator<Item = &'a StreamName> {
        self.ways.iter().filter(|(_, ways)| ways.lead_to(topic)).map(|(stream, _)| stream)
    }

    /// Whether a block was settled before routes changed. What was taken over was settled by the destination that had it, or since.
    pub(super) fn is_passed(&mut self, stream: &StreamName, first: Seq) -> bool {
        let is_settled = |p: &Passed| p.is_settled_whole(stream, first);
        if self.taken.is_empty() {
            return self.passed.iter().any(is_settled);
        }
        let ways = Self::ways(&mut self.ways, &self.router, stream);
        match source(&self.taken, ways, first) {
            None => self.passed.iter().any(is_settled),
            Some(taken) => {
                taken.has_settled(stream, first) || self.passed.iter().any(|p| !p.older && is_settled(p))
            }
        }
    }

    /// Whether it may be that some events of a block were settled before routes changed, and others not. INVARIANT: no partition is set
    /// apart while something is there that was taken over, nor is anything taken over then.
    pub(super) fn is_partly_passed(&mut self, stream: &StreamName, first: Seq) -> bool {
        self.passed.iter().any(|p| p.otherwise(stream, first).next().is_some())
            && !self.is_passed(stream, first)
    }

    /// Which events of a block were settled before routes changed, where that is not known of it as a whole.
    pub(super) fn settled_before(&mut self, info: &BlockInfo, payload: &[u8]) -> Option<Bits> {
        let (stream, first) = (&info.stream, info.range.first);
        if !self.is_partly_passed(stream, first) {
            return None;
        }
        let mut settled = Bits::new(u32::try_from(info.range.len()).unwrap_or(u32::MAX));
        for record in &self.passed {
            let mut others = Bits::new(settled.len());
            for apart in record.otherwise(stream, first) {
                others.add(&own_events(&apart.keys, info.range, payload));
            }
            let base = record.is_settled(stream, first);
            (0..settled.len()).filter(|index| base != others.get(*index)).for_each(|index| {
                settled.set(index);
            });
        }
        Some(settled)
    }

    /// Whether a block was taken over from another destination, and had counted as filtered before.
    pub(super) fn is_regained(&mut self, stream: &StreamName, first: Seq) -> bool {
        if self.taken.is_empty() {
            return false;
        }
        let ways = Self::ways(&mut self.ways, &self.router, stream);
        source(&self.taken, ways, first).is_some_and(|taken| first < taken.below)
    }

    /// How many events of a passed block nobody has counted yet, as far as that can be told before [`Claims::count`].
    pub(super) fn uncounted(&mut self, stream: &StreamName, range: SeqRange) -> u64 {
        let first = range.first;
        let ways = Self::ways(&mut self.ways, &self.router, stream);
        let taken = source(&self.taken, ways, first);
        let mut records = self.passed.iter().filter(|p| !(taken.is_some() && p.older));
        let regained = taken.is_some_and(|taken| first < taken.below);
        if records.clone().any(|p| first < p.below) || regained {
            self.find_ahead(stream, range, regained);
            return 0;
        }
        if records.any(|p| p.is_settled(stream, first)) {
            // By a reader that was ahead of the main one, or passed over by it.
            self.ahead.insert(first);
        }
        range.len()
    }

    /// A block that the main reader was past once, and is before now, may have been counted meanwhile by a reader that was ahead of
    /// it: then an older record need not look for it any more.
    fn find_ahead(&mut self, stream: &StreamName, range: SeqRange, regained: bool) {
        let first = range.first;
        let is_ahead = |p: &&mut Passed| p.below <= first && p.ahead > 0 && p.is_settled(stream, first);
        let Some(record) = self.passed.iter_mut().rev().find(is_ahead) else { return };
        let counted = record.ahead.min(range.len());
        record.ahead -= counted;
        let older = self.passed.iter_mut().rev().find(|p| first < p.below && !(regained && p.older));
        let waits = older.as_ref().is_none_or(|p| !p.is_settled(stream, first));
        let taken = self.taken.iter_mut().filter(|_| regained).find(|t| first < t.below);
        let waiting = older.map(|p| &mut p.waiting).or_else(|| taken.map(|t| &mut t.waiting));
        if let Some(waiting) = waiting.filter(|_| waits) {
            *waiting = waiting.saturating_sub_unsigned(counted);
        }
    }

    /// Whether a block that is not this destination's was not so before either, when the main reader was past it: then it has
    /// counted as filtered.
    pub(super) fn was_filtered(&mut self, stream: &StreamName, first: Seq) -> bool {
        let Some(record) = self.passed.iter().rev().find(|p| first < p.below) else { return false };
        let ways = Self::ways(&mut self.ways, &self.router, stream);
        let gave = ways.share.gave.iter().any(|g| g.change >= record.change && g.holds(first));
        // What is its own and goes nowhere by now was to be delivered then.
        !gave && !ways.share.has(first)
    }

    /// Whether nothing is remembered from before routes changed, as it mostly is.
    pub(super) fn is_plain(&self) -> bool {
        self.passed.is_empty() && self.taken.is_empty() && self.kept.is_empty()
    }

    /// Whether something is there that was taken over, or kept.
    pub(super) fn have_taken(&self) -> bool {
        !self.taken.is_empty() || !self.kept.is_empty()
    }

    /// Whether streams that were met have gone from one destination to another.
    pub(super) fn have_moved(&self) -> bool {
        self.ways.values().any(|ways| ways.share.own.is_some() || !ways.share.gave.is_empty())
    }

    /// The main reader has a block now.
    pub(super) fn note(&mut self, stream: &StreamName, first: Seq) {
        if self.is_regained(stream, first) {
            self.regained.insert(first);
        }
    }

    /// The main reader has done with a block whose events are counted now, or handed to a reader that will count them: nobody had.
    /// Returns how many of them somebody had all the same.
    pub(super) fn count(&mut self, first: Seq, count: u64) -> u64 {
        if self.ahead.remove(&first) {
            let record = self.passed.iter_mut().rev().find(|p| p.ahead > 0);
            return record.map_or(0, |record| {
                let counted = record.ahead.min(count);
                record.ahead -= counted;
                counted
            });
        }
        let regained = self.regained.remove(&first);
        // What an older change had not counted was given away when the main reader was past it, before the newer one.
        let newer = self.passed.iter_mut().rev().find(|p| first < p.below && !(regained && p.older));
        let taken = self.taken.iter_mut().filter(|_| regained).find(|t| first < t.below);
        let waiting = newer.map(|p| &mut p.waiting).or_else(|| taken.map(|t| &mut t.waiting));
        if let Some(waiting) = waiting {
            *waiting = waiting.saturating_sub_unsigned(count);
        }
        0
    }
}

/// What is known of a block that was taken over.
fn source<'a>(taken: &'a [Taken], ways: &Ways, first: Seq) -> Option<&'a Taken> {
    let given = |t: &Taken| {
        ways.share.given.iter().any(|g| (g.change, &g.from) == (t.change, &t.from) && g.holds(first))
    };
    taken.iter().find(|taken| given(taken))
}
