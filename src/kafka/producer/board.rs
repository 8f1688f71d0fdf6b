//! All slots, and which of them want what.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};

use tokio::time::Instant;

use super::link::Way;
use super::slot::{Phase, Slot};
use crate::ids::TopicName;
use crate::kafka::window::Window;

/// A slot's place on the board.
pub(super) type SlotId = usize;

/// Every slot is in at most one of: `ready`, `blocked`, `waiting`, or a link's hands.
#[derive(Debug, Default)]
pub(super) struct Board {
    slots: Vec<Slot>,
    index: HashMap<TopicName, HashMap<i32, SlotId>>,
    ready: VecDeque<SlotId>,
    blocked: BTreeSet<SlotId>,
    waiting: BinaryHeap<Reverse<(Instant, SlotId)>>,
    seed: u64,
}

impl Board {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) fn push(&mut self, window: Window) {
        let seed = self.seed.wrapping_add(self.slots.len() as u64);
        let Window { topic, partition, .. } = &window;
        let partitions = self.index.entry(topic.clone()).or_default();
        let id = *partitions.entry(*partition).or_insert_with(|| {
            self.slots.push(Slot::new(topic.clone(), *partition, seed));
            self.slots.len() - 1
        });
        if self.slots.get_mut(id).is_some_and(|slot| slot.push(window)) {
            self.ready.push_back(id);
        }
    }

    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<SlotId> {
        self.index.get(topic)?.get(&partition).copied()
    }

    pub(super) fn slot(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id)
    }

    pub(super) fn next_ready(&mut self) -> Option<SlotId> {
        self.ready.pop_front()
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts the slot where its phase says it belongs; a link that holds it must have let go of it.
    pub(super) fn put(&mut self, id: SlotId) {
        match self.slots.get(id).map(|slot| slot.phase) {
            Some(Phase::Ready) => self.ready.push_back(id),
            Some(Phase::Blocked) => drop(self.blocked.insert(id)),
            _ => {}
        }
    }

    /// The slot becomes ready then.
    pub(super) fn wait(&mut self, id: SlotId, until: Instant) {
        self.waiting.push(Reverse((until, id)));
    }

    /// Lets slots whose time has come be ready.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&Reverse((at, id))) = self.waiting.peek()
            && at <= now
        {
            self.waiting.pop();
            self.ready(id, Phase::Waiting);
        }
    }

    /// Lets blocked slots be looked at again.
    pub(super) fn unblock(&mut self) {
        for id in std::mem::take(&mut self.blocked) {
            self.ready(id, Phase::Blocked);
        }
    }

    fn ready(&mut self, id: SlotId, from: Phase) {
        if let Some(slot) = self.slots.get_mut(id)
            && slot.phase == from
        {
            slot.phase = Phase::Ready;
            self.ready.push_back(id);
        }
    }

    /// Has front windows given back: those in doubt, or else those that were never sent. Returns how many events they hold.
    pub(super) fn recall(&mut self, in_doubt: bool) -> u64 {
        let mut events = 0;
        for (id, slot) in self.slots.iter_mut().enumerate() {
            events += slot.recall(in_doubt);
            if slot.is_recalled() && matches!(slot.phase, Phase::Waiting | Phase::Blocked) {
                slot.phase = Phase::Ready;
                self.blocked.remove(&id);
                self.ready.push_back(id);
            }
        }
        events
    }

    /// No slot numbers its next window by what went before.
    pub(super) fn forget_identities(&mut self) {
        self.slots.iter_mut().for_each(Slot::forget_identity);
    }

    /// Whether a blocked slot will give back its window before long.
    pub(super) fn has_impatient(&self) -> bool {
        self.blocked.iter().filter_map(|id| self.slots.get(*id)).any(Slot::is_impatient)
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }

    /// Slots whose window is on its way, and how.
    pub(super) fn flying(&self) -> impl Iterator<Item = (&Slot, Way)> {
        self.slots.iter().filter_map(|slot| match slot.phase {
            Phase::Flying(way) => Some((slot, way)),
            _ => None,
        })
    }
}
