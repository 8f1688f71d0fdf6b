//! The helper thread of a lane: prepares the next segment, finishes closed ones, deletes what is not needed.
//! Nothing of this stands in the way of a commit.

mod chores;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::Fs;
use crate::ids::{SegmentId, Seq};

pub(super) use self::chores::Chores;
use super::active::Prepared;
use super::shared::Shared;
use super::table::Segment;

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

#[cfg(test)]
mod tests;
