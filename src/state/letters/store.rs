//! The store of dead letters, of one data directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::codec;
use super::file::{self, Content, Known};
use super::letter::{Letter, Stored};
use super::marks::Marks;
use crate::disk::{DiskError, File, Fs, Slots, insist, look_at_slots, make_dir};
use crate::ids::SpoolId;
use crate::sabotage::{self, Bug};

/// Room for the marks: some thousand ranges of numbers. More take a larger file.
const MARKS: usize = 64 << 10;

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that letters may take.
    pub max_size: u64,
    /// Bytes of an event, at most: a file has room for one.
    pub max_event_size: usize,
}

impl Settings {
    /// Bytes reserved at a time.
    fn file_size(&self) -> u64 {
        (2 * self.max_event_size as u64).max(1 << 20).next_multiple_of(4096)
    }
}

/// Letters can't be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LettersError {
    /// They have all the room they may take.
    #[error("dead letters have the {max_size} bytes that dead_letters.max_size allows")]
    Full {
        /// `dead_letters.max_size`.
        max_size: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Letters that were looked for.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are there and wanted, oldest first.
    pub letters: Vec<Stored>,
    /// Files with damaged bytes: some letters of theirs can't be read.
    pub damaged: Vec<PathBuf>,
}

/// See the module.
#[derive(Debug)]
pub struct Letters<F: Fs> {
    inner: Mutex<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F: Fs> {
    fs: F,
    spool: SpoolId,
    data_dir: PathBuf,
    directory: PathBuf,
    settings: Settings,
    /// Bytes reserved at a time.
    file_size: u64,
    /// Files of earlier processes, and finished ones.
    files: Vec<Known>,
    /// Bytes in them.
    bytes: u64,
    active: Option<Active<F>>,
    spare: Option<F::File>,
    next: u64,
    marks: Marks,
    slots: Option<Slots<F>>,
}

#[derive(Debug)]
struct Active<F: Fs> {
    file: F::File,
    known: Known,
    at: u64,
}

impl<F: Fs> Letters<F> {
    /// Opens the store and reserves room for the next letters. Numbers below `at_least` are not given again.
    ///
    /// # Errors
    /// When the directory or its files can't be listed, read or made.
    pub fn open(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        settings: Settings,
        at_least: u64,
    ) -> Result<Self, DiskError> {
        Self::open_sized(fs, data_dir, spool, settings, at_least, (settings.file_size(), MARKS))
    }

