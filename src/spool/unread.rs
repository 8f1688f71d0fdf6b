//! What stands in a segment beyond what could be read of it.

use crate::disk::{File, Fs, insist};

use super::candidates::is_blank;
use super::format::{DATA_START, Verdict};
use super::inspect::LaneSnapshot;
use super::names;
use super::reader::Log;
use super::seek::Seeker;
use super::table::Segment;
use super::walk::Walker;

/// Whether a segment holds more than its end says: a newer version wrote it, or it was found damaged, and behind its
/// end is a whole block, or something that can't be read. Bytes of a write that failed are no such thing.
pub(super) fn holds_unread<F: Fs>(log: &impl Log<F>, segment: &Segment) -> bool {
    if segment.readable && !matches!(segment.verdict, Verdict::Rotten | Verdict::Unknown(_)) {
        return false;
    }
    let behind = |file: F::File| {
        let limit = insist(|| file.size()).ok()?;
        let mut walker = Walker::new(file, segment.path.clone(), log.identity(segment.id));
        let mut seeker = Seeker::new(segment.end_offset.max(DATA_START), segment.end);
        seeker.holds(&mut walker, segment.end, (limit, None)).ok()
    };
    match insist(|| log.fs().open_read(&segment.path)) {
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
        Ok(file) => !segment.readable || behind(file).unwrap_or(true),
    }
}

impl<F: Fs> LaneSnapshot<F> {
    /// Whether its directory holds, or may hold, more than it shows: its last segment is damaged, could not be read, or is
    /// a newer version's; or there are segments, none of them blank, that are passed over; or some were put aside.
    #[must_use]
    pub fn may_hold_more(&self) -> bool {
        let log = self.log();
        let damaged = |s: &Segment| !s.readable || matches!(s.verdict, Verdict::Rotten | Verdict::Unknown(_));
        if self.segments().last().is_some_and(damaged) || self.segments().any(|s| holds_unread(log, s)) {
            return true;
        }
        let Ok(entries) = insist(|| log.fs().list(self.directory())) else { return true };
        if entries.iter().any(|e| names::parse_damaged(&e.name).is_some()) {
            return true;
        }
        let others = entries.iter().filter(|e| names::parse_segment(&e.name).is_some());
        let mut others = others.map(|e| self.directory().join(&e.name));
        others.any(|path| self.segments().all(|s| s.path != path) && !is_blank(log.fs(), &path))
    }
}
