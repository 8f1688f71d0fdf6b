//! The files of a journal: `<data_dir>/journal/<lane>/<destination>.0` and `.1`.
//!
//! ```text
//! file  = header · snapshot · group · group · … · zeros, or what an earlier generation left
//! header (48 bytes) = magic "SWJL" · crc u32 · version u16 · 0 u16 · snapshot length u32 · spool u64 ·
//!                     generation u64 · 0 × 16
//! group = length u32 · crc u32 · intents
//! ```
//! Little-endian. The header's crc covers the header from `version` on and the snapshot; a group's covers the
//! generation, the group's offset and its intents. CRC-32/ISO-HDLC. The file with the higher generation whose header
//! and snapshot are whole is the current one. Its groups end where the first one is not whole, unless one behind it is:
//! then something has rotted, and so it has where a file that is not whole has groups of the generation after the current one.
//!
//! A generation is written to one file; the next one, which begins with all that is still in doubt, goes to the other.
//! Until that is durable the one before it stands untouched.

use std::io;
use std::path::{Path, PathBuf};

use super::codec;
use super::generation::{GROUP, Generation, HEADER, seal_group, seal_header, stray_groups};
use super::intent::Intent;
use crate::disk::{
    DiskError, File, Fs, clear, copy_aside, insist, is_in_the_way, make_dir, make_way, set_aside, sync_way,
};
use crate::ids::{DestinationName, LaneName, SpoolId};
use crate::sabotage::{self, Bug};

/// Of each of the two files. A window of a thousand events takes a few hundred bytes.
const CAPACITY: usize = 2 << 20;
/// What is in flight may take so much; one more window then still fits.
pub const ROOM: usize = CAPACITY / 2;

/// Intents can't be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// There is no room behind what stands there, or nothing may be appended: a new generation has to begin.
    #[error("the journal is full")]
    Full,
    /// More is in flight than a whole file has room for.
    #[error("{size} bytes of intents are in flight, and the journal has room for {capacity}")]
    TooLarge {
        /// What they take.
        size: usize,
        /// What there is room for.
        capacity: usize,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What was found at opening.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Everything the current generation says, oldest first; what can be read of a damaged one, behind what the one before it says.
    pub intents: Vec<Intent>,
    /// Something was there, and it can't be read: more than what a kill or a power cut leaves half written.
    pub damaged: bool,
    /// A file of it was there, whatever was in it: the destination is not new.
    pub was_here: bool,
}

/// Writes intents down.
#[derive(Debug)]
pub struct Journal<F: Fs> {
    fs: F,
    data_dir: PathBuf,
    spool: SpoolId,
    paths: [PathBuf; 2],
    /// Bytes of each file.
    capacity: usize,
    /// The file of the newest generation: 0 or 1.
    newest: usize,
    generation: u64,
    /// Files that hold something that can't be read: groups of a generation whose number may be given again.
    unreadable: [bool; 2],
    /// Files that hold something that has rotted: they are kept for a person.
    damaged: [bool; 2],
    /// The newest generation's file, and where the next group goes. `None`: nothing may be appended.
    open: Option<(F::File, usize)>,
    buffer: Vec<u8>,
}

/// The directory of the journals of a lane.
#[must_use]
pub fn directory(data_dir: &Path, lane: &LaneName) -> PathBuf {
    data_dir.join("journal").join(lane.as_str())
}

impl<F: Fs> Journal<F> {
    /// Opens the journal of `destination` in `lane`. It makes nothing, and nothing keeps it from opening: what can't be
    /// read counts as damage. Nothing can be appended before [`Journal::begin`].
    pub fn open(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        lane: &LaneName,
        destination: &DestinationName,
    ) -> (Self, Found) {
        Self::open_sized(fs, data_dir, spool, lane, destination, CAPACITY)
    }

    /// With so many bytes in each of its files.
    pub(crate) fn open_sized(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        lane: &LaneName,
        destination: &DestinationName,
        capacity: usize,
    ) -> (Self, Found) {
        let directory = directory(data_dir, lane);
        let paths = ["0", "1"].map(|n| directory.join(format!("{}.{n}", destination.as_str())));
        let mut journal = Self {
            fs: fs.clone(),
            data_dir: data_dir.to_owned(),
            spool,
            paths,
            capacity,
            newest: 0,
            generation: 0,
            unreadable: [false; 2],
            damaged: [false; 2],
            open: None,
            buffer: Vec::new(),
        };
        let found = journal.read();
        (journal, found)
    }

