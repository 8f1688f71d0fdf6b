//! Where a repair may write, and whether an agent runs on what it reads.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::super::cannot;
use crate::cli::Failure;
use crate::disk::{Fs as _, RealFs};

/// Refuses a directory that is not empty, or lies in the one that must not be changed.
pub(super) fn check(dir: &Path, into: &Path) -> Result<(), Failure> {
    let (old, new) = (real(dir), real(into));
    if new.starts_with(&old) {
        let text = format!(
            "{} lies in {}, which a repair does not touch; name a directory beside it or on another disk",
            into.display(),
            dir.display()
        );
        return Err(Failure::usage(text));
    }
    match RealFs.list(into) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            Err(Failure::usage(format!("{} is not a directory; name one that is empty", into.display())))
        }
        Err(e) => Err(cannot("list", into, &e)),
        Ok(entries) => match entries.iter().find(|e| e.name != "lost+found") {
            None => Ok(()),
            Some(entry) if entry.name == "lanes.unfinished" => Err(Failure::usage(format!(
                "{} holds a repair that did not end; delete it, or name another directory",
                into.display()
            ))),
            Some(entry) => Err(Failure::usage(format!(
                "{} is not empty (it has {:?}); name a directory that is empty or not there yet",
                into.display(),
                entry.name
            ))),
        },
    }
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            real(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }).join(name)
        }
        _ => path.to_owned(),
    }
}

/// Refuses to begin what cannot end for lack of room.
pub(super) fn check_room(into: &Path, bytes: u64) -> Result<(), Failure> {
    RealFs.create_dir(into).map_err(|e| cannot("make", into, &e))?;
    let space = RealFs.space(into).map_err(|e| cannot("look at the file system of", into, &e))?;
    if space.available >= bytes {
        return Ok(());
    }
    Err(Failure::running(format!(
        "{} has {} free and the repair may take {}; make room, or name a directory on another disk",
        into.display(),
        ByteSize::b(space.available).display().iec(),
        ByteSize::b(bytes).display().iec()
    )))
}

/// What root makes, the agent's user could not open: everything in `into` goes to whoever owns `dir`.
pub(super) fn give_to_owner(dir: &Path, into: &Path) -> Result<(), Failure> {
    let looked = |path: &Path| std::fs::metadata(path).map_err(|e| cannot("look at", path, &e));
    let (old, new) = (looked(dir)?, looked(into)?);
    if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
        return Ok(());
    }
    give(into, old.uid(), old.gid()).map_err(|e| {
        let (path, uid, gid) = (into.display(), old.uid(), old.gid());
        Failure::running(format!(
            "{path} is whole, but cannot be given to the owner of the old one: {e}; as root, run chown -R {uid}:{gid} {path}"
        ))
    })
}

fn give(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// Whether somebody holds the directory's lock, as far as the kernel tells. Nothing is locked to find out.
pub(in crate::cli) fn is_running(dir: &Path) -> bool {
    let Ok(lock) = std::fs::metadata(dir.join("LOCK")) else { return false };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{}", lock.ino());
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "FLOCK") && words.any(|word| word.ends_with(&inode))
    })
}
