//! One dead letter.

use crate::event::{EventError, EventIter, EventRef, UnixMillis};
use crate::ids::{DestinationName, LaneName, RunId, Seq, StreamName, TopicName};

/// Why an event will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It alone is larger than the topic takes.
    TooLarge,
    /// The broker refuses it as it stands: no key for a compacted topic, a time stamp out of bounds, a policy.
    Refused,
    /// Its topic was missing or forbidden for longer than `missing_topic_after`.
    TopicMissing,
}

impl Reason {
    /// Every one, with its name in metrics and on disk.
    pub const ALL: [(Reason, &'static str); 3] = [
        (Reason::TooLarge, "too_large"),
        (Reason::Refused, "refused"),
        (Reason::TopicMissing, "topic_missing"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, name)| name)
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(reason, _)| *reason)
    }
}

/// An event with what was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// When it was given up.
    pub at: UnixMillis,
    /// Where it was spooled.
    pub lane: LaneName,
    /// Who would not have it.
    pub destination: DestinationName,
    /// Its number in the lane.
    pub seq: Seq,
    /// The opening of the lane under which that number was given.
    pub run: RunId,
    /// Its stream.
    pub stream: StreamName,
    /// The topic it was for.
    pub topic: TopicName,
    /// The partition that refused it; -1 where it was not sent.
    pub partition: i32,
    /// Why.
    pub reason: Reason,
    /// Kafka's error code; 0 where there was none.
    pub code: i16,
    /// What was said, in words.
    pub message: String,
    /// When it was accepted.
    pub time: UnixMillis,
    /// The event, encoded as in a block (see [`crate::event`]), with its length before it.
    pub event: Vec<u8>,
}

impl Letter {
    /// The event.
    ///
    /// # Errors
    /// [`EventError`] where the bytes are none; what was stored is one.
    pub fn event(&self) -> Result<EventRef<'_>, EventError> {
        EventIter::new(&self.event).next().unwrap_or(Err(EventError::Truncated))
    }
}

/// A letter on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number, for people.
    pub id: u64,
    /// The letter.
    pub letter: Letter,
}
