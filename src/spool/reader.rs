//! Reading a lane, from any number on, as far as it is durable.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::disk::Fs;
use crate::event::first_event_len;
use crate::ids::{SegmentId, Seq, SeqRange, StreamName};
use crate::sabotage::{self, Bug};

use super::block::{Block, Hole, HoleCause, Item};
use super::error::{ReadError, is_damage};
use super::format::{BLOCK_ALIGN, DATA_START, Kind};
use super::scan::resume;
use super::shared::Shared;
use super::table::{Segment, Table};
use super::walk::{Identity, Sighting, Walker};

/// After this many errors at one place what cannot be read counts as damaged. Delivery asks every few seconds,
/// and a path to a disk may take a minute to come back.
pub(super) const PATIENCE: u32 = 20;
/// Stream names remembered.
const STREAMS: usize = 4096;

/// Reads blocks in order. Blocking I/O: for a plain thread.
///
/// INVARIANT: never beyond the durable watermark, and nothing is passed over in silence: the ranges of the items
/// follow each other without a gap.
#[derive(Debug)]
pub struct Reader<F: Fs> {
    log: Arc<dyn Log<F>>,
    position: Seq,
    current: Option<Current<F>>,
    streams: HashMap<String, StreamName>,
    failures: u32,
}

#[derive(Debug)]
struct Current<F: Fs> {
    id: SegmentId,
    walker: Walker<F::File>,
    offset: u64,
    limit: u64,
    /// The number that comes next in the file, wherever the reader stands.
    next: Seq,
}

/// What the table says of the place where the reader stands.
pub(super) enum Place {
    /// Nothing durable is beyond.
    Nowhere,
    /// There are no bytes for these numbers.
    Gap(Hole, SegmentId),
    /// They stand in this segment.
    In(Segment),
}

/// What a reader has to know of its lane; asked once a segment or commit, not once a block.
pub(super) trait Log<F: Fs>: std::fmt::Debug + Send + Sync {
    fn fs(&self) -> &F;
    fn identity(&self, segment: SegmentId) -> Identity;
    fn look(&self, position: Seq) -> Place;
    fn holds(&self, segment: SegmentId) -> bool;
    /// Whether paths lead to its files at all.
    fn at_home(&self) -> io::Result<()>;
    /// These numbers are lost.
    fn lost(&self, range: SeqRange, segment: SegmentId);
}

impl<F: Fs> Log<F> for Shared<F> {
    fn fs(&self) -> &F {
        self.data.fs()
    }

    fn identity(&self, segment: SegmentId) -> Identity {
        Identity { spool: self.data.spool_id(), lane: self.name.clone(), segment }
    }

    fn look(&self, position: Seq) -> Place {
        let durable = self.durable();
        place(&self.table(), position, durable)
    }

    fn holds(&self, segment: SegmentId) -> bool {
        self.table().segments.contains_key(&segment)
    }

    fn at_home(&self) -> io::Result<()> {
        self.home.check()
    }

    fn lost(&self, range: SeqRange, segment: SegmentId) {
        self.quarantine(range, segment);
    }
}

impl<F: Fs> Reader<F> {
    pub(super) fn new(log: Arc<dyn Log<F>>, from: Seq) -> Self {
        let position = from.max(Seq::FIRST);
        Self { log, position, current: None, streams: HashMap::new(), failures: 0 }
    }

    /// Number of the next event it will give.
    #[must_use]
    pub fn position(&self) -> Seq {
        self.position
    }

    /// The next block or hole; `None` when nothing durable is beyond the position.
    ///
    /// # Errors
    /// When the disk can't be read. The position stays; asking again tries again.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end where this one goes on later")]
    pub fn next(&mut self) -> Result<Option<Item>, ReadError> {
        self.next_where(|_, _| true)
    }

