//! All readers become one again while the process lives, where what keys choose by has changed under those of partitions.
//!
//! Which events are whose is told by what keys chose by when a partition was set apart, which is frozen as long as it is. A topic made
//! anew with fewer partitions has none for some of them then; and a process that is to choose by another partitioner would lead keys to
//! a partition that only its own reader may write to. So all is read as after a change of routes ([`make_one`]), but that what is on
//! its way stays so: its events are taken, as those of windows of an earlier process are, and a topic whose keys choose anew
//! waits for its own ([`Engine::recount`]), and no other does.
//!
//! DURABILITY: the positions as they are, and a journal that says nothing but what is in doubt by them, are durable before
//! [`Engine::make_one_reader`], and the positions after it before anything is read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::line::Line;
use super::super::log::Log;
use super::apart::code;
use super::reroute::make_one;
use super::walked::Walked;
use super::{Cursor, Engine, Now, Sink};
use crate::ids::{Seq, SpoolId, TopicName};
use crate::state::positions::{Bits, Positions, leave_room};

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
    }

    /// When what is lost is believed to be.
    pub(super) fn next_rejoin(&self) -> Option<Instant> {
        self.topics.values().filter_map(|topic| topic.lost_since).min().map(|since| since + LOST_FOR)
    }

    /// Whether keys would choose by another partitioner than that by which a partition was set apart. Nothing is read then.
    pub(super) fn has_other_keys(&self) -> bool {
        let by = code(self.settings.partitioner);
        self.sides.values().flat_map(|side| side.apart.values()).any(|apart| apart.keys.by != by)
    }

    /// Whether [`Engine::make_one_reader`] is to be called. What is refused becomes letters first: they are of readers.
    #[must_use]
    pub fn wants_one_reader(&self, now: Instant) -> bool {
        let is_lost = self.next_rejoin().is_some_and(|at| now >= at);
        let is_settled = self.routes_before.is_none() && !self.routes_unsaved && self.graves.is_empty();
        (is_lost || self.has_other_keys()) && is_settled && !self.closing
    }

    /// See the module. Returns whether it was done: where what comes of it would leave too little room in the positions' file, it is not, and
    /// the topics that have lost partitions wait alone.
    pub fn make_one_reader(&mut self) -> bool {
        let mut positions = self.positions(SpoolId(0));
        make_one(&mut positions);
        if !self.has_other_keys() && !leave_room(&positions) {
            tracing::warn!(
                "what waits for partitions that are no more goes on waiting: too much is remembered of what is settled"
            );
            self.topics.values_mut().for_each(|topic| topic.lost_since = None);
            return false;
        }
        let names: Vec<TopicName> = self.topics.keys().cloned().collect();
        names.iter().for_each(|name| self.discard_unsent(name));
        let Positions { position, partial, passed, taken, footing, .. } = positions;
        self.main = Cursor::new(self.log.reader(position), position);
        let sides = std::mem::take(&mut self.sides);
        self.restored = partial.into_iter().map(|block| (block.first, block)).collect();
        self.claims.begin_anew(passed, taken);
        self.walked = Walked::from(footing);
        self.resumed = self.on_their_way();
        for topic in self.topics.values_mut() {
            topic.apart.clear();
            // It is set apart anew.
            topic.recounting = false;
            topic.missing_before =
                sides.get(&topic.name).map_or(topic.missing_before, |side| side.missing_for);
        }
        (self.routes_unsaved, self.has_gaps) = (true, true);
        tracing::info!("keys choose anew: what waits is read once more, and goes where they lead now");
        true
    }

    /// The events of windows in flight, by block.
    fn on_their_way(&self) -> BTreeMap<Seq, Bits> {
        let lines = self.topics.values().flat_map(|topic| topic.lines.values());
        let windows = lines.filter_map(|line: &Line| line.in_flight.as_ref()).filter(|f| !f.again);
        let mut taken: BTreeMap<Seq, Bits> = BTreeMap::new();
        for share in windows.flat_map(|window| window.parts.shares()) {
            taken.entry(share.block).or_insert_with(|| Bits::new(share.events.len())).add(&share.events);
        }
        taken
    }
}
