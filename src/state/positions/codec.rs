//! Bytes of a [`Positions`]: little-endian, strings with a length before them. The slot around it has the
//! checksum (see [`crate::disk::Slots`]); decoding still bounds everything, since a checksum does not
//! protect from a file that was made by someone else.
//!
//! Partial blocks come last and are cut off where the room ends: to forget one costs sending its settled
//! events again after a kill, no more. Tallies of segments that wait for a stuck topic take half of the room at
//! most: to forget one costs its row in the delivery ledger after a kill.
//!
//! Behind everything else stands which event each partition took last, and behind that the footing. A program that does not know of
//! them reads the rest.

mod input;

pub(super) use input::{Input, decode};

use super::Taken;
use super::record::{Footing, Partial, Passed, PassedStream, Positions, Tally, TopicCounters, Totals};
use crate::ids::SegmentId;

/// Version 1 knew of no dead letters, version 2 of nothing that was taken over, version 3 of no partitions that are set apart. A
/// record that says nothing of these is written as one of an older version, which older programs read.
const VERSION: u16 = 4;
/// In a partial block's length: what became of its given-up events follows.
const HAS_GIVEN_UP: u64 = 1 << 63;
/// Bytes of the count before a list.
const COUNT: usize = 8;
/// Bytes of a footing.
const FOOTING: usize = 16;
/// In the flags of what is passed, beside 1 for dropped; above the flags stands how many are counted.
const OLDER: u64 = 2;
const FLAGS: u32 = 2;

/// Why a positions record can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("the record has version {0}, this program reads versions 1 to 4")]
    Version(u16),
    /// Ends early or holds impossible values.
    #[error("the record is cut short or holds impossible values")]
    Malformed,
}

/// Encodes `positions`, leaving out the partial blocks and then the counters that do not fit in `room` bytes.
pub(super) fn encode(positions: &Positions, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let knows_apart = positions.knows_apart();
    let moves = knows_apart || positions.change != 0 || positions.known != 0 || !positions.passed.is_empty();
    let version = match (knows_apart, moves) {
        (true, _) => VERSION,
        (false, true) => 3,
        (false, false) => 2,
    };
    out.extend(version.to_le_bytes());
    put(&mut out, [positions.spool.0, positions.since.0, positions.position.0]);
    put_totals(&mut out, &positions.totals);
    put(&mut out, [positions.sides.len() as u64]);
    for side in &positions.sides {
        put_text(&mut out, side.topic.as_str());
        put(&mut out, [side.from.0, side.position.0, side.end.map_or(0, |e| e.0)]);
        put(&mut out, [side.waiting.cast_unsigned(), side.since.cast_unsigned(), side.dropped.into()]);
        put(&mut out, [side.missing_for, side.streams.len() as u64]);
        for (stream, from) in &side.streams {
            // Most streams have a topic of their name.
            put_text(&mut out, if stream.as_str() == side.topic.as_str() { "" } else { stream.as_str() });
            put(&mut out, [from.0]);
        }
    }
    put(&mut out, [positions.letters, positions.replaying.len() as u64]);
    positions.replaying.iter().for_each(|r| put(&mut out, [r.id, r.seq.0, r.run.0]));
    put(&mut out, [positions.routes, positions.passed.len() as u64]);
    positions.passed.iter().for_each(|passed| put_passed(&mut out, passed));
    if moves {
        put(&mut out, [positions.known, positions.change, positions.taken.len() as u64]);
        positions.taken.iter().for_each(|taken| put_taken(&mut out, taken));
        put(&mut out, [positions.kept.len() as u64]);
        put(&mut out, positions.kept.iter().map(|first| first.0));
    }
    if knows_apart {
        super::aparts::put_all(&mut out, positions);
    }
    // Of what stands behind everything else, the footing is never left out: so its room is nobody else's.
    let tail = tail(positions, (room / 8).min(room.saturating_sub(out.len() + 4 * COUNT + FOOTING)));
    // What follows takes its room from what is left, and leaves that of the counts behind its own.
    let room = room.saturating_sub(tail.len());
    put_fitting(&mut out, &positions.tallies, room / 2, put_tally);
    put_fitting(&mut out, &positions.counters, room.saturating_sub(COUNT), put_counters);
    // The smaller part, and bounded more narrowly, comes first.
    if knows_apart {
        put_fitting(&mut out, super::aparts::partials(positions), room, super::aparts::put_partial_of);
    }
    put_fitting(&mut out, &positions.partial, room, put_partial);
    out.extend(tail);
    out
}

