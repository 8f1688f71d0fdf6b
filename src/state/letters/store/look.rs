//! Looking for letters, by the store or beside it.

use std::path::{Path, PathBuf};

use super::super::file::{self, Known};
use super::super::letter::Stored;
use super::super::marks::Marks;
use crate::disk::{DiskError, Fs, look_at_slots};
use crate::ids::SpoolId;

/// Letters that were looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are there and wanted, oldest first.
    pub letters: Vec<Stored>,
    /// Files with damaged bytes: some letters of theirs can't be read.
    pub damaged: Vec<PathBuf>,
}

/// Where they are.
pub(in crate::state) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("dead-letters")
}

pub(super) fn read_all<F: Fs>(
    fs: &F,
    spool: SpoolId,
    files: &[Known],
    limit: usize,
    is_there: impl Fn(u64) -> bool,
    mut wanted: impl FnMut(&Stored) -> bool,
) -> Result<Found, DiskError> {
    let mut found = Found::default();
    for known in files {
        let content = match file::read(fs, &known.path, spool) {
            Ok(content) => content,
            // Its letters were all gone meanwhile.
            Err(DiskError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            // It keeps nobody from the others.
            Err(error) => {
                tracing::warn!(%error, "a file of dead letters can't be read");
                found.damaged.push(known.path.clone());
                continue;
            }
        };
        if content.damaged {
            found.damaged.push(known.path.clone());
        }
        for stored in content.letters {
            if found.letters.len() == limit {
                return Ok(found);
            }
            if is_there(stored.id) && wanted(&stored) {
                found.letters.push(stored);
            }
        }
    }
    Ok(found)
}

/// Letters of a data directory, whether its agent runs or not. Writes nothing.
///
/// # Errors
/// When the disk can't be read.
pub fn look<F: Fs>(
    fs: &F,
    data_dir: &Path,
    spool: SpoolId,
    limit: usize,
    wanted: impl FnMut(&Stored) -> bool,
) -> Result<Found, DiskError> {
    let directory = directory(data_dir);
    let marks = marks_of(fs, &directory, spool)?;
    let files = file::list(fs, &directory)?;
    read_all(fs, spool, &files, limit, |id| marks.is_there(id), wanted)
}

/// Letters of a data directory that are being sent again, as the marks say. Writes nothing.
///
/// # Errors
/// When the disk can't be read.
pub fn being_sent<F: Fs>(fs: &F, data_dir: &Path, spool: SpoolId) -> Result<Vec<Stored>, DiskError> {
    let directory = directory(data_dir);
    let taken = marks_of(fs, &directory, spool)?.taken;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let files = file::list(fs, &directory)?;
    Ok(read_all(fs, spool, &files, usize::MAX, |id| taken.contains(&id), |_| true)?.letters)
}

fn marks_of<F: Fs>(fs: &F, directory: &Path, spool: SpoolId) -> Result<Marks, DiskError> {
    let path = directory.join("marks");
    use std::io::ErrorKind::{InvalidData, NotFound};
    let value = match look_at_slots(fs, &path) {
        Err(e) if matches!(e.kind(), NotFound | InvalidData) => None,
        looked => looked.map_err(DiskError::io("read", &path))?,
    };
    Ok(value.and_then(|value| Marks::decode(&value, spool)).unwrap_or_default())
}