    /// Makes both files, so that from here on no byte has to be free.
    ///
    /// # Errors
    /// When the disk refuses; [`Journal::begin`] tries again.
    pub fn prepare(&self) -> Result<(), DiskError> {
        // What stands in the newest generation stands only there, and so does what can be read of a damaged one.
        let stands =
            |index: usize| self.generation > 0 && index == self.newest || is_set(self.damaged, index);
        let mut free = self.paths.iter().enumerate().filter(|(index, _)| !stands(*index));
        // The way to one of them is the way to the other.
        self.paths.first().map_or(Ok(()), |path| self.make_way_to(path))?;
        free.try_for_each(|(_, path)| self.ready_on_its_way(path).map(drop))
    }

    /// Removes what it says. An empty file stays: by it the destination is known not to be new, should its positions be
    /// lost.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn discard(self) -> Result<(), DiskError> {
        let (fs, [first, second]) = (&self.fs, &self.paths);
        let removed = match fs.remove(second) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(DiskError::io("remove", second)(e)),
        };
        let stays = insist(|| fs.open_read(first)).and_then(|file| file.size()).is_ok_and(|size| size == 0);
        if !stays {
            self.make_way_to(first)?;
            make_way(fs, first)?;
            fs.create(first).map_err(DiskError::io("create", first))?;
        }
        if removed || !stays { sync_parent(fs, first) } else { Ok(()) }
    }

    fn read(&mut self) -> Found {
        let (mut found, mut unreadable) = (Found::default(), Vec::new());
        for index in [0, 1] {
            let Some(path) = self.paths.get(index) else { continue };
            let mut is_refused = false;
            let bytes = whole(&self.fs, path, self.capacity).unwrap_or_else(|e| {
                tracing::error!(path = %path.display(), error = %e, "a file of the journal can't be read");
                is_refused = true;
                Some(b"unreadable".to_vec())
            });
            found.was_here |= bytes.is_some();
            let bytes = bytes.unwrap_or_default();
            match Generation::read(&bytes, self.spool) {
                Some(one) => {
                    set(&mut self.damaged, index, one.is_damaged);
                    if one.number > self.generation {
                        (self.newest, self.generation) = (index, one.number);
                        (found.intents, found.damaged) = (one.intents, one.is_damaged);
                    }
                }
                None if bytes.iter().all(|b| *b == 0) => {}
                None => unreadable.push((index, bytes, is_refused)),
            }
        }
        self.read_strays(&mut found, &unreadable);
        found
    }

    /// A generation that a kill or a power cut left half written is no damage, neither beside a whole one nor when it was the very
    /// first. It has no groups yet.
    ///
    /// What the generation before it says is older than these groups, and was settled or stood in the snapshot that is missing. Taken
    /// as in doubt it does no harm: an identity names one set of events for ever, so what is looked for is found, or goes out under it
    /// once more, and events that went under another since are doubled at most.
    fn read_strays(&mut self, found: &mut Found, unreadable: &[(usize, Vec<u8>, bool)]) {
        let none_is_whole = self.generation == 0 && unreadable.len() > 1;
        for (index, bytes, is_refused) in unreadable {
            let strays = stray_groups(bytes, self.generation + 1, HEADER);
            // What the disk does not give may have been the newest.
            let is_damaged = none_is_whole || *is_refused || !strays.is_empty();
            set(&mut self.unreadable, *index, true);
            set(&mut self.damaged, *index, is_damaged);
            found.damaged |= is_damaged;
            found.intents.extend(strays);
            if let Some(path) = self.paths.get(*index).filter(|_| !is_damaged) {
                tracing::info!(path = %path.display(),
                    "a generation of the journal is not whole, as a kill or a power cut leaves it: the one before it counts");
            }
        }
    }

    /// Begins a generation that says `intents` and nothing else, durably.
    ///
    /// DURABILITY: what the generation before says must not be needed any more but for these: the positions that
    /// cover the rest have been synced.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`], or when the disk refuses; then what was durable before still is, and nothing can be
    /// appended until a generation has begun.
    pub fn begin<'a>(&mut self, intents: impl IntoIterator<Item = &'a Intent>) -> Result<(), JournalError> {
        let generation = self.generation + 1;
        let mut bytes = vec![0; HEADER];
        intents.into_iter().for_each(|intent| codec::put(&mut bytes, intent));
        if bytes.len() > self.capacity {
            return Err(JournalError::TooLarge { size: bytes.len(), capacity: self.capacity });
        }
        seal_header(&mut bytes, self.spool, generation);
        let other = 1 - self.newest;
        let Some(path) = self.paths.get(other).cloned() else { return Err(JournalError::Full) };
        // If this fails, the new generation may stand there all the same: what went to the old one would be overlooked.
        self.open = None;
        let replaced =
            is_set(self.damaged, other).then(|| self.replace_damaged(other, &path, &bytes)).flatten();
        self.clear_unreadable()?;
        let file = match replaced {
            Some(file) => file,
            None => self.written(&path, &bytes)?,
        };
        (self.newest, self.generation) = (other, generation);
        self.open = Some((file, bytes.len()));
        Ok(())
    }

    /// Forgets, durably, what it says; what can't be written over is set aside, and an empty file is left, as [`Journal::discard`] does.
    ///
    /// # Errors
    /// When the disk refuses both.
    pub fn forget(&mut self) -> Result<(), JournalError> {
        let Err(error) = self.begin([]) else { return Ok(()) };
        tracing::error!(%error, "a journal that nobody may believe can't be written over, and is set aside");
        let (fs, [first, _]) = (&self.fs, &self.paths);
        let making = first.with_extension("making");
        self.make_way_to(first)?;
        make_way(fs, &making)?;
        fs.create(&making).map_err(DiskError::io("create", &making))?;
        self.paths.iter().try_for_each(|path| clear(fs, path))?;
        fs.rename(&making, first).map_err(DiskError::io("rename", &making))?;
        sync_parent(fs, first)?;
        (self.newest, self.generation, self.open) = (0, 0, None);
        (self.unreadable, self.damaged) = ([false; 2], [false; 2]);
        Ok(())
    }

    /// Whether anything may be appended: a generation has begun, and nothing has failed since.
    #[must_use]
    pub fn takes_more(&self) -> bool {
        self.open.is_some()
    }

    /// Writes intents down, durably.
    ///
    /// # Errors
    /// [`JournalError::Full`]: see [`Journal::begin`]. When the disk refuses, nothing may be appended until then either.
    pub fn append<'a>(&mut self, intents: impl IntoIterator<Item = &'a Intent>) -> Result<(), JournalError> {
        let Some((file, at)) = self.open.take() else { return Err(JournalError::Full) };
        let group = &mut self.buffer;
        group.clear();
        group.resize(GROUP, 0);
        intents.into_iter().for_each(|intent| codec::put(group, intent));
        if group.len() == GROUP {
            self.open = Some((file, at));
            return Ok(());
        }
        if at + group.len() > self.capacity {
            return Err(JournalError::Full);
        }
        seal_group(group, self.generation, at);
        let Some(path) = self.paths.get(self.newest) else { return Err(JournalError::Full) };
        file.write_at(group, at as u64).map_err(DiskError::io("write", path))?;
        if !sabotage::commits(Bug::JournalUnsynced) {
            file.sync_data().map_err(DiskError::io("sync", path))?;
        }
        let end = at + group.len();
        self.open = Some((file, end));
        Ok(())
    }
}

