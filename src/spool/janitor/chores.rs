//! What the helper thread of a lane does, by itself: finishes closed segments, deletes what every reader is past, drops what it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::catalogue::{self, WORTH};
use super::super::floor::Floor;
use super::super::host::Stamp;
use super::super::shared::Shared;
use super::super::table::{FloorMark, Segment};
use super::super::unread::holds_unread;
use super::LOOK_AGAIN;
use crate::disk::{DiskError, File, Fs};
use crate::ids::{SegmentId, Seq};
use crate::sabotage::{self, Bug};

/// What the helper thread works with.
pub(in crate::spool) struct Chores<F: Fs> {
    pub(super) shared: Arc<Shared<F>>,
    floor: Floor<F>,
    /// When a segment that is kept for replay was first seen to be released.
    released_at: BTreeMap<SegmentId, Stamp>,
    pub(super) retained: bool,
    /// Bytes that this turn has made free.
    freed: u64,
    /// The last deletion failed, which has been said, and is tried again.
    pub(super) stuck: bool,
    /// The last segment when the catalogue was written.
    noted: SegmentId,
}

impl<F: Fs> Chores<F> {
    pub(in crate::spool) fn new(shared: Arc<Shared<F>>, floor: Floor<F>) -> Self {
        Self {
            shared,
            floor,
            released_at: BTreeMap::new(),
            retained: false,
            freed: 0,
            stuck: false,
            noted: SegmentId(0),
        }
    }

    /// How long the thread waits for a wish.
    pub(super) fn patience(&self) -> Duration {
        if self.retained || self.stuck { LOOK_AGAIN } else { Duration::from_secs(3600) }
    }

    /// Gives back what was reserved and not used, and makes the seal durable. Neither is needed for what was
    /// promised: the successor's header says where the segment ends.
    pub(super) fn finish(&self, closed: Vec<(Arc<F::File>, u64)>, first: impl Fn()) {
        for (file, end) in closed {
            first();
            if let Err(e) = file.truncate(end).and_then(|()| file.sync_data()) {
                self.shared.metrics.fsync_errors.inc();
                tracing::warn!(lane = %self.shared.name, error = %e, "a closed segment could not be trimmed");
            }
        }
    }

    /// Writes the headers of many segments into one file, so that the next start need not open each. It is a convenience: what
    /// can't be written is said and left.
    pub(super) fn note_headers(&mut self) {
        let (count, last) = {
            let table = self.shared.table();
            (table.segments.len(), table.segments.last_key_value().map_or(SegmentId(0), |(id, _)| *id))
        };
        if count < WORTH
            || self.shared.home.check().is_err()
            || last.0.saturating_sub(self.noted.0) < WORTH as u64
        {
            return;
        }
        self.noted = last;
        let table = self.shared.table().clone();
        let Shared { dir, data, name, .. } = self.shared.as_ref();
        if let Err(error) = catalogue::write(data.fs(), dir, data.spool_id(), &table) {
            tracing::warn!(lane = %name, %error, "the headers of segments could not be noted: the next start opens each");
        }
    }

    pub(super) fn remove_void(&self, void: Vec<Segment>, first: impl Fn()) {
        for segment in void {
            first();
            if self.is_left_alone(&segment) {
                continue;
            }
            if !self.shared.is_marked(segment.id) {
                self.shared.remove_unused(&segment.path);
            } else if let Err(e) = self.shared.home.check().and_then(|()| self.shared.keep(&segment)) {
                tracing::warn!(path = %segment.path.display(), error = %e, "a damaged segment could not be put aside");
            }
        }
    }

    /// Whether a file holds what no reader can have been past, because no start could read it: then it stays, for a
    /// person and `spool repair`, though the log goes on without it.
    fn is_left_alone(&self, segment: &Segment) -> bool {
        let unread = holds_unread(self.shared.as_ref(), segment);
        if unread {
            tracing::error!(path = %segment.path.display(),
                "a segment that is needed no more holds what could not be read: it is left alone; see `spoolway spool repair`");
        }
        unread
    }

    /// Deletes what every reader is past. False when something could not be deleted.
    pub(super) fn delete(&mut self, release: Seq, pressure: bool, first: impl Fn()) -> bool {
        let now = self.shared.data.host().now();
        self.freed = 0;
        let mut deletes = true;
        while let Some(victim) = self.released_victim(release, pressure, now).filter(|_| deletes) {
            first();
            let mark = FloorMark { released: victim.end, dropped: Seq::NONE };
            deletes = self.remove(&victim, mark);
        }
        self.tell_freed();
        deletes
    }

