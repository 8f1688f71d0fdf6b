//! The files of letters: `<data_dir>/dead-letters/<number of the first letter>.letters`.
//!
//! A file is reserved at its full size under the name `spare`, and gets its own name when the first letter is to stand in
//! it. One process appends to it; the next process begins another.

use std::path::{Path, PathBuf};

use super::codec;
use super::letter::Stored;
use crate::disk::{DiskError, EntryKind, File, Fs, insist, is_in_the_way, make_way, set_aside};
use crate::ids::SpoolId;

const SUFFIX: &str = ".letters";
const SPARE: &str = "spare";
/// No more of a file is read: it has room for two of the largest events.
const MAX_FILE: usize = 64 << 20;

/// A file of letters.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) path: PathBuf,
    /// Number of its first letter.
    pub(super) first: u64,
}

pub(super) fn name(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// Every file of letters, oldest first.
pub(super) fn list<F: Fs>(fs: &F, directory: &Path) -> Result<Vec<Known>, DiskError> {
    let entries = match insist(|| fs.list(directory)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(DiskError::io("list", directory))?,
    };
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let known = files.filter_map(|entry| {
        let first = entry.name.strip_suffix(SUFFIX)?.parse().ok()?;
        (first <= codec::LAST).then_some(())?;
        Some(Known { path: directory.join(&entry.name), first })
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|k| k.first);
    Ok(known)
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Its whole letters, in the order they stand.
    pub(super) letters: Vec<Stored>,
    /// Bytes up to the end of the last one.
    pub(super) used: u64,
    /// Something stands there that is no whole letter, and is not the torn end of a write.
    pub(super) damaged: bool,
    /// There is nothing behind the last letter, not even a torn end.
    pub(super) ends_blank: bool,
    /// So many letters, at most, may stand behind the last one: torn, so that nobody heard of them, or rotten.
    pub(super) doubtful: u64,
}

/// Reads a file. What can't be read as a letter is passed over up to the next one that can.
pub(super) fn read<F: Fs>(fs: &F, path: &Path, spool: SpoolId) -> Result<Content, DiskError> {
    let file = insist(|| fs.open_read(path)).map_err(DiskError::io("open", path))?;
    let size = insist(|| file.size()).map_err(DiskError::io("read", path))?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0).min(MAX_FILE)];
    let read = insist(|| file.read_full_at(&mut bytes, 0)).map_err(DiskError::io("read", path))?;
    bytes.truncate(read);
    Ok(parse(&bytes, spool))
}

pub(super) fn parse(bytes: &[u8], spool: SpoolId) -> Content {
    let (mut content, mut at) = (Content::default(), 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.iter().any(|b| *b != 0)) {
        if let Some((stored, length)) = codec::take(rest, spool) {
            content.letters.push(stored);
            at += length;
            content.used = at as u64;
            continue;
        }
        let further = memchr::memmem::find_iter(rest, codec::MAGIC);
        let whole = further.map(|next| at + next).find(|at| is_whole(bytes, *at, spool));
        let Some(next) = whole else {
            let behind = rest.len() - rest.iter().rev().take_while(|b| **b == 0).count();
            content.doubtful = behind.div_ceil(codec::HEADER) as u64;
            return content;
        };
        content.damaged = true;
        at = next;
    }
    content.ends_blank = true;
    content
}

fn is_whole(bytes: &[u8], at: usize, spool: SpoolId) -> bool {
    bytes.get(at..).is_some_and(|rest| codec::take(rest, spool).is_some())
}

/// Reserves the next file.
pub(super) fn reserve<F: Fs>(fs: &F, directory: &Path, size: u64) -> Result<F::File, DiskError> {
    let path = directory.join(SPARE);
    match insist(|| fs.open(&path)) {
        Ok(file) if is_blank(&file, size) => return Ok(file),
        Err(e) if is_in_the_way(&e) => drop(set_aside(fs, &path)?),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(DiskError::io("open", &path)(e)),
        _ => {}
    }
    make_way(fs, &path)?;
    let file = fs.create(&path).map_err(DiskError::io("create", &path))?;
    file.allocate(size).map_err(DiskError::io("reserve room for", &path))?;
    file.sync_data().map_err(DiskError::io("sync", &path))?;
    fs.sync_dir(directory).map_err(DiskError::io("sync", directory))?;
    Ok(file)
}

fn is_blank<F: File>(file: &F, size: u64) -> bool {
    let mut bytes = vec![1; usize::try_from(size).unwrap_or(0)];
    let read = file.read_full_at(&mut bytes, 0);
    read.is_ok_and(|n| n as u64 == size) && bytes.iter().all(|b| *b == 0)
}

/// Gives the reserved file its own name, durably.
pub(super) fn name_spare<F: Fs>(fs: &F, directory: &Path, first: u64) -> Result<PathBuf, DiskError> {
    let path = name(directory, first);
    fs.rename(&directory.join(SPARE), &path).map_err(DiskError::io("rename", &path))?;
    fs.sync_dir(directory).map_err(DiskError::io("sync", directory))?;
    Ok(path)
}
