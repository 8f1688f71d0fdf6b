//! One topic of one destination: its lines, and whether it takes events now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::batch_size::BatchSize;
use super::counters::Dense;
use super::line::{Line, Strides};
use super::squeeze::Squeeze;
use super::sticky::{Candidate, Sticky};
use crate::ids::{Seq, TopicName};
use crate::kafka::{PartitionInfo, Terms, TimeLimits, Times};
use crate::state::positions::{Counter, TopicCounters};

/// Whether a topic takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The cluster has not said anything about it yet.
    Unknown,
    /// It takes events.
    Ready,
    /// It does not, for the reason given.
    Waiting {
        /// In words, for people.
        reason: String,
        /// When to try again even if nothing seems to have changed; `None` while the topic is missing.
        retry_at: Option<Instant>,
    },
}

/// A topic events go to.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Whether it takes events.
    pub standing: Standing,
    /// Its partitions, as the cluster last said.
    pub partitions: Vec<PartitionInfo>,
    /// Of how many partitions a key chooses one: what the cluster last said, but while partitions are set apart what it had
    /// said before. 0 as long as nothing is known.
    pub count: u32,
    /// The count is about to change: nothing is put into windows until those that are on their way are settled.
    pub recounting: bool,
    /// Partitions that have a reader of their own, which alone writes to them.
    pub apart: BTreeSet<i32>,
    /// Partitions with windows that were sent since then.
    pub fresh: BTreeSet<i32>,
    /// When some of its partitions last took events.
    pub acked_at: Option<Instant>,
    /// Its id at the cluster; zero where the cluster has none.
    pub id: [u8; 16],
    /// The partitions that were written to.
    pub lines: BTreeMap<i32, Line>,
    /// Chooses partitions for events without a key.
    pub sticky: Sticky,
    /// Bytes of a window as it is sent; lower where the topic refused larger ones.
    pub batch_size: BatchSize,
    /// How well its windows are compressed.
    pub squeeze: Squeeze,
    /// Events a window may hold: few while it is found out which of them is refused.
    pub most: u32,
    /// Until then it is taken to accept no times of events, only the time of sending: it has refused one.
    pub by_time_of_sending: Option<Instant>,
    /// What is known of it besides where it is.
    pub terms: Terms,
    /// What was delivered last was deleted when it came: its time was older than the topic keeps.
    pub expires: bool,
    /// The oldest that waits for it would be.
    pub would_expire: bool,
    /// Kafka's code for what keeps it from being written to at all, until something is written.
    pub missing: Option<i16>,
    /// For how long it had been missing when its reader became one with the others.
    pub missing_before: Duration,
    /// Since when on end keys lead to partitions that are no more, as the cluster says while it is reached.
    pub lost_since: Option<Instant>,
    /// The newest event that each partition took.
    newest: BTreeMap<i32, Seq>,
    restored: BTreeMap<i32, Counter>,
    restored_id: [u8; 16],
}

impl Topic {
    /// A topic nothing is known about yet but what was saved of its counters.
    #[must_use]
    pub fn new(name: TopicName, saved: Option<&TopicCounters>, batch_size: usize, seed: u64) -> Self {
        Self {
            name,
            standing: Standing::Unknown,
            partitions: Vec::new(),
            count: 0,
            recounting: false,
            apart: BTreeSet::new(),
            fresh: BTreeSet::new(),
            acked_at: None,
            id: saved.map_or([0; 16], |s| s.id),
            lines: BTreeMap::new(),
            sticky: Sticky::new(seed),
            batch_size: BatchSize::new(batch_size),
            squeeze: Squeeze::default(),
            most: u32::MAX,
            by_time_of_sending: None,
            terms: Terms::default(),
            expires: false,
            would_expire: false,
            missing: None,
            missing_before: Duration::ZERO,
            lost_since: None,
            newest: saved.map(|s| s.newest.clone()).unwrap_or_default(),
            restored: saved.map(|s| s.partitions.clone()).unwrap_or_default(),
            restored_id: saved.map_or([0; 16], |s| s.id),
        }
    }

