//! Making a file of slots: it has its name once it is whole, and nothing is left of one that can't be made.

use std::io;
use std::path::Path;

use super::COUNT;
use super::names::MAKING;
use crate::disk::{DiskError, File, Fs, make_way};

/// A file is filled with zeros by so many bytes at a time.
const PIECE: u64 = 2 << 20;

/// The file of slots that could not be opened or made before.
pub(super) fn open_or_make<F: Fs>(fs: &F, path: &Path, slot_size: u64) -> Result<F::File, DiskError> {
    match fs.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(fs, path, slot_size),
        // See `Slots::begin_anew`.
        Ok(file) if file.size().is_ok_and(|size| size == 0) => make(fs, path, slot_size),
        opened => opened.map_err(DiskError::io("open", path)),
    }
}

/// Written with real zeros, not only reserved: a save then changes nothing but the bytes of its slot.
pub(super) fn make<F: Fs>(fs: &F, path: &Path, slot_size: u64) -> Result<F::File, DiskError> {
    let new = MAKING.behind(path);
    make_way(fs, &new)?;
    let file = fs.create(&new).map_err(DiskError::io("create", &new))?;
    let written = fill(&file, slot_size * COUNT).map_err(DiskError::io("write", &new));
    let synced = written.and_then(|()| file.sync_data().map_err(DiskError::io("sync", &new)));
    or_nothing(fs, &new, synced.and_then(|()| rename(fs, &new, path)))?;
    Ok(file)
}

fn fill<T: File>(file: &T, size: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(size.min(PIECE)).unwrap_or(0)];
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_at(zeros.get(..len).unwrap_or_default(), at)?;
        at += len as u64;
    }
    Ok(())
}

pub(super) fn rename<F: Fs>(fs: &F, from: &Path, to: &Path) -> Result<(), DiskError> {
    fs.rename(from, to).map_err(DiskError::io("rename", from))
}

/// A file that was to take another name goes where that has failed: it would keep the little room that there is from what has more
/// need of it.
pub(super) fn or_nothing<F: Fs, T>(fs: &F, new: &Path, done: Result<T, DiskError>) -> Result<T, DiskError> {
    if done.is_err() {
        drop(fs.remove(new));
    }
    done
}
