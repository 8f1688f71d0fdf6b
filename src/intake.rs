//! The seam between a source and what takes its events: sources know only this trait.
//!
//! INVARIANT: once [`Intake::accept`] has begun to append, its caller hears "accepted" or
//! [`AcceptError::Unknown`] (close the connection), never a refusal. Every [`Refused`] means that nothing
//! of the batch is kept.

use std::future::Future;
use std::time::Duration;

use crate::event::EventBatch;
use crate::ids::{LaneName, NameError, Seq, StreamName};

/// Where a batch landed: durable, with contiguous sequence numbers in its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The lane that holds the events.
    pub lane: LaneName,
    /// Number of the batch's first event.
    pub first: Seq,
    /// Number of the batch's last event.
    pub last: Seq,
}

/// Why a batch was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// Nothing of it was appended; the sender can be told so.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The append was begun and its outcome is not known: say nothing, close the connection.
    #[error("the append was begun and failed: {0}")]
    Unknown(String),
}

/// A definite no: nothing of the batch is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// An event is over `max_event_size`.
    #[error("event {index} has {size} bytes, at most {limit} are allowed (spool.max_event_size)")]
    TooLarge {
        /// Which event of the batch, from 0.
        index: u32,
        /// Bytes of its value, key and headers.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The stream's name breaks a rule.
    #[error("stream name {name:?}: {cause}")]
    StreamName {
        /// What was sent.
        name: String,
        /// Which rule.
        cause: NameError,
    },
    /// No route takes the stream.
    #[error("no route takes stream {stream}")]
    NoRoute {
        /// The stream.
        stream: StreamName,
        /// The routed stream whose name is nearest.
        nearest: Option<String>,
    },
    /// More stream names than `max_streams`.
    #[error("{limit} streams are in use already (spool.max_streams)")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// The lane is over its quota or the file system has no room left beyond `reserve`.
    #[error("the spool is full: {0}")]
    Full(String),
    /// The lane can't write: a failed fsync, a read-only file system.
    #[error("the spool can't write: {0}")]
    Failing(String),
    /// The agent is shutting down.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

impl Refused {
    /// Short stable word for the `reason` label of `spoolway_events_rejected_total` and for JSON errors.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Refused::TooLarge { .. } => "too_large",
            Refused::StreamName { .. } => "stream_name",
            Refused::NoRoute { .. } => "no_route",
            Refused::TooManyStreams { .. } => "too_many_streams",
            Refused::Full(_) => "spool_full",
            Refused::Failing(_) => "spool_failing",
            Refused::ShuttingDown => "shutting_down",
        }
    }
}

/// How long a sender waits for room while the spool is full and `when_full = "block"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Hold for at most this long, then refuse (HTTP).
    For(Duration),
    /// Hold for as long as it takes (streams with back-pressure: tcp, unix, stdin).
    Forever,
}

/// What a source hands its events to.
pub trait Intake: Send + Sync + 'static {
    /// Takes all events of `batch` under `stream`, or none; resolves when they are durable
    /// (`sync = "always"`). Dropping the future before the append began withdraws the batch; after
    /// that the append goes on without its caller.
    fn accept(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> impl Future<Output = Result<Appended, AcceptError>> + Send;

    /// Resolves when every destination that gets the events has them (`ack = "delivered"`).
    fn delivered(&self, appended: &Appended) -> impl Future<Output = ()> + Send;
}