impl<F: Fs> Journal<F> {
    /// The directories down to `path`, and the names in them.
    fn make_way_to(&self, path: &Path) -> Result<(), DiskError> {
        let Some(directory) = path.parent() else { return Ok(()) };
        make_dir(&self.fs, &self.data_dir, directory)?;
        sync_way(&self.fs, &self.data_dir, directory)
    }

    /// Puts `bytes` in the place of a damaged file, of which a copy is kept. What could be read of it stands nowhere else until they
    /// are durable, so they take its name at once. `None` where the disk will not, perhaps for want of room: that may not keep
    /// anything from being sent.
    fn replace_damaged(&mut self, index: usize, path: &Path, bytes: &[u8]) -> Option<F::File> {
        if !self.keep_copy(index, path) {
            return None;
        }
        let mut all = bytes.to_vec();
        all.resize(self.capacity, 0);
        match self.make(path, &all) {
            Ok(file) => {
                set(&mut self.unreadable, index, false);
                Some(file)
            }
            Err(error) => {
                tracing::warn!(%error, "a damaged file of the journal can't be replaced: it is written over");
                None
            }
        }
    }

    /// Copies a damaged file, for a person to look at. Whether that is done, and need not be done again.
    fn keep_copy(&mut self, index: usize, path: &Path) -> bool {
        let bytes = whole(&self.fs, path, self.capacity).map_err(DiskError::io("read", path));
        let kept = bytes.and_then(|bytes| copy_aside(&self.fs, path, &bytes.unwrap_or_default()));
        if let Err(error) = &kept {
            tracing::error!(%error, "of a damaged file of the journal no copy can be kept");
        }
        set(&mut self.damaged, index, false);
        kept.is_ok()
    }

