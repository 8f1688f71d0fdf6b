//! What the writer does when nobody asks for anything: retries, syncs at intervals, marks, looks for room.

use std::time::{Duration, Instant};

use crate::config::model::Sync;
use crate::disk::Fs;

use super::super::gate::Gate;
use super::{FULL_CHECK, REOPEN, Writer};

impl<F: Fs> Writer<F> {
    /// How long to wait for requests before something else is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due().map(|due| due.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let retry = self.trouble.as_ref().map(|t| t.retry_at);
        let full = matches!(*self.shared.gate.borrow(), Gate::Full(_)).then(|| Instant::now() + FULL_CHECK);
        let sync = match self.shared.settings.sync {
            Sync::Interval(every) => self.dirty_since.map(|since| since + every),
            Sync::Always => None,
        };
        let full = if retry.is_some() { None } else { full };
        [retry, full, sync, self.mark_at].into_iter().flatten().min()
    }

    /// What is due, is done.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if let Some(trouble) = &self.trouble {
            if trouble.retry_at <= now {
                self.heal();
            }
            return;
        }
        if matches!(*self.shared.gate.borrow(), Gate::Full(_)) {
            self.check_room(REOPEN);
        }
        if let (Sync::Interval(every), Some(since)) = (self.shared.settings.sync, self.dirty_since)
            && since + every <= now
        {
            self.sync();
        }
        if self.mark_at.is_some_and(|at| at <= now) {
            self.mark_at = None;
            self.mark();
        }
    }
}
