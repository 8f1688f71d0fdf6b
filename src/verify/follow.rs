//! Follows the relays' events through the partitions of one topic. Pure.
//!
//! What a record is follows from two questions, asked of its header:
//!
//! - was its **event** (run and number) seen before, in whatever partition? Then it is doubled;
//! - what is its **counter** to those before it in the partition? Numbers passed over are missing until they come,
//!   and what comes late is reordered. So is an event with a lower number than one of the same run before it: a
//!   lane is sent in order.
//!
//! A counter is known by incarnation and counter epoch; lanes and destinations that share a partition have
//! epochs of their own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::counts::Counts;
use super::expected::Expected;
use super::identity::{Before, Identities};
use super::report::{PartitionReport, RelayReport, TopicReport};
use super::series::{Around, Cause, Passed, Place, Series};
use super::strays;
use crate::event::UnixMillis;
use crate::kafka::RecordHeader;

/// Runs of one counter whose highest number is kept: a lane's events come run after run.
const RUNS: usize = 16;

/// What a record's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It has none.
    Foreign,
    /// It has one that is of no version known here.
    Unreadable,
    /// A relay's.
    Relay(RecordHeader),
}

/// A piece of a partition, in the order of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// What its header says.
        mark: Mark,
        /// [`EventSum`](crate::state::ledger::EventSum) of its event, if anybody wants to know.
        hash: u64,
    },
    /// A transaction marker, from an offset up to another (exclusive).
    Marker {
        /// Its first offset.
        from: i64,
        /// The offset after it.
        to: i64,
    },
    /// Everything that is left before this offset has been shown.
    End {
        /// The offset.
        at: i64,
    },
    /// The log begins here now: what was before was deleted while it was read.
    Cut {
        /// Its new start.
        start: i64,
    },
}

/// Follows one topic.
#[derive(Debug)]
pub struct Follower {
    topic: String,
    /// Only these relays: high halves of their incarnations; none: all.
    only: HashSet<u32>,
    identities: Identities,
    /// Relays and their runs: high halves of both.
    runs: HashSet<(u32, u32)>,
    partitions: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    start: i64,
    end: i64,
    next: i64,
    around: Around,
    pub(super) lines: HashMap<Key, Line>,
    foreign: u64,
    unreadable: u64,
    others: u64,
}

/// What tells counters of one partition apart: incarnation and counter epoch.
pub(super) type Key = (u32, u16);

/// One counter in one partition.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) series: Series,
    pub(super) counts: Counts,
    /// The highest number of each run, the newest run last.
    runs: Vec<(u32, u64)>,
    times: Option<(UnixMillis, UnixMillis)>,
}

impl Follower {
    /// Nothing seen yet of `topic`; `extents` are first and end offset of its partitions.
    #[must_use]
    pub fn new(topic: &str, extents: &[(i64, i64)], only: &[u32]) -> Self {
        let partition = |&(start, end): &(i64, i64)| Partition {
            start,
            end,
            next: start,
            around: Around { holes: 0, cuts: u64::from(start > 0) },
            ..Partition::default()
        };
        Self {
            topic: topic.to_owned(),
            only: only.iter().copied().collect(),
            identities: Identities::new(),
            runs: HashSet::new(),
            partitions: extents.iter().map(partition).collect(),
        }
    }

