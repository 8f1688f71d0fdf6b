//! Bytes on the disk that nobody reads, to be let go of when delivery needs room.
//!
//! What delivery writes on a full disk (positions, the journal, dead letters) stands in files that have had their room from
//! the start. Where a file system writes over a byte in place, as ext4 and XFS do, that is all it takes. btrfs, ZFS, F2FS and
//! bcachefs write the new bytes elsewhere before they free the old ones: with no room, or a quota that is used up, positions could not
//! be saved, so nothing that is delivered could be deleted, and the disk would stay full for ever. There a file is kept of
//! which nothing is needed but its size; once it is gone, positions are saved, what is delivered is deleted, and from the
//! room of that the file is made anew.
//!
//! INVARIANT: whoever makes a segment or takes events calls [`Ballast::take_back`] before, so that what was let go of for delivery is
//! not filled with events; and for [`REST`] it is not taken back either, so that delivery comes to use it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{DiskError, File, Fs, make_way};

/// A save of positions on btrfs takes some 100 KiB until its next commit, and each lane and destination has one.
const SIZE: usize = 4 << 20;
const CHUNK: usize = 64 << 10;
/// What was let go of is delivery's for so long, whose slowest (letters) tries again after 5 s; and what could not be made is not
/// tried again before.
const REST: Duration = Duration::from_secs(10);

/// The file.
#[derive(Debug)]
pub struct Ballast<F: Fs> {
    fs: F,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This file system writes in place.
    Needless,
    Stands,
    /// Somebody makes it: nobody waits for his sync.
    Making,
    /// Not to be made before this moment, of a clock that only goes on.
    Gone {
        until: Duration,
    },
}

impl<F: Fs> Ballast<F> {
    /// Looks for the file at `path`. One of another size counts as gone, and so does what can't be looked at. It is first made by
    /// [`Ballast::take_back`].
    pub fn open(fs: &F, path: &Path) -> Self {
        let needless = fs.writes_in_place(path.parent().unwrap_or(path));
        let is_there = fs.open_read(path).and_then(|file| file.size()).is_ok_and(|size| size == SIZE as u64);
        if needless && is_there {
            // The directory has come from another file system.
            let _ = fs.remove(path);
        }
        let state = match (needless, is_there) {
            (true, _) => State::Needless,
            (false, true) => State::Stands,
            (false, false) => State::Gone { until: Duration::ZERO },
        };
        Self { fs: fs.clone(), path: path.to_owned(), state: Mutex::new(state) }
    }

