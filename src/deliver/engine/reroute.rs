//! Routes that have changed since positions were saved.
//!
//! A topic that was set apart has a reader of its own, which knows its streams. Where routes have changed since, all readers
//! become one again: the main reader goes back to the hindmost of them, and [`Passed`] says what is settled
//! beyond, so that it reads again what is not, and that goes the new way. Whatever is in doubt is settled where it was sent.

use std::sync::Arc;

use super::super::log::{Log, Why};
use super::{Engine, Sink};
use crate::ids::{Seq, SeqRange};
use crate::state::positions::{Partial, Passed, PassedApart, PassedStream, Positions, Side};

/// Whether routes have changed while a topic was set apart.
#[must_use]
pub fn is_rerouted(positions: &Positions, routes: u64) -> bool {
    !positions.sides.is_empty() && positions.routes != 0 && positions.routes != routes
}

/// Makes one reader of all, after a change of routes. DURABILITY: the journal must say nothing but what is in doubt by the positions as they were:
/// those that come of this know less of windows that have arrived.
pub fn make_one(positions: &mut Positions) {
    let mut sides = std::mem::take(&mut positions.sides);
    let inexact = sides.iter().any(|side| !side.apart.is_empty());
    for partial in sides.iter_mut().flat_map(|s| &mut s.apart).flat_map(|a| std::mem::take(&mut a.partial)) {
        take_over(&mut positions.partial, partial);
    }
    positions.partial.sort_by_key(|block| block.first);
    // What a side reader that is ahead has counted already, an older record has still to find.
    let position = positions.position;
    let newer = positions.passed.iter_mut().rev().find(|p| position < p.below && !p.older);
    let newer = newer.map(|p| (p.below, &mut p.waiting));
    let taken = positions.taken.iter_mut().find(|t| position < t.below).map(|t| (t.below, &mut t.waiting));
    let (older, waiting) = newer.or(taken).unzip();
    let is_older = |s: &&Side| older.is_some_and(|below| s.position <= below);
    let ahead = |s: &Side| s.waiting_in_all().min(0);
    if let Some(waiting) = waiting {
        *waiting = waiting.saturating_add(sides.iter().filter(is_older).map(ahead).sum());
    }
    let ahead: i64 = sides.iter().filter(|s| !is_older(s)).map(ahead).sum();
    if inexact {
        // How far which reader is ahead is not known.
        for older in positions.passed.iter_mut().filter(|p| position < p.end()) {
            (older.waiting, older.inexact) = (0, older.inexact.or(Some(0)));
        }
    }
    let passed = Passed {
        below: positions.position,
        streams: sides.iter().flat_map(streams).collect(),
        waiting: sides.iter().map(|s| s.waiting_in_all().max(0)).sum(),
        dropped: sides.iter().any(|s| s.dropped || s.apart.iter().any(|a| a.dropped)),
        older: false,
        ahead: ahead.unsigned_abs(),
        change: positions.known + 1,
        inexact: inexact.then_some(0),
    };
    let hindmost = sides.iter().filter(|s| s.end.is_none()).map(Side::needed_from);
    positions.position = hindmost.fold(positions.position, Seq::min);
    positions.passed.push(passed);
}

/// Makes one reader of those of a topic and of its partitions; `known` is what the topic's reader knows of single blocks. All others stay
/// where they are, and the main reader counts nothing of it: it must be past the end of what is returned.
pub(super) fn make_one_of(side: &mut Side, known: &mut Vec<Partial>, change: u64) -> Passed {
    let streams = streams(side).collect();
    (side.position, side.waiting) = (side.needed_from(), side.waiting_in_all());
    for apart in std::mem::take(&mut side.apart) {
        side.dropped |= apart.dropped;
        side.since =
            [side.since, apart.since].into_iter().filter(|since| *since > 0).min().unwrap_or_default();
        apart.partial.into_iter().for_each(|partial| take_over(known, partial));
    }
    Passed {
        below: Seq::NONE,
        streams,
        waiting: 0,
        dropped: false,
        older: false,
        ahead: 0,
        change,
        inexact: None,
    }
}

/// What the readers of a topic have settled of its streams.
fn streams(side: &Side) -> impl Iterator<Item = PassedStream> {
    let below = side.position.max(side.end.unwrap_or_default());
    let apart: Arc<[PassedApart]> = side.apart.iter().map(passed_apart).collect();
    side.streams.iter().map(move |(stream, from)| PassedStream {
        stream: stream.clone(),
        from: *from,
        below,
        apart: Arc::clone(&apart),
    })
}

fn passed_apart(apart: &crate::state::positions::Apart) -> PassedApart {
    let end = apart.end.unwrap_or(Seq(u64::MAX));
    PassedApart { keys: apart.keys.clone(), from: apart.from, end, below: apart.position }
}