    /// Takes over what the cluster says. A topic that was made anew starts its counters anew.
    pub fn learn(&mut self, id: [u8; 16], partitions: &[PartitionInfo]) {
        if id != [0; 16] && self.id != id {
            if self.restored_id != [0; 16] || self.id != [0; 16] {
                self.restored.clear();
                self.newest.clear();
                // INVARIANT: what is known of identities outlives the topic's id: a line that began again with this process's
                // id and sequence 0 would name other events as ones that the broker may remember.
                for line in self.lines.values_mut() {
                    line.renumber = true;
                    line.trail.acked_offset = -1;
                }
            }
            self.id = id;
        }
        partitions.clone_into(&mut self.partitions);
        if self.count == 0 {
            self.count = self.named();
        }
    }

    fn named(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Whether keys choose among other partitions than the cluster named last. While some are set apart they go on to: which
    /// events are whose is told by their number. `may_stray`: something that an earlier process has sent is on its way.
    #[must_use]
    pub fn is_miscounted(&self, may_stray: bool) -> bool {
        let is_known = self.count != 0 && !self.partitions.is_empty();
        let named = self.named();
        self.apart.is_empty() && is_known && (self.count != named || self.awaits_other_than(named, may_stray))
    }

    /// Whether something is on its way, or waits to be, that was not cut by so many partitions. What is on its way to a partition beyond them
    /// may come back, and go where later events of its keys do; so may what an earlier process has sent (`may_stray`) by another number.
    fn awaits_other_than(&self, count: u32, may_stray: bool) -> bool {
        let beyond = i32::try_from(count).unwrap_or(i32::MAX);
        let strays = || self.lines.values().flat_map(Line::strides).any(|strides| !strides.fit(count));
        self.lines.range(beyond..).any(|(_, line)| !line.is_idle()) || (may_stray && strays())
    }

    /// Whether a window for a partition was cut by another number of partitions, or by another partitioner.
    #[must_use]
    pub fn strays(&self, partition: i32, strides: Strides) -> bool {
        self.has_lost(partition) || (!self.partitions.is_empty() && !strides.fit(self.named()))
    }

    /// Whether a partition may be given a reader of its own, as far as the number of partitions goes. That reader would freeze it:
    /// a topic that has fewer by now would go on to lead keys to partitions that are gone, and nobody would read what is theirs.
    #[must_use]
    pub fn may_split(&self, partition: i32) -> bool {
        let is_there = usize::try_from(partition).is_ok_and(|p| p < self.partitions.len());
        !self.recounting && (is_there || !self.apart.is_empty())
    }

    /// Whether the cluster last named fewer partitions than would have this one among them.
    #[must_use]
    pub fn has_lost(&self, partition: i32) -> bool {
        !self.partitions.is_empty() && usize::try_from(partition).is_ok_and(|at| at >= self.partitions.len())
    }

    /// Whether keys lead to partitions that are no more, by a number that is frozen for those that have a reader of their own: of a
    /// topic made anew with fewer.
    #[must_use]
    pub fn has_lost_some(&self) -> bool {
        !self.apart.is_empty() && !self.partitions.is_empty() && self.count > self.named()
    }

    /// Whether every partition that is left has a reader of its own: events without a key would have to go to one of them.
    #[must_use]
    pub fn has_none_left(&self) -> bool {
        let left = i32::try_from(self.count.min(self.named())).unwrap_or(i32::MAX);
        !self.apart.is_empty() && (0..left).all(|partition| self.apart.contains(&partition))
    }

    /// Whether partitions have come since.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.named() > self.count
    }

    /// Whether all that is on its way, or waits to be, goes where keys lead as long as nothing is counted anew, whoever has cut it.
    #[must_use]
    pub fn is_cut_by_count(&self) -> bool {
        !self.awaits_other_than(self.count, true)
    }

    /// From now on keys choose among the partitions that the cluster named last. INVARIANT: nothing is on its way, or waits to be:
    /// what was taken back of it would follow later events of its keys.
    pub fn count_anew(&mut self) {
        (self.count, self.recounting) = (self.named(), false);
    }

    /// Takes over what the cluster says of its terms. Other bounds than before may fit where the old ones did not.
    pub fn agree(&mut self, terms: Terms) {
        if terms.times != self.terms.times {
            self.by_time_of_sending = None;
        }
        self.terms = terms;
    }

    /// Which time stamps it takes, as far as is known.
    #[must_use]
    pub fn limits(&self) -> TimeLimits {
        match self.terms.times {
            Times::Known(limits) => limits,
            Times::Unknown | Times::Awaited => TimeLimits::default(),
        }
    }

