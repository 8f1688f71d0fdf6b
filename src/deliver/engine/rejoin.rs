//! Readers become one again while the process lives, where what keys choose by has changed under those of partitions.
//!
//! Which events are whose is told by what keys chose by when a partition was set apart, which is frozen as long as it is. A topic made
//! anew with fewer partitions has none for some of them then: its readers, and no other topic's, become one, which goes back to the hindmost
//! of them ([`make_one_of`]). A process that is to choose by another partitioner would lead keys to a partition that only its own
//! reader may write to: there all readers of the destination become one, as after a change of routes ([`make_one`]). Either way what is on its
//! way stays so: its events are taken, as those of windows of an earlier process are, and a topic whose keys choose anew
//! waits for its own ([`Engine::recount`]), and no other does.
//!
//! DURABILITY: the positions as they are, and a journal that says nothing but what is in doubt by them, are durable before
//! [`Engine::make_one_reader`], and the positions after it before anything is read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::line::Line;
use super::super::log::Log;
use super::super::topic::Topic;
use super::super::tracker::{Entry, Fate};
use super::apart::code;
use super::letters::Grave;
use super::readers::SideReader;
use super::reroute::{make_one, make_one_of};
use super::walked::Walked;
use super::{Cursor, Engine, Now, Sink};
use crate::ids::{Seq, SpoolId, TopicName};
use crate::state::positions::{Bits, Partial, Positions, leave_room};

/// For so long the cluster says on end that partitions are no more: brokers that lag behind may say so for a moment.
const LOST_FOR: Duration = Duration::from_secs(30);

impl<L: Log, S: Sink> Engine<L, S> {
    /// Since when events wait for partitions that are no more, topic by topic. What was said before the cluster was out of reach says
    /// nothing: it begins anew.
    pub(super) fn note_lost(&mut self, now: Now) {
        let link_up = self.link_up;
        for topic in self.topics.values_mut() {
            let since = topic.lost_since.unwrap_or(now.instant);
            topic.lost_since = Some(since).filter(|_| link_up && topic.has_lost_some());
        }
        self.clear_the_way(now.instant);
    }

    /// When what is lost is believed to be.
    pub(super) fn next_rejoin(&self) -> Option<Instant> {
        self.topics.values().filter_map(|topic| topic.lost_since).min().map(|since| since + LOST_FOR)
    }

    /// Topics of which that is believed.
    fn lost(&self, now: Instant) -> impl Iterator<Item = &TopicName> {
        let is_lost = move |topic: &&Topic| topic.lost_since.is_some_and(|since| now >= since + LOST_FOR);
        self.topics.values().filter(is_lost).map(|topic| &topic.name)
    }

    /// What the readers of a topic have settled is remembered for the one that they become, and not for the main reader: that has to be
    /// past it. What it waits for is given readers of its own.
    fn clear_the_way(&mut self, now: Instant) {
        let ends = self.lost(now).filter_map(|name| self.sides.get(name)).map(SideReader::furthest);
        let Some(end) = ends.max() else { return };
        let front = |entry: &Entry| match &entry.fate {
            Fate::Topic { topic, .. } => Some(topic.clone()),
            _ => None,
        };
        while self.main.tracker.position() < end {
            let before = self.main.tracker.position();
            let topic = self.main.tracker.front().and_then(front);
            // What lies before the events of a topic's own reader stays the main reader's.
            let has_none = |topic: &TopicName| self.sides.get(topic).is_none_or(|side| side.end.is_some());
            let Some(topic) = topic.filter(has_none) else { return };
            self.set_apart(&topic);
            self.pop_finished();
            if self.main.tracker.position() == before {
                return;
            }
        }
    }

    /// Whether keys would choose by another partitioner than that by which a partition was set apart. Nothing is read then.
    pub(super) fn has_other_keys(&self) -> bool {
        let by = code(self.settings.partitioner);
        self.sides.values().flat_map(|side| side.apart.values()).any(|apart| apart.keys.by != by)
    }

    /// Whether the readers of a topic may become one. What is refused becomes letters first: they are of readers.
    fn may_rejoin(&self, name: &TopicName) -> bool {
        let is_refused = |grave: &Grave| grave.topic() == Some(name);
        let side = self.sides.get(name).filter(|side| side.end.is_none());
        side.is_some_and(|side| side.furthest() <= self.main.tracker.position())
            && !self.graves.iter().any(is_refused)
    }

