//! Whether what others say of the log is said of this one: positions of another past of the same spool prove nothing of what is here.

use std::io;
use std::sync::Arc;

use super::super::block::Item;
use super::super::candidates::start_of;
use super::super::host::Stamp;
use super::super::reader::{Log, Place, Reader};
use super::super::shared::Shared;
use super::super::walk::Identity;
use super::Lane;
use crate::disk::Fs;
use crate::ids::{RunId, SegmentId, Seq, SeqRange};

/// Where the log was found to end when the lane was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundEnd {
    /// The number after the last event that is there; `None` when a newer version wrote the last segment.
    pub(super) end: Option<Seq>,
    /// Everything below was deleted on purpose.
    pub(super) floor: Seq,
    /// The disk gave all that it was asked for.
    pub(super) is_whole: bool,
}

impl<F: Fs> Lane<F> {
    /// Whether `position` lies beyond the end that the log was found to have when the lane was opened. Then that
    /// position and this log have not the same past (an older log was put back), or the log's end is damaged:
    /// the position says nothing of the events that are there.
    #[must_use]
    pub fn was_behind(&self, position: Seq) -> bool {
        self.handle.found.end.is_some_and(|end| position > end)
    }

    /// The last segment that was found, its first number, and the number after its last one.
    #[cfg(test)]
    pub(in crate::spool) fn found_last(&self) -> (SegmentId, Seq, Seq) {
        let table = self.handle.shared.table();
        let last = table.segments.values().next_back();
        last.map_or((SegmentId(0), Seq::FIRST, Seq::FIRST), |last| (last.id, last.base, last.end))
    }

    /// Whether what was deleted on purpose lies beyond that end: see [`Lane::was_behind`].
    #[must_use]
    pub fn was_behind_its_floor(&self) -> bool {
        self.was_behind(self.handle.found.floor)
    }

    /// Has the writer make durable, as soon as the disk lets it, that numbers go on above an end that the log [was behind](Lane::was_behind):
    /// an empty segment says so, which begins there. So the next start does not find the same once more. Where the disk did not give all
    /// of the log, nothing is written for this: what it gives again at a later start may be what is missing.
    ///
    /// DURABILITY: after it, nothing tells any more that what names events of the gap is of another past. So who asks has made sure that
    /// nobody says so any more, durably.
    pub fn go_on_above(&self) {
        if self.handle.found.is_whole {
            self.handle.shared.want_proof();
        }
    }

    /// Whether event `seq` stands in the log, and has its number under another run than `run`. Where it is not there any more, or
    /// can't be read, nothing is said against it. Blocking I/O.
    #[must_use]
    pub fn has_under_another_run(&self, seq: Seq, run: RunId) -> bool {
        self.found_run(seq, run).is_some_and(|found| found != run)
    }

    /// The run under which event `seq` stands in the log, if it can be read there; `likely` saves reading where a header says it. Blocking I/O.
    #[must_use]
    pub fn found_run(&self, seq: Seq, likely: RunId) -> Option<RunId> {
        self.run_of(seq, likely).unwrap_or_else(|error| {
            tracing::warn!(lane = %self.name(), seq = seq.0, %error,
                "the event that positions stand on can't be read; they are taken as they are");
            None
        })
    }

    /// Whether event `seq`, which this lane is said to have sent before it was opened, was never in this log: that ended before, and if the
    /// number has been given since, then by a run that is not the event's. Where the disk did not give all of the log, or gives no answer,
    /// nothing is said against it. Blocking I/O.
    ///
    /// Nothing is sent that is not durable, so of what was sent the log knows: else the log is an older one, or its end is gone.
    #[must_use]
    pub fn has_not_given(&self, seq: Seq, is_its_run: impl Fn(RunId) -> bool) -> bool {
        if !self.handle.found.is_whole || !self.was_behind(seq.next()) {
            return false;
        }
        // What this process has sent was durable before.
        seq > self.durable()
            || self.run_of(seq, self.run()).ok().flatten().is_some_and(|run| !is_its_run(run))
    }

    /// The run under which `seq` has its number, if that can be told. `likely`: a segment has one run, but for those that a repair
    /// made, which have none of their own in their headers; so where a header says this one, nothing else need be read.
    pub(crate) fn run_of(&self, seq: Seq, likely: RunId) -> io::Result<Option<RunId>> {
        let shared = &self.handle.shared;
        let Place::In(segment) = shared.look(seq) else { return Ok(None) };
        let header = shared.fs().open_read(&segment.path).ok().and_then(|file| start_of(&file).header);
        if header.is_some_and(|header| header.segment == segment.id && header.run == likely) {
            return Ok(Some(likely));
        }
        let mut reader = Reader::new(Arc::new(Unheard(Arc::clone(shared))), seq);
        match reader.next_where(|_, _| false) {
            Ok(Some(Item::Skipped(_, run))) => Ok(Some(run)),
            Ok(_) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// A lane that is told nothing: what can't be read here is given up by those who deliver it, or not.
#[derive(Debug)]
struct Unheard<F: Fs>(Arc<Shared<F>>);

impl<F: Fs> Log<F> for Unheard<F> {
    fn fs(&self) -> &F {
        self.0.fs()
    }

    fn identity(&self, segment: SegmentId) -> Identity {
        self.0.identity(segment)
    }

    fn look(&self, position: Seq) -> Place {
        self.0.look(position)
    }

    fn holds(&self, segment: SegmentId) -> bool {
        self.0.holds(segment)
    }

    fn clock(&self) -> Option<Stamp> {
        self.0.clock()
    }

    fn at_home(&self) -> io::Result<()> {
        self.0.at_home()
    }

    fn keep(&self, _segment: SegmentId) {}

    fn lost(&self, _range: SeqRange, _segment: SegmentId) {}
}
