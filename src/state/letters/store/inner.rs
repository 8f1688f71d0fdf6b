//! What the store knows, behind its lock: the files that are there, the one that is written, the marks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::codec;
use super::super::file::{self, Content, Known};
use super::super::letter::Letter;
use super::super::marks::Marks;
use super::{LettersError, MARKS, Settings};
use crate::disk::{DiskError, File, Fs, Slots, insist, make_dir};
use crate::ids::SpoolId;
use crate::sabotage::{self, Bug};

#[derive(Debug)]
pub(super) struct Inner<F: Fs> {
    pub(super) fs: F,
    pub(super) spool: SpoolId,
    pub(super) data_dir: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) settings: Settings,
    /// Bytes reserved at a time.
    pub(super) file_size: u64,
    /// Files of earlier processes, and finished ones.
    pub(super) files: Vec<Known>,
    /// Bytes in them.
    pub(super) bytes: u64,
    pub(super) active: Option<Active<F>>,
    pub(super) spare: Option<F::File>,
    pub(super) next: u64,
    pub(super) marks: Marks,
    pub(super) slots: Option<Slots<F>>,
}

#[derive(Debug)]
pub(super) struct Active<F: Fs> {
    pub(super) file: F::File,
    pub(super) known: Known,
    pub(super) at: u64,
}

impl<F: Fs> Inner<F> {
    /// What can't be read costs its letters and nothing else: no number that it may hold is given again.
    pub(super) fn look_at_files(&mut self) {
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

    pub(super) fn reserve(&mut self) -> Result<(), DiskError> {
        if self.spare.is_none() {
            make_dir(&self.fs, &self.data_dir, &self.directory)?;
            self.spare = Some(file::reserve(&self.fs, &self.directory, self.file_size)?);
        }
        Ok(())
    }

    pub(super) fn append(&mut self, letters: &[Letter]) -> Result<(), LettersError> {
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
    pub(super) fn leave_active(&mut self) -> bool {
        let Some(active) = self.active.take() else { return true };
        self.bytes += self.file_size;
        // The first letters of a file are not cut off: it would be a file without any.
        let shortened = active.at > 0 && self.shorten(&active.known.path, active.at);
        self.files.push(active.known);
        shortened
    }

    pub(super) fn mark(&mut self, change: impl FnOnce(&mut Marks)) -> Result<(), LettersError> {
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
    pub(super) fn tidy(&mut self, ids: &[u64]) {
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