    /// With so many bytes in a file, and so much room for the marks.
    pub(crate) fn open_sized(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        settings: Settings,
        at_least: u64,
        (file_size, room): (u64, usize),
    ) -> Result<Self, DiskError> {
        let directory = directory(data_dir);
        let path = directory.join("marks");
        let (slots, value) = match make_dir(fs, data_dir, &directory) {
            Err(error) if error.is_no_making() => (Slots::unmade(fs, &path, room), None),
            made => made.and_then(|()| Slots::open(fs, &path, room))?,
        };
        let marks = value.and_then(|value| Marks::decode(&value, spool)).unwrap_or_default();
        let files = file::list(fs, &directory)?;
        let mut inner = Inner {
            fs: fs.clone(),
            spool,
            data_dir: data_dir.to_owned(),
            directory,
            settings,
            file_size,
            bytes: 0,
            active: None,
            spare: None,
            next: marks.next.max(at_least).clamp(1, codec::LAST),
            marks,
            slots: Some(slots),
            files,
        };
        inner.look_at_files();
        if let Err(error) = inner.reserve() {
            tracing::error!(%error, "no room can be reserved for dead letters; it is tried again when there is one");
        }
        Ok(Self { inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner<F>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps letters, durably; returns the number of the last one. All of them, or none.
    ///
    /// # Errors
    /// [`LettersError`]; then none of them is kept, as far as anybody will see.
    pub fn append(&self, letters: &[Letter]) -> Result<u64, LettersError> {
        let mut inner = self.inner();
        let before = inner.next;
        let result = inner.append(letters);
        if matches!(result, Err(LettersError::Disk(_))) {
            // A failed sync is believed: what may stand there half written is cut off, and its numbers are not given again.
            let end = before + letters.len() as u64;
            inner.next = end;
            if !inner.leave_active() {
                // It could not be cut off: so the marks say it, saved now or with their next change.
                let withdraw = |marks: &mut Marks| (before..end).for_each(|id| marks.set_gone(id));
                if inner.mark(withdraw).is_err() {
                    withdraw(&mut inner.marks);
                }
            }
        }
        result.map(|()| inner.next - 1)
    }

    /// Number of the last letter that was kept; 0 when there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.inner().next - 1
    }

    /// Reads letters, `limit` at most.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub fn find(&self, limit: usize, wanted: impl FnMut(&Stored) -> bool) -> Result<Found, LettersError> {
        self.find_after(0, limit, wanted)
    }

    /// [`Letters::find`] among those with a number above `after`.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub fn find_after(
        &self,
        after: u64,
        limit: usize,
        wanted: impl FnMut(&Stored) -> bool,
    ) -> Result<Found, LettersError> {
        let (fs, spool, files, marks) = {
            let inner = self.inner();
            let active = inner.active.iter().map(|a| a.known.clone());
            let files: Vec<_> = inner.files.iter().cloned().chain(active).collect();
            (inner.fs.clone(), inner.spool, files, inner.marks.clone())
        };
        // The last file that begins at or before it may hold later ones.
        let from = files.partition_point(|f| f.first <= after).saturating_sub(1);
        let files = files.get(from..).unwrap_or_default();
        Ok(read_all(&fs, spool, files, limit, |id| id > after && marks.is_there(id), wanted)?)
    }

    /// Letters by number, whatever has become of them, as long as they stand on disk.
    ///
    /// # Errors
    /// When the disk can't be read.
    pub fn load(&self, ids: &[u64]) -> Result<Vec<Stored>, LettersError> {
        let (fs, spool, files) = {
            let inner = self.inner();
            let active = inner.active.iter().map(|a| a.known.clone());
            let files: Vec<_> = inner.files.iter().cloned().chain(active).collect();
            (inner.fs.clone(), inner.spool, files)
        };
        let of_id = |id: &u64| files.partition_point(|f| f.first <= *id).checked_sub(1);
        let mut needed: Vec<usize> = ids.iter().filter_map(of_id).collect();
        needed.sort_unstable();
        needed.dedup();
        let needed: Vec<Known> = needed.into_iter().filter_map(|i| files.get(i).cloned()).collect();
        let ids: BTreeSet<u64> = ids.iter().copied().collect();
        let found = read_all(&fs, spool, &needed, usize::MAX, |id| ids.contains(&id), |_| true)?;
        Ok(found.letters)
    }

    /// Whether a letter is neither gone nor being sent again.
    #[must_use]
    pub fn is_there(&self, id: u64) -> bool {
        self.inner().marks.is_there(id)
    }

    /// Letters that are being sent again, as the marks say.
    #[must_use]
    pub fn taken(&self) -> Vec<u64> {
        self.inner().marks.taken.iter().copied().collect()
    }

    /// Marks letters as being sent again, durably.
    ///
    /// # Errors
    /// When the disk refuses; then the marks before it stand.
    pub fn take(&self, ids: &[u64]) -> Result<(), LettersError> {
        self.inner().mark(|marks| {
            let there: Vec<u64> = ids.iter().copied().filter(|id| !marks.is_gone(*id)).collect();
            marks.taken.extend(there);
        })
    }

    /// Letters that were to be sent again are letters as before, durably.
    ///
    /// # Errors
    /// When the disk refuses; then the marks before it stand.
    pub fn put_back(&self, ids: &[u64]) -> Result<(), LettersError> {
        self.inner().mark(|marks| marks.taken.retain(|id| !ids.contains(id)))
    }

