//! Partitions of a topic that take no events while the others do.
//!
//! A stuck partition is *set apart*: it gets a reader of its own, split off from the topic's reader as that one was from the main
//! reader. The topic's reader leaves the partition's events to it, and goes on with the others. When the partition's reader
//! has caught up, the topic's reader has the partition again.
//!
//! INVARIANT: whose an event is follows from its block, its key, and [`Keys`], which never change: so every process tells it
//! alike. As long as a partition has a reader, keys choose among as many partitions as before; that reader writes to no
//! other partition, and nobody else writes to its own.
//! INVARIANT: what a reader leaves to another it counts as settled and not as delivered: each event is counted by one reader.
//! INVARIANT: a topic with a partition that is set apart stays with its side reader.

mod held;
mod keys;
mod read;
mod split;

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Cursor, Engine, Sink};
use crate::deliver::log::Log;
use crate::deliver::topic::Standing;
use crate::deliver::tracker::Tracker;
use crate::event::UnixMillis;
use crate::ids::{Seq, TopicName};
use crate::state::positions::{Apart, Keys, Partial};

pub(super) use held::pop_below;
pub(super) use keys::{code, own_events, own_events_of_all, sum};
pub(super) use read::bury_known;

/// The reader of a partition that was set apart.
pub(super) struct ApartReader<R> {
    pub(super) cursor: Cursor<R>,
    pub(super) keys: Keys,
    pub(super) from: Seq,
    pub(super) end: Option<Seq>,
    pub(super) waiting: i64,
    pub(super) since: UnixMillis,
    pub(super) dropped: bool,
    /// Blocks of which some events are known to be settled, until they have been read.
    pub(super) restored: BTreeMap<Seq, Partial>,
}

impl<R> ApartReader<R> {
    /// One of an earlier process.
    pub(super) fn new(saved: &Apart, reader: R) -> Self {
        Self {
            cursor: Cursor::new(reader, saved.position),
            keys: saved.keys.clone(),
            from: saved.from,
            end: saved.end,
            waiting: saved.waiting,
            since: saved.since,
            dropped: saved.dropped,
            restored: saved.partial.iter().map(|block| (block.first, block.clone())).collect(),
        }
    }

    /// What to save of it. It must not have passed `held`.
    pub(super) fn saved(&self, held: Seq) -> Apart {
        let tracker = &self.cursor.tracker;
        let position = tracker.position().min(held);
        let known = self.restored.range(position..).map(|(_, block)| block.clone());
        let mut partial: Vec<Partial> = tracker.partial().chain(known).collect();
        partial.sort_by_key(|block| block.first);
        Apart {
            keys: self.keys.clone(),
            from: self.from,
            position,
            end: self.end,
            waiting: self.waiting,
            since: self.since,
            dropped: self.dropped,
            partial,
        }
    }

    /// Whether events of a block may be its business.
    pub(super) fn has(&self, block: Seq) -> bool {
        self.from <= block && self.end.is_none_or(|end| block < end)
    }

    /// Whether nothing is to be sent for a while: its partition has just refused to take anything.
    pub(super) fn pauses(&self, now: Instant) -> bool {
        self.cursor.retry_at.is_some_and(|at| now < at)
    }

    /// What is known of the events of a window of an earlier process that have arrived, if their block has not been read yet.
    pub(super) fn note_settled(&mut self, block: Seq, len: u32, events: std::ops::Range<u32>) {
        if self.has(block) && block >= self.cursor.tracker.read() {
            let known = self.restored.entry(block).or_insert_with(|| Partial::new(block, len));
            known.settled.set_all(events);
        }
    }

    /// What both readers are past needs not be known.
    pub(super) fn forget_below(&mut self, topic: Seq) {
        let position = self.cursor.tracker.position();
        self.restored = self.restored.split_off(&position);
        let below = position.min(topic);
        self.keys.extras.retain(|(block, _)| *block >= below);
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Calls `with` for each reader's tracker that may hold events of a block of a topic.
    pub(super) fn each_holder(&mut self, topic: &TopicName, block: Seq, mut with: impl FnMut(&mut Tracker)) {
        // A window of an earlier process may be of a topic that its block's stream is no longer routed to.
        let anywhere = !self.resumed.is_empty();
        if anywhere {
            let sides = self.sides.values_mut().flat_map(|s| {
                std::iter::once(&mut s.cursor.tracker)
                    .chain(s.apart.values_mut().map(|a| &mut a.cursor.tracker))
            });
            return std::iter::once(&mut self.main.tracker)
                .chain(sides)
                .filter(|t| t.has(block))
                .for_each(with);
        }
        match self.sides.get_mut(topic).filter(|side| side.owns(block)) {
            Some(side) => {
                with(&mut side.cursor.tracker);
                side.apart.values_mut().for_each(|apart| with(&mut apart.cursor.tracker));
            }
            None => with(&mut self.main.tracker),
        }
    }

    /// Calls `with` for the tracker of the reader that an event is of, if that has read it. Returns whether it has.
    pub(super) fn with_owner(
        &mut self,
        topic: &TopicName,
        block: Seq,
        index: u32,
        mut with: impl FnMut(&mut Tracker),
    ) -> bool {
        let mut found = false;
        self.each_holder(topic, block, |tracker| {
            if tracker.has(block) && tracker.get(block).is_some_and(|entry| !entry.is_foreign(index)) {
                found = true;
                with(tracker);
            }
        });
        found
    }

    /// Partitions of a topic that wait, in words for people.
    pub(super) fn waiting_partitions(&self) -> impl Iterator<Item = (String, String)> {
        self.sides.iter().flat_map(|(name, side)| {
            let topic = self.topics.get(name).filter(|t| !matches!(t.standing, Standing::Waiting { .. }));
            let open = side.apart.iter().filter(|(_, apart)| apart.end.is_none());
            open.filter_map(move |(partition, _)| {
                let why = match topic? {
                    topic if topic.is_led(*partition) => "does not take events",
                    topic if topic.has_lost(*partition) => {
                        "is no more (its events go to those that are left, half a minute after it went)"
                    }
                    _ => "has no leader",
                };
                Some((name.to_string(), format!("partition {partition} {why}; the others go on")))
            })
        })
    }
}
