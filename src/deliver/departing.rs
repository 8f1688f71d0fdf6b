//! What a delivery's thread does for the journal: hands over the windows that are due, and begins it anew where it is full or
//! has failed.
//!
//! INVARIANT: with a journal, a window leaves once its intent is durable, or once the journal has failed for
//! [`PATIENCE`]; and the journal forgets only what the positions on disk know.

use std::time::{Duration, Instant};

use super::engine::Sink;
use super::log::Log;
use super::scribe::Last;
use super::worker::{ROUND, Rounds, Worker};
use crate::disk::Fs;
use crate::kafka::LinkError;
use crate::state::journal::JournalError;

/// What is due waits this long for a journal that can't be written.
const PATIENCE: Duration = Duration::from_secs(3);

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    /// Has the windows that are due sent, as soon as they are in the journal. While others are being written, they wait.
    pub(super) fn depart(&mut self, rounds: &mut Rounds) {
        let last = self.scribe.last();
        if !self.is_settled(last, rounds) || !self.engine.has_departures() {
            return;
        }
        if Instant::now() < rounds.journal_after {
            return;
        }
        if !self.scribe.is_free() {
            return self.depart_at_once(rounds);
        }
        let group = self.engine.take_departing();
        if let Some(group) = self.scribe.hand_over(group, self.engine.sink(), &self.inbox) {
            self.engine.put_back(group);
            self.depart_at_once(rounds);
        }
    }

    /// Whether the journal is here again, and what was handed over with it has left or waits with the rest.
    fn is_settled(&mut self, last: Last, rounds: &mut Rounds) -> bool {
        match last {
            Last::Away => return false,
            Last::Nothing => {}
            Last::Left => {
                self.engine.note_left();
                rounds.journal_failing = None;
            }
            Last::Failed(group, error) => {
                self.engine.put_back(group);
                if !matches!(error, JournalError::Full) {
                    self.want_room(&error);
                    self.journal_fails(&error.to_string(), rounds);
                }
            }
        }
        true
    }

    /// The same as [`Worker::depart`], and the journal is here when it returns.
    pub(super) fn depart_and_wait(&mut self, rounds: &mut Rounds) {
        self.call_journal_back(rounds);
        if self.engine.has_departures() && Instant::now() >= rounds.journal_after {
            self.depart_at_once(rounds);
        }
    }

    /// Waits for the journal.
    pub(super) fn call_journal_back(&mut self, rounds: &mut Rounds) {
        let last = self.scribe.wait();
        self.is_settled(last, rounds);
    }

    fn depart_at_once(&mut self, rounds: &mut Rounds) {
        match self.write_down(rounds) {
            Ok(()) => {
                rounds.journal_failing = None;
                self.engine.depart();
            }
            Err(message) => self.journal_fails(&message, rounds),
        }
    }

    fn journal_fails(&mut self, message: &str, rounds: &mut Rounds) {
        let now = Instant::now();
        rounds.journal_after = now + ROUND;
        let message = format!("the journal can't be kept: {message}");
        let hint = "see the spool's disk; events are delivered all the same, and what is in flight may be doubled if the \
                    agent dies before this works again"
            .to_owned();
        self.error(LinkError { code: None, message, hint }, rounds);
        // A disk that takes nothing may soon give nothing either: bringing its events away comes before not doubling them.
        if now.duration_since(*rounds.journal_failing.get_or_insert(now)) >= PATIENCE {
            self.engine.depart();
        }
    }

    /// Writes down what waits, and all that is in doubt where the journal has to begin anew.
    pub(super) fn write_down(&mut self, rounds: &mut Rounds) -> Result<(), String> {
        self.call_journal_back(rounds);
        let Some(journal) = self.scribe.journal() else { return Ok(()) };
        match journal.append(self.engine.departing()) {
            Ok(()) => return Ok(()),
            Err(JournalError::Full) => {}
            Err(e) => {
                self.want_room(&e);
                return Err(e.to_string());
            }
        }
        self.begin_anew(rounds)
    }

    /// Writes down what became of windows. Returns whether the journal knows all of it.
    pub(super) fn settle_journal(&mut self, rounds: &mut Rounds) -> bool {
        self.depart_and_wait(rounds);
        if !self.engine.has_news() {
            return true;
        }
        if self.engine.has_departures() {
            return false;
        }
        match self.write_down(rounds) {
            Ok(()) => {
                rounds.journal_failing = None;
                self.engine.note_written();
            }
            Err(message) => self.journal_fails(&message, rounds),
        }
        !self.engine.has_news()
    }

    /// The same for what has to be known before anything is read. A journal that has failed for long is not waited for,
    /// unless positions can't be kept either: then nothing would be gained.
    pub(super) fn settle_journal_or_go_on(&mut self, rounds: &mut Rounds) -> bool {
        let is_settled = self.settle_journal(rounds);
        let is_late = rounds.journal_failing.is_some_and(|since| since.elapsed() >= PATIENCE);
        if !is_settled && is_late {
            // Whether they can be kept now is what is asked.
            rounds.dirty = true;
            self.save(rounds);
            if !rounds.dirty && self.sync(rounds) {
                self.engine.note_written();
            }
        }
        is_settled || !self.engine.has_news()
    }

    /// Makes durable where all stand, and has the journal say nothing but what is in doubt by that.
    fn begin_anew(&mut self, rounds: &mut Rounds) -> Result<(), String> {
        rounds.dirty = true;
        self.save(rounds);
        if rounds.dirty || !self.sync(rounds) {
            return Err("positions can't be kept".to_owned());
        }
        let Some(journal) = self.scribe.journal() else { return Ok(()) };
        let begun = journal.begin(self.engine.in_doubt());
        begun.map_err(|e| {
            self.want_room(&e);
            e.to_string()
        })
    }

    /// Makes one reader of several, where keys choose anew. DURABILITY: what comes of it knows less of what has arrived, so the journal
    /// must not ask it.
    pub(super) fn rejoin(&mut self, rounds: &mut Rounds) {
        let now = Instant::now();
        if now < rounds.journal_after || !self.engine.wants_one_reader(now) {
            return;
        }
        self.depart_and_wait(rounds);
        if self.engine.has_departures() {
            return;
        }
        match self.begin_anew(rounds) {
            Ok(()) => {
                rounds.journal_failing = None;
                self.engine.note_written();
                if self.engine.make_one_reader(now) {
                    (self.parking, rounds.dirty) = (None, true);
                }
            }
            Err(message) => self.journal_fails(&message, rounds),
        }
    }
}
