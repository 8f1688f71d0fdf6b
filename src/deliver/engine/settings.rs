//! What a destination wants, and the bounds that keep memory flat.

use std::time::Duration;

use crate::config::model::{KafkaCompression, Partitioner, TimestampPolicy};
use crate::event::UnixMillis;
use crate::ids::Incarnation;

/// What a destination wants.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of record batches.
    pub compression: KafkaCompression,
    /// Of events with a key.
    pub partitioner: Partitioner,
    /// Which times records get.
    pub timestamp: TimestampPolicy,
    /// For [`TimestampPolicy::Auto`].
    pub timestamp_max_age: Duration,
    /// No clock that is right says an earlier time.
    pub earliest: UnixMillis,
    /// How long an event may wait for company.
    pub linger: Duration,
    /// Bytes at which a window is closed.
    pub batch_size: usize,
    /// The spool's incarnation for the record header; `None` leaves the header out.
    pub header: Option<Incarnation>,
    /// Windows carry an identity from the journal: the caller writes down what [`Engine::departing`](super::Engine::departing) says before it
    /// calls [`Engine::depart`](super::Engine::depart).
    pub journal: bool,
    /// A sum over the routes; see [`is_rerouted`](super::is_rerouted).
    pub routes: u64,
    /// Number of their last change.
    pub last_change: u64,
    /// What can't be found out is held, not sent again.
    pub holds_in_doubt: bool,
    /// A topic that is missing or forbidden this long has its events made dead letters.
    pub missing_topic_after: Duration,
    /// Counters of an earlier process are another life's, which may count on.
    pub renewed: bool,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds that keep memory flat.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes in windows of the main reader.
    pub buffer: usize,
    /// Bytes in windows of each side reader.
    pub side_buffer: usize,
    /// Bytes in windows of all side readers together, beyond which each of them reads only if it has none. With as much again the
    /// main reader's room is what is left of it, by and by.
    pub apart: usize,
    /// Entries a tracker may hold.
    pub entries: usize,
    /// Refused events that wait to be kept as dead letters, with which no more is read of their topics.
    pub graves: usize,
    /// A topic whose window is in flight this long is set apart when it holds back the others.
    pub stuck_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buffer: 4 << 20,
            side_buffer: 2 << 20,
            apart: 4 << 20,
            entries: 8192,
            graves: 1024,
            stuck_after: Duration::from_secs(3),
        }
    }
}
