//! What an entry of the journal says.

use crate::event::UnixMillis;
use crate::ids::{RunId, Seq, TopicName};
use crate::state::positions::{Bits, Counter};

/// A window that is about to be sent, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The cluster's id; empty where it has none.
    pub cluster_id: String,
    /// Where to.
    pub topic: TopicName,
    /// The topic's id at the cluster; zero where the cluster has none.
    pub topic_id: [u8; 16],
    /// Where in the topic.
    pub partition: i32,
    /// Under which identity: the producer id (-1, and so are the two below, where the cluster gives none),
    pub producer_id: i64,
    /// its epoch,
    pub epoch: i16,
    /// and the sequence number of the first record.
    pub base_sequence: i32,
    /// What became of the window before it in this partition.
    pub before: Before,
    /// Offset of the last window known to be in this partition's log; -1 where none is known.
    pub acked_offset: i64,
    /// The dense counter of its first record.
    pub counter: Counter,
    /// Its records are stamped with the time of sending, not with their own.
    pub by_time_of_sending: bool,
    /// When it was first handed over to be sent.
    pub sent_at: UnixMillis,
    /// Its events, block by block, in order. None: nothing is in flight in this partition.
    pub shares: Vec<Share>,
}

/// What became of the window before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// There was none in this journal.
    Nothing,
    /// The destination holds it.
    Appended,
    /// It was certainly not appended, and its events are free again (or are those of this window).
    Withdrawn,
}

/// The events of one block that are in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Number of the block's first event.
    pub block: Seq,
    /// The run under which the block was written: the same numbers under another run are other events.
    pub run: RunId,
    /// One bit an event of the block.
    pub events: Bits,
}

impl Intent {
    /// Producer id, epoch and sequence number.
    #[must_use]
    pub fn identity(&self) -> (i64, i16, i32) {
        (self.producer_id, self.epoch, self.base_sequence)
    }

    /// Whether it is the same window as the one written before it in its partition: the process that took that over wrote it again.
    #[must_use]
    pub fn repeats(&self, previous: &Self) -> bool {
        // What is sent without a producer id is told by its events alone.
        let named = self.producer_id >= 0;
        let is_same = !self.shares.is_empty() && (named || self.shares == previous.shares);
        is_same && self.identity() == previous.identity()
    }

    /// Bytes it takes in the journal, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        // A stretch takes eight bytes, however short the block.
        let shares: usize = self.shares.iter().map(|s| 21 + s.events.len().div_ceil(8).max(8) as usize).sum();
        68 + self.cluster_id.len() + self.topic.as_str().len() + shares
    }

    /// How many events it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.shares.iter().map(|s| s.events.count()).sum()
    }
}

impl Share {
    /// The number after the block's last event.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.block.plus(u64::from(self.events.len()))
    }

    /// Its last event.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.events.ones().last().map(|index| self.block.plus(u64::from(index)))
    }
}
