//! What is found out about a topic.

use serde::Serialize;

use super::counts::Counts;
use crate::event::UnixMillis;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// Sums over its partitions.
    #[serde(flatten)]
    pub counts: Counts,
    /// Records without a `spoolway` header.
    pub foreign: u64,
    /// Records whose `spoolway` header can't be read: damaged, or of a newer version.
    pub unreadable: u64,
    /// Records of relays that were not asked for.
    pub other_relays: u64,
    /// Whether every count is exact. False when there was more out of order than the memory that `verify` allows
    /// itself can follow.
    pub exact: bool,
    /// The relays whose events were found, by incarnation.
    pub relays: Vec<RelayReport>,
    /// The partitions, in order.
    pub partitions: Vec<PartitionReport>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: i32,
    /// The first offset in its log when the reading began.
    pub start: i64,
    /// The end of its log when the reading began.
    pub end: i64,
    /// What the relays' headers say.
    #[serde(flatten)]
    pub counts: Counts,
    /// Records without a `spoolway` header.
    pub foreign: u64,
    /// Records whose `spoolway` header can't be read.
    pub unreadable: u64,
    /// Records of relays that were not asked for.
    pub other_relays: u64,
}

/// A relay, by its incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayReport {
    /// The first 8 hex digits of `relay.incarnation` in `/status`: as much as a record's header holds.
    pub incarnation: String,
    /// How many runs of its lanes were seen.
    pub runs: usize,
    /// In how many partitions it was seen.
    pub partitions: usize,
    /// What its headers say.
    #[serde(flatten)]
    pub counts: Counts,
    /// Time of its oldest event.
    pub oldest_event: Option<UnixMillis>,
    /// Time of its newest event.
    pub newest_event: Option<UnixMillis>,
}

impl RelayReport {
    pub(super) fn new(incarnation: u32) -> Self {
        Self {
            incarnation: format!("{incarnation:08x}"),
            runs: 0,
            partitions: 0,
            counts: Counts::default(),
            oldest_event: None,
            newest_event: None,
        }
    }

    pub(super) fn note(&mut self, (oldest, newest): (UnixMillis, UnixMillis)) {
        self.oldest_event = Some(self.oldest_event.map_or(oldest, |time| time.min(oldest)));
        self.newest_event = self.newest_event.max(Some(newest));
    }
}
