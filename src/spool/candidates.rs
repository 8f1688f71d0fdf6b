//! The files of a lane that may be segments, and what the beginning of each says.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, File, Fs, insist, insist_unless, is_rot};
use crate::ids::{SegmentId, Seq, SpoolId};
use crate::sabotage::{self, Bug};

use super::catalogue::{self, Catalogue, Known, WORTH};
use super::error::{OpenError, WHOSE, is_damage};
use super::format::{BlockHeader, DATA_START, MAX_HEADER, SEGMENT_COPY, SegmentHeader};
use super::given::{Missing, Refused};
use super::names;
use super::passed_over::{PassedOver, Why};
use super::recover::Access;
use super::walk::Identity;

/// Where the second copy of a segment's header begins.
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == SEGMENT_COPY);
/// Copies of a segment's header, each in a page of its own.
const COPIES: usize = 2;
const _: () = assert!((COPIES * PAGE) as u64 == DATA_START);

/// A file that may be a segment.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) id: SegmentId,
    pub(super) name_fits: bool,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) header: Option<SegmentHeader>,
    /// Number of its first event: its header says so or, if that is damaged, its first block.
    pub(super) begins: Option<Seq>,
    /// Where the header belongs, there are only zeros.
    pub(super) blank: bool,
    /// What of it the disk refused when it was asked before.
    pub(super) refused: Refused,
}

impl Candidate {
    /// One that can't be opened. The next one may say where it ends.
    fn unknown<F: Fs>(fs: &F, named: &Named, refused: Refused) -> Self {
        let Named { id, path } = named;
        Self {
            id: *id,
            name_fits: true,
            path: path.clone(),
            // It takes its room all the same.
            len: fs.version(path).map_or(0, |version| version.len),
            header: None,
            begins: None,
            blank: false,
            refused,
        }
    }
}

/// What a look over a lane's directory finds beside the files that may be segments.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Put in: what the disk refused when it was asked before.
    pub(super) refused: Missing,
    /// The highest number of a segment that was ever seen.
    pub(super) highest: SegmentId,
    /// What has a segment's name, and is left alone.
    pub(super) left_alone: Vec<PassedOver>,
    /// Of which the disk gives neither copy of the header, or that it does not let be opened.
    pub(super) withheld: Vec<Withheld>,
}

