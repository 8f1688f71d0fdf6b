//! What the headers of many segments say, in one file: with tens of thousands of segments and nothing in the page cache,
//! opening each to read its header takes seconds.
//!
//! INVARIANT: it is a copy of headers. A header never changes once its segment is durable, so what is said of a file holds as
//! long as that is the file it was said of, unchanged since: by its inode, which the listing gives for nothing, and by its
//! length and the time of its last change, which the file system says without opening it. (An inode alone says too little:
//! `cp`, or `rsync --inplace`, puts another segment's bytes into the same file.) Whatever is missing, damaged, or another file
//! is looked at itself.
//!
//! ```text
//! catalogue = magic "SWCT" · crc u32 · version u32 (2) · count u32 · spool u64 · entry*
//! entry     = segment u64 · inode u64 · length u64 · changed i64 · base u64 · created i64 · predecessor u64 ·
//!             its end offset u64 · its end u64
//! ```
//! Little-endian. The crc (CRC-32/ISO-HDLC) covers everything behind it. Only segments whose predecessor was closed in order are
//! in it, neither the first of the lane nor its last two. Version 1 did not say when a file was changed: it says nothing.

use std::collections::BTreeMap;
use std::path::Path;

use super::format::{Predecessor, SegmentHeader, Verdict};
use super::names;
use super::table::{Segment, Table};
use crate::disk::{DiskError, File, Fs, Version, insist, make_way};
use crate::ids::{RunId, SegmentId, Seq, SpoolId};

const MAGIC: &[u8; 4] = b"SWCT";
const VERSION: u32 = 2;
const HEAD: usize = 24;
const ENTRY: usize = 72;
/// No lane has more: 72 MiB of catalogue.
const MAX: usize = 1 << 20;
/// It is written again when so many segments have come to the lane, and for fewer it is not worth having.
pub(super) const WORTH: usize = 256;

/// What is known of a segment without looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Of the file when this was noted.
    pub(super) version: Version,
    pub(super) header: SegmentHeader,
}

impl Known {
    /// Whether the file at `path`, whose inode is the one that this was noted of, was not changed since.
    pub(super) fn holds_for<F: Fs>(&self, fs: &F, path: &Path) -> bool {
        version(fs, path) == Some(self.version)
    }
}

/// `None` where the file system can't tell.
fn version<F: Fs>(fs: &F, path: &Path) -> Option<Version> {
    fs.version(path).ok().filter(|version| version.changed != 0)
}

/// By segment and inode.
pub(super) type Catalogue = BTreeMap<(SegmentId, u64), Known>;

/// Reads it. One that is missing, damaged or of another spool says nothing.
pub(super) fn read<F: Fs>(fs: &F, dir: &Path, spool: SpoolId, lane: &str) -> Catalogue {
    let path = dir.join(names::CATALOGUE);
    let Ok(file) = insist(|| fs.open_read(&path)) else { return Catalogue::new() };
    let Ok(size) = insist(|| file.size()) else { return Catalogue::new() };
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(HEAD + MAX * ENTRY)];
    match insist(|| file.read_full_at(&mut bytes, 0)) {
        Ok(read) => parse(bytes.get(..read).unwrap_or_default(), spool, lane).unwrap_or_default(),
        Err(_) => Catalogue::new(),
    }
}

fn parse(bytes: &[u8], spool: SpoolId, lane: &str) -> Option<Catalogue> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (crc, covered) = rest.split_first_chunk::<4>()?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, rest) = covered.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (owner, rest) = rest.split_first_chunk::<8>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let ours = u32::from_le_bytes(*version) == VERSION && u64::from_le_bytes(*owner) == spool.0;
    if !ours || rest.len() != count.checked_mul(ENTRY)? {
        return None;
    }
    let entries = rest.chunks_exact(ENTRY).filter_map(|entry| {
        let mut numbers = entry.chunks_exact(8).map_while(|n| Some(u64::from_le_bytes(n.try_into().ok()?)));
        let mut next = || numbers.next();
        let (segment, inode) = (SegmentId(next()?), next()?);
        let version = Version { len: next()?, changed: next()?.cast_signed() };
        let (base, created) = (Seq(next()?), next()?.cast_signed());
        let predecessor = Predecessor {
            segment: SegmentId(next()?),
            end_offset: next()?,
            end: Seq(next()?),
            verdict: Verdict::Closed,
        };
        // Nobody asks a segment's header in the table of whose opening it is.
        let (run, lane) = (RunId(0), lane.to_owned());
        let header = SegmentHeader { incompat: 0, spool, run, segment, base, created, predecessor, lane };
        Some(((segment, inode), Known { version, header }))
    });
    Some(entries.collect())
}

/// Writes it anew.
///
/// # Errors
/// What the disk says; an older one stays, which holds as before.
pub(super) fn write<F: Fs>(fs: &F, dir: &Path, spool: SpoolId, table: &Table) -> Result<(), DiskError> {
    let listed = insist(|| fs.list(dir)).map_err(DiskError::io("list", dir))?;
    let inodes: BTreeMap<SegmentId, u64> = listed
        .iter()
        .filter(|entry| entry.inode != 0)
        .filter_map(|entry| Some((names::parse_segment(&entry.name)?, entry.inode)))
        .collect();
    let bytes = encode(fs, spool, table, &inodes);
    let (path, new) = (dir.join(names::CATALOGUE), dir.join(names::CATALOGUE_NEW));
    make_way(fs, &new)?;
    let file = fs.create(&new).map_err(DiskError::io("create", &new))?;
    file.write_at(&bytes, 0).map_err(DiskError::io("write", &new))?;
    // Else a power cut could leave an empty one in the place of a good one.
    file.sync_data().map_err(DiskError::io("sync", &new))?;
    make_way(fs, &path)?;
    fs.rename(&new, &path).map_err(DiskError::io("rename", &new))
}

fn encode<F: Fs>(fs: &F, spool: SpoolId, table: &Table, inodes: &BTreeMap<SegmentId, u64>) -> Vec<u8> {
    let segments: Vec<&Segment> = table.segments.values().collect();
    let upto = segments.len().saturating_sub(2);
    let pairs = segments.get(..upto).unwrap_or_default().windows(2);
    let mut entries = Vec::new();
    for pair in pairs.take(MAX) {
        let [before, segment] = pair else { continue };
        let closed = [before, segment].iter().all(|s| s.verdict == Verdict::Closed && s.readable);
        let (Some(inode), Some(created)) = (inodes.get(&segment.id), segment.created) else { continue };
        if !closed || before.id.next() != segment.id || before.end != segment.base {
            continue;
        }
        // One that has been deleted since it was listed needs none.
        let Some(Version { len, changed }) = version(fs, &segment.path) else { continue };
        let file = [segment.id.0, *inode, len, changed.cast_unsigned()];
        let header = [segment.base.0, created.cast_unsigned(), before.id.0, before.end_offset, before.end.0];
        file.into_iter().chain(header).for_each(|n| entries.extend(n.to_le_bytes()));
    }
    let mut covered = VERSION.to_le_bytes().to_vec();
    covered.extend(u32::try_from(entries.len() / ENTRY).unwrap_or(0).to_le_bytes());
    covered.extend(spool.0.to_le_bytes());
    covered.extend(entries);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&covered).to_le_bytes());
    bytes.extend(covered);
    bytes
}
