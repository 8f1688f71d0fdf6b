//! What delivery needs of the log, so that its tests can be the log.

use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, SeqRange, StreamName};
use crate::state::positions::Totals;

/// A block without its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// Numbers of its events.
    pub range: SeqRange,
    /// Their stream.
    pub stream: StreamName,
    /// When they were accepted.
    pub time: UnixMillis,
    /// The opening of the lane that wrote it.
    pub run: RunId,
    /// The segment it is in, where that is known.
    pub segment: Option<SegmentId>,
}

/// What stands next in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A block, with its encoded events (see [`crate::event`]).
    Block(BlockInfo, bytes::Bytes),
    /// A block that was not wanted.
    Skipped {
        /// Numbers of its events.
        range: SeqRange,
        /// Their stream.
        stream: StreamName,
        /// The segment it is in, where that is known.
        segment: Option<SegmentId>,
        /// The opening of the lane that wrote it.
        run: RunId,
    },
    /// Numbers whose events are gone.
    Gone {
        /// Which.
        range: SeqRange,
        /// Why.
        why: Why,
    },
}

/// Why events are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Given up because the spool was full.
    Dropped,
    /// Their bytes are damaged or missing.
    Lost,
    /// Deleted after every reader had settled them: the positions that ask for them are old ones.
    Settled,
    /// Deleted after what somebody still needed of them was parked. What is asked for here and does not stand there is lost.
    Parked,
}

impl Why {
    /// Counts events that are gone for this reason.
    pub fn count(self, totals: &mut Totals, events: u64) {
        match self {
            Why::Dropped => totals.dropped += events,
            Why::Lost | Why::Parked => totals.lost += events,
            Why::Settled => totals.delivered += events,
        }
    }
}

/// A place to read from.
pub trait Log: Send + 'static {
    /// What reads.
    type Reader: LogReader;

    /// Begins to read at `from`.
    fn reader(&self, from: Seq) -> Self::Reader;
}

/// Reads what is durable, in order.
pub trait LogReader: Send {
    /// The next block or gap; `None` when nothing more is durable. A block that `want` refuses is skipped
    /// without being decoded.
    ///
    /// # Errors
    /// When the disk can't be read for now; a later call tries again at the same place.
    fn next(&mut self, want: &mut dyn FnMut(&StreamName, SeqRange) -> bool)
    -> Result<Option<Read>, LogError>;
}

/// The log can't be read for now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);
