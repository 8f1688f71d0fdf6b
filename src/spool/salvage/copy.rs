//! One lane, from old to new: the log block by block, what is lost of it from elsewhere, the rest behind it.

use std::path::Path;

use bytes::Bytes;

use crate::disk::{File, Fs};
use crate::event::EventIter;
use crate::ids::{LaneName, RunId, SegmentId, Seq, SeqRange, StreamName};

use super::super::candidates::{in_order, start_of};
use super::super::error::{OpenError, ReadError};
use super::super::floor::Floor;
use super::super::format::{DATA_START, Kind};
use super::super::host::{Host, SystemHost};
use super::super::inspect::read_floor;
use super::super::recover::judge_live;
use super::super::seek::Seeker;
use super::super::table::{FloorMark, Segment, Table};
use super::super::walk::{Identity, Sighting, Walker};
use super::files::{Old, OldLane};
use super::fresh::{Author, Fresh};
use super::spans::{Spans, missing};
use super::stray::{Place, Strays, next_whole, walker};
use super::{Salvaged, UNFINISHED};

/// What whoever salvages wants.
pub struct Wishes<'a> {
    /// Every number below was durable: readers have been there.
    pub at_least: Seq,
    /// Take blocks that were never acknowledged too.
    pub unproven: bool,
    /// Whether an event that the log had lost may stand at this number, its own: not if a reader may have passed
    /// over it as lost.
    pub may_keep: &'a dyn Fn(Seq) -> bool,
    /// The run of events that need new numbers.
    pub run: RunId,
}

impl std::fmt::Debug for Wishes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wishes").field("at_least", &self.at_least).finish_non_exhaustive()
    }
}

/// A lane that was copied.
#[derive(Debug)]
pub struct LaneCopy {
    /// What became of it.
    pub salvaged: Salvaged,
    /// Everything below was deleted on purpose.
    pub gone: Seq,
    /// The number after the last of the old log.
    pub log_end: Seq,
    /// The lowest number in the new lane.
    pub first: Seq,
}

struct Copy<'a, F: Fs> {
    old: &'a Old<F>,
    wishes: &'a Wishes<'a>,
    identity: Identity,
    table: Table,
    /// Everything below was deleted on purpose.
    begin: Seq,
    strays: Strays,
    fresh: Fresh<F>,
    salvaged: Salvaged,
    progress: &'a mut dyn FnMut(u64),
}

