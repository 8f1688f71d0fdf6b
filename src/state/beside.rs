//! What stands beside the log, taken along to another data directory of the same spool, as a repair does: dead letters, journals,
//! where streams were, routes that were set.
//!
//! What can't be read does not keep the rest from coming along: pages of a file that the disk refuses are zeros in the copy, which
//! its reader takes for damage, and counts.

use std::io::ErrorKind;
use std::path::Path;

use super::{journal, letters};
use crate::disk::{
    DiskError, EntryKind, File, Fs, Slots, insist, look_at_slots, make_dir, make_way, sync_way,
};
use crate::ids::LaneName;

/// Small files of slots, by their names.
const SLOTS: [&str; 3] = ["homes", "overrides", "letters-copied"];
/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// Bytes that are given up where the disk refuses them.
const PAGE: usize = 4096;

/// Takes dead letters along, where streams were, and routes that were set. Returns how many bytes could not be read.
///
/// # Errors
/// When the new directory can't be written, or the old one can't be listed.
pub fn carry<F: Fs>(fs: &F, from: &Path, into: &Path) -> Result<u64, DiskError> {
    for name in SLOTS {
        let Ok(Some(value)) = look_at_slots(fs, &from.join(name)) else { continue };
        let (mut slots, _) = Slots::open(fs, &into.join(name), value.len().max(PAGE))?;
        slots.save(&value)?;
        slots.sync()?;
    }
    copy_files(fs, &letters::directory(from), into, &letters::directory(into))
}

/// Takes a lane's journals along: before its positions are looked at, so that those are no older. Returns how many bytes could not
/// be read.
///
/// # Errors
/// When the new directory can't be written, or the old one can't be listed.
pub fn carry_journals<F: Fs>(fs: &F, from: &Path, into: &Path, lane: &LaneName) -> Result<u64, DiskError> {
    copy_files(fs, &journal::directory(from, lane), into, &journal::directory(into, lane))
}

/// Copies the files of one directory into another below `top`, durably.
fn copy_files<F: Fs>(fs: &F, from: &Path, top: &Path, into: &Path) -> Result<u64, DiskError> {
    let listed = match insist(|| fs.list(from)) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(0),
        listed => listed.map_err(DiskError::io("list", from))?,
    };
    let files: Vec<_> = listed.into_iter().filter(|entry| entry.kind == EntryKind::File).collect();
    if files.is_empty() {
        return Ok(0);
    }
    make_dir(fs, top, into)?;
    let mut unread = 0;
    for entry in files {
        unread += copy_file(fs, &from.join(&entry.name), &into.join(&entry.name))?;
    }
    sync_way(fs, top, into)?;
    Ok(unread)
}

/// Copies a file; the name of the copy is not durable yet. One that is gone meanwhile is needed by nobody. Returns how many bytes
/// could not be read.
///
/// # Errors
/// When the file can't be opened, or the copy can't be written.
pub(super) fn copy_file<F: Fs>(fs: &F, from: &Path, into: &Path) -> Result<u64, DiskError> {
    let (old, size) =
        match insist(|| fs.open_read(from)).and_then(|file| file.size().map(|size| (file, size))) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
            old => old.map_err(DiskError::io("open", from))?,
        };
    make_way(fs, into)?;
    let new = fs.create(into).map_err(DiskError::io("create", into))?;
    let (mut bytes, mut at, mut unread) = (vec![0; CHUNK], 0u64, 0);
    while at < size {
        let room = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        let Some(chunk) = bytes.get_mut(..room) else { break };
        unread += read_what_can_be(&old, chunk, at);
        new.write_at(chunk, at).map_err(DiskError::io("write", into))?;
        at += room as u64;
    }
    new.sync_data().map_err(DiskError::io("sync", into))?;
    if unread > 0 {
        tracing::warn!(path = %from.display(), unread, "some bytes can't be read: in the copy they are zeros");
    }
    Ok(unread)
}