/// A file that may be a segment, of which the disk does not give what says so.
#[derive(Debug)]
pub(super) struct Withheld {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// Every file that may be a segment of this lane, in order of segment numbers, each number once.
pub(super) fn candidates<F: Fs>(
    fs: &F,
    dir: &Path,
    identity: &Identity,
    access: Access,
    listed: &mut Listed,
) -> Result<Vec<Candidate>, OpenError> {
    let entries = match insist(|| fs.list(dir)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(OpenError::io("list", dir)(e)),
    };
    let mut known = Catalogue::new();
    if entries.len() >= WORTH && access == Access::Owner {
        known = catalogue::read(fs, dir, identity.spool, identity.lane.as_str());
    }
    let (mut named, mut found) = (Vec::new(), Vec::new());
    for entry in entries {
        let Some(id) = names::parse_segment(&entry.name) else { continue };
        if id <= names::LAST_BY_NAME {
            listed.highest = listed.highest.max(id);
        }
        let path = dir.join(&entry.name);
        let is_file = entry.kind == EntryKind::File;
        let noted = known.remove(&(id, entry.inode)).filter(|known| is_file && known.holds_for(fs, &path));
        if let Some(Known { version, header }) = noted {
            let (begins, header, len) = (Some(header.base), Some(header), version.len);
            let refused = listed.refused.of(&path);
            found.push(Candidate { id, name_fits: true, path, len, header, begins, blank: false, refused });
        } else if is_file {
            named.push(Named { id, path });
        } else {
            tracing::error!(path = %path.display(), "not a file, though it has a segment's name: left alone");
            listed.left_alone.push(PassedOver { file: path, why: Why::NotAFile });
        }
    }
    for (looked, named) in looked_at(fs, &named, identity, (access, &listed.refused))?.into_iter().zip(named)
    {
        let (id, refusal) = match looked {
            Looked::Candidate(candidate, refusal) => {
                let id = candidate.id;
                found.push(*candidate);
                (id, refusal)
            }
            Looked::Other(why) => {
                listed.left_alone.push(PassedOver { file: named.path, why });
                continue;
            }
            Looked::Gone => continue,
        };
        listed.withheld.extend(refusal.map(|source| Withheld { id, path: named.path, source }));
    }
    found.iter().for_each(|c| listed.highest = listed.highest.max(c.id));
    in_order(&mut found);
    Ok(found)
}

/// Sorts by segment number and leaves one file a number: one under its own name comes before a copy under another.
pub(super) fn in_order(found: &mut Vec<Candidate>) {
    found.sort_by_key(|c| (c.id, !c.name_fits));
    found.dedup_by_key(|c| c.id);
}

/// A file with a segment's name.
struct Named {
    id: SegmentId,
    path: PathBuf,
}

/// What a file with a segment's name is, and why its header can't be read where the disk does not give it.
enum Looked {
    Candidate(Box<Candidate>, Option<io::Error>),
    /// It is left alone.
    Other(Why),
    /// It was deleted since it was listed.
    Gone,
}

/// From this many files on, several threads look at them: with nothing in the page cache each look waits for the disk.
const MANY: usize = 256;
const LOOKERS: usize = 16;

fn looked_at<F: Fs>(
    fs: &F,
    named: &[Named],
    identity: &Identity,
    known: (Access, &Missing),
) -> Result<Vec<Looked>, OpenError> {
    let look = |some: &[Named]| -> Result<Vec<Looked>, OpenError> {
        some.iter().map(|named| looked_at_one(fs, named, identity, known)).collect()
    };
    if named.len() < MANY {
        return look(named);
    }
    let parts = std::thread::scope(|scope| {
        let parts = named.chunks(named.len().div_ceil(LOOKERS));
        let threads: Vec<_> = parts.map(|part| (part, scope.spawn(|| look(part)))).collect();
        // A thread that panicked leaves its part to this one, which then says why.
        let parts = threads.into_iter().map(|(part, thread)| thread.join().unwrap_or_else(|_| look(part)));
        parts.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

fn looked_at_one<F: Fs>(
    fs: &F,
    named: &Named,
    identity: &Identity,
    (access, refused): (Access, &Missing),
) -> Result<Looked, OpenError> {
    let path = &named.path;
    let refused = refused.of(path);
    match candidate(fs, named, identity, &refused) {
        Ok(looked) => Ok(looked),
        // Its bytes may be as good as ever. Going on without it would give its events up.
        Err(e) if access == Access::Visitor && e.kind() == io::ErrorKind::NotFound => {
            // Deleted by its agent between the listing and now: the floor says so.
            Ok(Looked::Gone)
        }
        Err(e) if !is_damage(&e) => Err(OpenError::io("open", path)(e)),
        Err(e) => {
            tracing::error!(path = %path.display(), error = %e, "a segment cannot be opened");
            // No number above is given to a file by us: under such a name stands a copy.
            let may_be_ours = is_rot(&e) && named.id <= names::LAST_BY_NAME;
            let unknown = || Looked::Candidate(Box::new(Candidate::unknown(fs, named, refused)), Some(e));
            Ok(if may_be_ours { unknown() } else { Looked::Other(Why::CannotBeRead) })
        }
    }
}

fn candidate<F: Fs>(fs: &F, named: &Named, identity: &Identity, refused: &Refused) -> io::Result<Looked> {
    let Named { id: name, path } = named;
    let file = insist_unless(refused.start, || fs.open_read(path))?;
    let len = insist(|| file.size())?;
    let Start { header, owner, begins, blank, refusal } = start_asked(&file, refused.start);
    let id = match owner {
        Some((spool, lane, _)) if spool != identity.spool || lane != identity.lane.as_str() => {
            tracing::error!(path = %path.display(), "a segment of another spool or lane: left alone");
            return Ok(Looked::Other(Why::Foreign));
        }
        Some((_, _, id)) => id,
        None if *name > names::LAST_BY_NAME => {
            tracing::error!(path = %path.display(), "not a segment, though it has the name of one: left alone");
            return Ok(Looked::Other(Why::Unrecognised));
        }
        None => *name,
    };
    let (name_fits, path, refused) = (id == *name, path.clone(), refused.clone());
    let candidate = Candidate { id, name_fits, path, len, header, begins, blank, refused };
    Ok(Looked::Candidate(Box::new(candidate), refusal))
}

/// Whether there is nothing but zeros in a file, from its first byte to its last. What can't be read may be anything.
pub(super) fn is_blank<F: Fs>(fs: &F, path: &Path) -> bool {
    let file = match insist(|| fs.open_read(path)) {
        Ok(file) => file,
        Err(e) => return e.kind() == io::ErrorKind::NotFound,
    };
    let (mut part, mut at) = (vec![0; 64 * PAGE], 0);
    loop {
        match insist(|| file.read_full_at(&mut part, at)) {
            Ok(0) => return true,
            Ok(read) if part.iter().take(read).all(|b| *b == 0) => at += read as u64,
            _ => return false,
        }
    }
}

/// What the beginning of a file says.
pub(super) struct Start {
    pub(super) header: Option<SegmentHeader>,
    /// Spool, lane and segment, by the header or else the first block.
    pub(super) owner: Option<(SpoolId, String, SegmentId)>,
    /// Number of its first event, in the same way.
    pub(super) begins: Option<Seq>,
    pub(super) blank: bool,
    /// The disk gives neither copy of the header. Where it gives one that is not whole, that is damage: nearly always the first write was
    /// never durable, since both are written at once. (Or one has rotted, and the other is refused: then what it held is lost.)
    pub(super) refusal: Option<io::Error>,
}

pub(super) fn start_of<T: File>(file: &T) -> Start {
    start_asked(file, false)
}

/// [`start_of`] a file of which it may have been refused before.
fn start_asked<T: File>(file: &T, refused: bool) -> Start {
    file.expect_little();
    // The header's first copy has a page of its own, and is whole nearly always.
    let mut first = [0; PAGE];
    let read = insist_unless(refused, || file.read_full_at(&mut first, 0)).unwrap_or(0);
    if let Some(header) = SegmentHeader::decode_area(first.get(..read).unwrap_or_default()) {
        let owner = Some((header.spool, header.lane.clone(), header.segment));
        return Start { owner, begins: Some(header.base), header: Some(header), blank: false, refusal: None };
    }
    let (area, refusals) = start_by_page(file, refused);
    let blank = refusals.is_empty() && area.iter().all(|b| *b == 0);
    let header = SegmentHeader::decode_area(&area);
    let owner = header.as_ref().map(|h| (h.spool, h.lane.clone(), h.segment));
    let block = area.get(usize::try_from(DATA_START).unwrap_or(0)..).and_then(BlockHeader::decode);
    let owner = owner.or(block.map(|b| (b.spool, b.lane.to_owned(), b.segment)));
    let begins = header.as_ref().map(|h| h.base).or(block.map(|b| b.first));
    let both = |(page, _): &(usize, io::Error)| *page < COPIES;
    let refused = refusals.iter().filter(|refusal| both(refusal)).count() == COPIES;
    let refusal = refusals.into_iter().next().filter(|_| refused && header.is_none()).map(|(_, e)| e);
    Start { header, owner, begins, blank, refusal }
}

/// The bytes up to the end of the first block's header, and the pages of them that could not be read. Page after page: one that
/// can't be read is a damaged one, and must not hide the others.
fn start_by_page<T: File>(file: &T, refused: bool) -> (Vec<u8>, Vec<(usize, io::Error)>) {
    let mut area = vec![0; usize::try_from(DATA_START).unwrap_or(0) + MAX_HEADER];
    let (mut len, mut refusals) = (0, Vec::new());
    for (number, page) in area.chunks_mut(PAGE).enumerate() {
        match insist_unless(refused, || file.read_full_at(page, len as u64)) {
            Ok(read) => {
                len += read;
                if read < page.len() {
                    break;
                }
            }
            Err(e) => {
                page.fill(0);
                len += page.len();
                refusals.push((number, e));
            }
        }
    }
    area.truncate(len);
    (area, refusals)
}

/// The identity that most segments of a data directory carry, of as many the first, for when `FORMAT` is lost: one that was
/// put there by hand must not make all others another spool's.
///
/// # Errors
/// When a directory can't be listed. For the agent, who would give it another one, also when none says it and the disk does not give
/// one that may.
pub(super) fn spool_id_in_segments<F: Fs>(
    fs: &F,
    data_dir: &Path,
    access: Access,
) -> Result<Option<SpoolId>, OpenError> {
    let mut votes: Vec<(SpoolId, u64)> = Vec::new();
    let mut withheld = None;
    for lane in super::data_dir::lane_names(fs, data_dir)? {
        let dir = data_dir.join(names::LANES).join(lane.as_str());
        for entry in insist(|| fs.list(&dir)).map_err(OpenError::io("list", &dir))? {
            if entry.kind != EntryKind::File || names::parse_segment(&entry.name).is_none() {
                continue;
            }
            let path = dir.join(&entry.name);
            let start = insist(|| fs.open_read(&path)).map(|file| start_of(&file));
            let (owner, refusal) = match start {
                Ok(start) => (start.owner, start.refusal),
                Err(e) => (None, (!is_damage(&e) || is_rot(&e)).then_some(e)),
            };
            withheld = withheld.or(refusal.map(|source| (path, source)));
            let Some((spool, _, _)) = owner else { continue };
            match votes.iter_mut().find(|(id, _)| *id == spool) {
                Some((_, count)) => *count += 1,
                None => votes.push((spool, 1)),
            }
        }
    }
    if let (true, Access::Owner, Some((path, source))) = (votes.is_empty(), access, withheld)
        && !sabotage::commits(Bug::BlindStart)
    {
        return Err(OpenError::Withheld { path, unknown: WHOSE, source });
    }
    // Of equal ones the last is the greatest.
    Ok(votes.iter().rev().max_by_key(|(_, count)| *count).map(|(spool, _)| *spool))
}
