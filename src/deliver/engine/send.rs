//! Sending: which window goes when.

use std::time::Instant;

use super::super::line::{InFlight, Line};
use super::super::log::Log;
use super::super::topic::{Standing, Topic};
use super::fill::seal;
use super::journal::{Departure, intent};
use super::{Engine, Now, Sink};
use crate::ids::TopicName;
use crate::kafka::Window;
use crate::sabotage::{self, Bug};
use crate::state::journal::{self, Intent};

impl<L: Log, S: Sink> Engine<L, S> {
    /// Sends every window whose time has come. Returns whether it sent any.
    pub(super) fn send_due(&mut self, now: Now) -> bool {
        let due: Vec<_> =
            self.sendable.iter().filter(|(t, p)| self.is_due(t, *p, now.instant)).cloned().collect();
        let any = !due.is_empty();
        let mut written = if any { self.journal_bytes() } else { 0 };
        for (topic, partition) in due {
            // The journal has a bound; what waits goes when something else has arrived.
            if written >= journal::ROOM {
                return false;
            }
            let before = self.departures.len();
            self.send_next(&topic, partition, now);
            let new = self.departures.iter().skip(before).filter_map(|d| d.intent.as_deref());
            written += new.map(Intent::size).sum::<usize>();
        }
        any
    }

    fn is_due(&self, topic: &TopicName, partition: i32, now: Instant) -> bool {
        let line = self.topics.get(topic).and_then(|t| t.lines.get(&partition));
        let identified =
            |line: &Line| !self.settings.journal || line.trail.identity.is_some() || self.producer.is_some();
        line.is_some_and(|line| identified(line) && self.has_come(line, now))
    }

    fn has_come(&self, line: &Line, now: Instant) -> bool {
        !line.ready.is_empty()
            || self.closing
            || line.open.as_ref().is_some_and(|o| now >= o.since + self.settings.linger)
    }

    /// Sends the oldest unsent window of a line that has none in flight.
    fn send_next(&mut self, name: &TopicName, partition: i32, now: Now) {
        self.sendable.remove(&(name.clone(), partition));
        let Some(topic) = self.topics.get_mut(name) else { return };
        let Some(line) = topic.lines.get(&partition).filter(|l| l.in_flight.is_none()) else { return };
        if line.ready.is_empty() && line.open.is_some() {
            seal(topic, partition, self.settings.compression, &mut self.spare);
            if topic.sticky.current() == Some(partition) {
                topic.sticky.forget();
            }
        }
        let Some(line) = topic.lines.get_mut(&partition) else { return };
        let Some(sealed) = line.ready.pop_front() else { return };
        let id = self.next_window;
        self.next_window += 1;
        let last = sealed.counter + u64::from(sealed.batch.count());
        let journal = self.settings.journal.then_some(self.producer);
        let cluster_id = self.topology.as_ref().and_then(|t| t.cluster_id.as_deref()).unwrap_or_default();
        let place = (name, topic.id, partition);
        let (intent, journaled) = intent(line, cluster_id, place, &sealed, journal, now.unix).unzip();
        let own = self.producer.map(|(id, _)| id);
        let is_own = intent.as_ref().is_none_or(|i| own == Some(i.producer_id));
        line.in_flight = Some(InFlight {
            id,
            parts: sealed.parts,
            bytes: sealed.bytes,
            counter: last,
            restamped: sealed.restamped,
            expired: sealed.expired,
            may_be_doubled: sealed.may_be_doubled,
            since: now.instant,
            others_since: None,
            intent: intent.clone(),
            is_own,
            again: sealed.again,
            strides: sealed.strides,
        });
        topic.fresh.insert(partition);
        self.in_flight.insert(id, (name.clone(), partition));
        let window = Window { id, topic: name.clone(), partition, batch: sealed.batch, journaled };
        self.departures.push(Departure { window, intent });
        if sabotage::commits(Bug::PositionBeforeAcknowledgement) {
            self.believe_sent(name, partition);
        }
    }

    /// SABOTAGE: see [`Bug::PositionBeforeAcknowledgement`].
    fn believe_sent(&mut self, name: &TopicName, partition: i32) {
        let line =
            |engine: &mut Self| engine.topics.get_mut(name)?.lines.get_mut(&partition)?.in_flight.take();
        let Some(window) = line(self) else { return };
        self.deliver(name, &window, false);
        if let Some(line) = self.topics.get_mut(name).and_then(|t| t.lines.get_mut(&partition)) {
            line.in_flight = Some(window);
        }
        self.pop_finished();
    }

    /// A line's window came back: the next may go.
    pub(super) fn note_sendable(&mut self, name: &TopicName, partition: i32) {
        let line = self.topics.get(name).and_then(|t| t.lines.get(&partition));
        if line.is_some_and(|l: &Line| l.in_flight.is_none() && l.has_unsent()) {
            self.sendable.insert((name.clone(), partition));
        }
    }

    /// When the engine must be called again though nothing happened: a linger ends, a topic or the disk is
    /// tried again, or a topic that holds back the others has done so for too long.
    pub(super) fn next_wake(&self, now: Now) -> Option<Instant> {
        let linger = self.sendable.iter().filter_map(|(t, p)| {
            let open = self.topics.get(t)?.lines.get(p)?.open.as_ref()?;
            Some(open.since + self.settings.linger)
        });
        let retries = self.topics.values().filter_map(|t| match t.standing {
            Standing::Waiting { retry_at, .. } => retry_at,
            _ => None,
        });
        let disks = self.sides.values().filter_map(|s| s.cursor.retry_at).chain(self.main.retry_at);
        let stuck = self
            .blocking_topic()
            .and_then(Topic::in_flight_since)
            .map(|s| s + self.settings.limits.stuck_after);
        let rebuilds = self.next_rebuild().into_iter().chain(self.next_stuck_partition(now));
        let rebuilds = rebuilds.chain(self.next_rejoin());
        linger.chain(retries).chain(rebuilds).chain(disks).chain(stuck).filter(|at| *at > now.instant).min()
    }
}
