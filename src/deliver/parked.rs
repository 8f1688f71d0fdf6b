//! A log of which a part is parked: readers find every block at its numbers, wherever it stands by now.
//!
//! What the lane has, it gives. Where it has deleted events, because everybody had settled them or they were parked, a block
//! that is parked is given in its place.

use std::sync::Arc;

use super::log::{BlockInfo, Log, LogError, LogReader, Read, Why};
use crate::disk::Fs;
use crate::ids::{Seq, SeqRange, StreamName};
use crate::state::park::{Found, Park, ParkReader};

/// A log, and what of it is parked.
#[derive(Debug)]
pub struct ParkedLog<L, F: Fs> {
    log: L,
    park: Arc<Park<F>>,
}

impl<L: Log, F: Fs> ParkedLog<L, F> {
    /// `log` with what `park` has of it.
    pub fn new(log: L, park: Arc<Park<F>>) -> Self {
        Self { log, park }
    }
}

impl<L: Log + Clone, F: Fs> Log for ParkedLog<L, F> {
    type Reader = ParkedReader<L, F>;

    fn reader(&self, from: Seq) -> ParkedReader<L, F> {
        let Self { log, park } = self;
        ParkedReader {
            main: log.reader(from),
            log: log.clone(),
            parked: park.reader(),
            park: Arc::clone(park),
        }
    }
}

/// Reads one.
#[derive(Debug)]
pub struct ParkedReader<L: Log, F: Fs> {
    log: L,
    main: L::Reader,
    park: Arc<Park<F>>,
    parked: ParkReader<F>,
}

impl<L: Log, F: Fs> LogReader for ParkedReader<L, F> {
    fn next(
        &mut self,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Read>, LogError> {
        match self.main.next(want)? {
            Some(Read::Gone { range, why }) => {
                let read = self.instead(range, why, want);
                let goes_on = read.as_ref().map_or(range.first, |read| range_of(read).end);
                if goes_on != range.end {
                    self.main = self.log.reader(goes_on);
                }
                read.map(Some)
            }
            read => Ok(read),
        }
    }
}

impl<L: Log, F: Fs> ParkedReader<L, F> {
    /// What there is of numbers that the log has no more: the first block of them, or the gap before it.
    fn instead(
        &mut self,
        range: SeqRange,
        why: Why,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Read, LogError> {
        let error = |e: crate::disk::DiskError| LogError(e.to_string());
        let first = self.parked.first_in(range).map_err(error)?;
        if first == Some(range.first)
            && let Some(found) = self.parked.take(range.first, want).map_err(error)?
        {
            return Ok(read(found));
        }
        let end = first.filter(|first| *first > range.first).map_or(range.end, |first| first.min(range.end));
        let (covered, reach) = self.park.reach(range.first);
        // What was dropped had not been parked by then, whatever else was.
        let why = if covered && why != Why::Dropped { Why::Parked } else { why };
        Ok(Read::Gone { range: SeqRange::new(range.first, end.min(reach)), why })
    }
}

fn read(found: Found) -> Read {
    match found {
        Found::Block(block) => {
            let info = BlockInfo {
                range: block.range,
                stream: block.stream,
                time: block.time,
                run: block.run,
                segment: Some(block.segment),
            };
            Read::Block(info, block.payload)
        }
        Found::Skipped(range, stream, segment, run) => {
            Read::Skipped { range, stream, segment: Some(segment), run }
        }
        Found::Lost(range) => Read::Gone { range, why: Why::Lost },
    }
}

fn range_of(read: &Read) -> SeqRange {
    match read {
        Read::Block(info, _) => info.range,
        Read::Skipped { range, .. } | Read::Gone { range, .. } => *range,
    }
}
