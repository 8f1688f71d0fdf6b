//! What the ledger's thread needs of a store, and `sled` as one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::codec;
use super::row::{Page, Query, Row};

/// Why a store could not do it, and so what is done about it.
#[derive(Debug)]
pub(super) enum Fault {
    /// For now, and no fault of what is stored (full, read-only, no descriptors, locked): keep the
    /// directory, try again later.
    Disk(String),
    /// What is stored, or the store's code, is not to be trusted any more: set the directory aside.
    Broken(String),
}

/// Rows on disk.
pub(super) trait Store: Send {
    /// Puts rows in, replacing those with the same key.
    fn put(&mut self, rows: &mut dyn Iterator<Item = &Row>) -> Result<(), Fault>;
    /// Makes what was put durable.
    fn sync(&mut self) -> Result<(), Fault>;
    /// Reads a page.
    fn page(&self, query: &Query) -> Result<Page, Fault>;
}

/// One tree of small values.
pub(super) struct SledStore {
    db: sled::Db,
    pub(super) dir: PathBuf,
    /// Our own handle on sled's data file, to sync it with.
    pub(super) data: File,
    rows: usize,
    max_rows: usize,
}

/// sled keeps this in its `conf` file and refuses to open with another value: changing it sets every ledger
/// out there aside.
const SEGMENT: usize = 64 * 1024;
/// Two megabytes cost three times this much memory at ten thousand rows and gain nothing here.
const CACHE: u64 = 256 * 1024;

/// sled's lock on its data file is sometimes let go a moment after its last handle was dropped, by a
/// thread of its pool. Nothing tells when, so opening is tried again this often.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl SledStore {
    /// Opens or makes the store in `dir`.
    pub(super) fn open(dir: &Path, max_rows: usize) -> Result<Self, Fault> {
        make(dir).map_err(|e| fault_of_io(&e))?;
        remove_unfinished_snapshots(dir).map_err(|e| fault_of_io(&e))?;
        refuse_what_is_no_file(dir)?;
        let config = config(dir);
        let db = patiently(LOCK_PAUSE, || config.open())?;
        let data = File::open(dir.join("db")).map_err(|e| fault_of_io(&e))?;
        let rows = db.len();
        Ok(Self { db, dir: dir.to_owned(), data, rows, max_rows })
    }

    /// Removes the oldest rows when there are a twentieth too many, so that it is done rarely.
    fn trim(&mut self) -> Result<(), Fault> {
        if self.rows <= self.max_rows + self.max_rows / 20 {
            return Ok(());
        }
        let mut all = Vec::with_capacity(self.rows);
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(|e| fault_of_sled(&e))?;
            // What can't be read counts as oldest: it must not fill the ledger for ever.
            let at = codec::decode(&key, &value).map_or(i64::MIN, |row| row.finished_at);
            all.push((at, key));
        }
        all.sort_unstable();
        let surplus = all.len().saturating_sub(self.max_rows);
        for (_, key) in all.iter().take(surplus) {
            self.db.remove(key).map_err(|e| fault_of_sled(&e))?;
        }
        self.rows = all.len() - surplus;
        Ok(())
    }
}

impl Store for SledStore {
    fn put(&mut self, rows: &mut dyn Iterator<Item = &Row>) -> Result<(), Fault> {
        for row in rows {
            let before = self
                .db
                .insert(codec::encode_key(&row.key), codec::encode_value(row))
                .map_err(|e| fault_of_sled(&e))?;
            self.rows += usize::from(before.is_none());
        }
        self.trim()
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.db.flush().map_err(|e| fault_of_sled(&e))?;
        // DURABILITY: sled 0.34's flush() only calls sync_file_range (seen with strace); the data file and
        // the directory are synced here.
        self.data.sync_all().map_err(|e| fault_of_io(&e))?;
        sync_dir(&self.dir).map_err(|e| fault_of_io(&e))
    }

    fn page(&self, query: &Query) -> Result<Page, Fault> {
        use std::ops::Bound;
        let start = match &query.after {
            Some(key) => Bound::Excluded(codec::encode_key(key)),
            None => Bound::Unbounded,
        };
        let mut page = Page::default();
        for entry in self.db.range((start, Bound::Unbounded)) {
            let (key, value) = entry.map_err(|e| fault_of_sled(&e))?;
            match codec::decode(&key, &value) {
                None => page.unreadable += 1,
                Some(row) if !query.takes(&row.key) => {}
                Some(_) if page.rows.len() >= query.limit => {
                    page.next = page.rows.last().map(|row| row.key.clone());
                    break;
                }
                Some(row) => page.rows.push(row),
            }
        }
        Ok(page)
    }
}

fn config(dir: &Path) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(CACHE)
        .segment_size(SEGMENT)
        .flush_every_ms(None)
}

/// Tries again while somebody has the lock.
fn patiently<T>(pause: Duration, mut open: impl FnMut() -> sled::Result<T>) -> Result<T, Fault> {
    let mut tries = 1;
    loop {
        match open() {
            Err(sled::Error::Io(e)) if is_lock(&e) && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(pause);
            }
            opened => return opened.map_err(|e| fault_of_sled(&e)),
        }
    }
}

fn is_lock(error: &io::Error) -> bool {
    // sled wraps the lock's error in a text of its own (config.rs, try_lock).
    error.to_string().contains("could not acquire lock")
}