    /// Takes in what stands next in a partition. Events seen for the first time are shown to `expected` too, with the
    /// number that the topic has there.
    pub fn see(&mut self, partition: usize, seen: &[Seen], mut expected: Option<(usize, &mut Expected)>) {
        let Some(place) = self.partitions.get_mut(partition) else { return };
        for &piece in seen {
            let Seen::Record { offset, mark, hash } = piece else {
                place.pass(piece);
                continue;
            };
            place.reach(offset, offset.saturating_add(1));
            match mark {
                Mark::Foreign => place.foreign += 1,
                Mark::Unreadable => place.unreadable += 1,
                Mark::Relay(h) if !self.only.is_empty() && !self.only.contains(&h.incarnation) => {
                    place.others += 1;
                }
                Mark::Relay(header) => {
                    let before = self.identities.insert(&header);
                    self.runs.insert((header.incarnation, header.run));
                    place.take(&header, before);
                    if before != Before::Again
                        && let Some((topic, expected)) = expected.as_mut()
                    {
                        expected.see((*topic, partition), &header, hash);
                    }
                }
            }
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(mut self) -> TopicReport {
        strays::settle(&mut self.partitions);
        let exact = self.identities.is_exact() && self.lines().all(|(_, _, line)| line.series.is_exact());
        let relays = self.relays();
        let partitions: Vec<_> =
            (0..).zip(&self.partitions).map(|(number, partition)| partition.report(number)).collect();
        let mut totals = Counts::default();
        partitions.iter().for_each(|p| totals.add(&p.counts));
        let sum = |of: fn(&PartitionReport) -> u64| partitions.iter().map(of).sum();
        let (foreign, unreadable) = (sum(|p| p.foreign), sum(|p| p.unreadable));
        let other_relays = sum(|p| p.other_relays);
        TopicReport {
            topic: self.topic,
            counts: totals,
            foreign,
            unreadable,
            other_relays,
            exact,
            relays,
            partitions,
        }
    }

    fn lines(&self) -> impl Iterator<Item = (usize, Key, &Line)> {
        let numbered = self.partitions.iter().enumerate();
        numbered.flat_map(|(number, p)| p.lines.iter().map(move |(key, line)| (number, *key, line)))
    }

    fn relays(&self) -> Vec<RelayReport> {
        let mut relays: BTreeMap<u32, RelayReport> = BTreeMap::new();
        let mut places: HashMap<u32, HashSet<usize>> = HashMap::new();
        for (number, (incarnation, _), line) in self.lines() {
            let relay = relays.entry(incarnation).or_insert_with(|| RelayReport::new(incarnation));
            relay.counts.add(&line.counts);
            line.times.into_iter().for_each(|times| relay.note(times));
            places.entry(incarnation).or_default().insert(number);
        }
        for (incarnation, _) in &self.runs {
            relays.entry(*incarnation).and_modify(|relay| relay.runs += 1);
        }
        for (incarnation, places) in places {
            relays.entry(incarnation).and_modify(|relay| relay.partitions = places.len());
        }
        relays.into_values().collect()
    }
}

impl Partition {
    /// What is between the offset that comes next and `from` is not there.
    fn reach(&mut self, from: i64, next: i64) {
        self.around.holes += u64::try_from(from.saturating_sub(self.next)).unwrap_or(0);
        self.next = self.next.max(next);
    }

    fn pass(&mut self, piece: Seen) {
        match piece {
            Seen::Record { .. } => {}
            Seen::Marker { from, to } => self.reach(from, to),
            Seen::End { at } => self.reach(at, at),
            Seen::Cut { start } => {
                self.next = self.next.max(start);
                self.around.cuts += 1;
            }
        }
    }

    fn take(&mut self, header: &RecordHeader, before: Before) {
        let line = self.lines.entry((header.incarnation, header.counter.epoch)).or_default();
        let (place, passed) = line.series.take(header.counter.value, self.around);
        line.count(place, passed, before);
        let in_order = line.note_run(header.run, header.seq.0);
        if before != Before::Again && place == Place::Next && !in_order {
            line.counts.reordered += 1;
        }
        let (oldest, newest) = line.times.unwrap_or((header.time, header.time));
        line.times = Some((oldest.min(header.time), newest.max(header.time)));
    }

    fn report(&self, partition: i32) -> PartitionReport {
        let mut counts = Counts::default();
        self.lines.values().for_each(|line| counts.add(&line.counts));
        PartitionReport {
            partition,
            start: self.start,
            end: self.end,
            counts,
            foreign: self.foreign,
            unreadable: self.unreadable,
            other_relays: self.others,
        }
    }
}

impl Line {
    fn count(&mut self, place: Place, passed: Passed, before: Before) {
        let counts = &mut self.counts;
        counts.records += 1;
        counts.missing += passed.missing;
        counts.expired += passed.expired;
        counts.removed += passed.removed;
        match place {
            Place::Late(Cause::Missing) => counts.missing = counts.missing.saturating_sub(1),
            Place::Late(Cause::Expired) => counts.expired = counts.expired.saturating_sub(1),
            Place::Late(Cause::Removed) => counts.removed = counts.removed.saturating_sub(1),
            Place::Next | Place::Again | Place::Blurred => {}
        }
        match (place, before) {
            // What is not known any more of an event, its counter still tells.
            (_, Before::Again) | (Place::Again, Before::Unknown) => {
                counts.doubled += 1;
                return;
            }
            (Place::Again, Before::New) => counts.renumbered += 1,
            (Place::Late(_) | Place::Blurred, _) => counts.reordered += 1,
            (Place::Next, _) => {}
        }
        counts.events += 1;
    }

    /// Whether no event of the run with a higher number was seen before.
    fn note_run(&mut self, run: u32, seq: u64) -> bool {
        if let Some((_, highest)) = self.runs.iter_mut().rev().find(|(known, _)| *known == run) {
            let in_order = seq >= *highest;
            *highest = seq.max(*highest);
            return in_order;
        }
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        self.runs.push((run, seq));
        true
    }
}
