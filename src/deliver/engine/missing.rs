//! Topics that are missing or forbidden: for how long, and what becomes of their events when that is too long.

use std::sync::Arc;
use std::time::Duration;

use super::super::log::Log;
use super::super::topic::{Standing, Topic};
use super::super::tracker::Tracker;
use super::letters::{BURST, Grave, Verdict, events};
use super::read::OfSide;
use super::{Engine, Now, Sink};
use crate::ids::{Seq, TopicName};
use crate::kafka::TopicState;
use crate::state::letters::Reason;

pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// The topic does not exist, its name is not allowed, writing to it is forbidden.
pub(super) const MISSING: [i16; 3] = [UNKNOWN_TOPIC_OR_PARTITION, 17, 29];
/// Between two looks the time counts for this much at most: a process that was stopped did not see the topic missing.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

impl<L: Log, S: Sink> Engine<L, S> {
    /// A topic can't be written to, for this reason. One that the cluster knows is not missing, whatever one of its brokers says.
    pub(super) fn note_missing(&mut self, name: &TopicName, code: i16) {
        let state = self.topology.as_ref().and_then(|t| t.topics.get(name));
        if code == UNKNOWN_TOPIC_OR_PARTITION && matches!(state, Some(TopicState::Present { .. })) {
            return;
        }
        if let Some(topic) = self.topics.get_mut(name).filter(|_| MISSING.contains(&code)) {
            topic.missing = Some(code);
        }
    }

    /// Adds up for how long topics have been missing while the cluster was reached. By the monotonic clock: the other one
    /// jumps.
    pub(super) fn measure_missing(&mut self, now: Now) {
        let passed = self.pumped.map_or(Duration::ZERO, |at| now.instant.saturating_duration_since(at));
        let passed = passed.min(LONGEST_LOOK);
        self.pumped = Some(now.instant);
        if !self.link_up {
            return;
        }
        let is_there = |topic: &Topic| topic.missing.is_none() && topic.standing == Standing::Ready;
        // Also of one that no reader of its own waits for: what is missing next is missing anew.
        for topic in self.topics.values_mut().filter(|topic| is_there(topic)) {
            topic.missing_before = Duration::ZERO;
        }
        for (name, side) in &mut self.sides {
            match self.topics.get(name) {
                Some(topic) if topic.missing.is_some() => side.missing_for += passed,
                Some(topic) if is_there(topic) => side.missing_for = Duration::ZERO,
                _ => {}
            }
        }
    }

    pub(super) fn overdue(&self) -> Option<TopicName> {
        let after = self.settings.missing_topic_after;
        let waits = |name: &TopicName| {
            self.topics
                .get(name)
                .is_some_and(|t| t.missing.is_some() && matches!(t.standing, Standing::Waiting { .. }))
        };
        let over = self.sides.iter().find(|(name, side)| {
            let more = side.end.is_none()
                && (has_more(&side.cursor.tracker, self.main.tracker.read())
                    || side.apart.values().any(|a| has_more(&a.cursor.tracker, side.cursor.tracker.read())));
            side.missing_for >= after && waits(name) && more
        });
        over.map(|(name, _)| name.clone())
    }

    /// Looks for more to keep, where nothing is left. Returns whether it came further.
    pub fn condemn_more(&mut self, now: Now) -> bool {
        let name = self.overdue().filter(|_| self.graves.is_empty());
        name.is_some_and(|name| self.condemn_block(&name, now))
    }

    /// Condemns what is free of the next block of a topic that has been missing for too long. Returns whether it came further.
    fn condemn_block(&mut self, name: &TopicName, now: Now) -> bool {
        let code = self.topics.get(name).and_then(|t| t.missing).unwrap_or_default();
        if self.sides.get(name).is_some_and(|s| s.cursor.retry_at.is_some_and(|at| now.instant < at)) {
            self.graves_after = Some(now.instant + self.settings.limits.stuck_after);
            return false;
        }
        let mut steps = 0..BURST;
        let mut apart: Vec<i32> =
            self.sides.get(name).map(|s| s.apart.keys().copied().collect()).unwrap_or_default();
        let mut partition = None;
        let (info, payload) = loop {
            let next = match partition {
                None => self.next_of_side(name, now),
                Some(partition) => self.next_of_apart(name, partition, now),
            };
            match next {
                OfSide::Block(info, payload) => break (info, payload),
                OfSide::Passed if steps.next().is_some() => {}
                OfSide::Passed => return true,
                OfSide::Nothing => match apart.pop() {
                    next @ Some(_) => partition = next,
                    None => return false,
                },
            }
        };
        match partition {
            None => self.enter(name, &info, &payload),
            Some(partition) => self.enter_apart(name, partition, &info, &payload),
        }
        let after = humantime::format_duration(self.settings.missing_topic_after);
        let meaning = crate::kafka::errors::meaning(code).message;
        let block = info.range.first;
        let message = format!("{meaning}, for longer than missing_topic_after ({after})");
        let (topic, partition_of, reason) = (name.clone(), partition.unwrap_or(-1), Reason::TopicMissing);
        let verdict = Arc::new(Verdict { topic, partition: partition_of, reason, code, message });
        let mut condemned = Vec::new();
        let cursor = self.sides.get_mut(name).and_then(|side| match partition {
            None => Some(&mut side.cursor),
            Some(partition) => side.apart.get_mut(&partition).map(|apart| &mut apart.cursor),
        });
        let Some(entry) = cursor.and_then(|cursor| cursor.tracker.get_mut(block)) else {
            return partition.is_some();
        };
        for (index, bytes) in (0u32..).zip(events(&payload)) {
            if entry.is_free(index) {
                entry.take(index);
                let event = (bytes.to_vec(), info.run, info.stream.clone(), info.time);
                condemned.push(Grave::new(&verdict, (block, index), Some(event), false));
            }
        }
        self.graves.extend(condemned);
        true
    }
}

/// Whether a reader has something to put into windows, of what lies before `end`.
fn has_more(tracker: &Tracker, end: Seq) -> bool {
    tracker.first_free().is_some() || tracker.read() < end
}
