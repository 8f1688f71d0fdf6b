//! Bytes of a [`Positions`]: little-endian, strings with a length before them. The slot around it has the
//! checksum (see [`crate::disk::Slots`]); decoding still bounds everything, since a checksum does not
//! protect from a file that was made by someone else.
//!
//! Partial blocks come last and are cut off where the room ends: to forget one costs sending its settled
//! events again after a kill, no more. Tallies of segments that wait for a stuck topic take half of the room at
//! most: to forget one costs its row in the delivery ledger after a kill.
//!
//! Behind everything else stands which event each partition took last. A program that does not know of it reads the rest.

use std::collections::BTreeMap;

use super::Bits;
use super::Taken;
use super::record::{
    Counter, Partial, Passed, PassedStream, Positions, Replaying, Side, Tally, TopicCounters, Totals,
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
    let version = if knows_apart { VERSION } else { VERSION - 2 + u16::from(moves) };
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
    put_fitting(&mut out, &positions.partial, room.saturating_sub(newest.len()), put_partial);
    if positions.counters.iter().any(|c| !c.newest.is_empty()) {
        out.extend(newest);
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
        Ok(PassedStream { stream, from, below, apart: Vec::new() })
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
mod tests {
    use super::*;
    use crate::state::positions::{Apart, Keys, PassedApart};
    use proptest::prelude::*;

    pub(super) fn full() -> Positions {
        let mut positions = Positions::fresh(SpoolId(7), Seq(3));
        positions.position = Seq(900);
        positions.totals = Totals { delivered: 5, dead_lettered: 1, filtered: 2, dropped: 3, lost: 4 };
        let topic = TopicName::new("orders").unwrap();
        positions.sides = vec![
            Side {
                topic: topic.clone(),
                from: Seq(30),
                position: Seq(40),
                end: None,
                waiting: 9,
                since: 77,
                dropped: true,
                missing_for: 5000,
                streams: vec![
                    (StreamName::new("orders").unwrap(), Seq(30)),
                    (StreamName::new("s").unwrap(), Seq(31)),
                ],
                apart: Vec::new(),
            },
            Side {
                topic: topic.clone(),
                from: Seq(1),
                position: Seq(50),
                end: Some(Seq(50)),
                waiting: -3,
                since: 77,
                dropped: false,
                missing_for: 0,
                streams: Vec::new(),
                apart: Vec::new(),
            },
        ];
        let tally = Tally { first: Seq(1), last: Seq(9), totals: positions.totals, hash: u64::MAX };
        positions.tallies.insert(SegmentId(4), tally);
        let counter = Counter { epoch: 65535, next: 1 << 40 };
        let partitions = [(0, counter), (5, counter)].into();
        positions.counters = vec![TopicCounters {
            partitions,
            newest: [(5, Seq(899))].into(),
            ..TopicCounters::none(topic, [9; 16])
        }];
        positions.partial = (0..20u64)
            .map(|i| Partial {
                first: Seq(900 + 100 * i),
                settled: Bits::from_words(100, [i, 1]),
                given_up: Totals::default(),
            })
            .collect();
        positions.partial[1].given_up = Totals { dead_lettered: 2, ..Totals::default() };
        let stream = PassedStream {
            stream: StreamName::new("s").unwrap(),
            from: Seq(3),
            below: Seq(5),
            apart: Vec::new(),
        };
        positions.passed = vec![Passed {
            below: Seq(9),
            streams: vec![stream],
            waiting: -4,
            dropped: true,
            older: true,
            ahead: 3,
            change: 5,
            inexact: None,
        }];
        positions.routes = 77;
        positions.letters = 31;
        positions.replaying = vec![Replaying { id: 12, seq: Seq(17), run: RunId(4) }];
        positions
    }

    #[test]
    fn a_record_is_read_back() {
        let positions = full();
        assert_eq!(decode(&encode(&positions, 1 << 16)), Ok(positions));
    }

    #[test]
    fn partial_blocks_that_do_not_fit_are_left_out_from_the_end() {
        let positions = full();
        let bytes = encode(&positions, 900);
        assert!(bytes.len() <= 900);
        let read = decode(&bytes).unwrap();
        assert!(read.partial.len() < 20 && !read.partial.is_empty());
        assert_eq!(read.partial[..], positions.partial[..read.partial.len()]);
        assert_eq!(read.counters, positions.counters);
    }

    #[test]
    fn what_just_fits_is_kept() {
        let positions = full();
        // The last list has no other behind it whose count needs room, and leaves that room all the same.
        let just = encode(&positions, 1 << 16).len() + 8;
        assert_eq!(decode(&encode(&positions, just)).as_ref(), Ok(&positions));
        assert_eq!(decode(&encode(&positions, just - 1)).unwrap().partial.len(), positions.partial.len() - 1);
    }

    #[test]
    fn a_topic_stuck_for_ever_so_many_segments_leaves_positions_that_can_be_kept() {
        let mut positions = full();
        let tally = positions.tallies[&SegmentId(4)];
        positions.tallies = (0..100_000).map(|id| (SegmentId(id), tally)).collect();
        let room = 1 << 16;
        let bytes = encode(&positions, room);
        assert!(bytes.len() <= room);
        let read = decode(&bytes).unwrap();
        assert!(read.tallies.len() > 100 && read.tallies.contains_key(&SegmentId(0)), "the oldest are kept");
        assert_eq!((read.sides, read.partial), (positions.sides, positions.partial));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = encode(&full(), 1 << 16);
        for len in (0..bytes.len()).filter(|len| *len != without_newest(&full())) {
            assert!(decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    fn forget_newest(positions: &Positions) -> Positions {
        let mut positions = positions.clone();
        positions.counters.iter_mut().for_each(|c| c.newest.clear());
        positions
    }

    fn without_newest(positions: &Positions) -> usize {
        encode(&forget_newest(positions), 1 << 16).len()
    }

    #[test]
    fn what_partitions_took_last_stands_behind_a_record_as_it_was_before() {
        let (positions, forgets) = (full(), forget_newest(&full()));
        let (with, without) = (encode(&positions, 1 << 16), encode(&forgets, 1 << 16));
        assert!(with.starts_with(&without));
        assert_eq!(decode(&without), Ok(forgets));
    }

    /// Records as a version of the program wrote them: the bytes stay as they are, whatever is written today.
    #[test]
    fn records_of_every_version_are_read_as_they_were_written() {
        let plain = Positions { passed: Vec::new(), ..full() };
        let written: [(&[u8], Positions); 3] = [
            (include_bytes!("golden/version-2"), plain),
            (include_bytes!("golden/version-3"), full()),
            (include_bytes!("golden/version-4"), with_apart()),
        ];
        for (version, (bytes, positions)) in (2..).zip(written) {
            assert_eq!(bytes[..2], u16::to_le_bytes(version));
            assert_eq!(decode(bytes), Ok(positions), "version {version}");
        }
    }

    #[test]
    #[ignore = "it makes what every later version reads; for a new version, once"]
    fn makes_golden_records() {
        let plain = Positions { passed: Vec::new(), ..full() };
        for positions in [plain, full(), with_apart()] {
            let bytes = encode(&positions, 1 << 16);
            let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state/positions/golden");
            let path = place.join(format!("version-{}", bytes[0]));
            let is_new = std::fs::metadata(&path).map_or(true, |there| there.len() == 0);
            assert!(is_new, "a golden record is never changed");
            std::fs::write(path, bytes).unwrap();
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        assert_eq!(decode(&[5, 0, 0]), Err(DecodeError::Version(5)));
    }

    /// With partitions that have a reader of their own, and that had one when routes changed.
    fn with_apart() -> Positions {
        let mut positions = full();
        let keys = Keys {
            partition: 2,
            count: 6,
            by: 1,
            extras: vec![(Seq(31), Bits::from_words(70, [5, 1])), (Seq(120), Bits::full(3))],
        };
        let partial = vec![Partial { settled: Bits::from_words(9, [6]), ..Partial::new(Seq(40), 9) }];
        let apart = Apart {
            keys: keys.clone(),
            from: Seq(31),
            position: Seq(35),
            end: Some(Seq(60)),
            waiting: -2,
            since: 8,
            dropped: true,
            partial,
        };
        let other = Apart { end: None, partial: Vec::new(), dropped: false, ..apart.clone() };
        positions.sides[1].apart = vec![apart, other];
        positions.passed[0].inexact = Some(7);
        positions.passed[0].streams[0].apart =
            vec![PassedApart { keys, from: Seq(1), end: Seq(u64::MAX), below: Seq(77) }];
        positions
    }

    #[test]
    fn partitions_with_a_reader_of_their_own_are_read_back_and_every_truncation_is_refused() {
        let positions = with_apart();
        let bytes = encode(&positions, 1 << 16);
        assert_eq!(decode(&bytes).as_ref(), Ok(&positions));
        for len in (0..bytes.len()).filter(|len| *len != without_newest(&positions)) {
            assert!(decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_record_that_says_nothing_of_partitions_is_one_that_older_versions_read() {
        let plain = Positions { passed: Vec::new(), ..full() };
        assert_eq!(encode(&plain, 1 << 16)[..2], [2, 0]);
        assert_eq!(encode(&full(), 1 << 16)[..2], [3, 0]);
        assert_eq!(encode(&with_apart(), 1 << 16)[..2], [4, 0]);
    }

    #[test]
    fn the_lowest_and_the_highest_number_are_those_of_partitions_too() {
        let mut positions = with_apart();
        positions.sides.iter_mut().flat_map(|s| &mut s.apart).for_each(|a| a.position = Seq(2));
        assert_eq!(positions.needed_from(), Seq(2));
        positions.sides[1].apart[1].end = Some(Seq(1 << 30));
        assert_eq!(positions.highest(), Seq(1 << 30));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if bytes.len() > 1 { bytes[0] = 1 + bytes[0] % 4; bytes[1] = 0; }
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_record_of_the_first_version_is_read_too() {
        let mut bytes = 1u16.to_le_bytes().to_vec();
        put(&mut bytes, [7, 3, 900, 5, 1, 2, 3, 4, 1]);
        put_text(&mut bytes, "orders");
        put(&mut bytes, [30, 40, 0, 9, 77, 1]);
        // No tallies, counters or blocks that are settled in part.
        put(&mut bytes, [0, 0, 0]);
        let side = Side { missing_for: 0, streams: Vec::new(), ..full().sides[0].clone() };
        let (position, totals) = (Seq(900), full().totals);
        let expected =
            Positions { position, totals, sides: vec![side], ..Positions::fresh(SpoolId(7), Seq(3)) };
        assert_eq!(decode(&bytes), Ok(expected));
    }
}