    /// Letters are gone, durably; files without any are removed.
    ///
    /// # Errors
    /// When the disk refuses; then the marks before it stand.
    pub fn remove(&self, ids: &[u64]) -> Result<(), LettersError> {
        let mut inner = self.inner();
        inner.mark(|marks| ids.iter().for_each(|id| marks.set_gone(*id)))?;
        let emptied = inner.active.as_ref().map(|active| active.known.first);
        let emptied = emptied.filter(|first| (*first..inner.next).all(|id| inner.marks.is_gone(id)));
        if let Some(first) = emptied {
            inner.leave_active();
            inner.tidy(&[first]);
        }
        inner.tidy(ids);
        Ok(())
    }
}

impl<F: Fs> Inner<F> {
    /// What can't be read costs its letters and nothing else: no number that it may hold is given again.
    fn look_at_files(&mut self) {
        for known in &self.files {
            self.next = self.next.max(known.first + 1);
            let size = insist(|| self.fs.open_read(&known.path)?.size());
            self.bytes += size.unwrap_or_default();
        }
        let Some(last) = self.files.last().cloned() else { return };
        match file::read(&self.fs, &last.path, self.spool) {
            Ok(content) => {
                let highest = content.letters.iter().map(|s| s.id + 1).max().unwrap_or(last.first);
                self.next = self.next.max(highest + content.doubtful);
                if !content.damaged && content.ends_blank {
                    self.shorten(&last.path, content.used);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a file of dead letters can't be read; the others are");
                let size = insist(|| self.fs.open_read(&last.path)?.size()).unwrap_or_default();
                self.next = self.next.max(last.first + size / codec::HEADER as u64);
            }
        }
    }

    /// Gives back what was reserved behind the last letter of a file. What stands there, if anything, was never confirmed.
    /// False if the disk refuses.
    fn shorten(&mut self, path: &Path, used: u64) -> bool {
        let cut = || -> std::io::Result<u64> {
            let file = self.fs.open(path)?;
            let size = file.size()?;
            if used < size {
                file.truncate(used)?;
                file.sync_data()?;
                return Ok(size - used);
            }
            Ok(0)
        };
        match cut() {
            Ok(freed) => self.bytes = self.bytes.saturating_sub(freed),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "room of a file of dead letters can't be given back");
                return false;
            }
        }
        true
    }

    fn reserve(&mut self) -> Result<(), DiskError> {
        if self.spare.is_none() {
            make_dir(&self.fs, &self.data_dir, &self.directory)?;
            self.spare = Some(file::reserve(&self.fs, &self.directory, self.file_size)?);
        }
        Ok(())
    }

