//! What the engine says of itself: positions to save, and what people want to see.

use super::super::log::Log;
use super::super::topic::{Standing, Topic};
use super::super::tracker::{Fate, Tracker};
use super::{Engine, Sink};
use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, SpoolId};
use crate::state::positions::{Partial, Positions, Side, Tally};

/// A look at the engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// When the oldest unsettled event was accepted, as far as it has been read.
    pub oldest: Option<UnixMillis>,
    /// Events in windows in flight.
    pub in_flight: u64,
    /// Events of topics that were set apart.
    pub parked: u64,
    /// Topics that wait, with the reason.
    pub waiting: Vec<(String, String)>,
    /// What works, and costs something that a person should know.
    pub notes: Vec<String>,
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// What to save, so that a later process goes on from here.
    #[must_use]
    pub fn positions(&self, spool: SpoolId) -> Positions {
        let mut partial: Vec<Partial> = self.readers_of_topics().flat_map(Tracker::partial).collect();
        partial.extend(self.restored.values().cloned());
        partial.sort_by_key(|p| p.first);
        let sides = self.sides.iter().map(|(topic, side)| Side {
            topic: topic.clone(),
            from: side.from,
            position: side.cursor.tracker.position(),
            end: side.end,
            waiting: side.waiting,
            since: side.since,
            dropped: side.dropped,
            missing_for: u64::try_from(side.missing_for.as_millis()).unwrap_or(u64::MAX),
            streams: side.streams.iter().map(|(stream, from)| (stream.clone(), *from)).collect(),
            apart: side.apart.values().map(|apart| apart.saved(self.held_of(topic, apart))).collect(),
        });
        let by_old_routes = self.goes_by_old_routes();
        let mut positions = Positions {
            spool,
            since: self.since,
            position: self.main.tracker.position(),
            sides: sides.collect(),
            totals: self.totals,
            tallies: self.tallies.clone(),
            counters: self
                .topics
                .values()
                .map(Topic::counters)
                .chain(self.saved_counters.values().cloned())
                .collect(),
            partial,
            letters: self.counted_letters(),
            routes: self.routes_before.filter(|_| by_old_routes).unwrap_or(self.settings.routes),
            passed: self.claims.passed.clone(),
            known: if by_old_routes { self.known_before } else { self.settings.last_change },
            change: self.change,
            taken: self.claims.taken.clone(),
            kept: self.claims.kept.iter().copied().collect(),
            replaying: self.replaying(),
            footing: None,
        };
        positions.footing = self.walked.footing(positions.highest());
        positions
    }

    /// The trackers of the main reader, and of those of topics.
    pub(super) fn readers_of_topics(&self) -> impl Iterator<Item = &Tracker> {
        std::iter::once(&self.main.tracker).chain(self.sides.values().map(|s| &s.cursor.tracker))
    }

    /// The main reader has nothing left to do before this; others may.
    #[must_use]
    pub fn main_position(&self) -> Seq {
        self.main.tracker.position()
    }

    /// The trackers of all readers.
    pub(super) fn trackers(&self) -> impl Iterator<Item = &Tracker> {
        let apart = self.sides.values().flat_map(|s| s.apart.values());
        self.readers_of_topics().chain(apart.map(|apart| &apart.cursor.tracker))
    }

    /// Everything below this is settled.
    #[must_use]
    pub fn settled_below(&self) -> Seq {
        self.trackers().map(Tracker::position).min().unwrap_or(self.since)
    }

    /// Takes the tallies of segments before `segment`, which are finished, with the run that wrote each where all of
    /// its events that were read were of one: a repaired spool may hold several in a segment.
    pub fn take_tallies(&mut self, segment: SegmentId) -> Vec<(SegmentId, Option<RunId>, Tally)> {
        let later = self.tallies.split_off(&segment);
        let taken = std::mem::replace(&mut self.tallies, later).into_iter();
        let taken = taken.map(|(id, tally)| (id, self.runs.get(&id).copied().flatten(), tally)).collect();
        self.runs = self.runs.split_off(&segment);
        taken
    }

    /// A block of `run` was read from `segment`.
    pub(super) fn note_run(&mut self, segment: Option<SegmentId>, run: RunId) {
        if let Some(segment) = segment {
            let known = self.runs.entry(segment).or_insert(Some(run));
            *known = known.filter(|known| *known == run);
        }
    }

    /// Takes how many events were put into new windows though it is not known whether they had arrived.
    pub fn take_possibly_doubled(&mut self) -> u64 {
        std::mem::take(&mut self.possibly_doubled)
    }

    /// The last trouble with the log, once.
    pub fn take_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// What people want to see.
    #[must_use]
    pub fn view(&self) -> View {
        let fronts =
            self.trackers().filter_map(Tracker::front).filter(|e| matches!(e.fate, Fate::Topic { .. }));
        let pending = self.main.pending.as_ref().map(|(info, _)| info.time);
        let unread =
            self.sides.values().filter(|s| s.end.is_none() && s.waiting > 0 && s.since > 0).map(|s| s.since);
        let waiting = self.topics.values().filter_map(|t| match &t.standing {
            Standing::Waiting { reason, .. } => Some((t.name.to_string(), reason.clone())),
            _ => None,
        });
        let held = self.held.iter().map(|(topic, reason)| (topic.to_string(), reason.clone()));
        let in_flight =
            self.topics.values().flat_map(|t| t.lines.values()).filter_map(|l| l.in_flight.as_ref());
        let partitions = self.sides.values().flat_map(|s| s.apart.values());
        let unread_apart = partitions.clone().filter(|a| a.end.is_none() && a.waiting > 0 && a.since > 0);
        let unread = unread.chain(unread_apart.map(|a| a.since));
        let apart: i64 = self.sides.values().map(|s| s.waiting).chain(partitions.map(|a| a.waiting)).sum();
        let passed: u64 = self.main.tracker.elsewhere();
        View {
            oldest: fronts.map(|e| e.time).chain(pending).chain(unread).min(),
            in_flight: in_flight.map(|f| u64::from(f.parts.count())).sum(),
            parked: passed.saturating_add_signed(apart),
            waiting: waiting.chain(held).chain(self.waiting_partitions()).collect(),
            notes: self.notes(),
        }
    }
}
