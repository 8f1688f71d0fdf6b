//! A lane of the spool, as delivery reads it.

use super::log::{BlockInfo, Log, LogError, LogReader, Read, Why};
use super::needs::Needed;
use super::worker::Retention;
use crate::disk::Fs;
use crate::ids::{SegmentId, Seq, SeqRange, StreamName};
use crate::spool::{HoleCause, Item, Lane, Reader, Stamp};

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

    fn dropped(&self) -> SeqRange {
        Lane::dropped(self)
    }

    fn make_room(&self) {
        Lane::let_go_of_ballast(self);
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
                let accepted = Stamp { time: block.time, boot: block.boot, monotonic: block.monotonic };
                let info = BlockInfo {
                    range,
                    stream: block.stream,
                    time: self.lane.now().corrected(accepted),
                    run: block.run,
                    segment: Some(block.segment),
                };
                Read::Block(info, block.payload)
            }
            Item::Hole(hole) => Read::Gone { range: hole.range, why: why(hole.cause) },
            Item::Skipped(range, run) => Read::Skipped {
                range,
                stream: asked.ok_or_else(|| LogError(format!("{range} was skipped unasked")))?,
                segment: self.lane.segment_of(range.first),
                run,
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::model::Spool;
    use crate::disk::RealFs;
    use crate::event::{Event, EventBatch, UnixMillis};
    use crate::ids::LaneName;
    use crate::intake::Patience;
    use crate::metrics::Metrics;
    use crate::spool::{DataDir, Host};

    /// A host whose clocks are set by hand.
    #[derive(Debug, Default)]
    struct Clocks {
        now: Mutex<Stamp>,
        drawn: AtomicI64,
    }

    impl Clocks {
        fn set(&self, time: UnixMillis, boot: u64, seconds: u64) {
            *self.now.lock().unwrap() = Stamp { time, boot, monotonic: seconds * 1_000_000_000 };
        }
    }

    impl Host for Clocks {
        fn now(&self) -> Stamp {
            *self.now.lock().unwrap()
        }

        fn random(&self) -> io::Result<u64> {
            Ok(self.drawn.fetch_add(1, Ordering::Relaxed).unsigned_abs() + 1)
        }
    }

    fn accept(lane: &Lane, runtime: &tokio::runtime::Runtime) {
        let mut batch = EventBatch::new();
        batch.push(&Event::of_value(b"event"));
        let stream = StreamName::new("s").unwrap();
        runtime.block_on(lane.append(stream, batch, Patience::Forever)).unwrap();
    }

    #[test]
    fn what_a_host_that_booted_in_1970_accepted_has_its_time_once_the_clock_is_right() {
        const NOW: UnixMillis = 1_800_000_000_000;
        let (dir, clocks) = (tempfile::tempdir().unwrap(), Arc::new(Clocks::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        clocks.set(5_000, 1, 5);
        let data = DataDir::open_on(RealFs, dir.path(), Arc::clone(&clocks) as Arc<dyn Host>).unwrap();
        let main = LaneName::new("main").unwrap();
        let lane = Lane::open(&data, main, &Spool::default(), Seq::FIRST, Metrics::new()).unwrap();
        accept(&lane, &runtime);
        let time = |lane: &Lane| match Log::reader(lane, Seq::FIRST).next(&mut |_, _| true) {
            Ok(Some(Read::Block(info, _))) => info.time,
            other => panic!("{other:?}"),
        };
        assert_eq!(time(&lane), 5_000, "nobody knows better yet");
        clocks.set(NOW, 1, 3_605);
        assert_eq!(time(&lane), NOW - 3_600_000);
        clocks.set(NOW, 2, 9_000);
        assert_eq!(time(&lane), 5_000, "after another boot nothing is known of how long ago it was");
        lane.close();
    }
}
