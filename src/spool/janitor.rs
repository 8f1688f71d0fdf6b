//! The helper thread of a lane: prepares the next segment, finishes closed ones, deletes what is not needed.
//! Nothing of this stands in the way of a commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{DiskError, File, Fs};
use crate::ids::{SegmentId, Seq};
use crate::sabotage::{self, Bug};

use super::active::Prepared;
use super::catalogue::{self, WORTH};
use super::floor::Floor;
use super::host::Stamp;
use super::shared::Shared;
use super::table::{FloorMark, Segment};
use super::unread::holds_unread;

/// How often segments that are kept for replay, or that could not be deleted, are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

enum Ahead<T> {
    Nothing,
    Wanted(SegmentId),
    Working,
    Done(std::io::Result<Prepared<T>>),
}

struct Wishes<T> {
    ahead: Ahead<T>,
    /// Closed segments: cut to this length, then sync.
    closed: Vec<(Arc<T>, u64)>,
    void: Vec<Segment>,
    release: Seq,
    /// What is below may be dropped when room is needed.
    may_drop: Seq,
    released_changed: bool,
    /// Room is needed: what is only kept for replay goes now.
    pressure: bool,
    drop_oldest: bool,
    /// Room is being made: asking again means nothing until that is done.
    making_room: bool,
    stop: bool,
}

/// What the helper thread is asked for.
pub(super) struct Janitor<F: Fs> {
    wishes: Mutex<Wishes<F::File>>,
    changed: Condvar,
    allocation: u64,
}

impl<F: Fs> std::fmt::Debug for Janitor<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Janitor")
    }
}

impl<F: Fs> Janitor<F> {
    pub(super) fn new(allocation: u64, void: Vec<Segment>) -> Self {
        let wishes = Wishes {
            ahead: Ahead::Nothing,
            closed: Vec::new(),
            void,
            release: Seq::NONE,
            may_drop: Seq::NONE,
            released_changed: false,
            pressure: false,
            drop_oldest: false,
            making_room: false,
            stop: false,
        };
        Self { wishes: Mutex::new(wishes), changed: Condvar::new(), allocation }
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes<F::File>)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Asks for segment `id` to be made ready.
    pub(super) fn prepare(&self, id: SegmentId) {
        self.wish(|w| {
            if matches!(w.ahead, Ahead::Nothing) {
                w.ahead = Ahead::Wanted(id);
            }
        });
    }

    /// The file that was made ready, if one was asked for; waits for one that is being made.
    pub(super) fn take_prepared(&self) -> Option<std::io::Result<Prepared<F::File>>> {
        let mut wishes = self.lock();
        while matches!(wishes.ahead, Ahead::Working) {
            wishes = self.changed.wait(wishes).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut wishes.ahead, Ahead::Nothing) {
            Ahead::Done(done) => Some(done),
            Ahead::Nothing | Ahead::Wanted(_) | Ahead::Working => None,
        }
    }

    /// A segment was closed at byte `end`.
    pub(super) fn closed(&self, file: Arc<F::File>, end: u64) {
        self.wish(|w| w.closed.push((file, end)));
    }

    /// Every reader is durably past everything below `upto`.
    pub(super) fn release(&self, upto: Seq) {
        self.wish(|w| {
            if upto > w.release {
                w.release = upto;
                w.released_changed = true;
            }
        });
    }

    /// When room is needed, everything below `upto` may be dropped.
    pub(super) fn may_drop(&self, upto: Seq) {
        // Whoever needs room asks for it, again and again.
        let mut wishes = self.lock();
        wishes.may_drop = wishes.may_drop.max(upto);
    }

    /// The lane is full: what can go, goes; the oldest segment too, if so configured.
    pub(super) fn make_room(&self, drop_oldest: bool) {
        self.wish(|w| {
            if !w.making_room {
                w.pressure = true;
                w.drop_oldest = drop_oldest;
                w.making_room = true;
            }
        });
    }

    /// The thread ends when it has done what it was asked.
    pub(super) fn stop(&self) {
        self.wish(|w| w.stop = true);
    }

    fn lock(&self) -> MutexGuard<'_, Wishes<F::File>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    pub(super) fn run(&self, mut chores: Chores<F>) {
        loop {
            let patience = chores.patience();
            let idle = |w: &mut Wishes<F::File>| !w.stop && !w.has_work();
            // One patience for all wake-ups: a wish that changes nothing comes more often than that.
            let waited = self.changed.wait_timeout_while(self.lock(), patience, idle);
            let (mut wishes, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            wishes.released_changed |= timeout.timed_out();
            drop(wishes);
            if !self.turn(&mut chores) {
                break;
            }
        }
    }

