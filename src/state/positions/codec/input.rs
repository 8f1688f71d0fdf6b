//! What was written of positions, read back: everything is bounded, whoever wrote it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Taken;
use super::super::bits::Bits;
use super::super::record::{
    Counter, Footing, Partial, Passed, PassedStream, Positions, Replaying, Side, Tally, TopicCounters, Totals,
};
use super::{DecodeError, FLAGS, HAS_GIVEN_UP, OLDER, VERSION};
use crate::ids::{DestinationName, RunId, SegmentId, Seq, SpoolId, StreamName, TopicName};

/// Decodes what [`super::encode`] wrote.
pub(in crate::state::positions) fn decode(bytes: &[u8]) -> Result<Positions, DecodeError> {
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

pub(in crate::state::positions) struct Input<'a> {
    rest: &'a [u8],
    version: u16,
}

impl Input<'_> {
    pub(in crate::state::positions) fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    pub(in crate::state::positions) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Malformed)
    }

    /// Whether this number comes next; if so, it is taken.
    pub(in crate::state::positions) fn starts_with(&mut self, number: u64) -> bool {
        let rest = self.rest.strip_prefix(&number.to_le_bytes()[..]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(in crate::state::positions) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.u64()?).map_err(|_| DecodeError::Malformed)
    }

    /// Grows as items are read, so that a hostile count allocates nothing.
    pub(in crate::state::positions) fn list<T>(
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

    pub(in crate::state::positions) fn partial(&mut self) -> Result<Partial, DecodeError> {
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