    /// The line of a partition, made if need be.
    pub fn line(&mut self, partition: i32, mut draw: impl FnMut() -> u16) -> &mut Line {
        let restored = &self.restored;
        let line = self.lines.entry(partition).or_insert_with(|| {
            Line::new(restored.get(&partition).map_or_else(|| Dense::fresh(draw()), |c| Dense::restored(*c)))
        });
        if line.renumber && line.is_idle() {
            line.renumber = false;
            line.counter = Dense::fresh(draw());
        }
        line
    }

    /// The partition of event `seq`, which has no key, among the partitions the cluster named. One that keeps a window waiting
    /// beyond `patience` is avoided.
    pub fn sticky_partition(&mut self, seq: Seq, now: Instant, patience: Duration) -> Option<i32> {
        if let Some(current) = self.sticky.current() {
            return Some(current);
        }
        let Self { lines, newest, partitions, sticky, apart, count, .. } = self;
        // Those that have come since are not written to at all before keys lead to them.
        let counted = usize::try_from(*count).unwrap_or(usize::MAX);
        let all = (0i32..).zip(partitions.iter()).take(counted);
        let candidates = all.filter(|(partition, _)| !apart.contains(partition)).map(|(partition, info)| {
            let line = lines.get(&partition);
            let newest = newest.get(&partition).copied().max(line.and_then(Line::newest));
            Candidate {
                partition,
                available: info.leader.is_some() && line.is_none_or(|l| l.takes_events(now, patience)),
                out_of_order: newest.is_some_and(|newest| seq < newest),
                load: line.map_or(0, Line::bytes),
            }
        });
        sticky.choose(candidates)
    }

    /// A partition took a window; `anew`: after a silence of all, so that what has not been answered yet has its time anew.
    pub fn note_others(&mut self, now: Instant, anew: bool) {
        let Self { lines, fresh, .. } = self;
        if anew {
            fresh.clear();
            let windows = lines.values_mut().filter_map(|line| line.in_flight.as_mut());
            return windows.for_each(|window| window.others_since = Some(now));
        }
        // Each window once, however many are answered before it.
        for partition in std::mem::take(fresh) {
            let window = lines.get_mut(&partition).and_then(|line| line.in_flight.as_mut());
            window.into_iter().for_each(|window| window.others_since = window.others_since.or(Some(now)));
        }
    }

    /// A partition took a window whose newest event is `seq`.
    pub fn note_taken(&mut self, partition: i32, seq: Option<Seq>) {
        let newest = self.newest.get(&partition).copied();
        if let Some(seq) = seq.max(newest) {
            self.newest.insert(partition, seq);
        }
    }

    /// Bytes its windows hold in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.values().map(Line::bytes).sum()
    }

    /// The same, but for the windows of partitions that are set apart.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.lines.iter().filter(|(p, _)| !self.apart.contains(p)).map(|(_, line)| line.bytes()).sum()
    }

    /// The same, of windows of partitions that are set apart.
    #[must_use]
    pub fn apart_bytes(&self) -> usize {
        self.apart.iter().filter_map(|partition| self.lines.get(partition)).map(Line::bytes).sum()
    }

    /// Bytes of its other windows that are on their way for longer than `patience`.
    #[must_use]
    pub fn late_bytes(&self, now: Instant, patience: Duration) -> usize {
        let own = self.lines.iter().filter(|(p, _)| !self.apart.contains(p));
        own.filter_map(|(_, line)| line.late(now, patience)).map(|window| window.bytes).sum()
    }

    /// Whether the cluster last named a leader of a partition.
    #[must_use]
    pub fn is_led(&self, partition: i32) -> bool {
        let info = usize::try_from(partition).ok().and_then(|at| self.partitions.get(at));
        info.is_some_and(|info| info.leader.is_some())
    }

    /// Since when its oldest window is in flight.
    #[must_use]
    pub fn in_flight_since(&self) -> Option<Instant> {
        self.lines.values().filter_map(|l| l.in_flight.as_ref()).map(|f| f.since).min()
    }

    /// What to save of its counters.
    #[must_use]
    pub fn counters(&self) -> TopicCounters {
        let mut partitions = self.restored.clone();
        let counting = self.lines.iter().filter(|(_, line)| !(line.renumber && line.is_idle()));
        partitions.extend(counting.map(|(p, line)| (*p, line.counter.saved())));
        TopicCounters { topic: self.name.clone(), id: self.id, partitions, newest: self.newest.clone() }
    }
}
