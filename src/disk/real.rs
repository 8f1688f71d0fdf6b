//! The disk of the operating system.

use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Entry, EntryKind, File, FileIdentity, Fs, Space};

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

/// Never follow a link, never hang on a FIFO, never leak into a child.
fn flags() -> OFlags {
    OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK
}

fn open(path: &Path, more: OFlags) -> io::Result<fs::File> {
    let fd = rustix::fs::open(path, flags() | more, Mode::RUSR | Mode::WUSR)?;
    Ok(fs::File::from(fd))
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
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(rustix::fs::fsync(&fd)?)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Space {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let file = open(path, OFlags::RDWR | OFlags::CREATE)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RealLock { _file: file }),
            Err(e) => Err(e.into()),
        }
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Option<RealLock>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(RealLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(Errno::WOULDBLOCK.into()),
            // NFS has no lock for what can't be opened for writing.
            Err(_) => Ok(None),
        }
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        let metadata = fs::symlink_metadata(path)?;
        let since = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let born = since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
        Ok(FileIdentity { inode: metadata.ino(), born })
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
mod tests {
    use super::*;

    #[test]
    fn a_fifo_and_a_link_are_not_opened_and_do_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(RealFs.open_read(&fifo).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        assert!(RealFs.open_read(&link).is_err());
        let kinds: Vec<_> = RealFs.list(dir.path()).unwrap().into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [EntryKind::Other, EntryKind::Other]);
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let first = RealFs.lock(&path).unwrap();
        assert_eq!(RealFs.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(RealFs.lock(&path).is_ok());
    }

    #[test]
    fn allocated_bytes_read_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.create(&dir.path().join("f")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.allocate(10_000).unwrap();
        let mut buf = vec![1; 20_000];
        assert_eq!(file.read_full_at(&mut buf, 0).unwrap(), 10_000);
        assert_eq!(&buf[..4], b"abc\0");
        assert!(buf[3..10_000].iter().all(|b| *b == 0));
    }

    #[test]
    fn where_no_blocks_can_be_reserved_a_file_gets_its_length_and_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.create(&dir.path().join("f")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        for (wanted, expected) in [(2, 3), (3, 3), (100, 100), (50, 100)] {
            file.lengthen(wanted).unwrap();
            assert_eq!(file.size().unwrap(), expected);
        }
        // A file system without reservation: that is no error.
        RealFs.open(Path::new("/proc/self/comm")).unwrap().allocate(10).unwrap();
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        // Nothing of a pipe or of /proc can be synced or forgotten, so a call that is not made shows.
        let (pipe, _end) = std::io::pipe().unwrap();
        let pipe = RealFile(fs::File::from(std::os::fd::OwnedFd::from(pipe)));
        assert_eq!(pipe.sync_data().unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        assert_eq!(pipe.forget_cached().unwrap_err().raw_os_error(), Some(Errno::SPIPE.raw_os_error()));
        assert_eq!(
            RealFs.sync_dir(Path::new("/proc/self")).unwrap_err().raw_os_error(),
            Some(Errno::INVAL.raw_os_error())
        );
        let directory = RealFile(fs::File::open("/").unwrap());
        assert_eq!(directory.read_at(&mut [0], 0).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_link_to_a_file_is_not_followed_and_no_child_inherits_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        let file = RealFs.create(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for refused in [RealFs.open_read(&link), RealFs.open(&link)] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        }
        assert_eq!(RealFs.lock(&link).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        let lock = RealFs.lock(&dir.path().join("lock")).unwrap();
        for open in [&file.0, &RealFs.open_read(&path).unwrap().0, &lock._file] {
            assert!(rustix::io::fcntl_getfd(open).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn a_file_is_no_directory_to_be_synced_or_locked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        RealFs.create(&file).unwrap();
        RealFs.sync_dir(dir.path()).unwrap();
        assert_eq!(RealFs.sync_dir(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(RealFs.lock_dir(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        let first = RealFs.lock_dir(dir.path()).unwrap();
        assert!(first.is_some());
        assert_eq!(RealFs.lock_dir(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        RealFs.create_dir(&dir.path().join("a/b")).unwrap();
        RealFs.create(&dir.path().join("a/b/file")).unwrap();
        RealFs.lock(&dir.path().join("a/b/lock")).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!(["a", "a/b", "a/b/file", "a/b/lock"].map(mode), [0o700, 0o700, 0o600, 0o600]);
    }

    #[test]
    fn a_copy_is_another_file_and_a_renamed_file_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let [path, copy, renamed] = ["file", "copy", "renamed"].map(|name| dir.path().join(name));
        RealFs.create(&path).unwrap().write_at(b"abc", 0).unwrap();
        fs::copy(&path, &copy).unwrap();
        let identity = RealFs.identity(&path).unwrap();
        assert_ne!(RealFs.identity(&copy).unwrap(), identity);
        RealFs.rename(&path, &renamed).unwrap();
        assert_eq!(RealFs.identity(&renamed).unwrap(), identity);
        assert_eq!(RealFs.identity(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_cut_ends_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.create(&dir.path().join("f")).unwrap();
        file.write_at(b"abcdef", 0).unwrap();
        file.truncate(2).unwrap();
        let mut buf = [0; 10];
        assert_eq!((file.size().unwrap(), file.read_full_at(&mut buf, 0).unwrap()), (2, 2));
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(parent(Path::new("name")), Path::new("."));
        assert_eq!(parent(Path::new("/data/name")), Path::new("/data"));
        assert_eq!(parent(Path::new("/")), Path::new("."));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        RealFs.create(&file).unwrap();
        assert_eq!(RealFs.create_dir(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(RealFs.create_dir(&file.join("below")).is_err());
    }

    #[test]
    fn a_directory_that_another_process_makes_at_the_same_time_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let together = std::sync::Barrier::new(2);
        let make_all = || {
            for n in 0..300 {
                let path = dir.path().join(n.to_string());
                together.wait();
                RealFs.create_dir(&path).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(make_all);
            make_all();
        });
    }
}
