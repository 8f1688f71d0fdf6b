//! The store of dead letters, of one data directory.

mod inner;
mod look;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::inner::Inner;
pub(in crate::state) use self::look::directory;
use self::look::read_all;
pub use self::look::{Found, being_sent, look};
use super::codec;
use super::file::{self, Known};
use super::letter::{Letter, Stored};
use super::marks::Marks;
use crate::disk::{DiskError, Fs, Slots, make_dir};
use crate::ids::SpoolId;

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

/// See the module.
#[derive(Debug)]
pub struct Letters<F: Fs> {
    inner: Mutex<Inner<F>>,
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

#[cfg(test)]
mod tests;
