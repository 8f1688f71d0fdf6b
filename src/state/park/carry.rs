//! Parks as a whole: brought into another directory, removed.

use std::path::Path;

use super::store::{Park, Whose, directory, listed};
use crate::disk::{DiskError, EntryKind, Fs, sync_way};
use crate::ids::{DestinationName, LaneName, Seq};
use crate::state::beside::copy_file;

/// Copies what is parked for one destination of a lane into another data directory, durably. Returns the lowest number that
/// is covered there, and how many bytes could not be read.
///
/// # Errors
/// What the disk says; a file that is gone meanwhile is no error, since nobody needs it any more.
pub fn copy<F: Fs>(
    fs: &F,
    from: &Path,
    into: &Path,
    whose: Whose<'_>,
) -> Result<(Option<Seq>, u64), DiskError> {
    let mut unread = 0;
    let (old, new) =
        (directory(from, whose.lane, whose.destination), directory(into, whose.lane, whose.destination));
    for (topic, _) in listed(fs, &old)?.into_iter().filter(|(_, kind)| *kind == EntryKind::Directory) {
        let (old, new) = (old.join(&topic), new.join(&topic));
        fs.create_dir(&new).map_err(DiskError::io("create", &new))?;
        for (name, _) in listed(fs, &old)?.into_iter().filter(|(_, kind)| *kind == EntryKind::File) {
            unread += copy_file(fs, &old.join(&name), &new.join(&name))?;
        }
        // A try that failed or was killed may have made directories whose names are not durable.
        sync_way(fs, into, &new)?;
    }
    Ok((Park::open(fs, into, whose)?.first(), unread))
}

/// Gives what is parked for one destination of a lane to another, durably.
///
/// # Errors
/// What the disk says; the next call goes on.
pub fn rename<F: Fs>(
    fs: &F,
    data_dir: &Path,
    lane: &LaneName,
    (from, to): (&DestinationName, &DestinationName),
) -> Result<(), DiskError> {
    let (old, new) = (directory(data_dir, lane, from), directory(data_dir, lane, to));
    for (topic, _) in listed(fs, &old)?.into_iter().filter(|(_, kind)| *kind == EntryKind::Directory) {
        let (old, new) = (old.join(&topic), new.join(&topic));
        fs.create_dir(&new).map_err(DiskError::io("create", &new))?;
        for (name, _) in listed(fs, &old)? {
            let path = old.join(&name);
            fs.rename(&path, &new.join(&name)).map_err(DiskError::io("rename", &path))?;
        }
        // The new names first: a file under both is better than one under none. And with them those of the directories on
        // the way, which a try that failed or was killed may have made.
        sync_way(fs, data_dir, &new)?;
        fs.sync_dir(&old).map_err(DiskError::io("sync", &old))?;
    }
    Ok(())
}

/// Deletes everything that is parked for one destination of a lane.
///
/// # Errors
/// What the disk says; the next call goes on.
pub fn remove<F: Fs>(fs: &F, data_dir: &Path, whose: Whose<'_>) -> Result<(), DiskError> {
    Park::open(fs, data_dir, whose)?.forget(|_| Seq(u64::MAX))
}
