//! What the writer does when nobody asks for anything: retries, syncs at intervals, marks, looks for room.

use std::time::Duration;

use crate::config::model::Sync;
use crate::disk::Fs;
use crate::sabotage::{self, Bug};

use super::super::gate::Gate;
use super::{Clock, FULL_CHECK, Writer};

impl<F: Fs> Writer<F> {
    /// How long to wait for requests before something else is due.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due().map(|due| due.saturating_sub(self.clock()))
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= self.clock())
    }

    pub(super) fn due(&self) -> Option<Clock> {
        let sync = self.sync_at();
        if let Some(trouble) = &self.trouble {
            // INVARIANT: what `tick` leaves undone in trouble is not due, or the thread would spin.
            return sync.into_iter().chain([trouble.retry_at]).min();
        }
        let full = matches!(*self.shared.gate.borrow(), Gate::Full(_)).then(|| self.clock() + FULL_CHECK);
        [full, sync, self.mark_at].into_iter().flatten().min()
    }

    /// When what was accepted at an interval has to be synced.
    fn sync_at(&self) -> Option<Clock> {
        match self.policy() {
            Sync::Interval(_) if sabotage::commits(Bug::IntervalForgotten) => None,
            Sync::Interval(every) => self.dirty_since.map(|since| since + every),
            Sync::Always => None,
        }
    }

    /// What is due, is done.
    pub(super) fn tick(&mut self) {
        let now = self.clock();
        // Also in trouble: without room for more, what is written is synced all the same.
        if self.sync_at().is_some_and(|at| at <= now) {
            self.sync();
        }
        if let Some(trouble) = &self.trouble {
            if trouble.retry_at <= now {
                self.heal();
            }
            return;
        }
        if matches!(*self.shared.gate.borrow(), Gate::Full(_)) {
            self.reopen();
        }
        if self.mark_at.is_some_and(|at| at <= now) {
            self.mark_at = None;
            self.mark();
        }
    }
}
