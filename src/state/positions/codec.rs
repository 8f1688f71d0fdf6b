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

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Bits;
use super::Taken;
use super::record::{
    Counter, Footing, Partial, Passed, PassedStream, Positions, Replaying, Side, Tally, TopicCounters, Totals,
};
use crate::ids::{DestinationName, RunId, SegmentId, Seq, SpoolId, StreamName, TopicName};

/// Version 1 knew of no dead letters, version 2 of nothing that was taken over, version 3 of no partitions that are set apart. A
/// record that says nothing of these is written as one of an older version, which older programs read.
const VERSION: u16 = 4;
/// In a partial block's length: what became of its given-up events follows.
const HAS_GIVEN_UP: u64 = 1 << 63;
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
    put_fitting(&mut out, &positions.tallies, room / 2, put_tally);
    put_fitting(&mut out, &positions.counters, room, put_counters);
    // The smaller part, and bounded more narrowly, comes first.
    if knows_apart {
        put_fitting(&mut out, super::aparts::partials(positions), room, super::aparts::put_partial_of);
    }
    let mut newest = Vec::new();
    put_fitting(
        &mut newest,
        positions.counters.iter().filter(|c| !c.newest.is_empty()),
        room / 8,
        put_newest,
    );
    let mut tail = newest;
    if let Some(Footing { seq, run }) = positions.footing {
        put(&mut tail, [seq.0, run.0]);
    }
    put_fitting(&mut out, &positions.partial, room.saturating_sub(tail.len()), put_partial);
    if positions.footing.is_some() || positions.counters.iter().any(|c| !c.newest.is_empty()) {
        out.extend(tail);
    }
    out
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
    let room = room.saturating_sub(8);
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

/// Decodes what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Positions, DecodeError> {
    let mut input = Input { rest: bytes, version: 0 };
    input.version = u16::from_le_bytes(input.array()?);
    if input.version == 0 || input.version > VERSION {
        return Err(DecodeError::Version(input.version));
    }
    let (knows_letters, moves, knows_apart) = (input.version > 1, input.version > 2, input.version > 3);
    let mut positions = Positions {
        spool: SpoolId(input.u64()?),
        since: Seq(input.u64()?),
        position: Seq(input.u64()?),
        totals: input.totals()?,
        sides: input.list(Input::side)?,
        letters: if knows_letters { input.u64()? } else { 0 },
        replaying: if knows_letters { input.list(Input::replaying)? } else { Vec::new() },
        routes: if knows_letters { input.u64()? } else { 0 },
        passed: if knows_letters { input.list(Input::passed)? } else { Vec::new() },
        known: if moves { input.u64()? } else { 0 },
        change: if moves { input.u64()? } else { 0 },
        taken: if moves { input.list(Input::taken)? } else { Vec::new() },
        kept: if moves { input.list(|input| Ok(Seq(input.u64()?)))? } else { Vec::new() },
        footing: None,
        tallies: BTreeMap::new(),
        counters: Vec::new(),
        partial: Vec::new(),
    };
    if knows_apart {
        input.aparts(&mut positions)?;
    }
    positions.tallies = input.list(Input::tally)?.into_iter().collect();
    positions.counters = input.list(Input::counters)?;
    if knows_apart {
        input.partials_of_aparts(&mut positions)?;
    }
    positions.partial = input.list(Input::partial)?;
    if !input.rest.is_empty() {
        for (topic, newest) in input.list(Input::newest)? {
            let counters = positions.counters.iter_mut().filter(|c| c.topic == topic);
            counters.for_each(|counters| counters.newest.clone_from(&newest));
        }
    }
    if !input.rest.is_empty() {
        positions.footing = Some(Footing { seq: Seq(input.u64()?), run: RunId(input.u64()?) });
    }
    Ok(positions)
}

pub(super) struct Input<'a> {
    rest: &'a [u8],
    version: u16,
}