impl<F: Fs> Old<F> {
    /// Copies a lane into the directory `into`, which is no spool yet. `progress` is told bytes as they are read.
    ///
    /// # Errors
    /// When the new disk refuses, or a file may not be read. Damage is no error.
    pub fn copy(
        &self,
        lane: &LaneName,
        into: &Path,
        wishes: &Wishes<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<LaneCopy, OpenError> {
        let none = OldLane::default();
        let files = self.lanes.get(lane).unwrap_or(&none);
        let identity = Identity { spool: self.spool, lane: lane.clone(), segment: SegmentId(0) };
        let highest = files.files.iter().map(|c| c.id).max().unwrap_or_default();
        let mut found = files.files.clone();
        in_order(&mut found);
        let judged = judge_live(&self.fs, &mut found, &identity, (wishes.at_least, highest))?;
        let begin = self.floor(files).gone().max(Seq::FIRST);
        let log_end = judged.predecessor.end.max(begin).max(wishes.at_least);
        let dir = into.join(UNFINISHED).join(lane.as_str());
        let stamp = SystemHost::new().now();
        let author = Author { spool: self.spool, lane: lane.clone(), run: wishes.run, stamp };
        let fresh = Fresh::new(&self.fs, dir.clone(), author, (begin, highest.next()))?;
        let mut new_floor = Floor::open(&self.fs, &dir)?;
        let (table, salvaged, strays) = (judged.table, Salvaged::default(), Strays::default());
        let mut copy = Copy { old: self, wishes, identity, table, begin, strays, fresh, salvaged, progress };
        copy.collect_strays(files).map_err(unreadable)?;
        copy.log()?;
        copy.fill(SeqRange::new(copy.fresh.end(), log_end))?;
        copy.fresh.pass_over(log_end)?;
        copy.append_strays()?;
        copy.fresh.finish()?;
        let floor = self.floor(files);
        let mark = FloorMark { dropped: floor.dropped.min(log_end), released: floor.released.min(log_end) };
        new_floor.raise(mark)?;
        Ok(copy.done(floor.gone().max(Seq::FIRST), log_end))
    }

    fn floor(&self, lane: &OldLane) -> FloorMark {
        lane.dirs.iter().map(|dir| read_floor(&self.fs, dir)).fold(FloorMark::default(), FloorMark::raised_by)
    }
}

fn unreadable(e: ReadError) -> OpenError {
    OpenError::Io { operation: "read", path: e.path, source: e.source }
}

impl<F: Fs> Copy<'_, F> {
    /// Everything in the lane's files that is not the log.
    fn collect_strays(&mut self, files: &OldLane) -> Result<(), ReadError> {
        for file in &files.files {
            let log = self.table.segments.get(&file.id).filter(|s| s.path == file.path).cloned();
            if file.header.as_ref().is_some_and(|h| !h.is_readable()) {
                continue;
            }
            let Some(mut walker) = walker(&self.old.fs, &file.path, file.id, &self.identity)? else {
                continue;
            };
            let from = log.as_ref().map_or(DATA_START, |s| s.end_offset.max(DATA_START));
            let limit = walker.file().size().unwrap_or(file.len);
            if let Some(log) = log
                && self.has_grown(&mut walker, &log, limit)?
            {
                continue;
            }
            let before = self.strays.stretches.len();
            self.strays.collect(&mut walker, (&file.path, file.id), (from, limit))?;
            // Prepared when it was listed, and begun since by an agent that runs: all in it came meanwhile.
            if file.blank && start_of(walker.file()).header.is_some() {
                self.strays.stretches.truncate(before);
            }
        }
        Ok(())
    }

    /// Whether the last segment simply goes on behind its end, with events or a mark: its agent runs, and has appended
    /// meanwhile.
    fn has_grown(&self, walker: &mut Walker<F::File>, log: &Segment, limit: u64) -> Result<bool, ReadError> {
        let next = walker.probe(log.end_offset, limit)?;
        Ok(self.table.is_last(log.id) && next.is_some_and(|b| b.header.first == log.end))
    }

    fn log(&mut self) -> Result<(), OpenError> {
        let begin = self.begin;
        let segments: Vec<Segment> = self.table.segments.values().cloned().collect();
        for segment in segments.iter().filter(|s| s.end > begin && s.readable) {
            let walker = walker(&self.old.fs, &segment.path, segment.id, &self.identity);
            if let Some(mut walker) = walker.map_err(unreadable)? {
                self.segment(segment, &mut walker)?;
            }
        }
        Ok(())
    }

    fn segment(&mut self, segment: &Segment, walker: &mut Walker<F::File>) -> Result<(), OpenError> {
        let (mut at, mut seeker) = (DATA_START, Seeker::new(DATA_START, segment.base));
        let bounds = (segment.end_offset, Some(segment.end));
        loop {
            let (before, position) = (at, self.fresh.end());
            let next = next_whole(walker, &mut at, segment.end_offset).map_err(unreadable)?;
            let comes = next.as_ref().map(|(block, _)| block.header);
            if comes.is_none_or(|header| header.count > 0 && header.first > position) {
                // What is due may stand elsewhere.
                let found = seeker.seek(walker, (before, position, false), bounds).map_err(unreadable)?;
                let lower = |first| comes.is_none_or(|header| first < header.first);
                if let Some(found) = found.filter(|b| b.header.count > 0 && lower(b.header.first)) {
                    at = found.offset;
                    continue;
                }
            }
            let Some((block, bytes)) = next else { return Ok(()) };
            (self.progress)(at - before);
            self.strays.learn(block.header.run, block.header.synced_through);
            if block.header.count == 0 || block.header.end() <= position {
                continue;
            }
            if block.header.first < position {
                self.strays.add(&segment.path, segment.id, &block);
                continue;
            }
            self.fill(SeqRange::new(position, block.header.first))?;
            self.keep(walker, &block, &bytes, segment.end_offset)?;
        }
    }

