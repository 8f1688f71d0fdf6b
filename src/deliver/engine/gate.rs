//! Events that may not go yet, since others that are not in this log come first.

use std::time::Duration;

use super::super::log::{BlockInfo, Log};
use super::super::topic::Standing;
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

    /// Whether a block may not go yet. Its topic then stands back, so that it waits alone.
    pub(super) fn hold_back(&mut self, name: &TopicName, info: &BlockInfo, now: Now) -> bool {
        let reason = self.gate.as_ref().and_then(|gate| gate(&info.stream, name, info.range.first));
        let Some(reason) = reason else { return false };
        if self.topics.get(name).is_some_and(|topic| topic.standing == Standing::Ready) {
            self.stand_back(name, reason, Some(now.instant + ASK_AGAIN));
        }
        true
    }

    /// Everything of a topic below this is settled.
    #[must_use]
    pub fn settled_of(&self, name: &TopicName) -> Seq {
        let tracker = &self.main.tracker;
        let main = tracker.first_unfinished(name).unwrap_or(tracker.read());
        let side = self.sides.get(name).filter(|side| side.end.is_none());
        side.map_or(main, |side| main.min(side.cursor.tracker.position()))
    }
}
