//! The writer when the disk fails: believing it, and trying again.

use std::io;
use std::time::Duration;

use crate::config::model::WhenFull;
use crate::disk::Fs;
use crate::ids::{RunId, SeqRange};
use crate::sabotage::{self, Bug};

use super::super::format::{Kind, Verdict};
use super::super::gate::Gate;
use super::super::queue::Answer;
use super::{FULL_CHECK, SEAL_ROOM, Trouble, Writer};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

impl<F: Fs> Writer<F> {
    /// DURABILITY: a failed write or sync is believed. The segment ends at its last durable point; what was
    /// begun has an unknown outcome; its numbers are free again, under a new run.
    pub(super) fn fail(&mut self, e: &io::Error, operation: &str) {
        self.encoder.reset();
        self.dirty_since = None;
        self.mark_at = None;
        let path = self.active.as_ref().map_or_else(|| self.shared.dir.clone(), |a| a.path.clone());
        let message = format!("cannot {operation} {}: {e}", path.display());
        if let Some(active) = self.active.take() {
            if active.is_begun() {
                self.predecessor = active.as_predecessor(Verdict::Failed);
                let mut segment = active.segment(Verdict::Failed);
                segment.bytes = segment.end_offset;
                self.shared.publish(segment);
            } else {
                self.shared.remove_unused(&active.path);
            }
        }
        let lost = SeqRange::new(self.shared.durable().next(), self.answered);
        self.next = self.answered.max(self.shared.durable().next());
        self.shared.set_gate(Gate::of_error(e, message.clone()));
        self.worry();
        // After the gate, so that whoever sees a loss counted or hears of the failure finds the gate closed.
        if !lost.is_empty() {
            self.shared.quarantine(lost, self.predecessor.segment);
        }
        for begun in self.begun.drain(..) {
            let _ = begun.answer.send(Answer::Unknown(message.clone()));
        }
    }

    /// Whether the lane's directory is where it was; if not, nothing more is taken.
    pub(super) fn is_at_home(&mut self) -> bool {
        let Err(e) = self.shared.home.check() else { return true };
        self.shared.set_gate(Gate::Failing(e.to_string().into()));
        self.worry();
        false
    }

    pub(super) fn worry(&mut self) {
        let backoff = self.trouble.take().map_or(RETRY_FIRST, |t| (t.backoff * 2).min(RETRY_MOST));
        // Room may come back at any moment, and asking for it costs little.
        let full = matches!(*self.shared.gate.borrow(), Gate::Full(_));
        let backoff = if full { FULL_CHECK } else { backoff };
        if full {
            self.janitor.make_room(self.shared.settings.when_full == WhenFull::DropOldest);
        }
        self.trouble = Some(Trouble { retry_at: self.clock() + backoff, backoff });
    }

    /// Tries to write again: a new segment with a mark in it, synced. Needs nobody to send something.
    pub(super) fn heal(&mut self) {
        if !self.is_at_home() {
            return;
        }
        if self.active.is_none() {
            match self.shared.data.host().random() {
                Ok(_) if sabotage::commits(Bug::NumbersTwiceUnderOneRun) => {}
                Ok(run) => self.run = RunId(run),
                Err(e) => {
                    self.shared.set_gate(Gate::Failing(format!("no random run id can be drawn: {e}").into()));
                    return self.worry();
                }
            }
            self.shared.set_run(self.run);
            self.open_next();
            if self.active.is_none() {
                return;
            }
        }
        if self.prove() {
            self.trouble = None;
            self.reopen();
        }
    }

    /// Whether a block can be written and synced.
    pub(super) fn prove(&mut self) -> bool {
        if !self.reserve(2 * SEAL_ROOM) {
            return false;
        }
        self.lead();
        let common = self.common();
        self.encoder.push_empty(&common, Kind::Mark, self.next);
        self.flush(&common) && self.sync()
    }
}