    fn keep(
        &mut self,
        walker: &mut Walker<F::File>,
        block: &Sighting,
        bytes: &Bytes,
        limit: u64,
    ) -> Result<(), OpenError> {
        self.fresh.put(bytes, &block.header)?;
        self.count(walker, block, limit)
    }

    /// Lost numbers: puts there what another file has of them.
    fn fill(&mut self, hole: SeqRange) -> Result<(), OpenError> {
        if hole.is_empty() || self.strays.stretches.is_empty() {
            return Ok(());
        }
        for place in self.strays.within(&self.old.fs, &self.identity, hole).map_err(unreadable)? {
            let free = place.range().first >= self.fresh.end();
            let may = free && self.strays.is_proven(&place, &self.table);
            if may && (self.wishes.may_keep)(place.range().first) {
                self.salvaged.found += self.add(&place, false)?;
            }
        }
        Ok(())
    }

    /// What has no place in the log goes behind it.
    fn append_strays(&mut self) -> Result<(), OpenError> {
        let mut taken = Spans::default();
        let mut stretches = std::mem::take(&mut self.strays.stretches);
        stretches.sort_by_key(|s| s.segment);
        for stretch in stretches {
            for place in stretch.places(&self.old.fs, &self.identity).map_err(unreadable)? {
                let (run, range) = (place.run(), place.range());
                if range.end <= self.begin || self.fresh.spans.has(run, range) || taken.has(run, range) {
                    continue;
                }
                taken.add(run, range);
                if self.strays.is_proven(&place, &self.table) || self.wishes.unproven {
                    self.salvaged.renumbered += self.add(&place, true)?;
                } else {
                    self.salvaged.unproven += range.len();
                }
            }
        }
        Ok(())
    }

    fn done(self, gone: Seq, log_end: Seq) -> LaneCopy {
        let Self { fresh, mut salvaged, .. } = self;
        salvaged.lost = missing(&fresh.ranges, gone, log_end);
        let first = fresh.ranges.first().map_or(log_end, |r| r.first);
        LaneCopy { salvaged, gone, log_end, first }
    }

    /// Adds a stray block; how many events that were.
    fn add(&mut self, place: &Place, renumber: bool) -> Result<u64, OpenError> {
        let opened = walker(&self.old.fs, &place.path, place.segment, &self.identity).map_err(unreadable)?;
        let Some(mut walker) = opened else { return Ok(0) };
        let (block, limit) = (&place.block, place.block.next);
        let Some(bytes) = walker.whole(block, limit).map_err(unreadable)? else { return Ok(0) };
        if renumber {
            self.fresh.append(&bytes, &block.header)?;
        } else {
            self.fresh.put(&bytes, &block.header)?;
        }
        self.count(&mut walker, block, limit)?;
        Ok(u64::from(block.header.count))
    }

    /// Counts what of a block that was added can be read.
    fn count(&mut self, walker: &mut Walker<F::File>, block: &Sighting, limit: u64) -> Result<(), OpenError> {
        let count = u64::from(block.header.count);
        self.salvaged.events += count;
        // Reads nothing new: the block is in memory.
        let named = walker.probe(block.offset, limit).map_err(unreadable)?.is_some()
            && StreamName::new(walker.stream(block)).is_ok();
        let payload = walker.payload(block, limit).map_err(unreadable)?;
        match payload.filter(|_| named && block.header.kind == Kind::Events) {
            None => self.salvaged.unread += count,
            Some(payload) => {
                let whole = EventIter::new(&payload).filter(Result::is_ok).count() as u64;
                self.salvaged.undecodable += count.saturating_sub(whole);
            }
        }
        Ok(())
    }
}
