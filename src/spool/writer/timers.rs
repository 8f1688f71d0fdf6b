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
        // In trouble it needs no request: whoever heals begins a segment.
        if self.shared.take_wanted_proof() && self.active.as_ref().is_some_and(|active| !active.is_begun()) {
            self.prove();
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

#[cfg(test)]
mod tests {
    use super::super::super::lane::Lane;
    use super::super::super::tests::stepped::{Site, plain};
    use super::super::IDLE;
    use super::*;
    use crate::ids::{LaneName, Seq};

    #[test]
    fn the_writer_sleeps_until_something_is_due_and_for_good_where_nothing_is() {
        let (site, name) = (Site::new(), LaneName::new("main").unwrap());
        let (_lane, mut writer, _chores) =
            Lane::assemble(&site.data, name, &plain(), Seq::NONE, &site.metrics).unwrap();
        writer.start();
        assert_eq!((writer.patience(), writer.is_due()), (None, false));
        writer.mark_at = Some(writer.clock() + IDLE);
        let nano = Duration::from_nanos(1);
        for (passes, left) in [(Duration::ZERO, IDLE), (IDLE - nano, nano), (nano, Duration::ZERO)] {
            site.host.advance(passes);
            assert_eq!((writer.patience(), writer.is_due()), (Some(left), left.is_zero()));
        }
        writer.mark_at = None;
        writer.shared.set_gate(Gate::Full("it is full".into()));
        assert_eq!((writer.patience(), writer.is_due()), (Some(FULL_CHECK), false));
    }
}