    /// [`Reader::next`], with blocks that `wanted` refuses left unread as [`Item::Skipped`].
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn next_where(
        &mut self,
        mut wanted: impl FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Item>, ReadError> {
        match self.step(&mut wanted) {
            Ok(item) => {
                self.failures = 0;
                Ok(item)
            }
            Err(e) => {
                self.failures = if is_damage(&e.source) { self.failures + 1 } else { 0 };
                if self.failures >= PATIENCE
                    && let Some(current) = &mut self.current
                {
                    current.walker.tolerant = true;
                }
                Err(e)
            }
        }
    }

    fn step(
        &mut self,
        wanted: &mut impl FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Item>, ReadError> {
        loop {
            let Some(current) = self.current.as_mut().filter(|c| c.offset < c.limit) else {
                match self.advance()? {
                    Step::Item(item) => return Ok(Some(item)),
                    Step::End => return Ok(None),
                    Step::Again => continue,
                }
            };
            let Some(block) = current.walker.probe(current.offset, current.limit)? else {
                current.skip_to_next(current.offset, self.position)?;
                continue;
            };
            if let Some(item) = self.take(&block, wanted)? {
                return Ok(Some(item));
            }
        }
    }

    /// What a whole header at the reader's place means. `None`: nothing for the caller.
    fn take(
        &mut self,
        block: &Sighting,
        wanted: &mut impl FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Item>, ReadError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let header = &block.header;
        if header.end() <= self.position && current.is_misplaced(block)? {
            // Its length says nothing.
            current.skip_to_next(block.offset + BLOCK_ALIGN, self.position)?;
            return Ok(None);
        }
        current.next = header.end();
        if header.count == 0 || header.end() <= self.position {
            current.offset = block.next;
            return Ok(None);
        }
        if header.first > self.position {
            let lowest = resume(&mut current.walker, current.offset, self.position, current.limit)?;
            if let Some(lowest) = lowest.filter(|b| b.header.first < header.first) {
                current.offset = lowest.offset;
                return Ok(None);
            }
            let hole = SeqRange::new(self.position, header.first);
            let id = current.id;
            return Ok(Some(self.hole(hole, HoleCause::Damaged, id)));
        }
        let range = SeqRange::new(self.position, header.end());
        if header.kind == Kind::Events {
            let stream = intern(&mut self.streams, current.walker.stream(block));
            if stream.as_ref().is_some_and(|s| !wanted(s, range)) {
                current.offset = block.next;
                self.position = range.end;
                return Ok(Some(Item::Skipped(range)));
            }
            let payload = current.walker.payload(block, current.limit)?;
            let payload = payload.and_then(|p| trim(p, self.position.0 - header.first.0));
            if let (Some(stream), Some(payload)) = (stream, payload) {
                current.offset = block.next;
                self.position = range.end;
                return Ok(Some(Item::Block(Block {
                    first: range.first,
                    count: u32::try_from(range.len()).unwrap_or(u32::MAX),
                    stream,
                    time: header.time,
                    boot: header.boot,
                    monotonic: header.monotonic,
                    run: header.run,
                    segment: header.segment,
                    payload,
                })));
            }
        }
        current.offset = block.next;
        let id = current.id;
        Ok(Some(self.hole(range, HoleCause::Damaged, id)))
    }

    fn hole(&mut self, range: SeqRange, cause: HoleCause, segment: SegmentId) -> Item {
        let is_lost = matches!(cause, HoleCause::Damaged | HoleCause::Missing);
        if is_lost && !sabotage::commits(Bug::LossUncounted) {
            self.log.lost(range, segment);
        }
        self.position = range.end;
        Item::Hole(Hole { range, cause })
    }

    /// At the end of what is known: asks the table how it goes on.
    fn advance(&mut self) -> Result<Step, ReadError> {
        match self.log.look(self.position) {
            Place::Nowhere => Ok(Step::End),
            Place::Gap(hole, segment) => Ok(Step::Item(self.hole(hole.range, hole.cause, segment))),
            Place::In(segment) => match &mut self.current {
                Some(current) if current.id == segment.id && current.limit < segment.end_offset => {
                    current.limit = segment.end_offset;
                    Ok(Step::Again)
                }
                // It was read to its end, and these numbers did not come.
                Some(current) if current.id == segment.id => Ok(Step::Item(self.rest_of(&segment))),
                _ if !segment.readable => Ok(Step::Item(self.rest_of(&segment))),
                _ => self.open(&segment),
            },
        }
    }

    fn rest_of(&mut self, segment: &Segment) -> Item {
        let range = SeqRange::new(self.position, segment.end);
        self.hole(range, HoleCause::Damaged, segment.id)
    }

    fn open(&mut self, segment: &Segment) -> Result<Step, ReadError> {
        let opened = self.log.fs().open_read(&segment.path);
        // Afterwards, so that a file of what has taken the directory's place is not believed either.
        self.log.at_home().map_err(|source| ReadError { path: segment.path.clone(), offset: 0, source })?;
        let file = match opened {
            Ok(file) => file,
            Err(e) => return self.cannot_open(segment, e),
        };
        let identity = self.log.identity(segment.id);
        let walker = Walker::new(file, segment.path.clone(), identity);
        let (id, limit) = (segment.id, segment.end_offset);
        self.current = Some(Current { id, walker, offset: DATA_START, limit, next: segment.base });
        Ok(Step::Again)
    }

    fn cannot_open(&mut self, segment: &Segment, source: io::Error) -> Result<Step, ReadError> {
        if !self.log.holds(segment.id) {
            // Deleted on purpose between the look-up and now.
            return Ok(Step::Again);
        }
        let gone = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput);
        if !gone && (self.failures < PATIENCE || !is_damage(&source)) {
            return Err(ReadError { path: segment.path.clone(), offset: 0, source });
        }
        let range = SeqRange::new(self.position, segment.end);
        Ok(Step::Item(self.hole(range, HoleCause::Missing, segment.id)))
    }
}

impl<F: Fs> Current<F> {
    /// Goes on at the block, behind a bad place, that goes on from `position`.
    fn skip_to_next(&mut self, offset: u64, position: Seq) -> Result<(), ReadError> {
        let found = resume(&mut self.walker, offset, position, self.limit)?;
        self.offset = found.map_or(self.limit, |b| b.offset);
        Ok(())
    }

