//! What is handed to the producer, and what comes back.

use std::sync::Arc;

use super::batch::{Batch, Identity};
use super::topology::Topology;
use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::header::RecordHeader;

/// Events that are sent together, as one batch to one partition. Its set of events never changes while its
/// outcome is unknown.
#[derive(Debug, Clone)]
pub struct Window {
    /// The caller's name for it, given back with the outcome. Unique among unsettled windows.
    pub id: u64,
    /// Where to.
    pub topic: TopicName,
    /// Partition of the topic, counted from 0.
    pub partition: i32,
    /// The records.
    pub batch: Batch,
    /// With a journal: the identity that stands in it. Without one, the producer chooses.
    pub journaled: Option<Journaled>,
}

/// What stands in the journal of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    /// Under which it is sent, now and ever again.
    pub identity: Identity,
    /// An earlier process may have sent it: it is looked for in the partition before it is sent again, since the
    /// broker may have forgotten it by now.
    pub doubtful: bool,
    /// The cluster it was first sent to; empty where that is not known. Another one has never heard of it.
    pub cluster_id: String,
    /// Likewise the topic's id; zero where the cluster has none.
    pub topic_id: [u8; 16],
    /// An offset in the partition before which it can't be; -1 where none is known.
    pub acked_offset: i64,
    /// When it was first sent.
    pub sent_at: UnixMillis,
    /// It could not be found out whether an earlier identity of it was appended.
    pub may_be_doubled: bool,
    /// Its events can't be read any more ([`Batch::unreadable`]): it is looked for, and never sent.
    pub unreadable: bool,
}

/// What became of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The destination holds it, replicated as `acks=all` demands.
    Acked {
        /// Offset of its first record; -1 when the broker said "duplicate" without an offset.
        offset: i64,
        /// An earlier send had an unknown outcome. The broker's own deduplication covers that, unless
        /// `may_be_doubled` is set as well.
        doubtful: bool,
        /// The partition's identity had to be renewed while the outcome of an earlier send was unknown, so
        /// the window may stand in the log twice.
        may_be_doubled: bool,
    },
    /// A broker refused it for good, and no send of it had an unknown outcome: nothing of it was appended.
    /// The same bytes would be refused again.
    Refused {
        /// Kafka's error code.
        code: i16,
        /// What it means, in plain words, with what the broker added.
        message: String,
        /// Indices in the batch of the records at fault, where the broker says them (Produce 8).
        records: Vec<u32>,
    },
    /// Certainly not appended, and not sent any more: its records carry their events' times, which have become too old
    /// for the topic while it waited. Its events need the time of sending.
    Stale {
        /// An earlier identity of it may be in the log.
        may_be_doubled: bool,
    },
    /// The broker will not have it under this identity, and it is not in the log (or nobody can tell: `may_be_doubled`). It needs a new
    /// identity; with a journal one that is written down before it is sent.
    Forgotten {
        /// Its records.
        batch: Batch,
        /// Whether it may be in the log all the same.
        may_be_doubled: bool,
        /// The broker knows a later epoch of its producer id: somebody else goes on under that, and nothing of this window can be
        /// appended any more.
        fenced: bool,
    },
    /// It was asked back ([`Producer::recall`](super::Producer::recall)). What it holds is free to go elsewhere.
    Returned {
        /// It may have been appended, and nobody knows; else it was never sent.
        in_doubt: bool,
    },
    /// It was only to be looked for ([`Journaled::unreadable`]), and is not there, or nobody can tell.
    NotFound,
    /// Certainly not appended, and it can't be sent for now: the topic or partition is missing, forbidden or
    /// has no leader. Send the same events again once [`Observer::topology`] shows a change, or after a while.
    Deferred {
        /// Kafka's error code.
        code: i16,
        /// What it means, in plain words.
        message: String,
    },
}

/// Whether the destination answers, and the last thing that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// A broker has answered within the last 20 seconds.
    pub up: bool,
    /// What went wrong last. With `up` set: something that does not concern the whole link, such as a
    /// partition with too few replicas in sync.
    pub error: Option<LinkError>,
}

/// Something that went wrong on the way to a destination, worded for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkError {
    /// Kafka's error code, if a broker said it.
    pub code: Option<i16>,
    /// What happened, and to what.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Whoever wants to hear from a [`Producer`](super::Producer). Called on the producer's task: must not block.
pub trait Observer: Send + Sync + 'static {
    /// A window's outcome; exactly once for each window, unless the producer was closed before.
    fn settled(&self, window: u64, outcome: Outcome);

    /// The cluster has given this process a producer id and its epoch; every identity it makes up uses the last one. A negative id:
    /// it gives none, and windows have [`Identity::NONE`](super::batch::Identity::NONE) until it does.
    fn producer_id(&self, _producer_id: i64, _epoch: i16) {}

    /// A partition holds this event besides a window that was looked for, from the same producer.
    fn saw(&self, _event: RecordHeader) {}

    /// Something about the tracked topics has changed.
    fn topology(&self, topology: Arc<Topology>);

    /// The link went up or down, or something went wrong (again: the same error is reported each time it
    /// occurs, at the pace of the backoff).
    fn link(&self, state: LinkState);
}
