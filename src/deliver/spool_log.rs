//! A lane of the spool, as delivery reads it.

use super::log::{BlockInfo, Log, LogError, LogReader, Read, Why};
use super::needs::Needed;
use super::worker::Retention;
use crate::disk::Fs;
use crate::ids::{SegmentId, Seq, SeqRange, StreamName};
use crate::spool::{HoleCause, Item, Lane, Reader};

impl<F: Fs> Log for Lane<F> {
    type Reader = LaneReader<F>;

    fn reader(&self, from: Seq) -> LaneReader<F> {
        LaneReader { reader: Lane::reader(self, from), lane: self.clone() }
    }
}

impl<F: Fs> Retention for Lane<F> {
    fn segment_of(&self, seq: Seq) -> Option<SegmentId> {
        Lane::segment_of(self, seq)
    }

    fn release(&self, needed: Needed) {
        Lane::release(self, needed.by_all);
        Lane::may_drop(self, needed.by_required);
    }

    fn is_pressed(&self) -> bool {
        Lane::is_half_full(self)
    }
}

/// Reads a lane.
#[derive(Debug)]
pub struct LaneReader<F: Fs> {
    reader: Reader<F>,
    lane: Lane<F>,
}

impl<F: Fs> LogReader for LaneReader<F> {
    fn next(
        &mut self,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Read>, LogError> {
        let mut asked = None;
        let item = self.reader.next_where(|stream, range| {
            let wanted = want(stream, range);
            asked = (!wanted).then(|| stream.clone());
            wanted
        });
        let Some(item) = item.map_err(|e| LogError(e.to_string()))? else { return Ok(None) };
        Ok(Some(match item {
            Item::Block(block) => {
                let range = block.range();
                let info = BlockInfo {
                    range,
                    stream: block.stream,
                    time: block.time,
                    run: block.run,
                    segment: Some(block.segment),
                };
                Read::Block(info, block.payload)
            }
            Item::Hole(hole) => Read::Gone { range: hole.range, why: why(hole.cause) },
            Item::Skipped(range) => Read::Skipped {
                range,
                stream: asked.ok_or_else(|| LogError(format!("{range} was skipped unasked")))?,
                segment: self.lane.segment_of(range.first),
            },
        }))
    }
}

fn why(cause: HoleCause) -> Why {
    match cause {
        HoleCause::Dropped => Why::Dropped,
        HoleCause::Released => Why::Settled,
        _ => Why::Lost,
    }
}