    /// What can't be read is gone before its generation's number is given again, or it would count as said under that.
    fn clear_unreadable(&mut self) -> Result<(), DiskError> {
        for (index, path) in self.paths.clone().iter().enumerate() {
            if !is_set(self.unreadable, index) {
                continue;
            }
            if is_set(self.damaged, index) {
                self.keep_copy(index, path);
            }
            self.written(path, &vec![0; self.capacity])?;
        }
        self.unreadable = [false; 2];
        Ok(())
    }

    /// The file at `path`, with `bytes` at its beginning, durably.
    fn written(&self, path: &Path, bytes: &[u8]) -> Result<F::File, DiskError> {
        let file = self.ready(path)?;
        file.write_at(bytes, 0).map_err(DiskError::io("write", path))?;
        file.sync_data().map_err(DiskError::io("sync", path))?;
        Ok(file)
    }

    /// The file at `path`, written out to its full size, with the way to it.
    fn ready(&self, path: &Path) -> Result<F::File, DiskError> {
        self.make_way_to(path)?;
        self.ready_on_its_way(path)
    }

    /// The same where the way is made.
    fn ready_on_its_way(&self, path: &Path) -> Result<F::File, DiskError> {
        let fs = &self.fs;
        match insist(|| fs.open(path)) {
            Ok(file) if file.size().is_ok_and(|size| size >= self.capacity as u64) => {
                return Ok(file);
            }
            Err(e) if is_in_the_way(&e) => drop(set_aside(fs, path)?),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(DiskError::io("open", path)(e)),
            _ => {}
        }
        // Real zeros, not only a reservation: later writes then change nothing but bytes.
        self.make(path, &vec![0; self.capacity])
    }

    /// A new file with these bytes, which has its name once it is durable.
    fn make(&self, path: &Path, bytes: &[u8]) -> Result<F::File, DiskError> {
        let (fs, making) = (&self.fs, path.with_extension("making"));
        make_way(fs, &making)?;
        let file = fs.create(&making).map_err(DiskError::io("create", &making))?;
        file.write_at(bytes, 0).map_err(DiskError::io("write", &making))?;
        file.sync_data().map_err(DiskError::io("sync", &making))?;
        fs.rename(&making, path).map_err(DiskError::io("rename", &making))?;
        sync_parent(fs, path)?;
        Ok(file)
    }
}

fn is_set(flags: [bool; 2], index: usize) -> bool {
    flags.get(index).is_some_and(|flag| *flag)
}

fn set(flags: &mut [bool; 2], index: usize, to: bool) {
    flags.iter_mut().skip(index).take(1).for_each(|flag| *flag = to);
}

/// All of a file, if there is one.
fn whole<F: Fs>(fs: &F, path: &Path, capacity: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match insist(|| fs.open_read(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let size = insist(|| file.size())?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0).min(capacity)];
    let read = insist(|| file.read_full_at(&mut bytes, 0))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

fn sync_parent<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs.sync_dir(parent).map_err(DiskError::io("sync", parent))
}

#[cfg(test)]
mod tests;
