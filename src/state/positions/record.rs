//! The content of a positions file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::aparts::{Apart, PassedApart};
use super::{Bits, Taken};
use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, SpoolId, StreamName, TopicName};

/// Everything known about the delivery of one lane to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// The spool these numbers belong to.
    pub spool: SpoolId,
    /// The first event the totals count.
    pub since: Seq,
    /// Everything of the main reader below this is settled, except what side readers hold.
    pub position: Seq,
    /// Readers of topics that could not keep up.
    pub sides: Vec<Side>,
    /// Sums over everything the positions are past.
    pub totals: Totals,
    /// Sums a segment, of segments that are not finished.
    pub tallies: BTreeMap<SegmentId, Tally>,
    /// The dense counters of the record header.
    pub counters: Vec<TopicCounters>,
    /// Blocks at or beyond a position of which some events are settled, oldest first.
    pub partial: Vec<Partial>,
    /// Number of the last dead letter that the totals count; see [`crate::state::letters`].
    pub letters: u64,
    /// Dead letters that are being sent again: the totals count them as nothing yet.
    pub replaying: Vec<Replaying>,
    /// A sum over the routes by which the sides' streams were told; 0 where that is not known.
    pub routes: u64,
    /// Number of the last change of routes at that time.
    pub known: u64,
    /// What is settled beyond the position since before routes changed, the oldest change first.
    pub passed: Vec<Passed>,
    /// The last change of routes by which something was taken over or given away.
    pub change: u64,
    /// What was taken over from others by it, and is not read yet.
    pub taken: Vec<Taken>,
    /// Blocks in doubt of streams that were given away: what is not settled of them stays here.
    pub kept: Vec<Seq>,
    /// By which the log that they speak of is known again. `None`: nothing was read yet, or a program wrote them that knew nothing of
    /// it.
    pub footing: Option<Footing>,
}

/// The last event that positions say anything of, and under which run it has its number.
///
/// A pair of these names one event for ever, and whoever writes it goes on from the log as it is then. So a log in which the event
/// stands has the same past as the one that the positions speak of, up to there; one in which another run has given that number
/// has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footing {
    /// Its number.
    pub seq: Seq,
    /// The opening of the lane under which that was given.
    pub run: RunId,
}

impl Footing {
    /// What positions stand on that say what two others said, of the same log.
    #[must_use]
    pub fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).max_by_key(|footing| footing.seq)
    }
}

/// Where readers stood when routes changed and they became one, which began again at the position of the hindmost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Everything before this is settled, except of the streams that follow.
    pub below: Seq,
    /// Streams that had a reader of their own.
    pub streams: Vec<PassedStream>,
    /// Events that are still to be found, of those nobody has counted.
    pub waiting: i64,
    /// See [`Side::dropped`].
    pub dropped: bool,
    /// Older than what was taken over since, of which it says nothing.
    pub older: bool,
    /// Events beyond `below` that these readers had counted.
    pub ahead: u64,
    /// Number of the first change of routes that they had not known.
    pub change: u64,
    /// `waiting` may be wrong, for a partition was set apart: what is left over is told when all readers are one again (see
    /// [`Totals::balance`]). So many numbers were found gone until then that may have been counted before, or not.
    pub inexact: Option<u64>,
}

/// A stream of a [`Passed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedStream {
    /// Its name.
    pub stream: StreamName,
    /// From here on it had a reader of its own.
    pub from: Seq,
    /// What that reader had settled.
    pub below: Seq,
    /// Partitions that had a reader of their own again. The streams of a topic share them: they may be large.
    pub apart: Arc<[PassedApart]>,
}

impl Passed {
    /// Whether a block was settled by then.
    #[must_use]
    pub fn is_settled(&self, stream: &StreamName, first: Seq) -> bool {
        first < self.own(stream, first).map_or(self.below, |s| s.below)
    }

    /// The same, whatever the partitions of its events.
    #[must_use]
    pub fn is_settled_whole(&self, stream: &StreamName, first: Seq) -> bool {
        self.is_settled(stream, first) && self.otherwise(stream, first).next().is_none()
    }

    /// The readers of partitions for whose events [`Passed::is_settled`] says the opposite.
    pub fn otherwise(&self, stream: &StreamName, first: Seq) -> impl Iterator<Item = &PassedApart> {
        let own = self.own(stream, first);
        let apart =
            own.into_iter().flat_map(move |own| own.apart.iter().map(move |apart| (own.below, apart)));
        apart
            .filter(move |(below, apart)| {
                apart.from <= first && first < apart.end && (first < apart.below) != (first < *below)
            })
            .map(|(_, apart)| apart)
    }

