//! The disk of the operating system.

use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Directory, Entry, EntryKind, File, FileIdentity, Fs, Space, Version};

/// The operating system's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

/// An open file of [`RealFs`].
#[derive(Debug)]
pub struct RealFile(fs::File);

/// An exclusive `flock`, released when dropped or when the process dies.
#[derive(Debug)]
pub struct RealLock {
    _file: fs::File,
}

/// Held open: while it is, its inode's number is nobody else's.
#[derive(Debug)]
struct RealDirectory(fs::File);

impl Directory for RealDirectory {
    fn stands_at(&self, path: &Path) -> io::Result<bool> {
        let there = match fs::metadata(path) {
            Ok(there) => there,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let held = self.0.metadata()?;
        Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
    }
}

/// What `statfs` calls the file systems that write in place: ext2 to ext4, XFS, tmpfs (`linux/magic.h`). Any other may not, or
/// stands before one of which nothing is known.
const IN_PLACE: [i64; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];

/// Never follow a link, never hang on a FIFO, never leak into a child.
fn flags() -> OFlags {
    OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK
}

fn open(path: &Path, more: OFlags) -> io::Result<fs::File> {
    let fd = rustix::fs::open(path, flags() | more, Mode::RUSR | Mode::WUSR)?;
    Ok(fs::File::from(fd))
}

fn open_dir(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn open_regular(path: &Path, more: OFlags) -> io::Result<RealFile> {
    let file = open(path, more)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(RealFile(file))
}

fn entry(entry: &fs::DirEntry) -> io::Result<Option<Entry>> {
    let Ok(name) = entry.file_name().into_string() else { return Ok(None) };
    let file_type = entry.file_type()?;
    let kind = match file_type {
        t if t.is_file() => EntryKind::File,
        t if t.is_dir() => EntryKind::Directory,
        _ => EntryKind::Other,
    };
    Ok(Some(Entry { name, kind, inode: entry.ino() }))
}

/// The directory that holds `path`; `.` for a bare name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Fs for RealFs {
    type File = RealFile;
    type Lock = RealLock;

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).map(RealFile)
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        open_regular(path, OFlags::RDWR)
    }

    fn open_read(&self, path: &Path) -> io::Result<RealFile> {
        open_regular(path, OFlags::RDONLY)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = parent(path);
        self.create_dir(&above)?;
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
            Ok(()) => self.sync_dir(&above),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in fs::read_dir(path)? {
            entries.extend(entry(&found?)?);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(&open_dir(path)?)?)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    #[allow(clippy::useless_conversion, reason = "the number has 32 bits on some machines")]
    fn writes_in_place(&self, dir: &Path) -> bool {
        rustix::fs::statfs(dir).is_ok_and(|stat| IN_PLACE.contains(&i64::from(stat.f_type)))
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let file = open(path, OFlags::RDWR | OFlags::CREATE)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RealLock { _file: file }),
            Err(e) => Err(e.into()),
        }
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<RealLock>> {
        let file = open_dir(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(RealLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK.into()),
            // NFS has no lock for what can't be opened for writing.
            Err(_) => Ok(None),
        }
    }

    fn hold_dir(&self, path: &Path) -> io::Result<Option<Box<dyn Directory>>> {
        Ok(Some(Box::new(RealDirectory(open_dir(path)?))))
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        let metadata = fs::symlink_metadata(path)?;
        let since = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let born = since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
        Ok(FileIdentity { inode: metadata.ino(), born })
    }

    fn version(&self, path: &Path) -> io::Result<Version> {
        let metadata = fs::symlink_metadata(path)?;
        let changed = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
        Ok(Version { len: metadata.len(), changed })
    }
}

impl RealFile {
    /// Where no blocks can be reserved. Never shorter: there may be events in it.
    fn lengthen(&self, len: u64) -> io::Result<()> {
        if self.size()? < len { self.0.set_len(len) } else { Ok(()) }
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.lengthen(len),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not std's sync_data: that repeats an interrupted call, and a sync is never repeated.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn expect_little(&self) {
        // Advice only: without it more is read than is needed.
        let _ = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::Random);
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests;