impl Input<'_> {
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Malformed)
    }

    /// Whether this number comes next; if so, it is taken.
    pub(super) fn starts_with(&mut self, number: u64) -> bool {
        let rest = self.rest.strip_prefix(&number.to_le_bytes()[..]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u64()?).map_err(|_| DecodeError::Malformed)
    }

    /// Grows as items are read, so that a hostile count allocates nothing.
    pub(super) fn list<T>(
        &mut self,
        one: fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(one(self)?);
        }
        Ok(items)
    }

    fn text(&mut self) -> Result<&str, DecodeError> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Malformed)
    }

    fn topic(&mut self) -> Result<TopicName, DecodeError> {
        TopicName::new(self.text()?).map_err(|_| DecodeError::Malformed)
    }

    fn totals(&mut self) -> Result<Totals, DecodeError> {
        Ok(Totals {
            delivered: self.u64()?,
            dead_lettered: self.u64()?,
            filtered: self.u64()?,
            dropped: self.u64()?,
            lost: self.u64()?,
        })
    }

    fn side(&mut self) -> Result<Side, DecodeError> {
        let topic = self.topic()?;
        let (from, position, end) = (Seq(self.u64()?), Seq(self.u64()?), self.u64()?);
        let end = if end == 0 { None } else { Some(Seq(end)) };
        let (waiting, since) = (self.u64()?.cast_signed(), self.u64()?.cast_signed());
        let dropped = self.u64()? != 0;
        let (missing_for, streams) =
            if self.version > 1 { (self.u64()?, self.streams_of(&topic)?) } else { (0, Vec::new()) };
        Ok(Side {
            topic,
            from,
            position,
            end,
            waiting,
            since,
            dropped,
            missing_for,
            streams,
            apart: Vec::new(),
        })
    }

    fn streams_of(&mut self, topic: &TopicName) -> Result<Vec<(StreamName, Seq)>, DecodeError> {
        let mut streams = Vec::new();
        for _ in 0..self.count()? {
            let name = self.text()?;
            let name = if name.is_empty() { topic.as_str() } else { name };
            let stream = StreamName::new(name).map_err(|_| DecodeError::Malformed)?;
            streams.push((stream, Seq(self.u64()?)));
        }
        Ok(streams)
    }

    fn stream(&mut self) -> Result<StreamName, DecodeError> {
        StreamName::new(self.text()?).map_err(|_| DecodeError::Malformed)
    }

    fn passed(&mut self) -> Result<Passed, DecodeError> {
        let (below, waiting, flags) = (Seq(self.u64()?), self.u64()?.cast_signed(), self.u64()?);
        let (dropped, older) = (flags & 1 != 0, flags & OLDER != 0);
        let ahead = flags >> FLAGS;
        let change = if self.version > 2 { self.u64()? } else { 0 };
        let streams = self.list(Input::passed_stream)?;
        Ok(Passed { below, waiting, dropped, older, ahead, change, streams, inexact: None })
    }

    fn taken(&mut self) -> Result<Taken, DecodeError> {
        let from = DestinationName::new(self.text()?).map_err(|_| DecodeError::Malformed)?;
        let (change, position, below) = (self.u64()?, Seq(self.u64()?), Seq(self.u64()?));
        let (until, waiting) = (Seq(self.u64()?), self.u64()?.cast_signed());
        Ok(Taken { change, from, position, passed: self.list(Input::passed)?, below, until, waiting })
    }

    fn passed_stream(&mut self) -> Result<PassedStream, DecodeError> {
        let (stream, from, below) = (self.stream()?, Seq(self.u64()?), Seq(self.u64()?));
        Ok(PassedStream { stream, from, below, apart: Arc::default() })
    }

    fn replaying(&mut self) -> Result<Replaying, DecodeError> {
        Ok(Replaying { id: self.u64()?, seq: Seq(self.u64()?), run: RunId(self.u64()?) })
    }

    fn tally(&mut self) -> Result<(SegmentId, Tally), DecodeError> {
        let segment = SegmentId(self.u64()?);
        let (first, last, hash) = (Seq(self.u64()?), Seq(self.u64()?), self.u64()?);
        Ok((segment, Tally { first, last, hash, totals: self.totals()? }))
    }

    fn counters(&mut self) -> Result<TopicCounters, DecodeError> {
        let topic = self.topic()?;
        let id = self.array()?;
        let partitions: BTreeMap<_, _> = self.list(Input::counter)?.into_iter().collect();
        Ok(TopicCounters { topic, id, partitions, newest: BTreeMap::new() })
    }

    fn newest(&mut self) -> Result<(TopicName, BTreeMap<i32, Seq>), DecodeError> {
        let topic = self.topic()?;
        let partitions = self.list(|input| Ok((i32::from_le_bytes(input.array()?), Seq(input.u64()?))))?;
        Ok((topic, partitions.into_iter().collect()))
    }

    fn counter(&mut self) -> Result<(i32, Counter), DecodeError> {
        let partition = i32::from_le_bytes(self.array()?);
        let epoch = u16::from_le_bytes(self.array()?);
        Ok((partition, Counter { epoch, next: self.u64()? }))
    }

    pub(super) fn partial(&mut self) -> Result<Partial, DecodeError> {
        let first = Seq(self.u64()?);
        let len = self.u64()?;
        let gives_up = len & HAS_GIVEN_UP != 0;
        let len = u32::try_from(len & !HAS_GIVEN_UP).map_err(|_| DecodeError::Malformed)?;
        let words = self.take(len.div_ceil(64) as usize * 8)?;
        let words = words.chunks_exact(8).filter_map(|w| w.try_into().ok()).map(u64::from_le_bytes);
        let settled = Bits::from_words(len, words);
        let given_up = if gives_up { self.totals()? } else { Totals::default() };
        Ok(Partial { first, settled, given_up })
    }
}

/// Bytes that positions take whatever is left out.
pub(super) fn least(positions: &Positions) -> usize {
    encode(positions, 0).len()
}

/// A record with something of everything.
#[cfg(test)]
pub(super) fn sample() -> Positions {
    tests::full()
}

#[cfg(test)]
mod tests;