    fn own(&self, stream: &StreamName, first: Seq) -> Option<&PassedStream> {
        self.streams.iter().find(|s| s.stream == *stream && s.from <= first)
    }

    /// Beyond this it says nothing.
    #[must_use]
    pub fn end(&self) -> Seq {
        let apart = self.streams.iter().flat_map(|s| s.apart.iter().map(|apart| apart.below));
        self.streams.iter().map(|s| s.below).chain(apart).fold(self.below, Seq::max)
    }
}

/// A dead letter that is being sent again, or has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaying {
    /// Its number among the letters; 0 once it has arrived. As long as some reader may be behind it, its number alone does not say
    /// that.
    pub id: u64,
    /// Its event's number in the lane.
    pub seq: Seq,
    /// The opening of the lane under which that was given.
    pub run: RunId,
}

impl Replaying {
    /// Whether it has arrived.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.id == 0
    }
}

/// A reader of one topic, split off from the main reader at a time when the topic was stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its topic.
    pub topic: TopicName,
    /// The first event of the topic that is its own; earlier ones are the main reader's.
    pub from: Seq,
    /// Everything of its topic from there to here is settled.
    pub position: Seq,
    /// From here on the main reader has the topic again; then everything before is settled.
    pub end: Option<Seq>,
    /// Events it still has to settle, of those the main reader's position is past; negative while it is
    /// ahead of the main reader.
    pub waiting: i64,
    /// No event that waits unread was accepted before this; 0 where that is not known.
    pub since: UnixMillis,
    /// Some of what waited was dropped because the spool was full.
    pub dropped: bool,
    /// For how many milliseconds the topic has been missing or forbidden while the cluster was reached.
    pub missing_for: u64,
    /// The streams whose events it has, each from this number on.
    pub streams: Vec<(StreamName, Seq)>,
    /// Partitions that have a reader of their own again.
    pub apart: Vec<Apart>,
}

impl Side {
    /// The lowest event that may still be needed of the topic.
    #[must_use]
    pub fn needed_from(&self) -> Seq {
        self.apart.iter().map(|apart| apart.position).fold(self.position, Seq::min)
    }

    /// [`Side::waiting`], with what waits for its partitions.
    #[must_use]
    pub fn waiting_in_all(&self) -> i64 {
        self.apart.iter().fold(self.waiting, |sum, apart| sum.saturating_add(apart.waiting))
    }
}

/// Counts of settled events by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Held by the destination.
    pub delivered: u64,
    /// Set aside for good.
    pub dead_lettered: u64,
    /// Sent to this destination by no route.
    pub filtered: u64,
    /// Given up because the spool was full.
    pub dropped: u64,
    /// Lost to damaged bytes.
    pub lost: u64,
}

impl Totals {
    /// All settled events.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.delivered + self.dead_lettered + self.filtered + self.dropped + self.lost
    }

    /// A side reader is done and these many events are left over: passed over by the main reader and never
    /// found again, so they are lost; or `dropped`, if that is what it met. A negative number: delivered by the side reader, and
    /// after a kill found gone by the main reader, so they were counted as gone for nothing; or counted as filtered, and met again
    /// where routes had changed.
    pub fn even_out(&mut self, left_over: i64, dropped: bool) {
        if dropped && left_over > 0 {
            self.dropped = self.dropped.saturating_add_signed(left_over);
            return;
        }
        self.lost = self.lost.saturating_add_signed(left_over.max(0));
        let too_many = left_over.min(0).unsigned_abs();
        take_back(too_many, [&mut self.lost, &mut self.dropped, &mut self.filtered]);
    }

    /// So many of these events had been counted before: of those that are known to have arrived, where they are more than the
    /// others.
    pub fn uncount(&mut self, counted: u64) {
        take_back(counted, [&mut self.filtered, &mut self.delivered, &mut self.dead_lettered]);
    }

    /// Each of `all` events is settled, and it is not known who has counted which. Of those that nobody has, as many are lost (or
    /// `dropped`) as numbers were found `gone`; the others went nowhere by the routes that hold now.
    pub fn balance(&mut self, all: u64, gone: u64, dropped: bool) {
        let missing = all.saturating_sub(self.sum());
        let gone = gone.min(missing);
        *if dropped { &mut self.dropped } else { &mut self.lost } += gone;
        self.filtered += missing - gone;
        let too_many = self.sum().saturating_sub(all);
        take_back(too_many, [&mut self.lost, &mut self.dropped, &mut self.filtered, &mut self.delivered]);
    }

    /// An event is pending again that counted as a dead letter; or, where its block was lost between two processes, as that.
    pub fn take_back_letter(&mut self) {
        for count in [&mut self.dead_lettered, &mut self.lost, &mut self.dropped] {
            if *count > 0 {
                *count -= 1;
                return;
            }
        }
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Totals) {
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.filtered += other.filtered;
        self.dropped += other.dropped;
        self.lost += other.lost;
    }
}

