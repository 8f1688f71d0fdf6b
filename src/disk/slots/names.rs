//! What stands beside a file of slots, under names that are made of its own.
//!
//! Each is there between two calls of the disk, and longer where a process was killed between them. Whoever lists a directory
//! of such files must neither take one of these for a file of its own, nor pass over the file that it stands for.

use std::io;
use std::path::{Path, PathBuf};

use super::sync_parent;
use crate::disk::aside::{ASIDE, Suffix};
use crate::disk::{DiskError, Fs};

/// A file that is being filled with zeros, before it takes a name at all.
pub(super) const MAKING: Suffix = Suffix { long: ".making", short: "~m", more: 0 };
/// A larger one, until it takes over.
pub(super) const LARGER: Suffix = Suffix { long: ".new", short: "~n", more: 2 };
/// One that takes over from a file that can't be read, until that is out of the way.
const RESCUED: Suffix = Suffix { long: ".rescued", short: "~r", more: 5 };

/// Of the name of a file in a directory of files of slots: the name of the file of slots that it is, or that it stands for. `None`:
/// what it holds is of no use.
#[must_use]
pub fn owner_of_slots(name: &str) -> Option<&str> {
    let is_unfinished = LARGER.before(name).is_some() || MAKING.before(name).is_some();
    if is_unfinished || name.contains(ASIDE.long) || name.contains(ASIDE.short) {
        return None;
    }
    Some(RESCUED.before(name).unwrap_or(name))
}

/// The file that stands for the one at `path` while that is out of the way.
#[must_use]
pub fn rescued_slots(path: &Path) -> PathBuf {
    RESCUED.behind(path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::{Faulty, Op};
    use crate::disk::{RealFs, Slots};

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

    /// Found by an audit: of a name of 249 bytes no file could be made, and of one of 242 none be rescued.
    #[test]
    fn of_a_file_with_the_longest_name_everything_works_that_works_of_others() {
        for len in [242, 248, 249] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x".repeat(len));
            let open = |fs: &Faulty, capacity| Slots::open(fs, &path, capacity).unwrap();
            let (mut slots, _) = open(&Faulty::new(), 100);
            ["one", "two", "three"].iter().for_each(|v| slots.save(v.as_bytes()).unwrap());
            let fs = Faulty::new();
            fs.fail_next(Op::Read, 3);
            assert_eq!(open(&fs, 100).1.as_deref(), Some(&b"two"[..]), "rescued");
            assert_eq!(open(&fs, 100_000).1.as_deref(), Some(&b"two"[..]), "enlarged");
            std::fs::write(&path, b"something else").unwrap();
            let (slots, value) = open(&fs, 100);
            assert_eq!((value, slots.damaged()), (None, true), "set aside");
            let names = RealFs.list(dir.path()).unwrap().into_iter().map(|e| e.name);
            let owners: Vec<_> = names.map(|name| owner_of_slots(&name).map(str::len)).collect();
            assert_eq!(owners, [Some(len), None, None], "it, and what was set aside twice");
        }
    }

    #[test]
    fn whatever_name_a_destination_may_have_its_files_names_are_told_from_it_and_from_each_others() {
        for len in 1..=249 {
            let name = "x".repeat(len);
            let path = Path::new(&name);
            let (rescued, larger) = (rescued_slots(path), LARGER.behind(path));
            assert_eq!(owner_of_slots(rescued.to_str().unwrap()), Some(name.as_str()), "{len}");
            let asides = [path, &rescued].map(|path| ASIDE.numbered(path, 99));
            let making = [path, &rescued, &larger].map(|path| MAKING.behind(path));
            for of_no_use in making.iter().chain(&asides).chain([&larger]) {
                assert_eq!(owner_of_slots(of_no_use.to_str().unwrap()), None, "{len}");
            }
            let longest =
                making.iter().chain(&asides).chain([&rescued]).map(|path| path.as_os_str().len()).max();
            assert!(longest.is_some_and(|longest| longest <= 255), "{len}: {longest:?}");
        }
    }
}