/// What is known of a block by two readers, each of which knows of its own events.
fn take_over(known: &mut Vec<Partial>, more: Partial) {
    match known.iter_mut().find(|block| block.first == more.first) {
        Some(block) => {
            block.settled.add(&more.settled);
            block.given_up.add(&more.given_up);
        }
        None => known.push(more),
    }
}

impl<L: Log, S: Sink> Engine<L, S> {
    /// Whether nothing may be read yet: what was sent by other routes is in doubt, or it is not durable that these hold now. A
    /// later process would take what is sent now for something sent by the routes before.
    pub(super) fn waits_for_old_routes(&mut self) -> bool {
        if let Some(before) = self.routes_before {
            if before == self.settings.routes {
                self.routes_before = None;
            } else if !self.resumed.is_empty() {
                return true;
            } else {
                self.routes_unsaved = true;
            }
        }
        self.routes_unsaved
    }

    /// Whether positions go by the routes as they were. Also where what was sent by them is in doubt no more since it will not arrive, as
    /// long as the journal does not say so: a later process would have it in doubt again, and go on by these routes meanwhile.
    pub(super) fn goes_by_old_routes(&self) -> bool {
        let is_written = self.withdrawals.is_empty() && self.leaving.is_empty();
        self.routes_before.is_some_and(|before| before != self.settings.routes)
            && !(self.resumed.is_empty() && is_written)
    }

    /// Whether positions have to be made durable before anything is read; and before them what the journal does not know yet
    /// ([`Engine::has_news`]).
    #[must_use]
    pub fn wants_durable_positions(&self) -> bool {
        self.routes_unsaved
    }

    /// They are.
    pub fn note_durable_positions(&mut self) {
        self.routes_unsaved = false;
        if !self.goes_by_old_routes() {
            self.routes_before = None;
        }
    }

    /// Where the main reader is past it, what was not found again is lost. Side readers go by it until they are past it too.
    pub(super) fn forget_passed_routes(&mut self) {
        if self.claims.is_plain() {
            return;
        }
        let (main, all) = (self.main.tracker.position(), self.settled_below());
        let Self { claims, totals, .. } = self;
        let moved = claims.have_moved();
        for one in claims.passed.iter_mut().filter(|p| p.end() <= main && p.inexact.is_none()) {
            let (waiting, dropped) = (std::mem::take(&mut one.waiting), std::mem::take(&mut one.dropped));
            // What a reader that was ahead had counted, and nobody has met since, was found gone, and counted as that, too.
            let twice = i64::try_from(std::mem::take(&mut one.ahead)).unwrap_or(i64::MAX);
            totals.even_out(-twice, false);
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
        // Of what is sent again the letters were counted, and are not now.
        let one_reader = self.sides.is_empty() && self.redo.is_empty();
        let is_done = one_reader
            && claims.passed.iter().all(|p| p.end() <= all)
            && claims.taken.iter().all(|t| t.highest() <= all);
        let inexact = || claims.passed.iter().filter_map(|p| Some((p.inexact?, p.dropped)));
        if is_done && inexact().next().is_some() {
            let gone = inexact().map(|(gone, _)| gone).fold(0, u64::saturating_add);
            totals.balance(main.0.saturating_sub(self.since.0), gone, inexact().any(|(_, dropped)| dropped));
        }
        // Of one that only the account waits for, no more need be known.
        claims.passed.iter_mut().filter(|p| p.end() <= all).for_each(|p| p.streams.clear());
        claims.passed.retain(|p| p.end() > all || (p.inexact.is_some() && !is_done));
        claims.taken.retain(|t| t.highest() > all);
        claims.kept.retain(|first| *first >= all);
        if claims.taken.is_empty() {
            claims.passed.iter_mut().for_each(|p| p.older = false);
        }
    }

    /// How many of numbers that are gone had not been counted, as far as that is known.
    pub(super) fn uncounted(&mut self, range: SeqRange, count: u64, why: Why) -> u64 {
        let Some(passed) = self.claims.passed.iter_mut().rev().find(|p| range.first < p.below) else {
            return count;
        };
        let behind = range.end.0.saturating_sub(passed.below.max(range.first).0).min(count);
        // What waited and was parked comes from there.
        let waiting = if why == Why::Parked { 0 } else { passed.waiting };
        let within = u64::try_from(waiting).unwrap_or_default().min(count - behind);
        if let Some(gone) = passed.inexact.as_mut().filter(|_| matches!(why, Why::Lost | Why::Dropped)) {
            *gone = gone.saturating_add(count - behind - within);
            passed.dropped |= why == Why::Dropped;
        }
        within + behind
    }
}
