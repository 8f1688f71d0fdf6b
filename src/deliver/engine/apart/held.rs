//! What positions must not pass.
//!
//! Where a partition has a reader of its own, a window may hold events of more than one reader: an earlier process may have sent
//! it when the partition had come back, which the positions on disk did not know. A position that is past a block proves of
//! that reader's own events only. So no reader of the topic passes a block of a window whose fate the journal does not know yet: then a
//! window in doubt is known for one, whoever has its events.

use super::super::{Engine, Sink};
use super::ApartReader;
use crate::deliver::log::Log;
use crate::deliver::tracker::{Finished, Tracker};
use crate::ids::{Seq, TopicName};
use crate::state::journal::Share;

impl<L: Log, S: Sink> Engine<L, S> {
    /// The lowest block from `from` on that is in doubt in a partition for a process that begins with what is durable.
    fn lowest_in_doubt(&self, name: &TopicName, partition: i32, from: Seq) -> Option<Seq> {
        let line = self.topics.get(name).and_then(|topic| topic.lines.get(&partition));
        let in_flight = line.and_then(|line| line.in_flight.as_ref()).filter(|f| !f.again);
        let in_flight = in_flight.into_iter().flat_map(|f| f.parts.iter()).map(|(block, _)| block);
        let withdrawn = self.withdrawn(name, partition).map(|share| share.block);
        in_flight.chain(withdrawn).filter(|block| *block >= from).min()
    }

    /// Windows of a partition that were taken back, which the journal does not know yet.
    pub(super) fn withdrawn(&self, name: &TopicName, partition: i32) -> impl Iterator<Item = &Share> {
        let all = self.withdrawn.iter().chain(&self.leaving);
        let of = all.filter(move |((topic, p), _)| topic == name && *p == partition);
        of.flat_map(|(_, shares)| shares)
    }

    /// What the reader of a partition must not pass.
    pub(in super::super) fn held_of(&self, name: &TopicName, apart: &ApartReader<L::Reader>) -> Seq {
        let held = self.lowest_in_doubt(name, apart.keys.partition, apart.from);
        held.filter(|block| apart.has(*block)).unwrap_or(Seq(u64::MAX))
    }

    /// What the reader of a topic must not pass, and what those of its partitions must not.
    pub(in super::super) fn held(&self, name: &TopicName) -> (Seq, Vec<Seq>) {
        let all = Seq(u64::MAX);
        let Some(side) = self.sides.get(name).filter(|side| !side.apart.is_empty()) else {
            return (all, Vec::new());
        };
        let lines = self.topics.get(name).into_iter().flat_map(|topic| topic.lines.keys());
        let others = lines.filter(|partition| !side.apart.contains_key(partition));
        let held = others.filter_map(|partition| self.lowest_in_doubt(name, *partition, side.from)).min();
        (held.unwrap_or(all), side.apart.values().map(|apart| self.held_of(name, apart)).collect())
    }
}

/// Takes the next finished entry from the front, below `held`.
pub(in super::super) fn pop_below(tracker: &mut Tracker, held: Seq) -> Option<Finished> {
    tracker.front().filter(|entry| entry.range.first < held)?;
    tracker.pop_finished()
}