/// Which event each partition took last, as far as there is `room` for that, and the footing.
fn tail(positions: &Positions, room: usize) -> Vec<u8> {
    let newest = || positions.counters.iter().filter(|c| !c.newest.is_empty());
    let mut tail = Vec::new();
    if positions.footing.is_some() || newest().next().is_some() {
        put_fitting(&mut tail, newest(), room, put_newest);
    }
    if let Some(Footing { seq, run }) = positions.footing {
        put(&mut tail, [seq.0, run.0]);
    }
    tail
}

/// Appends a count and as many leading `items` as fit.
fn put_fitting<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    room: usize,
    put_one: fn(&mut Vec<u8>, T),
) {
    let count_at = out.len();
    put(out, [0]);
    let mut fitted = 0u64;
    // The count that follows of the next list must still fit.
    let room = room.saturating_sub(COUNT);
    for item in items {
        let before = out.len();
        put_one(out, item);
        if out.len() > room {
            out.truncate(before);
            break;
        }
        fitted += 1;
    }
    if let Some(count) = out.get_mut(count_at..count_at + 8) {
        count.copy_from_slice(&fitted.to_le_bytes());
    }
}

fn put_passed(out: &mut Vec<u8>, passed: &Passed) {
    let flags = u64::from(passed.dropped) | if passed.older { OLDER } else { 0 };
    let flags = flags | passed.ahead.min(u64::MAX >> FLAGS) << FLAGS;
    put(out, [passed.below.0, passed.waiting.cast_unsigned(), flags, passed.change]);
    put(out, [passed.streams.len() as u64]);
    for PassedStream { stream, from, below, .. } in &passed.streams {
        put_text(out, stream.as_str());
        put(out, [from.0, below.0]);
    }
}

fn put_taken(out: &mut Vec<u8>, taken: &Taken) {
    put_text(out, taken.from.as_str());
    put(out, [taken.change, taken.position.0, taken.below.0, taken.until.0, taken.waiting.cast_unsigned()]);
    put(out, [taken.passed.len() as u64]);
    taken.passed.iter().for_each(|passed| put_passed(out, passed));
}

fn put_tally(out: &mut Vec<u8>, (segment, tally): (&SegmentId, &Tally)) {
    put(out, [segment.0, tally.first.0, tally.last.0, tally.hash]);
    put_totals(out, &tally.totals);
}

fn put_counters(out: &mut Vec<u8>, topic: &TopicCounters) {
    put_text(out, topic.topic.as_str());
    out.extend(topic.id);
    put(out, [topic.partitions.len() as u64]);
    for (partition, counter) in &topic.partitions {
        out.extend(partition.to_le_bytes());
        out.extend(counter.epoch.to_le_bytes());
        put(out, [counter.next]);
    }
}

fn put_newest(out: &mut Vec<u8>, topic: &TopicCounters) {
    put_text(out, topic.topic.as_str());
    put(out, [topic.newest.len() as u64]);
    for (partition, seq) in &topic.newest {
        out.extend(partition.to_le_bytes());
        put(out, [seq.0]);
    }
}

pub(super) fn put_partial(out: &mut Vec<u8>, partial: &Partial) {
    let gives_up = partial.given_up != Totals::default();
    let flag = if gives_up { HAS_GIVEN_UP } else { 0 };
    put(out, [partial.first.0, u64::from(partial.settled.len()) | flag]);
    put(out, partial.settled.words().iter().copied());
    if gives_up {
        put_totals(out, &partial.given_up);
    }
}

pub(super) fn put(out: &mut Vec<u8>, values: impl IntoIterator<Item = u64>) {
    values.into_iter().for_each(|v| out.extend(v.to_le_bytes()));
}

fn put_totals(out: &mut Vec<u8>, t: &Totals) {
    put(out, [t.delivered, t.dead_lettered, t.filtered, t.dropped, t.lost]);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, [text.len() as u64]);
    out.extend(text.as_bytes());
}

/// Bytes that positions take whatever is left out.
pub(super) fn least(positions: &Positions) -> usize {
    encode(positions, 0).len()
}

/// Bytes that what is settled of single blocks takes.
pub(super) fn blocks(positions: &Positions) -> usize {
    let mut out = Vec::new();
    positions.partial.iter().for_each(|partial| put_partial(&mut out, partial));
    out.len()
}

/// Bytes that positions take before what is settled of single blocks, and what is only good to know.
pub(super) fn needs(positions: &Positions) -> usize {
    let of =
        |topic: &TopicCounters| 2 * COUNT + topic.topic.as_str().len() + 16 + 14 * topic.partitions.len();
    least(positions) + positions.counters.iter().map(of).sum::<usize>()
}

/// A record with something of everything.
#[cfg(test)]
pub(super) fn sample() -> Positions {
    tests::full()
}

#[cfg(test)]
mod tests;
