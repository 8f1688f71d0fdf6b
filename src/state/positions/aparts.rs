//! What positions say of single partitions that are set apart, and its bytes (see [`super::codec`]).

use std::sync::Arc;

use super::Bits;
use super::codec::{DecodeError, Input, put, put_partial};
use super::record::{Partial, PassedStream, Positions};
use crate::event::UnixMillis;
use crate::ids::Seq;

/// In the place of how many partitions of a stream were apart: the same as of the stream before it, which mostly has the same topic. What
/// was on its way to each would take thousands of bytes a stream.
const AS_BEFORE: u64 = u64::MAX;

/// Events of a [`super::PassedStream`] that had another reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedApart {
    /// Which.
    pub keys: Keys,
    /// From here on.
    pub from: Seq,
    /// And before this.
    pub end: Seq,
    /// What that reader had settled.
    pub below: Seq,
}

/// The events that one partition's reader has of a topic: those whose keys lead to it, and some more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The partition.
    pub partition: i32,
    /// Of so many. INVARIANT: no other number of partitions decides while the reader lasts.
    pub count: u32,
    /// By which sum over the key: 0 for Java's, 1 for CRC-32.
    pub by: u8,
    /// Events that were on their way to the partition when it was set apart, whatever their keys: by block, in order.
    pub extras: Vec<(Seq, Bits)>,
}

impl Keys {
    /// Events of a block that are among them whatever their keys.
    #[must_use]
    pub fn extras_of(&self, block: Seq) -> Option<&Bits> {
        let at = self.extras.binary_search_by_key(&block, |(first, _)| *first).ok()?;
        self.extras.get(at).map(|(_, events)| events)
    }
}

/// The reader of one partition of a topic that has a reader of its own, split off from that one when the partition was stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    /// Which events of the topic are its own.
    pub keys: Keys,
    /// As [`super::Side::from`], of the topic's reader.
    pub from: Seq,
    /// As [`super::Side::position`].
    pub position: Seq,
    /// As [`super::Side::end`].
    pub end: Option<Seq>,
    /// As [`super::Side::waiting`], measured by the position of the topic's reader.
    pub waiting: i64,
    /// As [`super::Side::since`].
    pub since: UnixMillis,
    /// As [`super::Side::dropped`].
    pub dropped: bool,
    /// Blocks at or beyond its position of whose events, as far as they are its own, some are settled.
    pub partial: Vec<Partial>,
}

impl Apart {
    /// Whether events of a block may be its own.
    #[must_use]
    pub fn has(&self, block: Seq) -> bool {
        self.from <= block && self.end.is_none_or(|end| block < end)
    }
}

/// Appends the readers, side by side, and then what is settled of streams, record by record.
pub(super) fn put_all(out: &mut Vec<u8>, positions: &Positions) {
    for side in &positions.sides {
        put(out, [side.apart.len() as u64]);
        for apart in &side.apart {
            put_keys(out, &apart.keys);
            put(out, [apart.from.0, apart.position.0, apart.end.map_or(0, |e| e.0)]);
            put(out, [apart.waiting.cast_unsigned(), apart.since.cast_unsigned(), apart.dropped.into()]);
        }
    }
    for passed in &positions.passed {
        put(out, [passed.inexact.map_or(0, |gone| gone.saturating_add(1))]);
        let mut before: &[PassedApart] = &[];
        for PassedStream { apart, .. } in &passed.streams {
            let same = !before.is_empty() && **apart == *before;
            put(out, [if same { AS_BEFORE } else { apart.len() as u64 }]);
            for apart in apart.iter().filter(|_| !same) {
                put_keys(out, &apart.keys);
                put(out, [apart.from.0, apart.end.0, apart.below.0]);
            }
            before = apart;
        }
    }
}

fn put_keys(out: &mut Vec<u8>, keys: &Keys) {
    out.extend(keys.partition.to_le_bytes());
    out.extend(keys.count.to_le_bytes());
    put(out, [keys.by.into(), keys.extras.len() as u64]);
    for (block, events) in &keys.extras {
        put_partial(out, &Partial { settled: events.clone(), ..Partial::new(*block, events.len()) });
    }
}