    /// Whether a header stands where another number was due, and its events are not there: a sector that was written in
    /// the wrong place.
    fn is_misplaced(&mut self, block: &Sighting) -> Result<bool, ReadError> {
        let due = block.header.first == self.next || block.header.count == 0;
        Ok(!due && self.walker.stored(block, self.limit)?.is_none())
    }
}

enum Step {
    Item(Item),
    End,
    Again,
}

/// Pure: where number `position` stands.
pub(super) fn place(table: &Table, position: Seq, durable: Seq) -> Place {
    if position > durable {
        return Place::Nowhere;
    }
    let Some(segment) = table.segments.values().find(|s| s.end > position) else {
        let last = table.segments.last_key_value().map_or(SegmentId(0), |(id, _)| *id);
        return Place::Gap(gap(table, position, durable.next()), last);
    };
    if segment.base > position {
        return Place::Gap(gap(table, position, segment.base), segment.id);
    }
    Place::In(segment.clone())
}

/// Why `position` and what follows up to `end` is in no segment.
fn gap(table: &Table, position: Seq, end: Seq) -> Hole {
    let below_all = table.first_seq().is_none_or(|first| end <= first);
    let (cause, upto) = match table.floor {
        floor if below_all && position < floor.released => (HoleCause::Released, floor.released),
        floor if below_all && position < floor.dropped => (HoleCause::Dropped, floor.dropped),
        _ => (HoleCause::Missing, end),
    };
    Hole { range: SeqRange::new(position, upto.min(end)), cause }
}

/// Leaves out the first `skip` events.
fn trim(mut payload: Bytes, skip: u64) -> Option<Bytes> {
    for _ in 0..skip {
        let len = first_event_len(&payload).ok()?;
        payload.advance(len);
    }
    Some(payload)
}

fn intern(streams: &mut HashMap<String, StreamName>, name: &str) -> Option<StreamName> {
    if let Some(known) = streams.get(name) {
        return Some(known.clone());
    }
    let stream = StreamName::new(name).ok()?;
    if streams.len() >= STREAMS {
        streams.clear();
    }
    streams.insert(name.to_owned(), stream.clone());
    Some(stream)
}

#[cfg(test)]
mod tests;