    /// Where that has made no room: drops the oldest segment, if it ends at `upto` or before.
    pub(super) fn drop_one(&mut self, upto: Seq) {
        if self.freed > 0 {
            return;
        }
        let table = self.shared.table();
        let oldest =
            table.segments.values().next().filter(|s| !table.is_last(s.id) && s.end <= upto).cloned();
        drop(table);
        let Some(victim) = oldest else { return };
        tracing::warn!(lane = %self.shared.name, segment = %victim.id, first = %victim.base,
            last = %victim.end.prev(), "the lane is full: its oldest segment is dropped");
        let mark = FloorMark { dropped: victim.end, released: Seq::NONE };
        self.remove(&victim, mark);
        self.tell_freed();
    }

    fn tell_freed(&self) {
        if self.freed > 0 {
            self.shared.gauge_bytes();
            self.shared.queue.nudge();
        }
    }

    /// The first segment, if it may go: not the last one, every reader past it, kept long enough.
    fn released_victim(&mut self, release: Seq, pressure: bool, now: Stamp) -> Option<Segment> {
        let table = self.shared.table();
        let retain = self.shared.settings.retain_delivered;
        self.retained = false;
        if !retain.is_zero() {
            let released = |s: &&Segment| s.end <= release && !table.is_last(s.id);
            for segment in table.segments.values().take_while(released) {
                self.released_at.entry(segment.id).or_insert(now);
                self.retained = true;
            }
        }
        let first = table.segments.values().next()?;
        let released = first.end <= release && !table.is_last(first.id);
        let kept = self.released_at.get(&first.id).is_some_and(|since| now.since(*since) < retain);
        (released && (pressure || !kept)).then(|| first.clone())
    }

    /// With the room that is kept back for it, if need be.
    fn raise_floor(&mut self, mark: FloorMark) -> Result<(), DiskError> {
        let raised = self.floor.raise(mark);
        let again =
            raised.as_ref().is_err_and(|e| e.is_for_want_of_room() && self.shared.data.let_go_of_ballast());
        if again { self.floor.raise(mark) } else { raised }
    }

    /// False when it stays for now.
    ///
    /// DURABILITY: the floor before the file, the directory after. The reader positions that allow it were
    /// durable before `release` was called. On a full disk a floor that can't be written follows: see [`Floor::owe`].
    fn remove(&mut self, victim: &Segment, mark: FloorMark) -> bool {
        let shared = Arc::clone(&self.shared);
        let fs = shared.data.fs();
        if let Err(e) = self.shared.home.check() {
            if !std::mem::replace(&mut self.stuck, true) {
                tracing::error!(lane = %self.shared.name, error = %e, "no segment is deleted; it is tried again");
            }
            return false;
        }
        if sabotage::commits(Bug::DeleteBeforePosition) {
            self.floor.pretend(mark);
        } else if let Err(e) = self.raise_floor(mark) {
            let makes_room = e.is_for_want_of_room() && mark.dropped == Seq::NONE;
            if !std::mem::replace(&mut self.stuck, true) {
                let what = if makes_room { "a delivered segment goes" } else { "no segment is deleted" };
                tracing::error!(lane = %self.shared.name, error = %e,
                    "{what}: its deletion can't be recorded; it is tried again");
            }
            if !makes_room {
                return false;
            }
            self.floor.owe(mark.released);
        }
        let mut table = self.shared.table();
        table.floor = self.floor.mark();
        table.segments.remove(&victim.id);
        drop(table);
        self.released_at.remove(&victim.id);
        if self.is_left_alone(victim) {
            self.freed += victim.bytes;
            return true;
        }
        // What is dropped for lack of room is given up as it is.
        let kept = mark.dropped == Seq::NONE && self.shared.is_marked(victim.id);
        let gone = if kept { self.shared.keep(victim) } else { fs.remove(&victim.path) };
        match gone {
            Ok(()) => self.stuck = false,
            Err(e) => {
                // One that is gone already needs no second try.
                let again = e.kind() != std::io::ErrorKind::NotFound;
                if !std::mem::replace(&mut self.stuck, again) {
                    tracing::error!(path = %victim.path.display(), error = %e, again, "a segment could not be deleted");
                }
                if again {
                    self.shared.table().segments.insert(victim.id, victim.clone());
                    return false;
                }
            }
        }
        self.freed += if kept { 0 } else { victim.bytes };
        self.shared.unmark(victim.id);
        if let Err(e) = fs.sync_dir(&self.shared.dir) {
            // A segment that comes back after a power cut lies below the floor and is deleted again.
            tracing::warn!(lane = %self.shared.name, error = %e, "a deletion may not be durable");
        }
        if let Err(e) = self.floor.raise(mark) {
            tracing::warn!(lane = %self.shared.name, error = %e, "a deletion is not recorded yet");
        }
        true
    }
}
