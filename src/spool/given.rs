//! Whether the disk gave what was read, where a start stands on it: else it has to fail, see [`withheld`]. It reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Entry, File, Fs, insist, is_rot};
use crate::ids::{LaneName, SegmentId, Seq, SpoolId};
use crate::sabotage::{self, Bug};

use super::candidates::{Candidate, Withheld, start_of};
use super::error::OpenError;
use super::format::{DATA_START, SEGMENT_COPY, SegmentHeader};
use super::names;
use super::recover::{Access, Recovered, recover};
use super::seek::Seeker;
use super::table::Segment;
use super::walk::{Identity, Walker};

const PAGE: u64 = 4096;

/// What the disk did not give of a file, though it was asked again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// All of it.
    pub(super) all: bool,
    /// Neither copy of the header.
    pub(super) start: bool,
    /// Where the pages begin.
    pub(super) pages: BTreeSet<u64>,
}

impl Refused {
    pub(super) fn is_some(&self) -> bool {
        *self != Self::default()
    }

    /// Nothing is missing of `there` but what is missing here as well.
    fn holds(&self, there: &Self) -> bool {
        self.all || (!there.all && self.start >= there.start && self.pages.is_superset(&there.pages))
    }
}

/// What it did not give of a lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing(BTreeMap<PathBuf, Refused>);

impl Missing {
    pub(super) fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Path> {
        self.0.keys().next().map(PathBuf::as_path)
    }

    pub(super) fn of(&self, path: &Path) -> Refused {
        self.0.get(path).cloned().unwrap_or_default()
    }

    pub(super) fn add(&mut self, path: &Path, refused: Refused) {
        if refused.is_some() {
            let of = self.0.entry(path.to_owned()).or_default();
            of.all |= refused.all;
            of.start |= refused.start;
            of.pages.extend(refused.pages);
        }
    }

    /// Whether nothing is missing of `other` but what is missing here as well.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.0.iter().all(|(path, there)| self.0.get(path).is_some_and(|here| here.holds(there)))
    }
}

/// What a scan says beside a segment's end.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// What the disk did not give of it.
    pub(super) missing: Refused,
    /// It ends with a seal: nothing of it stands behind.
    pub(super) sealed: bool,
    /// Some was missing, and then the disk gave nothing of the file any more.
    pub(super) refusal: Option<io::Error>,
}

impl Given {
    /// Of a segment that could not be opened, or not be read at all.
    pub(super) fn nothing(source: io::Error) -> Self {
        let missing = Refused { all: true, ..Refused::default() };
        Self { missing, refusal: Some(source).filter(is_rot), ..Self::default() }
    }
}

/// What is not certain of a log.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) missing: Missing,
    /// Segments of which the disk gives nothing by now.
    pub(super) silent: Vec<Withheld>,
    /// Segments that no successor and no seal says the end of.
    pub(super) unsealed: Vec<SegmentId>,
}

/// Fails where [`recover`] would for what the last file of any lane does not say, before anything in the data directory is changed. What
/// shows only when a segment is read, or further ahead, costs the start later, when a lane is opened: nothing of the log is changed then either.
pub(super) fn ends_are_given<F: Fs>(fs: &F, data_dir: &Path, spool: SpoolId) -> Result<(), OpenError> {
    for lane in super::data_dir::lane_names(fs, data_dir)? {
        let dir = data_dir.join(names::LANES).join(lane.as_str());
        if !gives_its_end(fs, &dir, spool, &lane)? {
            // Where readers have been may prove more of it, and is not known yet.
            recover(fs, &dir, spool, &lane, Seq(u64::MAX), Access::Owner)?;
        }
    }
    Ok(())
}

