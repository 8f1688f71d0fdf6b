//! What stands beside a file of slots, under names that are made of its own.
//!
//! Each is there between two calls of the disk, and longer where a process was killed between them. Whoever lists a directory
//! of such files must neither take one of these for a file of its own, nor pass over the file that it stands for.

use std::io;
use std::path::{Path, PathBuf};

use super::sync_parent;
use crate::disk::{DiskError, Fs};

/// A file that is being filled with zeros, before it takes a name at all.
pub(super) const MAKING: &str = ".making";
/// A larger one, until it takes over.
pub(super) const LARGER: &str = ".new";
/// One that takes over from a file that can't be read, until that is out of the way.
const RESCUED: &str = ".rescued";
/// What is damaged or not ours, for a person to look at; a number follows.
const ASIDE: &str = ".aside-";

/// Of the name of a file in a directory of files of slots: the name of the file of slots that it is, or that it stands for. `None`:
/// what it holds is of no use.
#[must_use]
pub fn owner_of_slots(name: &str) -> Option<&str> {
    if name.ends_with(LARGER) || name.ends_with(MAKING) || name.contains(ASIDE) {
        return None;
    }
    Some(name.strip_suffix(RESCUED).unwrap_or(name))
}

/// The file that stands for the one at `path` while that is out of the way.
#[must_use]
pub fn rescued_slots(path: &Path) -> PathBuf {
    with_suffix(path, RESCUED)
}

/// What has been rescued takes the name that an unreadable file had. Whether there was something: a process that was killed in
/// between has left it.
pub(super) fn finish_rescue<F: Fs>(fs: &F, path: &Path) -> Result<bool, DiskError> {
    let new = rescued_slots(path);
    match fs.rename(&new, path) {
        Ok(()) => sync_parent(fs, path).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        // Where nothing may be written, that may be said before it is asked whether there is something.
        Err(_) if !is_rescued(fs, path) => Ok(false),
        Err(e) => Err(DiskError::io("rename", &new)(e)),
    }
}

/// The file itself can be read after all, and goes on: what was rescued of it grows old from now on, and must never take its
/// place. What can't be deleted now is tried again at the next opening, and keeps nobody from going on.
pub(super) fn drop_rescued<F: Fs>(fs: &F, path: &Path) {
    let rescued = rescued_slots(path);
    // There is none, nearly always.
    if !is_rescued(fs, path) {
        return;
    }
    if let Err(error) = fs.remove(&rescued) {
        tracing::error!(path = %rescued.display(), %error,
            "what was rescued of a state file that can be read again could not be deleted; delete it");
    }
}

/// Whether a killed process has left something that was rescued of it.
pub(super) fn is_rescued<F: Fs>(fs: &F, path: &Path) -> bool {
    !fs.version(&rescued_slots(path)).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_directory_of_slots_is_a_files_own_or_stands_for_one_or_is_of_no_use() {
        for (name, owner) in [
            ("home", Some("home")),
            ("home.rescued", Some("home")),
            ("a.b", Some("a.b")),
            ("rescued", Some("rescued")),
            ("home.new", None),
            ("home.making", None),
            ("home.rescued.making", None),
            ("home.aside-1", None),
            ("home.rescued.aside-12", None),
        ] {
            assert_eq!(owner_of_slots(name), owner, "{name}");
        }
    }
}
