//! What a delivery's thread keeps on disk of where it stands, and what it lets go of by that.
//!
//! DURABILITY: the log hears that a segment is needed no more when positions that say so are synced.

use std::error::Error;
use std::time::{Duration, Instant};

use super::clock::thread_time;
use super::engine::Sink;
use super::log::Log;
use super::parking::needed;
use super::worker::{ROUND, Rounds, Worker, unix_now};
use crate::disk::{Fs, is_for_want_of_room};
use crate::ids::{RunId, SegmentId};
use crate::kafka::LinkError;
use crate::sabotage::{self, Bug};
use crate::state::ledger::{Key, Row};
use crate::state::positions::{Tally, Totals};

/// A save that takes no longer than this is done as often as there is something to save.
const CHEAP_SAVE: Duration = Duration::from_millis(1);
/// With a journal, positions are saved no more often.
const JOURNALED_SAVE: Duration = Duration::from_millis(50);
/// A costlier one may take at most one part in so many of the time; what was acknowledged meanwhile may be
/// doubled by a kill.
const SAVE_SHARE: u32 = 20;

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    pub(super) fn save_if_dirty(&mut self, rounds: &mut Rounds) {
        if rounds.dirty {
            self.save(rounds);
        }
    }

    pub(super) fn save_when_due(&mut self, rounds: &mut Rounds) {
        if rounds.dirty && Instant::now() >= rounds.save_after {
            self.save(rounds);
        }
    }

    pub(super) fn save(&mut self, rounds: &mut Rounds) {
        let began = thread_time();
        let positions = self.engine.positions(self.names.spool);
        match self.store.save(&positions) {
            Ok(()) => {
                rounds.dirty = false;
                rounds.unsynced = true;
                // An alarm does not wait until all that was accepted before is settled.
                let totals = self.engine.totals_with_gaps();
                self.board.post_saved(positions.needed_from(), totals);
                let dropped = totals.dropped;
                self.counts.dropped.inc_by(dropped.saturating_sub(rounds.dropped));
                rounds.dropped = dropped.max(rounds.dropped);
                rounds.saved = Some(positions);
            }
            Err(e) => {
                self.want_room(&e);
                self.state_error(&e.to_string(), rounds);
            }
        }
        let cost = thread_time().saturating_sub(began);
        let rest = match cost {
            _ if rounds.dirty => ROUND, // it failed
            // The journal knows what was acknowledged since.
            cost if self.scribe.writes() => JOURNALED_SAVE.max(cost * SAVE_SHARE),
            cost if cost <= CHEAP_SAVE => Duration::ZERO,
            cost => cost * SAVE_SHARE,
        };
        rounds.save_after = Instant::now() + rest;
    }

    pub(super) fn sync(&mut self, rounds: &mut Rounds) -> bool {
        if !rounds.unsynced {
            return true;
        }
        match self.store.sync() {
            Ok(()) => rounds.unsynced = false,
            Err(e) => {
                // What was saved may not be on disk, so it is saved again before the next try.
                rounds.dirty = true;
                self.want_room(&e);
                self.state_error(&e.to_string(), rounds);
            }
        }
        !rounds.unsynced
    }

    /// Positions, journal or letters could not be written: if that was for want of room, the next try finds some.
    pub(super) fn want_room(&self, error: &(dyn Error + 'static)) {
        if is_for_want_of_room(error) {
            self.retention.make_room();
        }
    }

    pub(super) fn state_error(&self, message: &str, rounds: &Rounds) {
        let message = format!("positions can't be kept: {message}");
        let hint = "until this works, segments stay on disk and a restart sends them again".to_owned();
        self.error(LinkError { code: None, message, hint }, rounds);
    }

    /// DURABILITY: positions are synced before the log hears that a segment is needed no more.
    pub(super) fn release(&mut self, rounds: &mut Rounds) {
        let Some(saved) = &rounds.saved else { return };
        let needed = needed(&self.park, saved);
        let segment = self.retention.segment_of(needed);
        if segment == rounds.released && segment.is_some() {
            return;
        }
        let finished = self.settled_segment(saved);
        let early = sabotage::commits(Bug::DeleteBeforePosition);
        if !early && (rounds.dirty || !self.sync(rounds)) {
            return;
        }
        rounds.released = segment;
        if let Some(needed) = self.needs.update(&self.names.destination, needed) {
            self.retention.release(needed);
        }
        if let Some(segment) = finished {
            self.note_finished(segment);
        }
    }

    fn note_finished(&mut self, before: SegmentId) {
        for (segment, run, tally) in self.engine.take_tallies(before) {
            if let Err(e) = self.ledger.record(self.row(segment, run, &tally)) {
                tracing::warn!(%segment, error = %e, "a finished segment is missing from the delivery ledger");
            }
        }
    }

    fn row(&self, segment: SegmentId, run: Option<RunId>, tally: &Tally) -> Row {
        let Totals { delivered, dead_lettered, filtered, dropped, lost } = tally.totals;
        let (lane, destination) = (self.names.lane.clone(), self.names.destination.clone());
        Row {
            key: Key { lane, destination, segment },
            run,
            first_seq: tally.first,
            last_seq: tally.last,
            accepted: tally.totals.sum(),
            delivered,
            filtered,
            dead_lettered,
            dropped,
            lost_to_damage: lost,
            hash: tally.hash,
            finished_at: unix_now(),
        }
    }
}
