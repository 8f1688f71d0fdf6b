//! Routes that have changed since positions were saved.
//!
//! A topic that was set apart has a reader of its own, which knows its streams. Where routes have changed since, all readers
//! become one again: the main reader goes back to the hindmost of them, and [`Passed`] says what is settled
//! beyond, so that it reads again what is not, and that goes the new way. Whatever is in doubt is settled where it was sent.

use super::super::log::{Log, Why};
use super::{Engine, Sink};
use crate::ids::{Seq, SeqRange};
use crate::state::positions::{Passed, PassedStream, Positions, Side};

/// Whether routes have changed while a topic was set apart.
#[must_use]
pub fn is_rerouted(positions: &Positions, routes: u64) -> bool {
    !positions.sides.is_empty() && positions.routes != 0 && positions.routes != routes
}

/// Makes one reader of all, after a change of routes. DURABILITY: the journal must say nothing but what is in doubt by the positions as they were:
/// those that come of this know less of windows that have arrived.
pub fn make_one(positions: &mut Positions) {
    let sides = std::mem::take(&mut positions.sides);
    // What a side reader that is ahead has counted already, an older record has still to find.
    let position = positions.position;
    let newer = positions.passed.iter_mut().rev().find(|p| position < p.below && !p.older);
    let newer = newer.map(|p| (p.below, &mut p.waiting));
    let taken = positions.taken.iter_mut().find(|t| position < t.below).map(|t| (t.below, &mut t.waiting));
    let (older, waiting) = newer.or(taken).unzip();
    let is_older = |s: &&Side| older.is_some_and(|below| s.position <= below);
    let ahead = |s: &Side| s.waiting.min(0);
    if let Some(waiting) = waiting {
        *waiting = waiting.saturating_add(sides.iter().filter(is_older).map(ahead).sum());
    }
    let ahead: i64 = sides.iter().filter(|s| !is_older(s)).map(ahead).sum();
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
        older: false,
        ahead: ahead.unsigned_abs(),
        change: positions.known + 1,
    };
    let hindmost = sides.iter().filter(|s| s.end.is_none()).map(|s| s.position);
    positions.position = hindmost.fold(positions.position, Seq::min);
    positions.passed.push(passed);
}

impl<L: Log, S: Sink> Engine<L, S> {
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
        if self.claims.is_plain() {
            return;
        }
        let (main, all) = (self.main.tracker.position(), self.settled_below());
        let Self { claims, totals, .. } = self;
        let moved = claims.have_moved();
        for one in claims.passed.iter_mut().filter(|p| p.end() <= main) {
            let (waiting, dropped) = (std::mem::take(&mut one.waiting), std::mem::take(&mut one.dropped));
            // What is gone was counted when it was met. Where streams have moved, what is left over went with them.
            if moved && waiting > 0 && !dropped {
                totals.filter_left_over(waiting);
            } else {
                totals.even_out(waiting, dropped);
            }
        }
        for one in claims.taken.iter_mut().filter(|t| t.below <= main) {
            totals.filter_left_over(std::mem::take(&mut one.waiting));
        }
        claims.passed.retain(|p| p.end() > all);
        claims.taken.retain(|t| t.highest() > all);
        claims.kept.retain(|first| *first >= all);
        if claims.taken.is_empty() {
            claims.passed.iter_mut().for_each(|p| p.older = false);
        }
    }

    /// How many of numbers that are gone had not been counted.
    pub(super) fn uncounted(&self, range: SeqRange, count: u64, why: Why) -> u64 {
        let Some(passed) = self.claims.passed.iter().rev().find(|p| range.first < p.below) else {
            return count;
        };
        let behind = range.end.0.saturating_sub(passed.below.max(range.first).0).min(count);
        // What waited and was parked comes from there.
        let waiting = if why == Why::Parked { 0 } else { passed.waiting };
        let within = u64::try_from(waiting).unwrap_or_default().min(count - behind);
        within + behind
    }
}
