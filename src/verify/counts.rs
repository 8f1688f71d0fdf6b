//! What is counted of the records of relays.

use serde::Serialize;

/// Sums over records of relays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records that carry a readable `spoolway` header.
    pub records: u64,
    /// Different events among them.
    pub events: u64,
    /// Numbers of the dense counters that no record has, though records before and behind them are there.
    pub missing: u64,
    /// Records of events that were seen before.
    pub doubled: u64,
    /// Events that stand behind a later one of the same lane.
    pub reordered: u64,
    /// Events under a number of the dense counter that another event has: their relay's state was set back. What
    /// is missing among such numbers can't be seen.
    pub renumbered: u64,
    /// Numbers of the dense counters that lay before the start of the log: deleted by its retention.
    pub expired: u64,
    /// Numbers whose records were in the log and were removed from its middle: by compaction.
    pub removed: u64,
}

impl Counts {
    /// Whether something is there that a relay promises will not be.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.missing > 0 || self.doubled > 0 || self.reordered > 0 || self.renumbered > 0
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Counts) {
        let Counts { records, events, missing, doubled, reordered, renumbered, expired, removed } = *other;
        for (sum, more) in [
            (&mut self.records, records),
            (&mut self.events, events),
            (&mut self.missing, missing),
            (&mut self.doubled, doubled),
            (&mut self.reordered, reordered),
            (&mut self.renumbered, renumbered),
            (&mut self.expired, expired),
            (&mut self.removed, removed),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}