    /// Whether [`Engine::make_one_reader`] is to be called.
    #[must_use]
    pub fn wants_one_reader(&self, now: Instant) -> bool {
        let is_settled = self.routes_before.is_none() && !self.routes_unsaved && !self.closing;
        // Where keys are to choose by another partitioner, all readers become one, and what is refused of any topic goes before.
        let may = || match self.has_other_keys() {
            true => self.graves.is_empty(),
            false => self.lost(now).any(|name| self.may_rejoin(name)),
        };
        is_settled && may()
    }

    /// See the module. Returns whether anything was done: where what comes of it would leave too little room in the positions' file, it is
    /// not, and a topic that has lost partitions waits alone.
    pub fn make_one_reader(&mut self, now: Instant) -> bool {
        if self.has_other_keys() {
            self.make_one_of_all();
            return true;
        }
        let lost: Vec<TopicName> = self.lost(now).filter(|name| self.may_rejoin(name)).cloned().collect();
        lost.iter().filter(|name| self.make_one_of_topic(name)).count() > 0
    }

    fn make_one_of_topic(&mut self, name: &TopicName) -> bool {
        let mut positions = self.positions(SpoolId(0));
        let Some(one) = positions.sides.iter_mut().find(|side| side.topic == *name) else { return false };
        let Some(side) = self.sides.get(name) else { return false };
        let mut known: Vec<Partial> =
            side.cursor.tracker.partial().chain(self.restored.values().cloned()).collect();
        let passed = make_one_of(one, &mut known, positions.known + 1);
        let one = one.clone();
        positions.passed.push(passed);
        positions.partial = known;
        if !leave_room(&positions) {
            tracing::warn!(
                topic = %name,
                "what waits for partitions that are no more goes on waiting: too much is remembered of what is settled"
            );
            self.topics.get_mut(name).into_iter().for_each(|topic| topic.lost_since = None);
            return false;
        }
        self.discard_unsent(name);
        let Some(side) = self.sides.get_mut(name) else { return false };
        side.cursor = Cursor::new(self.log.reader(one.position), one.position);
        (side.waiting, side.since, side.dropped) = (one.waiting, one.since, one.dropped);
        side.apart.clear();
        self.restored = positions.partial.into_iter().map(|block| (block.first, block)).collect();
        self.claims.passed = positions.passed;
        for (block, events) in self.on_their_way(|topic| topic.name == *name) {
            self.resumed.entry(block).or_insert_with(|| Bits::new(events.len())).add(&events);
        }
        if let Some(topic) = self.topics.get_mut(name) {
            topic.apart.clear();
            (topic.recounting, topic.lost_since) = (false, None);
        }
        (self.routes_unsaved, self.has_gaps) = (true, true);
        tracing::info!(topic = %name, "keys choose anew: what waits for the topic is read once more, and goes where they lead now");
        true
    }

    fn make_one_of_all(&mut self) {
        let names: Vec<TopicName> = self.sides.keys().cloned().collect();
        names.iter().for_each(|name| self.ensure_topic(name));
        let mut positions = self.positions(SpoolId(0));
        make_one(&mut positions);
        let names: Vec<TopicName> = self.topics.keys().cloned().collect();
        names.iter().for_each(|name| self.discard_unsent(name));
        let Positions { position, partial, passed, taken, footing, .. } = positions;
        self.main = Cursor::new(self.log.reader(position), position);
        let sides = std::mem::take(&mut self.sides);
        self.restored = partial.into_iter().map(|block| (block.first, block)).collect();
        self.claims.begin_anew(passed, taken);
        self.walked = Walked::from(footing);
        self.resumed = self.on_their_way(|_| true);
        for topic in self.topics.values_mut() {
            topic.apart.clear();
            // It is set apart anew.
            topic.recounting = false;
            topic.missing_before =
                sides.get(&topic.name).map_or(topic.missing_before, |side| side.missing_for);
        }
        (self.routes_unsaved, self.has_gaps) = (true, true);
        tracing::info!("keys choose anew: what waits is read once more, and goes where they lead now");
    }

    /// The events of windows in flight, by block.
    fn on_their_way(&self, of: impl Fn(&Topic) -> bool) -> BTreeMap<Seq, Bits> {
        let lines = self.topics.values().filter(|topic| of(topic)).flat_map(|topic| topic.lines.values());
        let windows = lines.filter_map(|line: &Line| line.in_flight.as_ref()).filter(|f| !f.again);
        let mut taken: BTreeMap<Seq, Bits> = BTreeMap::new();
        for share in windows.flat_map(|window| window.parts.shares()) {
            taken.entry(share.block).or_insert_with(|| Bits::new(share.events.len())).add(&share.events);
        }
        taken
    }
}
