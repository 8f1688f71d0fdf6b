//! Routes that have changed since positions were saved.
//!
//! A topic that was set apart has a reader of its own, which knows its streams. Where routes have changed since, all readers
//! become one again: the main reader goes back to the hindmost of them, and [`Passed`] says what is settled
//! beyond, so that it reads again what is not, and that goes the new way. Whatever is in doubt is settled where it was sent.

use super::super::log::{Log, Why};
use super::{Engine, Sink};
use crate::ids::{Seq, SeqRange, StreamName};
use crate::state::positions::{Passed, PassedStream, Positions};

/// Whether routes have changed while a topic was set apart.
#[must_use]
pub fn is_rerouted(positions: &Positions, routes: u64) -> bool {
    !positions.sides.is_empty() && positions.routes != 0 && positions.routes != routes
}

/// Makes one reader of all. DURABILITY: the journal must say nothing but what is in doubt by the positions as they were:
/// those that come of this know less of windows that have arrived.
pub fn make_one(positions: &mut Positions) {
    let sides = std::mem::take(&mut positions.sides);
    // What a side reader that is ahead has counted already, an older record has still to find.
    let position = positions.position;
    if let Some(older) = positions.passed.iter_mut().rev().find(|p| position < p.below) {
        let ahead = sides.iter().filter(|s| s.position <= older.below).map(|s| s.waiting.min(0));
        older.waiting = older.waiting.saturating_add(ahead.sum());
    }
    let streams = sides.iter().flat_map(|side| {
        let below = side.position.max(side.end.unwrap_or_default());
        side.streams.iter().map(move |(stream, from)| PassedStream {
            stream: stream.clone(),
            from: *from,
            below,
        })
    });
    let passed = Passed {
        below: positions.position,
        streams: streams.collect(),
        waiting: sides.iter().map(|s| s.waiting.max(0)).sum(),
        dropped: sides.iter().any(|s| s.dropped),
    };
    let hindmost = sides.iter().filter(|s| s.end.is_none()).map(|s| s.position);
    positions.position = hindmost.fold(positions.position, Seq::min);
    positions.passed.push(passed);
}

/// Whether a block was settled before routes changed.
pub(super) fn is_passed(passed: &[Passed], stream: &StreamName, first: Seq) -> bool {
    passed.iter().any(|p| p.is_settled(stream, first))
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Events that nobody had counted are counted now, or handed to a reader that will.
    pub(super) fn count_passed(&mut self, first: Seq, count: u64) {
        // What an older change had not counted was given away when the main reader was past it, before the newer one.
        if let Some(passed) = self.passed.iter_mut().rev().find(|p| first < p.below) {
            passed.waiting = passed.waiting.saturating_sub_unsigned(count);
        }
    }

    /// Whether nothing may be read yet: what was sent by other routes is in doubt, or it is not durable that these hold now. A
    /// later process would take what is sent now for something sent by the routes before.
    pub(super) fn waits_for_old_routes(&mut self) -> bool {
        if let Some(before) = self.routes_before {
            if before != self.settings.routes && !self.resumed.is_empty() {
                return true;
            }
            self.routes_before = None;
            self.routes_unsaved = before != self.settings.routes;
        }
        self.routes_unsaved
    }

    /// Whether positions have to be made durable before anything is read.
    #[must_use]
    pub fn wants_durable_positions(&self) -> bool {
        self.routes_unsaved
    }

    /// They are.
    pub fn note_durable_positions(&mut self) {
        self.routes_unsaved = false;
    }

    /// Where the main reader is past it, what was not found again is lost. Side readers go by it until they are past it too.
    pub(super) fn forget_passed_routes(&mut self) {
        let (main, all) = (self.main.tracker.position(), self.settled_below());
        let Self { passed, totals, .. } = self;
        for one in passed.iter_mut().filter(|p| p.end() <= main) {
            totals.even_out(std::mem::take(&mut one.waiting), std::mem::take(&mut one.dropped));
        }
        passed.retain(|p| p.end() > all);
    }

    /// How many of numbers that are gone had not been counted.
    pub(super) fn uncounted(&self, range: SeqRange, count: u64, why: Why) -> u64 {
        let Some(passed) = self.passed.iter().rev().find(|p| range.first < p.below) else { return count };
        let behind = range.end.0.saturating_sub(passed.below.max(range.first).0).min(count);
        // What waited and was parked comes from there.
        let waiting = if why == Why::Parked { 0 } else { passed.waiting };
        let within = u64::try_from(waiting).unwrap_or_default().min(count - behind);
        within + behind
    }
}