/// Partial blocks with the places of their side and of their reader in it.
pub(super) fn partials(positions: &Positions) -> impl Iterator<Item = (u64, u64, &Partial)> {
    let aparts =
        (0..).zip(&positions.sides).flat_map(|(side, s)| (0..).zip(&s.apart).map(move |(i, a)| (side, i, a)));
    aparts.flat_map(|(side, i, apart)| apart.partial.iter().map(move |partial| (side, i, partial)))
}

pub(super) fn put_partial_of(out: &mut Vec<u8>, (side, apart, partial): (u64, u64, &Partial)) {
    put(out, [side, apart]);
    put_partial(out, partial);
}

impl Input<'_> {
    pub(super) fn aparts(&mut self, positions: &mut Positions) -> Result<(), DecodeError> {
        for side in &mut positions.sides {
            side.apart = self.list(Input::apart)?;
        }
        for passed in &mut positions.passed {
            passed.inexact = self.u64()?.checked_sub(1);
            let mut before: Arc<[PassedApart]> = Arc::default();
            for stream in &mut passed.streams {
                let as_before = self.starts_with(AS_BEFORE);
                let of_its_own = if as_before { None } else { Some(self.list(Input::passed_apart)?.into()) };
                before = of_its_own.unwrap_or(before);
                stream.apart = Arc::clone(&before);
            }
        }
        Ok(())
    }

    pub(super) fn partials_of_aparts(&mut self, positions: &mut Positions) -> Result<(), DecodeError> {
        for (side, apart, partial) in self.list(Input::partial_of)? {
            let at = |place: u64| usize::try_from(place).map_err(|_| DecodeError::Malformed);
            let side = positions.sides.get_mut(at(side)?).ok_or(DecodeError::Malformed)?;
            side.apart.get_mut(at(apart)?).ok_or(DecodeError::Malformed)?.partial.push(partial);
        }
        Ok(())
    }

    fn partial_of(&mut self) -> Result<(u64, u64, Partial), DecodeError> {
        Ok((self.u64()?, self.u64()?, self.partial()?))
    }

    fn apart(&mut self) -> Result<Apart, DecodeError> {
        let keys = self.keys()?;
        let (from, position, end) = (Seq(self.u64()?), Seq(self.u64()?), self.u64()?);
        let end = if end == 0 { None } else { Some(Seq(end)) };
        let (waiting, since) = (self.u64()?.cast_signed(), self.u64()?.cast_signed());
        let dropped = self.u64()? != 0;
        Ok(Apart { keys, from, position, end, waiting, since, dropped, partial: Vec::new() })
    }

    fn passed_apart(&mut self) -> Result<PassedApart, DecodeError> {
        let keys = self.keys()?;
        Ok(PassedApart { keys, from: Seq(self.u64()?), end: Seq(self.u64()?), below: Seq(self.u64()?) })
    }

    fn keys(&mut self) -> Result<Keys, DecodeError> {
        let (partition, count) = (i32::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        let by = u8::try_from(self.u64()?).map_err(|_| DecodeError::Malformed)?;
        let extras: Vec<(Seq, Bits)> =
            self.list(Input::partial)?.into_iter().map(|p| (p.first, p.settled)).collect();
        Ok(Keys { partition, count, by, extras })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let extras = vec![(Seq(31), Bits::from_words(7, [5])), (Seq(120), Bits::full(3))];
        Keys { partition: 2, count: 6, by: 1, extras }
    }

    #[test]
    fn events_that_are_among_a_partitions_whatever_their_keys_are_those_of_their_block() {
        let keys = keys();
        let of = |block| keys.extras_of(Seq(block)).cloned();
        assert_eq!([31, 120].map(of), [Some(Bits::from_words(7, [5])), Some(Bits::full(3))]);
        assert_eq!([30, 32, 121].map(of), [None, None, None]);
    }

    #[test]
    fn a_block_is_a_partitions_from_where_its_reader_begins_to_where_it_ends() {
        let reader = |end: Option<u64>| Apart {
            keys: keys(),
            from: Seq(10),
            position: Seq(10),
            end: end.map(Seq),
            waiting: 0,
            since: 0,
            dropped: false,
            partial: Vec::new(),
        };
        let has = |end: Option<u64>| [9, 10, 19, 20, 21].map(|block| reader(end).has(Seq(block)));
        assert_eq!(has(Some(20)), [false, true, true, false, false]);
        assert_eq!(has(None), [false, true, true, true, true]);
    }
}