/// Whether the last file of a lane, but for blank ones, has a header. Nearly always it has, and nothing else need be read.
fn gives_its_end<F: Fs>(fs: &F, dir: &Path, spool: SpoolId, lane: &LaneName) -> Result<bool, OpenError> {
    let entries = insist(|| fs.list(dir)).map_err(OpenError::io("list", dir))?;
    let named = |entry: &Entry| names::parse_segment(&entry.name).filter(|id| *id <= names::LAST_BY_NAME);
    let mut files: Vec<_> = entries.iter().filter_map(|entry| Some((named(entry)?, entry))).collect();
    files.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    for (id, entry) in files {
        let start = insist(|| fs.open_read(&dir.join(&entry.name))).map(|file| start_of(&file));
        match start {
            Ok(start) if start.blank => {}
            start => {
                let header = start.ok().and_then(|start| start.header);
                let is_ours = |header: &SegmentHeader| {
                    header.segment == id && header.spool == spool && header.lane == lane.as_str()
                };
                return Ok(header.as_ref().is_some_and(is_ours));
            }
        }
    }
    Ok(true)
}

/// Whether the disk gives, now and not from memory, something that was written to a segment: a copy of its header, or the end of its last
/// whole block. (Or a page of the header that reads as zeros: then it was never durable, and nothing of that segment was promised to anybody, for
/// both copies come to the disk with the first block, under one sync.)
pub(super) fn answers<T: File>(file: &T, end_offset: u64) -> io::Result<()> {
    let block = Some((end_offset.saturating_sub(1)) / PAGE * PAGE).filter(|_| end_offset > DATA_START);
    // A disk that refuses this leaves the page cache to answer for it.
    insist(|| file.forget_if_possible())?;
    let mut page = [0; 4096];
    let mut reads = |at| insist(|| file.read_full_at(&mut page, at)).map(drop);
    let mut answer = reads(0);
    for at in [Some(SEGMENT_COPY), block].into_iter().flatten() {
        answer = answer.or_else(|_| reads(at));
    }
    answer
}

/// The file for which a start has to fail.
///
/// Behind the log's end as it was found, one of which the disk gives neither header nor a whole block: it may hold more of the log. Or the
/// last segment, whose header was read, from memory perhaps, before the disk gave nothing any more. Whoever took that end for the end
/// would give the numbers of those events again, and once the disk gives them as well, new events and old ones have the same numbers.
///
/// Or one further ahead, whose first number nobody knows then, behind a segment with whole blocks beyond its end: whether
/// these are its own, or are left over and have that file's numbers, is not known.
pub(super) fn withheld<F: Fs>(
    fs: &F,
    listed: Vec<Withheld>,
    found: &[Candidate],
    identity: &Identity,
    recovered: &mut Recovered,
) -> Option<Withheld> {
    let last = recovered.predecessor.segment;
    let silent = std::mem::take(&mut recovered.doubts.silent).into_iter().filter(|file| file.id >= last);
    let begins = |id| found.iter().any(|file| file.id == id && file.begins.is_some());
    let counts = |file: &Withheld| {
        file.id > last || (!begins(file.id) && follows_doubt(fs, file.id, identity, recovered))
    };
    let mut files = listed.into_iter().filter(counts).chain(silent);
    files.find(|_| !sabotage::commits(Bug::BlindStart))
}

fn follows_doubt<F: Fs>(fs: &F, id: SegmentId, identity: &Identity, recovered: &Recovered) -> bool {
    let before = recovered.table.segments.range(..id).next_back();
    before.is_some_and(|(id, before)| {
        recovered.doubts.unsealed.contains(id) && goes_on(fs, before, identity).unwrap_or(true)
    })
}

/// Whether there is a whole block behind a segment's end, which is where its own bytes do not prove any further. If some can't be read there,
/// there may be, unless these are bad sectors: the disk gives other parts of that file.
fn goes_on<F: Fs>(fs: &F, segment: &Segment, identity: &Identity) -> io::Result<bool> {
    let path: &Path = &segment.path;
    let file = insist(|| fs.open_read(path))?;
    let limit = insist(|| file.size())?;
    let identity = Identity { segment: segment.id, ..identity.clone() };
    let mut walker = Walker::new(file, path.to_owned(), identity);
    walker.tolerant = true;
    let mut seeker = Seeker::new(segment.end_offset.max(DATA_START), segment.end);
    let holds = seeker.holds(&mut walker, segment.end, (limit, None)).map_err(|e| e.source)?;
    Ok(holds || (!walker.unreadable.is_empty() && answers(walker.file(), segment.end_offset).is_err()))
}
