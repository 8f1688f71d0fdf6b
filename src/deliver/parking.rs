//! What a delivery's thread does for events that a topic will not have for now and that would fill the lane: it parks
//! them.
//!
//! DURABILITY: the log hears that parked events are needed no more only after they are durable in the park, and after the
//! positions that say that a reader of their own waits for them; a file of the park goes only after the positions on disk are
//! past what it covers.

use std::time::Instant;

use super::engine::{Parking, Sink};
use super::log::Log;
use super::worker::{ROUND, Rounds, Worker, now};
use crate::disk::Fs;
use crate::ids::{SegmentId, Seq, SeqRange, TopicName};
use crate::kafka::LinkError;
use crate::state::park::{Park, ParkError};
use crate::state::positions::Positions;

/// With less room than this nothing is collected: it would be read only to be refused.
const LEAST: u64 = 128 << 10;
/// After events could not be parked it is tried again after this many rounds.
const RETRY: u32 = 20;

/// The lowest event that is needed of the log itself.
pub(super) fn needed<F: Fs>(park: &Park<F>, positions: &Positions) -> Seq {
    let sides = positions.sides.iter().map(|side| park.covered(&side.topic, side.needed_from()));
    sides.fold(positions.position, Seq::min)
}

/// Below this nobody needs what is parked for `topic` any more.
pub(super) fn unneeded(positions: &Positions, topic: &TopicName) -> Seq {
    // After routes have changed, another reader may need what was parked for the topic.
    let own = positions.sides.iter().find(|side| side.topic == *topic);
    let own = own.filter(|_| positions.passed.is_empty() && positions.taken.is_empty());
    own.map_or(positions.needed_from(), |side| side.needed_from().min(positions.position))
}

fn cannot(topic: &TopicName, why: &str) -> String {
    format!("events that wait for topic {topic} can't be parked: {why}")
}

impl<L: Log, S: Sink, F: Fs> Worker<L, S, F> {
    /// Parks what pins the lane, a bounded piece of it. Returns whether there is more.
    pub(super) fn park(&mut self, rounds: &mut Rounds) -> bool {
        let Some(parking) = self.parking.take().or_else(|| self.begin_parking(rounds)) else { return false };
        match self.go_on_parking(parking) {
            Ok(unfinished) => {
                self.parking = unfinished;
                true
            }
            Err(message) => {
                self.not_parked(message, rounds);
                false
            }
        }
    }

    fn go_on_parking(&mut self, mut parking: Parking<L>) -> Result<Option<Parking<L>>, String> {
        let topic = parking.topic().clone();
        if !self.engine.collect(&mut parking).map_err(|e| cannot(&topic, &e))? {
            return Ok(Some(parking));
        }
        let covers = parking.covers();
        if !covers.is_empty() {
            self.park
                .keep(&topic, covers, parking.blocks())
                .map_err(|e: ParkError| cannot(&topic, &e.to_string()))?;
            tracing::debug!(%topic, %covers, blocks = parking.blocks().len(), "parked");
        }
        Ok(None)
    }

    /// The topic whose events pin the lane, if the lane is in need of room.
    fn begin_parking(&mut self, rounds: &mut Rounds) -> Option<Parking<L>> {
        let now = now();
        if now.instant < rounds.park_after {
            return None;
        }
        rounds.park_after = now.instant + ROUND;
        // Without any room parking is turned off.
        if self.park.limit() == 0 || !self.retention.is_pressed() {
            return None;
        }
        let saved = rounds.saved.as_ref()?;
        let stuck: Vec<TopicName> = self.engine.stuck(now).cloned().collect();
        let needed = needed(&self.park, saved);
        let waiting = saved.sides.iter().filter(|side| side.end.is_none() && stuck.contains(&side.topic));
        let mut pinning = waiting.filter(|side| self.park.covered(&side.topic, side.needed_from()) == needed);
        let side = pinning.next()?;
        let frees = self.retention.segment_of(needed) != self.retention.segment_of(saved.position);
        if !frees || needed >= saved.position {
            return None;
        }
        match self.park.room(LEAST) {
            // What is collected may be more by a block.
            Ok(room) => {
                let begun =
                    self.engine.begin_parking(saved, side, (needed, saved.position), (room / 2, now))?;
                // Another piece follows at once.
                rounds.park_after = now.instant;
                Some(begun)
            }
            Err(e) => {
                let message = cannot(&side.topic, &e.to_string());
                self.not_parked(message, rounds);
                None
            }
        }
    }

    fn not_parked(&self, message: String, rounds: &mut Rounds) {
        rounds.park_after = Instant::now() + ROUND * RETRY;
        let hint = "make the topic take its events, give their stream another route, or raise spool.park_size; until then \
                    they keep their segments on disk"
            .to_owned();
        self.error(LinkError { code: None, message, hint }, rounds);
    }

    /// Gives up files of the park that nobody needs by the positions on disk.
    pub(super) fn clear_park(&mut self, rounds: &Rounds) {
        let Some(saved) = rounds.saved.as_ref().filter(|_| self.park.bytes() > 0) else { return };
        if let Err(e) = self.park.forget(|topic| unneeded(saved, topic)) {
            let hint = "see the data directory's disk; it is tried again".to_owned();
            self.error(
                LinkError { code: None, message: format!("parked events that arrived stay: {e}"), hint },
                rounds,
            );
        }
    }

    /// The segment before which everything is settled by the saved positions; a parked block keeps the number of its own. `None`
    /// while what is parked can't be read, too.
    pub(super) fn settled_segment(&self, saved: &Positions) -> Option<SegmentId> {
        let (settled, needed) = (saved.needed_from(), needed(&self.park, saved));
        let parked =
            if settled < needed { self.park.segment_in(SeqRange::new(settled, needed)).ok()? } else { None };
        // With everything settled, what is needed next is in no segment yet.
        let of = |seq| self.retention.segment_of(seq);
        parked.or_else(|| of(needed)).or_else(|| of(needed.prev()))
    }
}
