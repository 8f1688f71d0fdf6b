//! What a destination has not settled becomes another's when routes have changed: at a start, before anything is delivered, and
//! in memory; the caller makes it durable.
//!
//! A stream that goes to another destination now is *taken over*: the new one reads again from where the old one stood, and a
//! record in its positions ([`Taken`]) says what the old one had settled. What is in doubt stays with the old one, which settles
//! it where it was sent ([`Positions::kept`]); for the new one it counts as settled.
//!
//! Once at a time: a destination that has not yet read all of what it took over, or not yet settled all of what it kept,
//! takes and gives nothing more; the streams that move meanwhile leave their backlog where it is.
//!
//! DURABILITY, in this order: the routes with the change; the positions of those who take something over; of those who give; the
//! routes, by which the change is done; and only then does anybody deliver. Each step finds, after a kill, what it was made from
//! unchanged, and whoever's positions name the change is not asked again.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::make_one;
use super::log::{Log, LogReader, Read};
use crate::ids::{DestinationName, LaneName, Seq, SeqRange, StreamName};
use crate::state::journal::{Intent, Share};
use crate::state::positions::{Bits, Footing, Partial, Passed, Positions, Taken, leave_room};
use crate::state::routes::{Pair, RouteHistory};

/// A destination of a lane, as a start finds it.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its name.
    pub name: DestinationName,
    /// Where it goes on.
    pub positions: Positions,
    /// What it has to settle first.
    pub in_doubt: Vec<Intent>,
    /// Some of its events stand outside the lane, where nobody else reads them.
    pub parks: bool,
    /// What the hand-over made of it, which is to be durable before anybody delivers: first of those who take.
    pub becomes: Option<Role>,
}

/// What a destination does in a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes something over.
    Takes,
    /// It gives something away.
    Gives,
}

/// Why a backlog stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// See [`Holder::parks`].
    #[error("{0} has parked some of its events, which nobody else can read")]
    Parked(DestinationName),
    /// Which of its events are settled is told by their keys.
    #[error("{0} has set partitions of a topic apart, or had when routes changed before")]
    Apart(DestinationName),
    /// See the module.
    #[error("{0} has not settled yet what an earlier change of routes moved")]
    Busy(DestinationName),
    /// Its record could not tell what it had before.
    #[error("{0} would both give a backlog away and take another over")]
    Both(DestinationName),
    /// Its positions file would not have room for what is settled out of order.
    #[error("too much is settled out of order at {0}")]
    NoRoom(DestinationName),
}

/// Hands over, in one lane, what the newest change of routes takes from one destination and gives to another. `first` is the
/// oldest event on disk.
///
/// # Errors
/// [`Hindrance`]; then nothing has changed.
pub fn hand_over<L: Log>(
    holders: &mut [Holder],
    (history, lane): (&RouteHistory, &LaneName),
    log: &L,
    first: Seq,
) -> Result<(), Hindrance> {
    let Some((change, pairs)) = history.open_change() else { return Ok(()) };
    may_hand_over(holders, change, &pairs)?;
    let before = holders.to_vec();
    let by = By { change, history, lane, log, first };
    for holder in holders.iter_mut().filter(|h| h.positions.change < change) {
        let sources: Vec<&Holder> = sources(&before, &pairs, &holder.name).collect();
        if pairs.iter().any(|p| p.to == holder.name) {
            // Also where there is nobody to take from: that it knows of the change has to be durable.
            by.take_over(&mut holder.positions, &sources);
            holder.becomes = Some(Role::Takes);
        } else if pairs.iter().any(|p| p.from == holder.name) {
            by.keep_doubtful(&mut holder.positions, &holder.name, &holder.in_doubt);
            holder.becomes = Some(Role::Gives);
        }
        holder.positions.change = change;
    }
    match holders.iter().find(|h| h.becomes.is_some() && !leave_room(&h.positions)) {
        None => Ok(()),
        Some(full) => {
            let error = Hindrance::NoRoom(full.name.clone());
            holders.clone_from_slice(&before);
            Err(error)
        }
    }
}

fn sources<'a>(
    holders: &'a [Holder],
    pairs: &'a BTreeSet<Pair>,
    to: &'a DestinationName,
) -> impl Iterator<Item = &'a Holder> {
    holders.iter().filter(move |h| pairs.iter().any(|p| p.to == *to && p.from == h.name))
}

fn may_hand_over(holders: &[Holder], change: u64, pairs: &BTreeSet<Pair>) -> Result<(), Hindrance> {
    // What has begun before a kill is ended.
    let is_begun = holders.iter().any(|h| h.positions.change == change);
    // One that does not read the lane has no stream there.
    let reads = |pair: &&Pair| holders.iter().any(|h| h.name == pair.to);
    for Pair { from, to } in pairs.iter().filter(reads).filter(|_| !is_begun) {
        if pairs.iter().any(|other| other.to == *from) {
            return Err(Hindrance::Both(from.clone()));
        }
        for holder in holders.iter().filter(|h| h.name == *from || h.name == *to) {
            let Holder { name, positions, parks, .. } = holder;
            if !positions.taken.is_empty() || !positions.kept.is_empty() {
                return Err(Hindrance::Busy(name.clone()));
            }
            if positions.knows_apart() {
                return Err(Hindrance::Apart(name.clone()));
            }
            if *parks && name == from {
                return Err(Hindrance::Parked(name.clone()));
            }
        }
    }
    Ok(())
}