    /// One turn: does what it was asked for. False when nothing was wished.
    pub(super) fn turn(&self, chores: &mut Chores<F>) -> bool {
        let mut wishes = self.lock();
        if !wishes.has_work() {
            return false;
        }
        let todo = wishes.take();
        drop(wishes);
        chores.shared.begin_tidying();
        self.do_all(todo, chores);
        chores.shared.end_tidying();
        true
    }

    fn do_all(&self, todo: Todo<F::File>, chores: &mut Chores<F>) {
        // Before every piece of what takes time: a writer that rotates waits for nothing else.
        let shared = Arc::clone(&chores.shared);
        let first = || {
            // Each piece has its own time.
            shared.begin_tidying();
            self.make_ready(&shared);
        };
        chores.finish(todo.closed, first);
        chores.remove_void(todo.void, first);
        let deletes = chores.delete(todo.release, todo.pressure, first);
        if todo.pressure && deletes {
            chores.drop_one(if todo.drop_oldest { Seq(u64::MAX) } else { todo.may_drop });
        }
        if todo.pressure {
            self.lock().making_room = false;
        }
        first();
        chores.note_headers();
        first();
    }

    /// Makes the next segment, if it was asked for.
    fn make_ready(&self, shared: &Shared<F>) {
        let Some(id) = self.lock().wanted() else { return };
        let waiting = Waiting(self);
        let done = shared.prepare(id, self.allocation);
        self.wish(|w| w.ahead = Ahead::Done(done));
        drop(waiting);
    }
}

/// A segment is being made. Should that end in a panic, whoever waits for it makes one himself.
struct Waiting<'a, F: Fs>(&'a Janitor<F>);

impl<F: Fs> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        self.0.wish(|w| {
            if matches!(w.ahead, Ahead::Working) {
                w.ahead = Ahead::Nothing;
            }
        });
    }
}

struct Todo<T> {
    closed: Vec<(Arc<T>, u64)>,
    void: Vec<Segment>,
    release: Seq,
    may_drop: Seq,
    pressure: bool,
    drop_oldest: bool,
}

impl<T> Wishes<T> {
    fn has_work(&self) -> bool {
        matches!(self.ahead, Ahead::Wanted(_))
            || !self.closed.is_empty()
            || self.released_changed
            || self.pressure
            || !self.void.is_empty()
    }

    /// The segment that is to be made now.
    fn wanted(&mut self) -> Option<SegmentId> {
        let Ahead::Wanted(id) = self.ahead else { return None };
        self.ahead = Ahead::Working;
        Some(id)
    }

    fn take(&mut self) -> Todo<T> {
        self.released_changed = false;
        Todo {
            closed: std::mem::take(&mut self.closed),
            void: std::mem::take(&mut self.void),
            release: self.release,
            may_drop: self.may_drop,
            pressure: std::mem::take(&mut self.pressure),
            drop_oldest: std::mem::take(&mut self.drop_oldest),
        }
    }
}

/// What the helper thread works with.
pub(super) struct Chores<F: Fs> {
    shared: Arc<Shared<F>>,
    floor: Floor<F>,
    /// When a segment that is kept for replay was first seen to be released.
    released_at: BTreeMap<SegmentId, Stamp>,
    retained: bool,
    /// Bytes that this turn has made free.
    freed: u64,
    /// The last deletion failed, which has been said, and is tried again.
    stuck: bool,
    /// The last segment when the catalogue was written.
    noted: SegmentId,
}

impl<F: Fs> Chores<F> {
    pub(super) fn new(shared: Arc<Shared<F>>, floor: Floor<F>) -> Self {
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
    fn patience(&self) -> Duration {
        if self.retained || self.stuck { LOOK_AGAIN } else { Duration::from_secs(3600) }
    }

    /// Gives back what was reserved and not used, and makes the seal durable. Neither is needed for what was
    /// promised: the successor's header says where the segment ends.
    fn finish(&self, closed: Vec<(Arc<F::File>, u64)>, first: impl Fn()) {
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
    fn note_headers(&mut self) {
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

    fn remove_void(&self, void: Vec<Segment>, first: impl Fn()) {
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
    fn delete(&mut self, release: Seq, pressure: bool, first: impl Fn()) -> bool {
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
    fn drop_one(&mut self, upto: Seq) {
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

#[cfg(test)]
mod tests;