/// Fills `chunk` with what stands at `at`, and with zeros where that can't be read. Returns how many bytes that were.
fn read_what_can_be(file: &impl File, chunk: &mut [u8], at: u64) -> u64 {
    if insist(|| file.read_full_at(chunk, at)).is_ok() {
        return 0;
    }
    let (mut at, mut unread) = (at, 0);
    for page in chunk.chunks_mut(PAGE) {
        if insist(|| file.read_full_at(page, at)).is_err() {
            page.fill(0);
            unread += page.len() as u64;
        }
        at += page.len() as u64;
    }
    unread
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::RealFs;
    use crate::disk::faulty::{Faulty, Op};

    fn site() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        [&old, &new].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        (dir, old, new)
    }

    #[test]
    fn letters_journals_and_small_files_come_along_and_nothing_else_does() {
        let (_dir, old, new) = site();
        let lane = LaneName::new("main").unwrap();
        for path in [
            "dead-letters/1",
            "dead-letters/marks",
            "journal/main/home.1",
            "journal/other/home.1",
            "ledger/db",
        ] {
            let path = old.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, path.display().to_string()).unwrap();
        }
        let (mut slots, _) = Slots::open(&RealFs, &old.join("homes"), 100).unwrap();
        slots.save(b"where they were").unwrap();
        assert_eq!(carry(&RealFs, &old, &new).unwrap(), 0);
        assert_eq!(carry_journals(&RealFs, &old, &new, &lane).unwrap(), 0);
        for path in ["dead-letters/1", "dead-letters/marks", "journal/main/home.1"] {
            assert_eq!(std::fs::read(old.join(path)).unwrap(), std::fs::read(new.join(path)).unwrap());
        }
        assert_eq!(
            look_at_slots(&RealFs, &new.join("homes")).unwrap().as_deref(),
            Some(&b"where they were"[..])
        );
        assert!(
            !new.join("journal/other").exists()
                && !new.join("ledger").exists()
                && !new.join("overrides").exists()
        );
    }

    #[test]
    fn pages_that_can_not_be_read_are_zeros_and_the_rest_comes_along() {
        let (_dir, old, new) = site();
        std::fs::create_dir(old.join("dead-letters")).unwrap();
        let bytes: Vec<u8> = (0..3 * PAGE + 100).map(|i| u8::try_from(i % 251).unwrap() | 1).collect();
        std::fs::write(old.join("dead-letters/1"), &bytes).unwrap();
        let fs = Faulty::new();
        // The whole, and then its first page, however often it is tried.
        fs.fail_next(Op::Read, 2 * u64::from(crate::disk::TRIES));
        assert_eq!(carry(&fs, &old, &new).unwrap(), PAGE as u64);
        let copy = std::fs::read(new.join("dead-letters/1")).unwrap();
        let mut expected = bytes;
        expected[..PAGE].fill(0);
        assert!(copy == expected);
    }

    #[test]
    fn what_comes_along_is_durable_when_that_is_said() {
        use crate::disk::faulty::Syncs;
        let sides = |dir: &Path| (dir.join("old"), dir.join("new"));
        let prepare = |dir: &Path| {
            let (old, new) = sides(dir);
            std::fs::create_dir_all(old.join("dead-letters")).unwrap();
            std::fs::create_dir(new).unwrap();
            std::fs::write(old.join("dead-letters/1"), b"letters").unwrap();
            Slots::open(&RealFs, &old.join("homes"), 100).unwrap().0.save(b"where they were").unwrap();
        };
        let carried = Syncs::made_by(prepare, |fs, dir| carry(fs, &sides(dir).0, &sides(dir).1));
        // The file of slots, with its name, and what is in it; the letters, and the two names on the way to them.
        assert_eq!(carried, Syncs::of(2 + 1, 1 + 2));
    }

    #[test]
    fn a_directory_that_is_not_there_has_nothing_and_one_that_can_not_be_listed_is_an_error() {
        use crate::disk::sim::{Fault, Lasting, SimFs};
        let (_dir, old, new) = site();
        assert_eq!(carry(&RealFs, &old, &new).unwrap(), 0);
        std::fs::write(old.join("dead-letters"), b"no directory").unwrap();
        assert_eq!(carry(&RealFs, &old, &new).unwrap(), 0);
        let fs = SimFs::default();
        fs.create_dir(&letters::directory(&old)).unwrap();
        let errno = rustix::io::Errno::ACCESS;
        fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
        copy_files(&fs, &letters::directory(&old), &new, &new).unwrap_err();
    }

    #[test]
    fn a_copy_is_as_long_as_what_it_is_of_and_what_could_not_be_read_is_said() {
        use crate::logs::testing::said;
        let (_dir, old, new) = site();
        std::fs::write(old.join("1"), vec![7; CHUNK + 100]).unwrap();
        let fs = Faulty::new();
        for unread in [0, PAGE as u64] {
            fs.fail_next(Op::Read, if unread > 0 { 2 * u64::from(crate::disk::TRIES) } else { 0 });
            let (copied, lines) = said(|| copy_file(&fs, &old.join("1"), &new.join("1")).unwrap());
            assert_eq!((copied, lines.len()), (unread, usize::from(unread > 0)), "{lines:?}");
            assert_eq!(std::fs::metadata(new.join("1")).unwrap().len(), (CHUNK + 100) as u64);
        }
    }
}
