//! The traits: what a disk can do.

use std::io;
use std::path::Path;

use super::is_rot;

/// What stands at a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file: the only kind that is ever opened.
    File,
    /// A directory.
    Directory,
    /// A FIFO, socket, device or symbolic link.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, if it is UTF-8; others cannot be ours and are left out of listings.
    pub name: String,
    /// What stands there.
    pub kind: EntryKind,
    /// Its inode number; 0 where that is not known.
    pub inode: u64,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use (without root's reserve).
    pub available: u64,
    /// Size of the file system.
    pub total: u64,
}

/// What tells a file from a copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileIdentity {
    /// Its inode number; 0 where that is not known.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, which no program can set; 0 where that is not known.
    pub born: i64,
}

/// What tells a file from itself before it was last written to, cut, renamed or given to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Its length in bytes.
    pub len: u64,
    /// When that was, in nanoseconds since 1970, which no program can set; 0 where that is not known.
    pub changed: i64,
}

/// A file system. Cheap to clone; every clone is the same disk.
pub trait Fs: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// An open file of it.
    type File: File;
    /// A lock held until dropped.
    type Lock: Send + Sync + 'static;

    /// Makes a new file, open for reading and writing, mode 0600. The name is durable after
    /// [`Fs::sync_dir`] of its directory.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a regular file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when it is not a regular file; or what the file system says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// As [`Fs::open`].
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, replacing what has it. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it, mode 0700; one that exists is well. Syncs the directory that
    /// holds each one it made.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says; then nothing is known about the names' durability.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Room on the file system that holds `path`.
    ///
    /// # Errors
    /// What the file system says.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Whether a byte of a file is written over where it stands, so that it takes no room; the default says so.
    fn writes_in_place(&self, _dir: &Path) -> bool {
        true
    }

    /// Takes an exclusive lock on the file at `path`, making it if need be, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when another process (or another opening) holds it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    /// Takes an exclusive lock on a directory, without waiting; `None` where directories can't be locked.
    ///
    /// # Errors
    /// `WouldBlock` when another process (or another opening) holds it.
    fn lock_dir(&self, _path: &Path) -> io::Result<Option<Self::Lock>> {
        Ok(None)
    }

    /// Takes hold of a directory by what it is, wherever it is moved; the default holds nothing.
    ///
    /// # Errors
    /// What the file system says.
    fn hold_dir(&self, _path: &Path) -> io::Result<Option<Box<dyn Directory>>> {
        Ok(None)
    }

    /// What tells the file at `path` from a copy of it; the default knows nothing.
    ///
    /// # Errors
    /// What the file system says.
    fn identity(&self, _path: &Path) -> io::Result<FileIdentity> {
        Ok(FileIdentity::default())
    }

    /// What tells the file at `path` from itself before its last change, without opening it.
    ///
    /// # Errors
    /// What the file system says; `NotFound` where there is none.
    fn version(&self, path: &Path) -> io::Result<Version>;
}

/// A directory that is held.
pub trait Directory: std::fmt::Debug + Send + Sync {
    /// Whether `path` leads to this very directory now: it was neither moved nor deleted, and nothing is mounted
    /// over it or over one above.
    ///
    /// # Errors
    /// What the file system says, when that can't be found out.
    fn stands_at(&self, path: &Path) -> io::Result<bool>;
}

/// An open file. All offsets in bytes from its start.
pub trait File: std::fmt::Debug + Send + Sync + 'static {
    /// Reads at most `buf.len()` bytes; 0 means the end of the file.
    ///
    /// # Errors
    /// What the file system says; an interrupted call is repeated.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// What the file system says; an interrupted call is repeated.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves disk blocks for the first `len` bytes, growing the file to `len` with zeros. A file system that
    /// cannot reserve grows the file without.
    ///
    /// # Errors
    /// `StorageFull` and the like; then nothing has changed that matters.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the file's bytes, and the size needed to read them, durable.
    ///
    /// # Errors
    /// DURABILITY: after an error the kernel may have dropped the bytes and a second call may say "done"
    /// (Rebello et al., ATC 2020), so a caller never calls this again on the same bytes.
    fn sync_data(&self) -> io::Result<()>;

    /// Has the kernel forget what it holds of the file and takes for written, so that the next read is of the disk.
    /// After a failed sync the two differ. A file system that lives in memory has nothing to forget.
    ///
    /// # Errors
    /// What the file system says.
    fn forget_cached(&self) -> io::Result<()>;

    /// [`File::forget_cached`] for who asks whether the disk is there. A kernel that takes no such advice says nothing of the disk: what
    /// it gives is what there is.
    ///
    /// # Errors
    /// What the disk says.
    fn forget_if_possible(&self) -> io::Result<()> {
        self.forget_cached().or_else(|e| if is_rot(&e) { Err(e) } else { Ok(()) })
    }

    /// Says that little of the file will be read, here and there, so that nothing needs to be read ahead.
    fn expect_little(&self) {}

    /// Size in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;

    /// Reads until `buf` is full or the file ends; returns how much was read.
    ///
    /// # Errors
    /// As [`File::read_at`].
    fn read_full_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset.saturating_add(done as u64))? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
}