fn make(dir: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// A snapshot that was being written when the process died keeps sled from opening: it skips names ending
/// in `.in___motion` (config.rs, get_snapshot_files) but writes under names ending in `.generating`
/// (snapshot.rs, write_snapshot). Such a file was never part of the store.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled opens whatever has the name it looks for, and would wait for ever at a FIFO.
fn refuse_what_is_no_file(dir: &Path) -> Result<(), Fault> {
    let entries = fs::read_dir(dir).and_then(|all| all.collect::<io::Result<Vec<_>>>());
    for entry in entries.map_err(|e| fault_of_io(&e))? {
        let kind = entry.file_type().map_err(|e| fault_of_io(&e))?;
        if !kind.is_file() && !kind.is_dir() {
            return Err(Fault::Broken(format!("{} is neither file nor directory", entry.path().display())));
        }
    }
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn fault_of_sled(error: &sled::Error) -> Fault {
    match error {
        sled::Error::Io(e) => fault_of_io(e),
        other => Fault::Broken(other.to_string()),
    }
}

fn fault_of_io(error: &io::Error) -> Fault {
    use io::ErrorKind as K;
    let passing = matches!(
        error.kind(),
        K::StorageFull
            | K::QuotaExceeded
            | K::FileTooLarge
            | K::ReadOnlyFilesystem
            | K::PermissionDenied
            | K::OutOfMemory
    );
    let no_descriptors = matches!(
        error.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    );
    if passing || no_descriptors || is_lock(error) {
        Fault::Disk(error.to_string())
    } else {
        Fault::Broken(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::{key, row};
    use super::*;

    #[test]
    fn the_oldest_rows_go_once_a_twentieth_is_too_much_and_not_before() {
        let home = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(&home.path().join("ledger"), 40).unwrap();
        let counts = (1..=46).map(|n| {
            store.put(&mut [row(key("main", "home", n), n.cast_signed())].iter()).unwrap();
            store.db.len()
        });
        let counts: Vec<_> = counts.collect();
        assert_eq!(counts, (1..=42).chain([40, 41, 42, 40]).collect::<Vec<_>>());
        let oldest = store.page(&Query { limit: 1, ..Query::default() }).unwrap().rows;
        assert_eq!(oldest[0].key, key("main", "home", 7));
    }

    #[test]
    fn a_page_holds_no_more_than_it_may_and_says_what_it_could_not_read() {
        let home = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(&home.path().join("ledger"), 40).unwrap();
        let rows: Vec<_> = (1..=4).map(|n| row(key("main", "home", n), 7)).collect();
        store.put(&mut rows.iter()).unwrap();
        ["a", "b"].iter().for_each(|name| drop(store.db.insert(name, "no row").unwrap()));
        for (limit, next) in [(1, Some(1)), (3, Some(3)), (4, None), (5, None)] {
            let page = store.page(&Query { limit, ..Query::default() }).unwrap();
            let next = next.map(|n| key("main", "home", n));
            assert_eq!((&page.rows[..], page.next), (&rows[..limit.min(4)], next));
            assert_eq!(page.unreadable, 2);
        }
    }

    /// What the lock's error says.
    fn locked(dir: &Path) -> io::Error {
        match config(dir).open() {
            Err(sled::Error::Io(e)) => e,
            opened => panic!("{opened:?}"),
        }
    }

    #[test]
    fn a_store_that_somebody_else_has_open_is_asked_for_fifty_times_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let _open = SledStore::open(&home.path().join("ledger"), 40).unwrap();
        let ask = |locked_for: u32, error: io::Error| {
            let mut asked = 0;
            let opened = patiently(Duration::ZERO, || {
                asked += 1;
                assert!(asked < 100, "for ever");
                let again = || io::Error::new(error.kind(), error.to_string());
                if asked > locked_for { Ok(()) } else { Err(sled::Error::Io(again())) }
            });
            (asked, opened)
        };
        let lock = || locked(&home.path().join("ledger"));
        assert!(matches!(ask(0, lock()), (1, Ok(()))));
        assert!(matches!(ask(1, lock()), (2, Ok(()))));
        assert!(matches!(ask(LOCK_TRIES - 1, lock()), (LOCK_TRIES, Ok(()))));
        assert!(matches!(ask(LOCK_TRIES, lock()), (LOCK_TRIES, Err(Fault::Disk(_)))));
        // Anything else is no better the next time.
        assert!(matches!(ask(1, io::ErrorKind::InvalidData.into()), (1, Err(Fault::Broken(_)))));
    }

    #[test]
    fn only_what_passes_leaves_a_store_where_it_is() {
        use rustix::io::Errno;
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS, Errno::ACCESS, Errno::NOMEM] {
            assert!(matches!(fault_of_io(&errno.into()), Fault::Disk(_)), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(matches!(fault_of_io(&errno.into()), Fault::Disk(_)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOENT, Errno::NOTDIR] {
            assert!(matches!(fault_of_io(&errno.into()), Fault::Broken(_)), "{errno}");
        }
    }

    #[test]
    fn a_directory_that_can_not_be_made_is_an_error_and_one_that_is_there_is_none() {
        let home = tempfile::tempdir().unwrap();
        make(&home.path().join("ledger")).unwrap();
        make(&home.path().join("ledger")).unwrap();
        make(&home.path().join("no/ledger")).unwrap_err();
    }
}