struct By<'a, L: Log> {
    change: u64,
    history: &'a RouteHistory,
    lane: &'a LaneName,
    log: &'a L,
    first: Seq,
}

impl<L: Log> By<'_, L> {
    /// Goes back to where the sources stood, and remembers what each of them had settled.
    fn take_over(&self, positions: &mut Positions, sources: &[&Holder]) {
        if sources.is_empty() {
            return;
        }
        let counted = positions.position;
        if !positions.sides.is_empty() {
            make_one(positions);
        }
        let below = positions.position;
        for source in sources {
            let mut stood = source.positions.clone();
            let pending = stood.pending(self.history.until(self.change, self.lane));
            if !stood.sides.is_empty() {
                make_one(&mut stood);
            }
            stood.position = stood.position.max(self.first);
            self.take_partial(positions, source, &stood.partial);
            positions.footing = Footing::later(positions.footing, stood.footing);
            let until = self.history.until(self.change, self.lane);
            let taken = Taken {
                change: self.change,
                from: source.name.clone(),
                position: stood.position,
                passed: stood.passed,
                below: counted,
                until,
                waiting: 0,
            };
            go_back(positions, taken, pending);
        }
        if positions.position < below {
            // Of its own streams everything was settled.
            let (streams, waiting, dropped, ahead) = (Vec::new(), 0, false, 0);
            let (change, inexact) = (self.change, None);
            positions.passed.push(Passed {
                below,
                streams,
                waiting,
                dropped,
                older: true,
                ahead,
                change,
                inexact,
            });
        }
        positions.passed.iter_mut().for_each(|p| p.older = true);
    }

    /// Blocks that the source had settled in part, or has in doubt.
    fn take_partial(&self, positions: &mut Positions, source: &Holder, partial: &[Partial]) {
        let mut blocks: BTreeMap<Seq, Bits> = partial.iter().map(|p| (p.first, p.settled.clone())).collect();
        for Share { block, events, .. } in source.in_doubt.iter().flat_map(|intent| &intent.shares) {
            blocks.entry(*block).or_insert_with(|| Bits::new(events.len())).add(events);
        }
        blocks.retain(|block, _| self.moved(*block, &source.name));
        for (first, settled) in blocks {
            let known = positions.partial.iter_mut().find(|p| p.first == first);
            match known {
                Some(known) => known.settle_elsewhere(&settled),
                None => {
                    let mut known = Partial::new(first, settled.len());
                    known.settle_elsewhere(&settled);
                    positions.partial.push(known);
                }
            }
        }
        positions.partial.sort_by_key(|p| p.first);
    }

    /// What is in doubt stays: of those blocks, everything else is another's business.
    fn keep_doubtful(&self, positions: &mut Positions, name: &DestinationName, in_doubt: &[Intent]) {
        let mut kept: BTreeMap<Seq, Bits> = BTreeMap::new();
        for Share { block, events, .. } in in_doubt.iter().flat_map(|intent| &intent.shares) {
            if self.moved(*block, name) {
                kept.entry(*block).or_insert_with(|| Bits::new(events.len())).add(events);
            }
        }
        for (first, doubtful) in kept {
            let mut others = Bits::full(doubtful.len());
            doubtful.ones().for_each(|index| others.clear(index));
            match positions.partial.iter_mut().find(|p| p.first == first) {
                Some(known) => known.settle_elsewhere(&others),
                None => {
                    let mut known = Partial::new(first, doubtful.len());
                    known.settle_elsewhere(&others);
                    positions.partial.push(known);
                }
            }
            positions.kept.push(first);
        }
        positions.partial.sort_by_key(|p| p.first);
    }

    /// Whether a destination gave the block that begins at a number away.
    fn moved(&self, first: Seq, from: &DestinationName) -> bool {
        let stream = stream_at(self.log, first);
        stream.is_some_and(|stream| self.history.gave_away(self.lane, &stream, (self.change, from), first))
    }
}

/// The reader begins again where another stood, if it is beyond. `pending`: about so many events of that one were not settled.
fn go_back(positions: &mut Positions, mut taken: Taken, pending: u64) {
    let position = taken.position.min(positions.position);
    if position < positions.since {
        // Its account reaches back to what it takes over; it was nobody's here.
        positions.totals.filtered += positions.since.0.saturating_sub(position.0);
        positions.since = position;
    }
    // What is taken over is pending, until it is known how much it is. It had counted as filtered.
    let behind = taken.below.0.saturating_sub(position.0);
    let uncounted = pending.min(behind).min(positions.totals.filtered);
    positions.totals.filtered -= uncounted;
    taken.waiting = i64::try_from(uncounted).unwrap_or(i64::MAX);
    positions.position = position;
    positions.taken.push(taken);
}

/// The stream of the block that begins at a number.
fn stream_at<L: Log>(log: &L, first: Seq) -> Option<StreamName> {
    let mut none = |_: &StreamName, _: SeqRange| false;
    match log.reader(first).next(&mut none) {
        Ok(Some(Read::Skipped { range, stream, .. })) if range.first == first => Some(stream),
        _ => None,
    }
}
