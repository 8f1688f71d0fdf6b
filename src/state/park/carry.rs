//! Parks as a whole: brought into another directory, removed.

use std::path::Path;

use super::store::{Park, Whose, directory, listed};
use crate::disk::{DiskError, EntryKind, File, Fs, insist, make_way, sync_way};
use crate::ids::{DestinationName, LaneName, Seq};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// Copies what is parked for one destination of a lane into another data directory, durably. Returns the lowest number that
/// is covered there.
///
/// # Errors
/// What the disk says; a file that is gone meanwhile is no error, since nobody needs it any more.
pub fn copy<F: Fs>(fs: &F, from: &Path, into: &Path, whose: Whose<'_>) -> Result<Option<Seq>, DiskError> {
    let (old, new) =
        (directory(from, whose.lane, whose.destination), directory(into, whose.lane, whose.destination));
    for (topic, _) in listed(fs, &old)?.into_iter().filter(|(_, kind)| *kind == EntryKind::Directory) {
        let (old, new) = (old.join(&topic), new.join(&topic));
        fs.create_dir(&new).map_err(DiskError::io("create", &new))?;
        for (name, _) in listed(fs, &old)?.into_iter().filter(|(_, kind)| *kind == EntryKind::File) {
            copy_file(fs, &old.join(&name), &new.join(&name))?;
        }
        // A try that failed or was killed may have made directories whose names are not durable.
        sync_way(fs, into, &new)?;
    }
    Ok(Park::open(fs, into, whose)?.first())
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

fn copy_file<F: Fs>(fs: &F, from: &Path, into: &Path) -> Result<(), DiskError> {
    let old = match insist(|| fs.open_read(from)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        old => old.map_err(DiskError::io("open", from))?,
    };
    make_way(fs, into)?;
    let new = fs.create(into).map_err(DiskError::io("create", into))?;
    let (mut bytes, mut at) = (vec![0; CHUNK], 0u64);
    loop {
        let read = insist(|| old.read_full_at(&mut bytes, at)).map_err(DiskError::io("read", from))?;
        let some = bytes.get(..read).filter(|some| !some.is_empty());
        let Some(some) = some else { break };
        new.write_at(some, at).map_err(DiskError::io("write", into))?;
        at = at.saturating_add(some.len() as u64);
    }
    new.sync_data().map_err(DiskError::io("sync", into))
}

/// Deletes everything that is parked for one destination of a lane.
///
/// # Errors
/// What the disk says; the next call goes on.
pub fn remove<F: Fs>(fs: &F, data_dir: &Path, whose: Whose<'_>) -> Result<(), DiskError> {
    Park::open(fs, data_dir, whose)?.forget(|_| Seq(u64::MAX))
}