    /// Deletes the file, since something failed for want of room. Whether trying that again may help. `now` is of a clock that
    /// only goes on.
    pub fn let_go(&self, now: Duration) -> bool {
        let mut state = self.lock();
        if *state != State::Stands {
            return false;
        }
        match self.fs.remove(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), error = %e, "what is kept back for delivery can't be let go of");
                false
            }
            _ => {
                *state = State::Gone { until: now + REST };
                tracing::info!(
                    bytes = SIZE,
                    "the disk is full: what was kept back for delivery is let go of"
                );
                true
            }
        }
    }

    /// Makes the file, if it is gone; returns whether that took room.
    ///
    /// # Errors
    /// `StorageFull` as long as it is delivery's, or is being made, or there is no room for it: then there is none for events. Else
    /// what the file system says.
    pub fn take_back(&self, now: Duration) -> io::Result<bool> {
        let mut state = self.lock();
        match *state {
            State::Needless | State::Stands => return Ok(false),
            State::Gone { until } if until <= now => *state = State::Making,
            State::Making | State::Gone { .. } => return Err(io::ErrorKind::StorageFull.into()),
        }
        drop(state);
        let made = self.make();
        if made.is_err() {
            // A part of it would be in delivery's way.
            let _ = self.fs.remove(&self.path);
        }
        *self.lock() = if made.is_ok() { State::Stands } else { State::Gone { until: now + REST } };
        made.map(|()| true)
    }

    /// DURABILITY: synced, since some file systems only then know whether there is room.
    fn make(&self) -> io::Result<()> {
        make_way(&self.fs, &self.path).map_err(|e| match e {
            DiskError::Io { source, .. } => source,
            e @ DiskError::TooLarge { .. } => io::Error::other(e),
        })?;
        // So that what little there is stays free for delivery. A quota may still be used up: writing tells.
        let dir = self.path.parent().unwrap_or(&self.path);
        if self.fs.space(dir).is_ok_and(|space| space.available < SIZE as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.fs.create(&self.path)?;
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
        let mut chunk = vec![0; CHUNK];
        for at in (0..SIZE).step_by(CHUNK) {
            // A file system that compresses has to find nothing to compress.
            for word in chunk.chunks_exact_mut(8) {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                word.copy_from_slice(&noise.to_le_bytes());
            }
            file.write_at(&chunk, at as u64)?;
        }
        file.sync_data()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rustix::io::Errno;

    use super::super::sim::{Call, Fault, Lasting, SimFs};
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn disk(copies: bool) -> SimFs {
        let fs = SimFs::default();
        fs.tamper(|world| world.copy_on_write(copies));
        fs.create_dir(Path::new("/data")).unwrap();
        fs
    }

    fn ballast(fs: &SimFs) -> Ballast<SimFs> {
        Ballast::open(fs, Path::new("/data/ballast"))
    }

    fn size(fs: &SimFs) -> Option<u64> {
        fs.open_read(Path::new("/data/ballast")).and_then(|file| file.size()).ok()
    }

    #[test]
    fn it_is_let_go_of_once_and_taken_back_once_there_is_room() {
        let fs = disk(true);
        let first = ballast(&fs);
        assert!(!first.let_go(NOW), "there is none yet");
        first.take_back(NOW).unwrap();
        drop(first);
        let ballast = ballast(&fs);
        fs.tamper(|world| world.fill_up_to(0));
        assert!(ballast.let_go(NOW));
        assert!(!ballast.let_go(NOW));
        assert_eq!(size(&fs), None);
        let other = fs.create(Path::new("/data/other")).unwrap();
        other.write_at(&[1; CHUNK], 0).unwrap();
        let refused = ballast.take_back(NOW + REST).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(size(&fs), None, "half of it helps nobody");
        fs.tamper(|world| world.set_capacity(u64::MAX));
        assert!(ballast.take_back(NOW + REST).is_err(), "it is not tried again at once");
        ballast.take_back(NOW + 2 * REST).unwrap();
        assert_eq!(size(&fs), Some(SIZE as u64));
    }

    /// Found by a review: the writer, which looks five times a second, took it back before delivery had used it.
    #[test]
    fn what_is_let_go_of_is_delivery_s_for_a_while_though_there_is_room() {
        let fs = disk(true);
        let ballast = ballast(&fs);
        ballast.take_back(NOW).unwrap();
        assert!(ballast.let_go(NOW));
        let early = NOW + REST - Duration::from_millis(1);
        assert_eq!(ballast.take_back(early).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(size(&fs), None);
        ballast.take_back(NOW + REST).unwrap();
        assert_eq!(size(&fs), Some(SIZE as u64));
    }

    #[test]
    fn what_a_kill_left_of_it_is_made_anew() {
        let fs = disk(true);
        fs.create(Path::new("/data/ballast")).unwrap().write_at(&[1; CHUNK], 0).unwrap();
        ballast(&fs).take_back(NOW).unwrap();
        assert_eq!(size(&fs), Some(SIZE as u64));
    }

    #[test]
    fn a_directory_in_its_place_is_set_aside() {
        let fs = disk(true);
        fs.tamper(|world| world.obstruct(Path::new("/data/ballast"), false)).unwrap();
        ballast(&fs).take_back(NOW).unwrap();
        assert_eq!(size(&fs), Some(SIZE as u64));
    }

    #[test]
    fn where_a_disk_writes_in_place_there_is_none_and_one_that_came_with_the_directory_goes() {
        let fs = disk(true);
        ballast(&fs).take_back(NOW).unwrap();
        fs.tamper(|world| world.copy_on_write(false));
        let ballast = ballast(&fs);
        assert_eq!(size(&fs), None);
        ballast.take_back(NOW).unwrap();
        assert_eq!((size(&fs), ballast.let_go(NOW)), (None, false));
    }

    #[test]
    fn one_that_somebody_has_deleted_counts_as_let_go_of_and_one_that_can_not_be_deleted_does_not() {
        let fs = disk(true);
        let ballast = ballast(&fs);
        ballast.take_back(NOW).unwrap();
        fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::Once });
        assert!(!ballast.let_go(NOW));
        assert_eq!((size(&fs), ballast.take_back(NOW).unwrap()), (Some(SIZE as u64), false));
        fs.remove(Path::new("/data/ballast")).unwrap();
        assert!(ballast.let_go(NOW), "its room is free");
        assert!(ballast.take_back(NOW + REST).unwrap());
    }

    #[test]
    fn the_room_that_it_takes_is_all_that_it_needs() {
        for (short, fits) in [(0, true), (1, false)] {
            let fs = disk(true);
            fs.tamper(|world| world.fill_up_to(SIZE as u64 - short));
            let before = fs.calls();
            assert_eq!(ballast(&fs).take_back(NOW).is_ok(), fits, "{short} bytes short");
            assert_eq!(fs.calls() - before > 10, fits, "what is short of room is not begun");
        }
    }

    /// Found by mutants: it may be that only the sync says that there is no room.
    #[test]
    fn it_stands_once_it_is_durable_and_not_before() {
        let counted = disk(true);
        ballast(&counted).take_back(NOW).unwrap();
        let fs = disk(true);
        let ballast = ballast(&fs);
        // The last call.
        let at = counted.calls() - 1;
        fs.break_at(Fault { at, errno: Errno::IO, lasting: Lasting::Once });
        ballast.take_back(NOW).unwrap_err();
        assert_eq!((fs.hits(), size(&fs)), (vec![(at, Call::SyncData)], None));
    }

    #[test]
    fn nothing_of_it_can_be_compressed() {
        let fs = disk(true);
        ballast(&fs).take_back(NOW).unwrap();
        let bytes = fs.world().read(Path::new("/data/ballast")).unwrap();
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        assert_eq!(words.clone().collect::<HashSet<_>>().len(), SIZE / 8, "a word comes twice");
        let ones: u64 = words.map(|word| u64::from(word.count_ones())).sum();
        let all = SIZE as u64 * 8;
        assert!((all * 49 / 100..all * 51 / 100).contains(&ones), "{ones} of {all}");
        let packed = lz4_flex::block::compress(&bytes).len();
        assert!(packed >= SIZE, "{packed}");
    }
}
