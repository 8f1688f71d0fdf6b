//! What became of windows: settling, counting, and what a refusal means.

use super::super::counters::Dense;
use super::super::line::InFlight;
use super::super::log::Log;
use super::super::topic::{Standing, Topic};
use super::super::tracker::{Finished, Tracker};
use super::apart::{ApartReader, pop_below};
use super::journal::Next;
use super::{Delivered, Engine, Now, Sink};
use crate::ids::{Seq, TopicName};
use crate::kafka::{Outcome, TopicState};
use crate::state::positions::{Tally, Totals};

impl<L: Log, S: Sink> Engine<L, S> {
    /// A window's outcome. Returns what was delivered, for the metrics.
    pub fn settled(&mut self, window: u64, outcome: Outcome, now: Now) -> Option<Delivered> {
        let (name, partition) = self.in_flight.remove(&window)?;
        let topic = self.topics.get_mut(&name)?;
        let window = topic.lines.get_mut(&partition)?.in_flight.take_if(|f| f.id == window)?;
        let strays = topic.strays(partition, window.strides);
        let line = topic.lines.get_mut(&partition)?;
        let delivered = match outcome {
            Outcome::Acked { offset, may_be_doubled, .. } => {
                // As before a new count (see `recount`).
                self.routes_unsaved |= strays;
                // Without a journal only what came back of it says so.
                let may_be_doubled = may_be_doubled || window.may_be_doubled;
                // A window of another life has numbers of another epoch.
                let epoch = window.intent.as_ref().map(|i| i.counter.epoch);
                if epoch.is_none_or(|epoch| epoch == line.counter.epoch()) {
                    line.counter.settle(window.counter);
                }
                line.trail.appended(&window, offset);
                line.turned_away = false;
                self.accept_ack(&name, &window, now);
                let newest = window.parts.last().filter(|_| !window.again);
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.note_taken(partition, newest);
                }
                Some(self.deliver(&name, &window, may_be_doubled))
            }
            Outcome::Forgotten { batch, may_be_doubled, fenced } => {
                self.fence(&name, partition, &window, if fenced { Next::Fenced } else { Next::Itself });
                self.again(&name, partition, window, batch, may_be_doubled);
                None
            }
            Outcome::NotFound => {
                self.not_found(&name, partition, window);
                return None;
            }
            Outcome::Returned { in_doubt } => {
                self.returned(&name, partition, &window, in_doubt);
                None
            }
            Outcome::Deferred { code, message } => {
                line.turned_away = true;
                self.take_back(&name, partition, &window);
                if self.pause_partition((&name, partition), code, now) {
                    return None;
                }
                self.note_missing(&name, code);
                let retry_at =
                    self.looks_ready(&name).then(|| now.instant + self.settings.limits.stuck_after);
                self.stand_back(&name, message, retry_at);
                None
            }
            Outcome::Refused { code, message, records } => {
                self.take_back(&name, partition, &window);
                self.refused((&name, partition), &window, (code, &message, &records), now);
                None
            }
            Outcome::Stale { may_be_doubled } => {
                let window = InFlight { may_be_doubled: may_be_doubled || window.may_be_doubled, ..window };
                self.take_back(&name, partition, &window);
                // They are read again, and are old enough by now to be sent under the time of sending.
                self.set_apart(&name);
                None
            }
        };
        self.note_sendable(&name, partition);
        self.pop_finished();
        delivered
    }

    pub(super) fn deliver(&mut self, name: &TopicName, window: &InFlight, doubtful: bool) -> Delivered {
        let mut accepted = Vec::new();
        for (block, events) in window.parts.iter() {
            if window.again {
                accepted.extend(self.settle_redo(block).map(|time| (time, 1)));
                continue;
            }
            let mut time = None;
            self.each_holder(name, block, |tracker| {
                time = time.or(tracker.get(block).map(|entry| entry.time));
                tracker.settle(block, events.clone());
            });
            accepted.extend(time.map(|time| (time, events.end - events.start)));
        }
        self.settle_resumed(name, &window.parts);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.expires = window.expired > 0;
        }
        Delivered {
            topic: name.clone(),
            count: window.parts.count(),
            accepted,
            doubtful,
            restamped: window.restamped,
            expired: window.expired,
        }
    }

    /// A window was asked back. One that a person has given up may have arrived: what of it goes out anew is counted.
    fn returned(&mut self, name: &TopicName, partition: i32, window: &InFlight, in_doubt: bool) {
        if in_doubt {
            self.free(name, &window.parts, window.again);
            self.fence(name, partition, window, Next::Others);
            self.possibly_doubled += u64::from(window.parts.count());
        } else {
            self.take_back(name, partition, window);
        }
        self.read_anew(name);
        let draw = self.draw();
        let line = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition));
        if let Some(line) = line.filter(|_| in_doubt) {
            line.counter = Dense::fresh((draw >> 48) as u16);
        }
    }

    /// Events of a topic are free again that its reader may be past by now.
    pub(super) fn read_anew(&mut self, name: &TopicName) {
        if self.sides.contains_key(name) {
            self.set_apart(name);
        } else {
            self.discard_unsent(name);
            self.rewind_main();
        }
    }

    /// A window that was certainly not appended: its events are free again, its counter numbers too.
    fn take_back(&mut self, name: &TopicName, partition: i32, window: &InFlight) {
        if window.may_be_doubled {
            self.possibly_doubled += u64::from(window.parts.count());
        }
        self.free(name, &window.parts, window.again);
        self.fence(name, partition, window, Next::Others);
        let first = window.counter.saturating_sub(u64::from(window.parts.count()));
        if let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) {
            line.counter.give_back(first);
        }
    }

    /// Whether, by the cluster's last word on a topic, a partition of it could take events: then nothing new may be said of it when
    /// it does.
    fn looks_ready(&self, name: &TopicName) -> bool {
        let state = self.topology.as_ref().and_then(|t| t.topics.get(name));
        matches!(state, Some(TopicState::Present { partitions, .. }) if partitions.iter().any(|p| p.leader.is_some()))
    }

    /// The topic can't take events now: set it apart and let it wait.
    pub(super) fn stand_back(
        &mut self,
        name: &TopicName,
        reason: String,
        retry_at: Option<std::time::Instant>,
    ) {
        self.set_apart(name);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.standing = Standing::Waiting { reason, retry_at };
        }
    }

    /// Counts what is settled at the front of each tracker; puts away side readers that are done.
    pub(super) fn pop_finished(&mut self) {
        while let Some(mut finished) = self.main.tracker.pop_finished() {
            if let Some(side) = finished.elsewhere.as_ref().and_then(|t| self.sides.get_mut(t)) {
                side.waiting = side.waiting.saturating_add_unsigned(finished.owed);
            }
            let passed = if finished.elsewhere.is_some() { finished.owed } else { finished.totals.sum() };
            let counted = self.claims.count(finished.range.first, passed);
            finished.totals.uncount(counted);
            self.count(&finished);
        }
        let names: Vec<_> = self.sides.keys().cloned().collect();
        for name in names {
            self.pop_side(&name);
        }
        self.forget_passed_routes();
        self.forget_passed();
    }

    fn pop_side(&mut self, name: &TopicName) {
        // What may not be passed is asked only where something could be.
        let may_pop = self.sides.get(name).is_some_and(|side| {
            let apart = side.apart.values().map(|apart| &apart.cursor.tracker);
            std::iter::once(&side.cursor.tracker).chain(apart).any(Tracker::has_finished)
        });
        let nothing = || (Seq::NONE, Vec::new());
        let (held, held_of_partitions) = if may_pop { self.held(name) } else { nothing() };
        let Some(side) = self.sides.get_mut(name) else { return };
        let mut finished = Vec::new();
        while let Some(f) = pop_below(&mut side.cursor.tracker, held) {
            side.waiting = side.waiting.saturating_sub_unsigned(f.totals.sum());
            for (partition, count) in &f.left {
                side.waiting = side.waiting.saturating_sub_unsigned(u64::from(*count));
                if let Some(apart) = side.apart.get_mut(partition) {
                    apart.waiting = apart.waiting.saturating_add_unsigned(u64::from(*count));
                }
            }
            finished.push(f);
        }
        let topic_position = side.cursor.tracker.position();
        let held_of_partitions = held_of_partitions.into_iter().chain(std::iter::repeat(Seq::NONE));
        for (apart, held) in side.apart.values_mut().zip(held_of_partitions) {
            while let Some(f) = pop_below(&mut apart.cursor.tracker, held) {
                apart.waiting = apart.waiting.saturating_sub_unsigned(f.totals.sum());
                finished.push(f);
            }
            apart.forget_below(topic_position);
        }
        let is_over = |apart: &ApartReader<L::Reader>| apart.end.is_some_and(|end| topic_position >= end);
        for (partition, apart) in side.apart.extract_if(.., |_, apart| is_over(apart)) {
            // What it has delivered of blocks that the topic's reader found gone waits there still, for nothing.
            side.waiting = side.waiting.saturating_add(apart.waiting.min(0));
            self.totals.even_out(apart.waiting.max(0), apart.dropped);
            if let Some(topic) = self.topics.get_mut(name) {
                topic.apart.remove(&partition);
            }
        }
        let position = self.main.tracker.position();
        if side.end.is_some_and(|end| position >= end) {
            self.totals.even_out(side.waiting, side.dropped);
            self.sides.remove(name);
        }
        finished.iter().for_each(|f| self.count(f));
    }

    fn count(&mut self, finished: &Finished) {
        self.totals.add(&finished.totals);
        let Some(segment) = finished.segment else { return };
        let fresh = Tally { first: finished.range.first, ..Tally::default() };
        let tally = self.tallies.entry(segment).or_insert(fresh);
        tally.first = tally.first.min(finished.range.first);
        tally.last = tally.last.max(finished.range.end.prev());
        tally.totals.add(&finished.totals);
        tally.hash = tally.hash.wrapping_add(finished.hash);
    }

    /// Sums of what is settled.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The same, with what is known to be gone already behind something that is not settled.
    pub fn totals_with_gaps(&mut self) -> Totals {
        let mut totals = self.totals;
        if self.has_gaps {
            let mut gaps = Totals::default();
            self.trackers().for_each(|tracker| gaps.add(&tracker.gaps()));
            self.has_gaps = gaps != Totals::default();
            totals.add(&gaps);
        }
        totals
    }

    /// Makes sure that the topic is known here and to the cluster's side.
    pub(super) fn ensure_topic(&mut self, name: &TopicName) {
        if self.topics.contains_key(name) {
            return;
        }
        let seed = self.draw();
        let saved = self.saved_counters.remove(name);
        let mut topic = Topic::new(name.clone(), saved.as_ref(), self.settings.batch_size, seed);
        if let Some(side) = self.sides.get(name) {
            topic.apart = side.apart.keys().copied().collect();
            topic.count = side.apart.values().next().map_or(0, |apart| apart.keys.count);
        }
        self.topics.insert(name.clone(), topic);
        self.sink.track(name.clone());
        if let Some(topology) = self.topology.clone() {
            self.learn(name, &topology);
        }
    }
}
