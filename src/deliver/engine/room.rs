//! Bounds on what is read: how much may be in windows, and how much settled behind what is not.

use super::super::log::Log;
use super::super::topic::Topic;
use super::{Engine, Limits, Now, Sink};

/// Bytes that what is settled of unfinished blocks of the main reader, and of all side readers, may take in a positions
/// file: half of its 512 KiB, less what else stands there.
pub(super) const MAX_PARTIAL: usize = 96 << 10;

/// Of [`Limits::apart`]: so much may be put into windows whatever else there is.
const SMALLEST_SHARE: usize = 64;

impl<L: Log, S: Sink> Engine<L, S> {
    pub(super) fn main_has_room(&self) -> bool {
        !self.main_is_full()
            && self.main.has_room(self.settings.limits.entries)
            && (self.main.behind || self.main_positions_have_room())
    }

    /// Whether the main reader's windows take what they may. What is on its way to topics that were set apart can't be taken back, and
    /// the next one that goes silent adds what it has on its way; so where that is much, less and less is put into windows, and memory
    /// has a bound that does not keep anybody from going on.
    pub(super) fn main_is_full(&self) -> bool {
        let Limits { buffer, apart, .. } = self.settings.limits;
        let aside = self.side_bytes();
        let mine = self.topics.values().map(Topic::bytes).sum::<usize>().saturating_sub(aside);
        let left = if aside < apart { buffer } else { (2 * apart).saturating_sub(aside) / 2 };
        mine >= left.clamp(apart / SMALLEST_SHARE, buffer)
    }

    /// With a journal, everything that is settled has to fit into the positions: what they leave out would be sent again.
    /// A reader that was moved back reads what has its place there already.
    pub(super) fn main_positions_have_room(&self) -> bool {
        !self.settings.journal || self.main.tracker.partial_bytes() < MAX_PARTIAL
    }

    pub(super) fn side_positions_have_room(&self) -> bool {
        let sides = self.sides.values().map(|s| s.cursor.tracker.partial_bytes());
        !self.settings.journal || sides.sum::<usize>() < MAX_PARTIAL
    }

    /// Bytes in windows of topics that were set apart.
    pub(super) fn side_bytes(&self) -> usize {
        self.sides.keys().filter_map(|name| self.topics.get(name)).map(Topic::bytes).sum()
    }

    /// Whether the windows of a topic that was set apart take what they may. Where others have much, or nobody answers, that is one block's
    /// beside what is on its way: other partitions may take events.
    pub(super) fn is_side_buffer_full(&self, topic: &Topic, now: Now) -> bool {
        let limits = &self.settings.limits;
        let fresh = topic.own_bytes() - topic.late_bytes(now.instant, limits.stuck_after);
        topic.own_bytes() >= limits.side_buffer
            || (fresh > 0 && (self.side_bytes() >= limits.apart || self.is_silent(topic, now)))
    }
}
