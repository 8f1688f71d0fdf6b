//! Topics that can't take their events, and how they come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::line::{Discarded, Line};
use super::super::log::Log;
use super::super::topic::{Standing, Topic};
use super::super::tracker::Fate;
use super::missing::{MISSING, UNKNOWN_TOPIC_OR_PARTITION};
use super::{Cursor, Engine, Now, SideReader, Sink};
use crate::ids::TopicName;
use crate::kafka::{Times, TopicState, Topology};

impl<L: Log, S: Sink> Engine<L, S> {
    /// What the cluster says of its topics has changed.
    pub fn topology(&mut self, topology: &Arc<Topology>) {
        let before = self.topology.replace(Arc::clone(topology));
        let before = before.as_ref().and_then(|t| t.cluster_id.as_ref());
        if before.zip(topology.cluster_id.as_ref()).is_some_and(|(before, now)| before != now) {
            self.forget_identities();
        }
        let names: Vec<_> = self.topics.keys().cloned().collect();
        names.iter().for_each(|name| self.learn(name, topology));
    }

    pub(super) fn learn(&mut self, name: &TopicName, topology: &Topology) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let terms = topology.terms.get(name).copied().unwrap_or_default();
        topic.agree(terms);
        match topology.topics.get(name) {
            None => {}
            // What a topic that took events has in windows may still go through; the producer says so.
            Some(TopicState::Missing { .. }) if topic.standing == Standing::Ready => {}
            Some(TopicState::Missing { code, message }) => {
                topic.missing = Some(*code).filter(|code| MISSING.contains(code)).or(topic.missing);
                topic.standing = Standing::Waiting { reason: message.clone(), retry_at: None };
            }
            Some(TopicState::Present { id, partitions }) if !partitions.is_empty() => {
                topic.learn(*id, partitions);
                // It exists; whether it may be written to is not known by that.
                topic.missing = topic.missing.filter(|code| *code != UNKNOWN_TOPIC_OR_PARTITION);
                let led = partitions.iter().any(|p| p.leader.is_some());
                let timed = matches!(topic.standing, Standing::Waiting { retry_at: Some(_), .. });
                // What is sent before it is known which times the topic takes may be deleted when it comes.
                if led && !timed && terms.times != Times::Awaited {
                    topic.standing = Standing::Ready;
                }
            }
            Some(TopicState::Present { .. }) => {}
        }
    }

    /// Topics whose time has come are tried again.
    pub(super) fn retry_waiting(&mut self, now: Now) {
        for topic in self.topics.values_mut() {
            if matches!(topic.standing, Standing::Waiting { retry_at: Some(at), .. } if now.instant >= at) {
                topic.standing = Standing::Ready;
            }
        }
    }

    /// Gives a topic a reader of its own: its unsettled events no longer hold back the others. Windows of it
    /// that were not sent are discarded and will be read again.
    pub(super) fn set_apart(&mut self, name: &TopicName) {
        self.discard_unsent(name);
        let Self { main, sides, log, claims, topics, .. } = self;
        let read = main.tracker.read();
        let streams: Vec<_> = claims.leading_to(name).cloned().collect();
        let side = sides.entry(name.clone()).or_insert_with(|| {
            let from = main.tracker.first_unfinished(name).unwrap_or(read);
            SideReader {
                cursor: Cursor::new(log.reader(from), from),
                from,
                end: Some(from),
                waiting: 0,
                since: 0,
                dropped: false,
                missing_for: topics.get(name).map(|topic| topic.missing_before).unwrap_or_default(),
                streams: BTreeMap::new(),
                apart: BTreeMap::new(),
                split_after: None,
                silent: false,
                left_behind: false,
            }
        });
        // Those of a side reader that has the topic already come to it as they are passed over.
        if let Some(from) = side.end {
            for stream in streams {
                side.streams.entry(stream).or_insert(from);
            }
        }
        // A side reader that still has the topic has everything of it already.
        if let Some(end) = side.end.take() {
            let entries = main.tracker.hand_over(name, end);
            side.since = entries.first().map_or(0, |e| e.time);
            entries.into_iter().for_each(|e| side.cursor.tracker.push(e));
            side.cursor.tracker.skip_to(read);
        }
        self.move_sides_back(name);
    }

    /// Frees the events of every window of the topic that was not sent.
    pub(super) fn discard_unsent(&mut self, name: &TopicName) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let mut discarded = Vec::new();
        for (partition, line) in &mut topic.lines {
            discarded.extend(line.discard_unsent());
            self.sendable.remove(&(name.clone(), *partition));
        }
        topic.sticky.forget();
        self.free_discarded(name, &discarded);
    }

    /// They go into other windows: of those that may have arrived already that has to be told.
    pub(super) fn free_discarded(&mut self, name: &TopicName, discarded: &[Discarded]) {
        for Discarded { parts, again, may_be_doubled } in discarded {
            self.possibly_doubled += if *may_be_doubled { u64::from(parts.count()) } else { 0 };
            self.free(name, parts, *again);
        }
    }

    /// Whether a topic has a window on its way for so long, outside of partitions that are apart, and has taken nothing since.
    pub(super) fn is_silent(&self, topic: &Topic, now: Now) -> bool {
        let own = topic.lines.iter().filter(|(partition, _)| !topic.apart.contains(partition));
        let mut late = own.filter_map(|(_, line)| line.late(now.instant, self.settings.limits.stuck_after));
        late.any(|window| topic.acked_at.is_none_or(|acked| acked <= window.since))
    }

    /// What waits behind windows that nobody answers takes memory which others may need: where there is a reader for it alone it is
    /// read again when there is an answer.
    pub(super) fn discard_silent(&mut self, now: Now) {
        let names: Vec<TopicName> = self.sides.keys().cloned().collect();
        for name in names {
            let is_silent = self.topics.get(&name).is_some_and(|topic| self.is_silent(topic, now));
            let Some(side) = self.sides.get_mut(&name).filter(|side| side.end.is_none()) else { continue };
            let was_silent = std::mem::replace(&mut side.silent, is_silent);
            let partitions = self.late_partitions(&name, now);
            if is_silent && !was_silent {
                self.discard_unsent(&name);
            } else if partitions.is_empty() {
                continue;
            }
            partitions.iter().for_each(|partition| self.discard_unsent_of(&name, *partition));
            self.move_sides_back(&name);
        }
    }

    /// Partitions that are apart, with windows that wait behind one which nobody answers. One whose reader has caught up is the topic's
    /// again, which would only put the same into windows once more.
    fn late_partitions(&self, name: &TopicName, now: Now) -> Vec<i32> {
        let after = self.settings.limits.stuck_after;
        // Dead letters that are sent again would come back as well: they are no reader's, and few.
        let waits = |line: &Line| line.has_unsent_of_readers() && line.late(now.instant, after).is_some();
        let (Some(topic), Some(side)) = (self.topics.get(name), self.sides.get(name)) else {
            return Vec::new();
        };
        let apart =
            side.apart.iter().filter(|(_, apart)| apart.end.is_none()).map(|(partition, _)| *partition);
        apart.filter(|partition| topic.lines.get(partition).is_some_and(waits)).collect()
    }

    /// Has the main reader read again what is free of topics that are read apart, from before that, once they take events: earlier it would
    /// have to stand before it, or what it makes of it would be taken apart again ([`Engine::discard_silent`]).
    pub(super) fn go_back_for_left_behind(&mut self, now: Now) {
        let after = self.settings.limits.stuck_after;
        let takes = |topic: &Topic| {
            topic.standing == Standing::Ready
                && !topic.recounting
                && topic.lines.values().all(|line| line.late(now.instant, after).is_none())
        };
        let mut any = false;
        for (name, side) in &mut self.sides {
            let pauses = side.apart.values().any(|apart| apart.pauses(now.instant));
            let goes = side.left_behind && !pauses && self.topics.get(name).is_some_and(takes);
            (side.left_behind, any) = (side.left_behind && !goes, any || goes);
        }
        if any {
            self.rewind_main();
        }
    }

    /// Moves the main reader back to its first event that is in no window.
    pub(super) fn rewind_main(&mut self) {
        if let Some(from) = self.main.tracker.first_free() {
            self.main.move_back(self.log.reader(from));
        }
    }

    /// The topic at the front of the main reader, if it keeps the main reader from going on.
    pub(super) fn blocking_topic(&self) -> Option<&Topic> {
        let full = !self.main.has_room(self.settings.limits.entries) || !self.main_positions_have_room();
        if !(self.main_is_full() || full) || !self.link_up {
            return None;
        }
        let topic = match &self.main.tracker.front()?.fate {
            Fate::Topic { topic, .. } => self.topics.get(topic)?,
            _ => return None,
        };
        // What it has is read apart already: doing so again would only undo its windows.
        if self.sides.get(&topic.name).is_some_and(|side| side.end.is_none()) {
            return None;
        }
        // Other topics, or other partitions, go on without it.
        (self.topics.len() > 1 || topic.partitions.len() > 1).then_some(topic)
    }

    /// Sets a topic apart whose window has been in flight for too long while it holds back the others.
    pub(super) fn set_blocking_topic_apart(&mut self, now: Now) {
        let late = |t: &Topic| {
            t.in_flight_since().is_some_and(|since| now.instant >= since + self.settings.limits.stuck_after)
        };
        let stuck = self.blocking_topic().filter(|t| late(t)).map(|t| t.name.clone());
        if let Some(name) = stuck {
            self.set_apart(&name);
            self.read_main(now);
        }
    }
}