    fn append(&mut self, letters: &[Letter]) -> Result<(), LettersError> {
        let (mut bytes, mut end) = (Vec::new(), self.next);
        for letter in letters {
            codec::put(&mut bytes, self.spool, end, letter);
            end += 1;
        }
        let used = self.bytes + self.active.as_ref().map_or(0, |a| a.at);
        if used + bytes.len() as u64 > self.settings.max_size {
            return Err(LettersError::Full { max_size: self.settings.max_size });
        }
        if self.active.as_ref().is_some_and(|a| a.at + bytes.len() as u64 > self.file_size) {
            self.leave_active();
        }
        if self.active.is_none() {
            self.active = Some(self.begin()?);
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        let path = &active.known.path;
        active.file.write_at(&bytes, active.at).map_err(DiskError::io("write", path))?;
        if !sabotage::commits(Bug::LetterUnsynced) {
            active.file.sync_data().map_err(DiskError::io("sync", path))?;
        }
        active.at += bytes.len() as u64;
        self.next = end;
        Ok(())
    }

    /// Begins a file with the next letter's number.
    fn begin(&mut self) -> Result<Active<F>, DiskError> {
        self.reserve()?;
        // Whatever fails from here on, it may have its name, and is no spare any more.
        let spare = self.spare.take();
        let known = Known { path: file::name(&self.directory, self.next), first: self.next };
        if let Err(error) = self.name_spare() {
            if let Ok(size) = insist(|| self.fs.open_read(&known.path)?.size()) {
                self.bytes += size;
                self.files.push(known);
            }
            return Err(error);
        }
        let file = match spare {
            Some(file) => file,
            None => self.fs.open(&known.path).map_err(DiskError::io("open", &known.path))?,
        };
        if let Err(error) = self.reserve() {
            tracing::error!(%error, "no room can be reserved for further dead letters");
        }
        Ok(Active { file, known, at: 0 })
    }

    fn name_spare(&self) -> Result<(), DiskError> {
        file::name_spare(&self.fs, &self.directory, self.next)?;
        // The directory may have been made by a process that was killed before its name was durable.
        self.fs.sync_dir(&self.data_dir).map_err(DiskError::io("sync", &self.data_dir))
    }

    /// False if what stands behind the last letter is still there.
    fn leave_active(&mut self) -> bool {
        let Some(active) = self.active.take() else { return true };
        self.bytes += self.file_size;
        // The first letters of a file are not cut off: it would be a file without any.
        let shortened = active.at > 0 && self.shorten(&active.known.path, active.at);
        self.files.push(active.known);
        shortened
    }

    fn mark(&mut self, change: impl FnOnce(&mut Marks)) -> Result<(), LettersError> {
        let mut marks = self.marks.clone();
        change(&mut marks);
        if marks == self.marks {
            return Ok(());
        }
        marks.next = self.next;
        let first = self.files.first().map(|f| f.first).or(self.active.as_ref().map(|a| a.known.first));
        marks.forget_below(first.unwrap_or(self.next));
        let value = marks.encode(self.spool);
        if self.slots.as_ref().is_none_or(|slots| !slots.is_made()) {
            make_dir(&self.fs, &self.data_dir, &self.directory)?;
        }
        if self.slots.as_ref().is_none_or(|slots| slots.capacity() < value.len()) {
            let room = MARKS.max(2 * value.len());
            self.slots = Some(Slots::open(&self.fs, &self.directory.join("marks"), room)?.0);
        }
        let Some(slots) = &mut self.slots else { return Ok(()) };
        let kept = slots.save(&value).and_then(|()| slots.sync());
        if let Err(error) = kept {
            self.slots = None;
            return Err(error.into());
        }
        self.marks = marks;
        Ok(())
    }

    /// Removes files all of whose letters are gone, of those that held one of `ids`. One with damaged bytes stays, for a
    /// person to look at.
    ///
    /// DURABILITY: that they are gone is durable before their marks are forgotten.
    fn tidy(&mut self, ids: &[u64]) {
        let (fs, spool) = (self.fs.clone(), self.spool);
        let at = |id: &u64| self.files.partition_point(|f| f.first <= *id).checked_sub(1);
        let touched: BTreeSet<usize> = ids.iter().filter_map(at).collect();
        let is_done =
            |content: &Content| !content.damaged && content.letters.iter().all(|s| self.marks.is_gone(s.id));
        let done = touched
            .into_iter()
            .filter_map(|index| self.files.get(index))
            .filter(|known| file::read(&fs, &known.path, spool).is_ok_and(|content| is_done(&content)));
        let done: Vec<Known> = done.cloned().collect();
        let mut removed = Vec::new();
        for known in done {
            let size = fs.open_read(&known.path).and_then(|f| f.size()).unwrap_or_default();
            match fs.remove(&known.path) {
                Ok(()) => removed.push((known.first, size)),
                Err(error) => {
                    tracing::warn!(path = %known.path.display(), %error, "a file of dead letters that are gone can't be removed");
                }
            }
        }
        if removed.is_empty() {
            return;
        }
        if let Err(error) = fs.sync_dir(&self.directory) {
            tracing::warn!(%error, "files of dead letters that are gone may come back after a power cut");
            return;
        }
        self.files.retain(|known| removed.iter().all(|(first, _)| known.first != *first));
        self.bytes = self.bytes.saturating_sub(removed.iter().map(|(_, size)| size).sum());
    }
}

/// Where they are.
pub(in crate::state) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("dead-letters")
}

fn read_all<F: Fs>(
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

#[cfg(test)]
mod tests;
