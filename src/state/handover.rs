//! What is known of a destination goes to another name, or away.
//!
//! Both go over several files in several directories. `<data_dir>/handover` says what was begun, so that a start goes on with
//! it after a kill; it is there before anything is moved, and gone when everything is.
//!
//! # Promises
//! - A name takes over another's files once: only while nothing is known under it itself.
//! - Of a destination that is forgotten, nothing is left that another of its name could take for its own.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::park::{self, Whose};
use super::positions::{self, Restored, directory};
use super::{journal, known};
use crate::disk::{
    DiskError, File, Fs, insist, is_damage, is_in_the_way, make_way, rescued_slots, set_aside,
};
use crate::ids::{DestinationName, LaneName, SpoolId};

const NAME: &str = "handover";
/// No such file is larger.
const MAX: usize = 4096;

/// What was begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    lane: String,
    from: String,
    to: String,
}

/// The files of a destination in a lane: its positions, what was rescued of them if a process was killed at that, then its
/// journal.
fn files(data_dir: &Path, lane: &LaneName, name: &DestinationName) -> [PathBuf; 4] {
    let journal = |n: &str| journal::directory(data_dir, lane).join(format!("{}.{n}", name.as_str()));
    let positions = directory(data_dir, lane).join(name.as_str());
    [positions.clone(), rescued_slots(&positions), journal("0"), journal("1")]
}

/// Gives everything known under the name `from` to the name `to`, in each lane in which nothing is known under that one.
/// Returns the lanes in which both are known: there `from` stays what it is.
///
/// # Errors
/// When the disk refuses; the next call goes on.
pub fn take_over<F: Fs>(
    fs: &F,
    data_dir: &Path,
    spool: SpoolId,
    (from, to): (&DestinationName, &DestinationName),
) -> Result<Vec<LaneName>, DiskError> {
    let mut kept = Vec::new();
    for lane in known::lanes(fs, data_dir) {
        let found = positions::look(fs, data_dir, spool, &lane);
        let found = found.map_err(DiskError::io("read", &directory(data_dir, &lane)))?;
        let is_known =
            |name: &DestinationName| found.iter().any(|(n, r)| n == name && *r != Restored::Nothing);
        // One that has a journal is not new, though its positions are lost: so it is for the one that comes after it.
        if !is_known(from) && (is_known(to) || !has_journal(fs, data_dir, &lane, from)) {
            continue;
        }
        if is_known(to) {
            kept.push(lane);
            continue;
        }
        // A journal without positions is nobody's.
        forget(fs, data_dir, &lane, to)?;
        let begun = Begun { lane: lane.to_string(), from: from.to_string(), to: to.to_string() };
        begin(fs, data_dir, &begun)?;
        finish(fs, data_dir)?;
        tracing::info!(%lane, %from, %to, "what is known of a destination goes to its new name");
    }
    Ok(kept)
}

fn has_journal<F: Fs>(fs: &F, data_dir: &Path, lane: &LaneName, name: &DestinationName) -> bool {
    let [_, _, journals @ ..] = files(data_dir, lane, name);
    let is_absent = |path| fs.open_read(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    !journals.iter().all(|path: &PathBuf| is_absent(path))
}

/// Removes everything known of a destination in a lane. What is parked for it goes first, the positions last: without them
/// nobody would know that there is more to remove. The journal goes before them: left behind, it would be taken for that of
/// whoever has the name next.
///
/// # Errors
/// When the disk refuses.
pub fn forget<F: Fs>(
    fs: &F,
    data_dir: &Path,
    lane: &LaneName,
    name: &DestinationName,
) -> Result<(), DiskError> {
    // Whose spool it is of does not matter to one that reads no content.
    park::remove(fs, data_dir, Whose { spool: SpoolId(0), lane, destination: name })?;
    let [positions, rescued, first, second] = files(data_dir, lane, name);
    for path in [first, second, rescued, positions] {
        match fs.remove(&path) {
            Ok(()) => sync_parent(fs, &path)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(DiskError::io("remove", &path)(e)),
        }
    }
    Ok(())
}

/// DURABILITY: content before name, name before anything that relies on it.
fn begin<F: Fs>(fs: &F, data_dir: &Path, begun: &Begun) -> Result<(), DiskError> {
    let (path, new) = (data_dir.join(NAME), data_dir.join("handover.new"));
    make_way(fs, &new)?;
    let text = serde_json::to_vec(begun).map_err(io::Error::other).map_err(DiskError::io("write", &new))?;
    let file = fs.create(&new).map_err(DiskError::io("create", &new))?;
    file.write_at(&text, 0).map_err(DiskError::io("write", &new))?;
    file.sync_data().map_err(DiskError::io("sync", &new))?;
    fs.rename(&new, &path).map_err(DiskError::io("rename", &new))?;
    sync_parent(fs, &path)
}

/// Goes on with what was begun, if something was.
///
/// # Errors
/// When the disk refuses; the next call goes on.
pub fn finish<F: Fs>(fs: &F, data_dir: &Path) -> Result<(), DiskError> {
    let path = data_dir.join(NAME);
    let mut bytes = vec![0; MAX];
    let read = insist(|| fs.open_read(&path)).and_then(|file| insist(|| file.read_full_at(&mut bytes, 0)));
    match read {
        Ok(len) => bytes.truncate(len),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if is_in_the_way(&e) => return set_aside(fs, &path).map(drop),
        Err(e) if is_damage(&e) => {
            say_lost(&path);
            return set_aside(fs, &path).map(drop);
        }
        Err(e) => return Err(DiskError::io("read", &path)(e)),
    }
    match parse(&bytes) {
        Some((lane, from, to)) => {
            // Before the positions that need it.
            park::rename(fs, data_dir, &lane, (&from, &to))?;
            let pairs = files(data_dir, &lane, &from).into_iter().zip(files(data_dir, &lane, &to));
            pairs.into_iter().try_for_each(|(old, new)| rename(fs, &old, &new))?;
        }
        None => say_lost(&path),
    }
    fs.remove(&path).map_err(DiskError::io("remove", &path))?;
    sync_parent(fs, &path)
}

fn say_lost(path: &Path) {
    tracing::error!(
        path = %path.display(),
        "what was being renamed can't be read: a destination's positions or journal may still have its old name"
    );
}

fn parse(bytes: &[u8]) -> Option<(LaneName, DestinationName, DestinationName)> {
    let Begun { lane, from, to } = serde_json::from_slice(bytes).ok()?;
    Some((LaneName::new(&lane).ok()?, DestinationName::new(&from).ok()?, DestinationName::new(&to).ok()?))
}

fn rename<F: Fs>(fs: &F, old: &Path, new: &Path) -> Result<(), DiskError> {
    match fs.rename(old, new) {
        Ok(()) => sync_parent(fs, new),
        // It was renamed before a kill, or there is none.
        Err(e) if e.kind() == io::ErrorKind::NotFound => sync_parent_if_there(fs, new),
        Err(e) => Err(DiskError::io("rename", old)(e)),
    }
}

fn sync_parent<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs.sync_dir(parent).map_err(DiskError::io("sync", parent))
}

fn sync_parent_if_there<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    match sync_parent(fs, path) {
        Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests;
