//! Events that may not go yet, since others that are not in this log come first.
//!
//! Their topic is set apart, and its reader stops before them. INVARIANT: what it has read before is sent all the same: the
//! ones it waits for may in turn wait for those.

use std::time::Duration;

use super::super::log::{BlockInfo, Log};
use super::{Engine, Now, Sink};
use crate::ids::{Seq, StreamName, TopicName};

/// Says why an event of a stream, which goes to a topic and has a number, may not go yet. Once it may, it may for ever.
pub type Gate = Box<dyn Fn(&StreamName, &TopicName, Seq) -> Option<String> + Send>;

/// How soon it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl<L: Log, S: Sink> Engine<L, S> {
    /// Asks `gate` of each block before it is put into windows.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    /// Whether a block may not go yet.
    pub(super) fn is_held(&mut self, name: &TopicName, info: &BlockInfo) -> bool {
        let Some(gate) = &self.gate else { return false };
        match gate(&info.stream, name, info.range.first) {
            Some(reason) => self.held.insert(name.clone(), reason),
            None => self.held.remove(name),
        };
        self.held.contains_key(name)
    }

    /// The side reader of a topic has met a block that may not go yet: it stops there for a while.
    pub(super) fn stop_before(&mut self, name: &TopicName, info: &BlockInfo, now: Now) {
        let Self { sides, log, .. } = self;
        if let Some(side) = sides.get_mut(name) {
            side.cursor.move_back(log.reader(info.range.first));
            side.cursor.retry_at = Some(now.instant + ASK_AGAIN);
        }
    }

    /// Everything of a topic below this is settled.
    #[must_use]
    pub fn settled_of(&self, name: &TopicName) -> Seq {
        let tracker = &self.main.tracker;
        let main = tracker.first_unfinished(name).unwrap_or(tracker.read());
        let side = self.sides.get(name).filter(|side| side.end.is_none());
        let apart = side.into_iter().flat_map(|side| side.apart.values());
        let main = apart.map(|apart| apart.cursor.tracker.position()).fold(main, Seq::min);
        side.map_or(main, |side| main.min(side.cursor.tracker.position()))
    }
}
