//! Reading a lane, from any number on, as far as it is durable.

mod current;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::disk::Fs;
use crate::event::first_event_len;
use crate::ids::{SegmentId, Seq, SeqRange, StreamName};
use crate::sabotage::{self, Bug};

use self::current::Current;
use super::block::{Block, Hole, HoleCause, Item};
use super::error::{ReadError, is_damage};
use super::format::{DATA_START, Kind};
use super::host::Stamp;
use super::shared::Shared;
use super::table::{Segment, Table};
use super::walk::{Identity, Sighting, Walker, unpack};

/// After this many errors at one place a page that cannot be read counts as damaged, if the disk gives others of its file.
/// Delivery asks every few seconds.
pub(super) const PATIENCE: u32 = 20;
/// For so long a file of which nothing can be read, or that cannot be opened, is waited for: a path to a disk may take
/// minutes to come back, and somebody may have to see to it.
pub(super) const WHOLE_PATIENCE: Duration = Duration::from_secs(15 * 60);
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
    /// When the first of them was.
    failing_since: Option<Stamp>,
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
    /// The moment; `None` for a tool, which nobody lets wait.
    fn clock(&self) -> Option<Stamp>;
    /// Whether paths lead to its files at all.
    fn at_home(&self) -> io::Result<()>;
    /// This segment is not to be deleted: something of it is given up.
    fn keep(&self, segment: SegmentId);
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

    fn clock(&self) -> Option<Stamp> {
        Some(self.data.host().now())
    }

    fn at_home(&self) -> io::Result<()> {
        self.home.check()
    }

    fn keep(&self, segment: SegmentId) {
        self.mark(segment);
    }

    fn lost(&self, range: SeqRange, segment: SegmentId) {
        self.quarantine(range, segment);
    }
}

impl<F: Fs> Reader<F> {
    pub(super) fn new(log: Arc<dyn Log<F>>, from: Seq) -> Self {
        let position = from.max(Seq::FIRST);
        Self { log, position, current: None, streams: HashMap::new(), failures: 0, failing_since: None }
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
                (self.failures, self.failing_since) = (0, None);
                if let Some(current) = &mut self.current {
                    current.walker.wary = true;
                }
                Ok(item)
            }
            Err(e) => {
                self.note_failure(&e.source);
                Err(e)
            }
        }
    }

    fn note_failure(&mut self, e: &io::Error) {
        if !is_damage(e) {
            (self.failures, self.failing_since) = (0, None);
            return;
        }
        self.failures += 1;
        self.failing_since = self.failing_since.or_else(|| self.log.clock());
        let has_waited = self.has_waited();
        if let Some(current) = self.current.as_mut().filter(|_| self.failures >= PATIENCE) {
            (current.walker.tolerant, current.walker.wary) = (true, !has_waited);
        }
    }

    /// Whether a whole file that cannot be read was waited for long enough. Who has no clock counts.
    fn has_waited(&self) -> bool {
        let now = self.log.clock();
        let waited =
            now.zip(self.failing_since).is_none_or(|(now, since)| now.since(since) >= WHOLE_PATIENCE);
        self.failures >= PATIENCE && waited
    }

    fn step(
        &mut self,
        wanted: &mut impl FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Item>, ReadError> {
        loop {
            let position = self.position;
            let Some(current) = self.current.as_mut().filter(|c| position < c.end) else {
                match self.advance()? {
                    Step::Item(item) => return Ok(Some(item)),
                    Step::End => return Ok(None),
                    Step::Again => continue,
                }
            };
            let item = match current.due()? {
                Some(block) => self.take(&block, wanted)?,
                None => self.seek()?,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    /// What is due does not stand here: goes to where it does, or what comes next. What of the segment there is neither
    /// of is lost.
    fn seek(&mut self) -> Result<Option<Item>, ReadError> {
        let position = self.position;
        let Some(current) = &mut self.current else { return Ok(None) };
        if current.seek(position)? {
            return Ok(None);
        }
        let (range, id) = (SeqRange::new(position, current.end), current.id);
        Ok(Some(self.hole(range, HoleCause::Damaged, id)))
    }

    /// What a whole header at the reader's place means. `None`: nothing for the caller.
    fn take(
        &mut self,
        block: &Sighting,
        wanted: &mut impl FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Item>, ReadError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let header = &block.header;
        if header.first > self.position {
            let hole = SeqRange::new(self.position, header.first);
            let id = current.id;
            return Ok(Some(self.hole(hole, HoleCause::Damaged, id)));
        }
        if header.count == 0 || header.end() <= self.position {
            current.pass(block);
            return Ok(None);
        }
        let range = SeqRange::new(self.position, header.end());
        let name = (header.kind == Kind::Events).then(|| current.walker.stream(block));
        let stream = name.and_then(|name| intern(&mut self.streams, name));
        if stream.as_ref().is_some_and(|s| !wanted(s, range)) {
            current.pass(block);
            current.midway = false;
            self.position = range.end;
            return Ok(Some(Item::Skipped(range, header.run)));
        }
        let Some(stored) = current.walker.stored(block, current.limit)? else { return self.seek() };
        if header.kind == Kind::Events {
            let payload = unpack(header, stored);
            let payload = payload.and_then(|p| trim(p, self.position.0 - header.first.0));
            if let (Some(stream), Some(payload)) = (stream, payload) {
                current.pass(block);
                current.midway = false;
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
        current.pass(block);
        let id = current.id;
        Ok(Some(self.hole(range, HoleCause::Damaged, id)))
    }

    fn hole(&mut self, range: SeqRange, cause: HoleCause, segment: SegmentId) -> Item {
        let is_lost = matches!(cause, HoleCause::Damaged | HoleCause::Missing);
        if is_lost && !sabotage::commits(Bug::LossUncounted) {
            if cause == HoleCause::Damaged {
                self.log.keep(segment);
            }
            self.log.lost(range, segment);
        }
        if let Some(current) = &mut self.current {
            current.midway = false;
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
                Some(current) if current.id == segment.id && current.end < segment.end => {
                    (current.limit, current.end) = (segment.end_offset, segment.end);
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
        let mut walker = Walker::new(file, segment.path.clone(), identity);
        walker.wary = true;
        self.current = Some(Current {
            id: segment.id,
            walker,
            offset: DATA_START,
            next: segment.base,
            limit: segment.end_offset,
            end: segment.end,
            midway: segment.base < self.position,
            seeker: None,
        });
        Ok(Step::Again)
    }

    fn cannot_open(&mut self, segment: &Segment, source: io::Error) -> Result<Step, ReadError> {
        if !self.log.holds(segment.id) {
            // Deleted on purpose between the look-up and now.
            return Ok(Step::Again);
        }
        let gone = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput);
        if !gone && (!self.has_waited() || !is_damage(&source)) {
            return Err(ReadError { path: segment.path.clone(), offset: 0, source });
        }
        if source.kind() != io::ErrorKind::NotFound {
            self.log.keep(segment.id);
        }
        let range = SeqRange::new(self.position, segment.end);
        Ok(Step::Item(self.hole(range, HoleCause::Missing, segment.id)))
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
