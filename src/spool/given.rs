//! Whether the disk gave what was read, where a start stands on it: else it has to fail, see [`withheld`]. It reads only.

use std::io;
use std::path::Path;

use crate::disk::{File, Fs, insist, is_rot};
use crate::ids::{SegmentId, Seq};
use crate::sabotage::{self, Bug};

use super::candidates::{Candidate, Withheld};
use super::format::{DATA_START, SEGMENT_COPY};
use super::recover::Recovered;
use super::seek::Seeker;
use super::table::Segment;
use super::walk::{Identity, Walker};

const PAGE: u64 = 4096;

/// What a scan says beside a segment's end.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The disk gave all of it.
    pub(super) whole: bool,
    /// It ends with a seal: nothing of it stands behind.
    pub(super) sealed: bool,
    /// Some was missing, and then the disk gave nothing of the file any more.
    pub(super) refusal: Option<io::Error>,
}

impl Given {
    /// Of a segment that could not be opened, or not be read at all.
    pub(super) fn nothing(source: io::Error) -> Self {
        Self { refusal: Some(source).filter(is_rot), ..Self::default() }
    }
}

/// What is not certain of a log.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Segments of which the disk gives nothing by now.
    pub(super) silent: Vec<Withheld>,
    /// Segments that no successor and no seal says the end of.
    pub(super) unsealed: Vec<SegmentId>,
}

/// Whether the disk gives, now and not from memory, something that was written to a segment: a copy of its header, or the end of its last
/// whole block. Zeros would prove nothing: where nothing was written yet, a file system makes them up itself.
pub(super) fn answers<T: File>(file: &T, end_offset: u64) -> io::Result<()> {
    let block = Some((end_offset.saturating_sub(1)) / PAGE * PAGE).filter(|_| end_offset > DATA_START);
    if let Err(error) = insist(|| file.forget_cached()) {
        // As everywhere else: where the kernel can't, what it gives is what there is.
        tracing::warn!(%error, "what the kernel holds of the last segment could not be put to the test");
    }
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
/// Or one further ahead, whose first number nobody knows then, behind a segment with whole blocks beyond a damaged place: whether these are
/// its own, or are left over and have that file's numbers, is not known.
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
        let holes = recovered.holes.iter().map(|hole| hole.first);
        let first = holes.filter(|first| (before.base..before.end).contains(first)).min();
        recovered.doubts.unsealed.contains(id)
            && goes_on(fs, before, first.unwrap_or(before.end), identity).unwrap_or(true)
    })
}

/// Whether there is a whole block from `due` on in a segment, or may be.
fn goes_on<F: Fs>(fs: &F, segment: &Segment, due: Seq, identity: &Identity) -> io::Result<bool> {
    let path: &Path = &segment.path;
    let file = insist(|| fs.open_read(path))?;
    let limit = insist(|| file.size())?;
    let identity = Identity { segment: segment.id, ..identity.clone() };
    let mut walker = Walker::new(file, path.to_owned(), identity);
    walker.tolerant = true;
    let mut seeker = Seeker::new(DATA_START, segment.base);
    let holds = seeker.holds(&mut walker, due, (limit, None)).map_err(|e| e.source)?;
    Ok(holds || walker.unreadable > 0)
}