fn take_back<const N: usize>(mut too_many: u64, counts: [&mut u64; N]) {
    for count in counts {
        let taken_back = too_many.min(*count);
        *count -= taken_back;
        too_many -= taken_back;
    }
}

/// What has been settled of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Lowest event number of the segment.
    pub first: Seq,
    /// Highest event number settled so far.
    pub last: Seq,
    /// By what became of them.
    pub totals: Totals,
    /// Sum (wrapping) of the hashes of the delivered events; see [`crate::state::ledger::EventSum`].
    pub hash: u64,
}

/// Counters of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCounters {
    /// The topic.
    pub topic: TopicName,
    /// Its id at the cluster, so that a topic made anew starts anew; zero where the cluster has none.
    pub id: [u8; 16],
    /// By partition.
    pub partitions: BTreeMap<i32, Counter>,
    /// The newest event that each partition took; one that is not known costs no more than the order of events without a key.
    pub newest: BTreeMap<i32, Seq>,
}

impl TopicCounters {
    /// Of a topic that nothing was written to.
    #[must_use]
    pub fn none(topic: TopicName, id: [u8; 16]) -> Self {
        Self { topic, id, partitions: BTreeMap::new(), newest: BTreeMap::new() }
    }
}

/// The dense counter of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Drawn at random when the counter started at 0.
    pub epoch: u16,
    /// The number of the next record.
    pub next: u64,
}

/// A block of which some events are settled and some are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Number of its first event.
    pub first: Seq,
    /// One bit an event: settled.
    pub settled: Bits,
    /// What became of settled events that were not delivered.
    pub given_up: Totals,
}

impl Partial {
    /// A block of `len` events, none of them settled.
    #[must_use]
    pub fn new(first: Seq, len: u32) -> Self {
        Self { first, settled: Bits::new(len), given_up: Totals::default() }
    }
}

impl Positions {
    /// Where a destination begins that has no state: nothing settled since `since`.
    #[must_use]
    pub fn fresh(spool: SpoolId, since: Seq) -> Self {
        Self {
            spool,
            since,
            position: since,
            sides: Vec::new(),
            totals: Totals::default(),
            tallies: BTreeMap::new(),
            counters: Vec::new(),
            partial: Vec::new(),
            letters: 0,
            replaying: Vec::new(),
            routes: 0,
            passed: Vec::new(),
            known: 0,
            change: 0,
            taken: Vec::new(),
            kept: Vec::new(),
            footing: None,
        }
    }

    /// Number of the last change of routes that they know.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.known.max(self.change)
    }

    /// The highest number these positions name: a new event must not be given one below.
    #[must_use]
    pub fn highest(&self) -> Seq {
        let sides = self.sides.iter().flat_map(|s| [s.from, s.position, s.end.unwrap_or_default()]);
        let apart = self.sides.iter().flat_map(|s| &s.apart);
        let sides = sides.chain(apart.clone().flat_map(|a| [a.from, a.position, a.end.unwrap_or_default()]));
        let apart = apart.flat_map(|a| &a.partial).map(|p| p.first.plus(u64::from(p.settled.len())));
        let partial = self.partial.iter().map(|p| p.first.plus(u64::from(p.settled.len())));
        let tallies = self.tallies.values().map(|t| t.last);
        let passed = self.passed.iter().map(Passed::end);
        let passed = passed.chain(self.taken.iter().map(Taken::highest));
        sides.chain(apart).chain(partial).chain(tallies).chain(passed).fold(self.position, Seq::max)
    }

    /// Whether partitions are set apart, or were when routes changed.
    #[must_use]
    pub fn knows_apart(&self) -> bool {
        self.sides.iter().any(|side| !side.apart.is_empty())
            || self
                .passed
                .iter()
                .any(|p| p.inexact.is_some() || p.streams.iter().any(|s| !s.apart.is_empty()))
    }

    /// The lowest event that may still be needed: segments below may be deleted.
    #[must_use]
    pub fn needed_from(&self) -> Seq {
        self.sides.iter().map(Side::needed_from).fold(self.position, Seq::min)
    }

    /// Events of a lane that ends at `end` which are not settled yet.
    #[must_use]
    pub fn pending(&self, end: Seq) -> u64 {
        end.0.saturating_sub(self.since.0).saturating_sub(self.totals.sum())
    }
}

#[cfg(test)]
mod tests;
