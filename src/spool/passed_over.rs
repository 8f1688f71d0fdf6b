//! Files with a segment's name that are not read, or not to their end, and why.
//!
//! Of some of them no number says that anything is missing: nobody knows how far they went. Whoever asks whether a spool is
//! whole has to hear of them all the same.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::disk::{File, Fs, insist};
use crate::ids::SegmentId;

use super::candidates::start_of;
use super::format::DATA_START;
use super::inspect::LaneSnapshot;
use super::reader::Log;
use super::table::Segment;
use super::unread::holds_unread;
use super::walk::Walker;

/// A file that is not read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Where it is.
    pub file: PathBuf,
    /// What is the matter with it.
    pub why: Why,
}

/// Why a file is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// A newer version wrote it.
    NewerVersion,
    /// The disk does not give it, or not all of its pages.
    CannotBeRead,
    /// A directory, a link or the like has its name.
    NotAFile,
    /// Its header says that it belongs to another spool or lane.
    Foreign,
    /// It has neither a whole header nor a whole block.
    Unrecognised,
    /// An earlier start gave it up from some place on, and behind that are whole blocks.
    GivenUp,
    /// The segment after it says that it does not count, and yet some of it was durable: an earlier start could not open it.
    LeftOut,
    /// The segment after it says that it does not count, since a write to it failed. Nothing of it was promised to anybody.
    WriteFailed,
}

impl Why {
    /// Whether events may be lost by it.
    #[must_use]
    pub fn is_damage(self) -> bool {
        self != Why::WriteFailed
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::NewerVersion => "a newer version of spoolway wrote it",
            Why::CannotBeRead => "the disk does not give it, or not all of it",
            Why::NotAFile => "it is not a file",
            Why::Foreign => "its header says that it belongs to another spool or lane",
            Why::Unrecognised => "it has no whole header and no whole block",
            Why::GivenUp => "behind the place where it was found damaged there are whole blocks",
            Why::LeftOut => "the segment after it leaves it out, and events in it were durable",
            Why::WriteFailed => "a write to it failed, and nothing in it was promised to anybody",
        };
        write!(f, "{}: {why}", self.file.display())
    }
}

impl<F: Fs> LaneSnapshot<F> {
    /// Files with a segment's name of which the log has nothing, or not all, in the order of their names.
    #[must_use]
    pub fn passed_over(&self) -> Vec<PassedOver> {
        let log = self.log();
        let mut all: Vec<_> = self.left_alone().iter().map(|passed| judged(log, passed)).collect();
        all.extend(self.segments().filter_map(|segment| unread(log, segment)));
        all.sort_by(|a, b| (&a.file, a.why).cmp(&(&b.file, b.why)));
        // Its end could not be read, and so nobody knows what stands behind it.
        all.dedup_by(|second, first| second.file == first.file);
        all
    }
}

/// Of a segment that its successor leaves out: whether anything in it was durable.
fn judged<F: Fs>(log: &impl Log<F>, passed: &PassedOver) -> PassedOver {
    let left_out = passed.why == Why::WriteFailed && was_durable(log, &passed.file);
    PassedOver { why: if left_out { Why::LeftOut } else { passed.why }, ..passed.clone() }
}

/// Whether a block in a file says that an event of that file was durable. What can't be read may be anything.
fn was_durable<F: Fs>(log: &impl Log<F>, path: &Path) -> bool {
    let proves = |file: F::File| {
        let start = start_of(&file);
        let id = start.owner.map_or(SegmentId(0), |(_, _, id)| id);
        let limit = insist(|| file.size()).ok()?;
        let mut walker = Walker::new(file, path.to_owned(), log.identity(id));
        let (mut at, mut first) = (DATA_START, start.begins);
        while let Some(block) = walker.search(at, limit).ok()? {
            if block.header.synced_through >= *first.get_or_insert(block.header.first) {
                return Some(true);
            }
            at = block.next;
        }
        Some(false)
    };
    match insist(|| log.fs().open_read(path)) {
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
        Ok(file) => proves(file).unwrap_or(true),
    }
}

/// Why a segment of the log is not read to its end, if it isn't.
fn unread<F: Fs>(log: &impl Log<F>, segment: &Segment) -> Option<PassedOver> {
    let why = if segment.readable { Why::GivenUp } else { Why::NewerVersion };
    holds_unread(log, segment).then(|| PassedOver { file: segment.path.clone(), why })
}
