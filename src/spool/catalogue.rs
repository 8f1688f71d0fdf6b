//! What the headers of many segments say, in one file: with tens of thousands of segments and nothing in the page cache,
//! opening each to read its header takes seconds.
//!
//! INVARIANT: it is a copy of headers, and decides nothing. A header never changes once its segment is durable, so what is
//! said of a file holds as long as the name stands for the same file: by its inode, which the listing gives for nothing.
//! Whatever is missing, damaged, or another file is looked at itself.
//!
//! ```text
//! catalogue = magic "SWCT" · crc u32 · version u32 (1) · count u32 · spool u64 · entry*
//! entry     = segment u64 · inode u64 · length u64 · base u64 · created i64 · predecessor u64 · its end offset u64 · its end u64
//! ```
//! Little-endian. The crc (CRC-32/ISO-HDLC) covers everything behind it. Only segments whose predecessor was closed in order are
//! in it, neither the first of the lane nor its last two.

use std::collections::BTreeMap;
use std::path::Path;

use super::format::{Predecessor, SegmentHeader, Verdict};
use super::names;
use super::table::{Segment, Table};
use crate::disk::{DiskError, File, Fs, insist, make_way};
use crate::ids::{RunId, SegmentId, Seq, SpoolId};

const MAGIC: &[u8; 4] = b"SWCT";
const VERSION: u32 = 1;
const HEAD: usize = 24;
const ENTRY: usize = 64;
/// No lane has more: 64 MiB of catalogue.
const MAX: usize = 1 << 20;
/// It is written again when so many segments have come to the lane, and for fewer it is not worth having.
pub(super) const WORTH: usize = 256;

/// What is known of a segment without looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) len: u64,
    pub(super) header: SegmentHeader,
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
        let (segment, inode, len) = (SegmentId(next()?), next()?, next()?);
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
        Some(((segment, inode), Known { len, header }))
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
    let bytes = encode(spool, table, &inodes);
    let (path, new) = (dir.join(names::CATALOGUE), dir.join(names::CATALOGUE_NEW));
    make_way(fs, &new)?;
    let file = fs.create(&new).map_err(DiskError::io("create", &new))?;
    file.write_at(&bytes, 0).map_err(DiskError::io("write", &new))?;
    // Else a power cut could leave an empty one in the place of a good one.
    file.sync_data().map_err(DiskError::io("sync", &new))?;
    make_way(fs, &path)?;
    fs.rename(&new, &path).map_err(DiskError::io("rename", &new))
}

fn encode(spool: SpoolId, table: &Table, inodes: &BTreeMap<SegmentId, u64>) -> Vec<u8> {
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
        let numbers = [segment.id.0, *inode, segment.bytes, segment.base.0, created.cast_unsigned()];
        let predecessor = [before.id.0, before.end_offset, before.end.0];
        numbers.into_iter().chain(predecessor).for_each(|n| entries.extend(n.to_le_bytes()));
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
