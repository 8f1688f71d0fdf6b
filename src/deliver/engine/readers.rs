//! Places to read from: the main reader's, and those of topics that were set apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::log::BlockInfo;
use super::super::tracker::Tracker;
use super::apart::ApartReader;
use crate::event::UnixMillis;
use crate::ids::{Seq, StreamName};

/// A place to read from, and what was taken there.
pub(super) struct Cursor<R> {
    pub(super) reader: R,
    /// The reader was moved back: what it reads next has entries already.
    pub(super) behind: bool,
    pub(super) tracker: Tracker,
    /// A block that was read and can't be taken yet.
    pub(super) pending: Option<(BlockInfo, bytes::Bytes)>,
    /// The log could not be read; try again then.
    pub(super) retry_at: Option<Instant>,
}

impl<R> Cursor<R> {
    pub(super) fn new(reader: R, from: Seq) -> Self {
        Self { reader, behind: false, tracker: Tracker::new(from), pending: None, retry_at: None }
    }

    /// Goes on reading at `reader`, before what has been read already.
    pub(super) fn move_back(&mut self, reader: R) {
        self.reader = reader;
        self.behind = true;
        self.pending = None;
    }

    /// Nothing before `to` is this reader's business any more.
    pub(super) fn pass(&mut self, to: Seq) {
        self.behind &= to <= self.tracker.read();
        self.tracker.skip_to(to);
    }

    /// Whether the tracker may take another entry.
    pub(super) fn has_room(&self, entries: usize) -> bool {
        self.behind || self.tracker.len() < entries
    }
}

/// The reader of a topic that was set apart.
pub(super) struct SideReader<R> {
    pub(super) cursor: Cursor<R>,
    /// The first event of the topic that is its own.
    pub(super) from: Seq,
    /// From here on the main reader has the topic again; everything before is settled.
    pub(super) end: Option<Seq>,
    /// See [`crate::state::positions::Side::waiting`].
    pub(super) waiting: i64,
    /// No event that waits unread was accepted before this.
    pub(super) since: UnixMillis,
    /// See [`crate::state::positions::Side::dropped`].
    pub(super) dropped: bool,
    /// See [`crate::state::positions::Side::missing_for`].
    pub(super) missing_for: Duration,
    /// See [`crate::state::positions::Side::streams`].
    pub(super) streams: BTreeMap<StreamName, Seq>,
    /// Its partitions that were set apart.
    pub(super) apart: BTreeMap<i32, ApartReader<R>>,
    /// The log could not be read for setting one apart; try again then.
    pub(super) split_after: Option<Instant>,
    /// Nobody answers for what was sent last: see [`Engine::discard_silent`](super::Engine::discard_silent).
    pub(super) silent: bool,
    /// The main reader has events of the topic, before `from`, that are in no window: it goes back to them once the topic takes events,
    /// and passes over them until then.
    pub(super) left_behind: bool,
}

impl<R> SideReader<R> {
    /// Whether an event of the topic is its business.
    pub(super) fn owns(&self, seq: Seq) -> bool {
        self.from <= seq && self.end.is_none_or(|end| seq < end)
    }

    /// Nobody has settled everything of the topic, or of one of its partitions, beyond this.
    pub(super) fn furthest(&self) -> Seq {
        let apart = self.apart.values().map(|apart| apart.cursor.tracker.position());
        apart.fold(self.cursor.tracker.position(), Seq::max)
    }
}
