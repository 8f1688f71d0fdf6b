//! Setting aside, in place, what stands where a file or directory of ours belongs, for a person to look at.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{DiskError, File, Fs};

/// Bytes of the longest name that a file may have.
const LONGEST: usize = 255;
/// What is damaged or not ours; a number follows.
pub(super) const ASIDE: Suffix = Suffix { long: ".aside-", short: "~a", more: 0 };

/// What is put behind a file's name to name another one beside it. A name may be so long (a destination's has up to 249 bytes) that
/// there is room for a short one only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suffix {
    pub(super) long: &'static str,
    /// Not so telling, with a character that is in no name of ours.
    pub(super) short: &'static str,
    /// Bytes that the long one leaves for another suffix, of the file that it names.
    pub(super) more: usize,
}

impl Suffix {
    /// The name of the file beside the one at `path`.
    pub(super) fn behind(self, path: &Path) -> PathBuf {
        self.with(path, "")
    }

    /// The same, with a number.
    pub(super) fn numbered(self, path: &Path, number: u32) -> PathBuf {
        self.with(path, &number.to_string())
    }

    fn with(self, path: &Path, number: &str) -> PathBuf {
        let len = path.file_name().map_or(0, |name| name.len());
        let mut name = path.as_os_str().to_owned();
        name.push(if self.fits(len, number.len()) { self.long } else { self.short });
        name.push(number);
        PathBuf::from(name)
    }

    /// The name before the suffix, if that is at the end of `name`.
    pub(super) fn before(self, name: &str) -> Option<&str> {
        name.strip_suffix(self.long).or_else(|| name.strip_suffix(self.short))
    }

    fn fits(self, len: usize, digits: usize) -> bool {
        len + self.long.len() + digits + self.more <= LONGEST
    }
}

/// Whether an error of opening says that something else stands at a file's name: a directory, a FIFO, a socket,
/// a link.
#[must_use]
pub fn is_in_the_way(e: &io::Error) -> bool {
    let number = |errno: Errno| e.raw_os_error() == Some(errno.raw_os_error());
    matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory)
        || number(Errno::LOOP)
        || number(Errno::NXIO)
}

/// What a disk says of bytes that it has lost. The block layer has several words for it, which a file system passes on
/// (XFS) or makes `EIO` of (ext4): `ENODATA` for a sector that can't be read, `EREMOTEIO` for a device that has given up on it,
/// `EILSEQ` for one whose own checksum does not hold.
const ROT: [Errno; 6] =
    [Errno::IO, Errno::NODATA, Errno::REMOTEIO, Errno::ILSEQ, Errno::UCLEAN, Errno::BADMSG];

/// Whether an error says that the disk has lost the bytes.
pub(crate) fn is_rot(e: &io::Error) -> bool {
    ROT.into_iter().any(|errno| e.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether an error says that the bytes are bad. Others (no descriptor or memory left, no permission, a mount
/// that is gone) say nothing of the bytes: they pass, or a person ends them, and nothing may be given up for them.
#[must_use]
pub fn is_damage(e: &io::Error) -> bool {
    is_rot(e)
        || e.raw_os_error() == Some(Errno::LOOP.raw_os_error())
        || e.kind() == io::ErrorKind::InvalidInput
}

/// Whether an error of listing says that something else stands at a directory's name, or at one above it.
#[must_use]
pub fn is_no_directory(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotADirectory || e.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Sets aside what stands in the place of a directory on the way from `top` to `path`, if something does. A link to a
/// directory is one.
///
/// # Errors
/// When the disk refuses.
pub fn clear_way<F: Fs>(fs: &F, top: &Path, path: &Path) -> Result<(), DiskError> {
    let mut way: Vec<&Path> = path.ancestors().take_while(|p| *p != top).collect();
    way.reverse();
    match way.into_iter().find(|dir| fs.list(dir).is_err_and(|e| is_no_directory(&e))) {
        Some(dir) => set_aside(fs, dir).map(drop),
        None => Ok(()),
    }
}

/// Renames `path` to `<name>.aside-<n>` with the lowest number that is free, and says so in the log. Returns the
/// new name.
///
/// # Errors
/// When the disk refuses.
pub fn set_aside<F: Fs>(fs: &F, path: &Path) -> Result<PathBuf, DiskError> {
    let aside = free_name(fs, path)?;
    fs.rename(path, &aside).map_err(DiskError::io("set aside", path))?;
    tracing::error!(path = %path.display(), aside = %aside.display(),
        "what stood here is damaged or not ours: it was set aside and is begun anew; look at it, then delete it");
    Ok(aside)
}

/// Sets aside what stands at `path`, if anything does.
///
/// # Errors
/// When the disk refuses.
pub fn clear<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    match set_aside(fs, path) {
        Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        set_aside => set_aside.map(drop),
    }
}

/// Writes `bytes`, those of the damaged file at `path`, to a name as [`set_aside`] gives it, durably, and says so in the log: for a file
/// that goes on to be used. Returns the new name.
///
/// # Errors
/// When the disk refuses; then there is no copy.
pub fn copy_aside<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> Result<PathBuf, DiskError> {
    let aside = free_name(fs, path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    let copy = || {
        let file = fs.create(&aside).map_err(DiskError::io("create", &aside))?;
        file.write_at(bytes, 0).map_err(DiskError::io("write", &aside))?;
        file.sync_data().map_err(DiskError::io("sync", &aside))?;
        fs.sync_dir(parent).map_err(DiskError::io("sync", parent))
    };
    if let Err(error) = copy() {
        // Half a copy is of no use, and takes room.
        drop(fs.remove(&aside));
        return Err(error);
    }
    tracing::error!(path = %path.display(), aside = %aside.display(),
        "what stood here is damaged: a copy of it was set aside; look at it, then delete it");
    Ok(aside)
}

/// `<name>.aside-<n>` with the lowest number that is free.
fn free_name<F: Fs>(fs: &F, path: &Path) -> Result<PathBuf, DiskError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let names = fs.list(parent).map_err(DiskError::io("list", parent))?;
    let taken = |aside: &Path| names.iter().any(|e| aside.file_name().is_some_and(|n| n == e.name.as_str()));
    let aside = (1..).map(|n: u32| ASIDE.numbered(path, n)).find(|aside| !taken(aside));
    Ok(aside.unwrap_or_else(|| ASIDE.numbered(path, 0)))
}

/// Makes the name `path` free for a file that is to be made: an unfinished one of an earlier try is deleted,
/// anything else is set aside.
///
/// # Errors
/// When the disk refuses.
pub fn make_way<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    match fs.remove(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if is_in_the_way(&e) => set_aside(fs, path).map(|_| ()),
        Err(e) => Err(DiskError::io("remove", path)(e)),
    }
}

/// Makes the directory `path`, which lies below `top`, and those between; anything else that has the name of one is
/// set aside.
///
/// # Errors
/// When the disk refuses.
pub fn make_dir<F: Fs>(fs: &F, top: &Path, path: &Path) -> Result<(), DiskError> {
    let mut below: Vec<&Path> = path.ancestors().take_while(|p| *p != top).collect();
    below.reverse();
    below.into_iter().try_for_each(|dir| match fs.create_dir(dir) {
        Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            set_aside(fs, dir)?;
            fs.create_dir(dir).map_err(DiskError::io("make directory", dir))
        }
        made => made.map_err(DiskError::io("make directory", dir)),
    })
}

/// Makes durable what `directory` is called, and what is called anything in it, from `top` down. That a directory is there
/// does not say so: a process that was killed, or a sync that failed, may have left it.
///
/// # Errors
/// When the disk refuses.
pub fn sync_way<F: Fs>(fs: &F, top: &Path, directory: &Path) -> Result<(), DiskError> {
    let mut way = directory.ancestors().take_while(|dir| dir.starts_with(top));
    way.try_for_each(|dir| fs.sync_dir(dir).map_err(DiskError::io("sync", dir)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::disk::faulty::{Faulty, Op};

    fn names(dir: &Path) -> Vec<String> {
        RealFs.list(dir).unwrap().into_iter().map(|e| e.name).collect()
    }

    #[test]
    fn what_stands_in_a_files_place_is_told_from_a_disk_that_refuses() {
        for errno in [Errno::ISDIR, Errno::LOOP, Errno::NXIO] {
            assert!(is_in_the_way(&io::Error::from(errno)), "{errno}");
        }
        assert!(is_in_the_way(&io::ErrorKind::InvalidInput.into()));
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::MFILE] {
            assert!(!is_in_the_way(&io::Error::from(errno)), "{errno}");
        }
    }

    /// Of all error numbers that there are.
    #[test]
    fn what_the_disk_says_of_lost_bytes_is_damage_and_what_says_nothing_of_them_is_not() {
        let errors = || (1..200).map(io::Error::from_raw_os_error);
        let named = |errnos: &[Errno]| {
            let mut numbers: Vec<_> = errnos.iter().map(|errno| Some(errno.raw_os_error())).collect();
            numbers.sort_unstable();
            numbers
        };
        let those = |is: fn(&io::Error) -> bool| -> Vec<_> {
            errors().filter(is).map(|e| e.raw_os_error()).collect()
        };
        let mut all =
            vec![Errno::IO, Errno::NODATA, Errno::REMOTEIO, Errno::ILSEQ, Errno::UCLEAN, Errno::BADMSG];
        assert_eq!(those(is_rot), named(&all));
        // Not a word of the bytes: a link in their place, a call that makes no sense to what stands there.
        all.extend([Errno::LOOP, Errno::INVAL]);
        assert_eq!(those(is_damage), named(&all));
    }

    #[test]
    fn what_is_no_directory_on_the_way_to_one_is_set_aside_and_nothing_else_is() {
        for errno in [Errno::NOTDIR, Errno::LOOP] {
            assert!(is_no_directory(&io::Error::from(errno)), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::IO] {
            assert!(!is_no_directory(&io::Error::from(errno)), "{errno}");
        }
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        // Nothing is there yet; then a file is, where a directory belongs.
        clear_way(&RealFs, top.path(), &at("a/b")).unwrap();
        RealFs.create(&at("a")).unwrap();
        RealFs.create_dir(&at("whole/b")).unwrap();
        std::os::unix::fs::symlink(at("whole"), at("link")).unwrap();
        for way in ["a/b", "a/b", "whole/b", "link/b"] {
            clear_way(&RealFs, top.path(), &at(way)).unwrap();
        }
        assert_eq!(names(top.path()), ["a.aside-1", "link", "whole"]);
        // What is above is not ours.
        RealFs.create(&at("a")).unwrap();
        clear_way(&RealFs, &at("a"), &at("a")).unwrap();
        assert_eq!(names(top.path()), ["a", "a.aside-1", "link", "whole"]);
    }

    #[test]
    fn a_directory_whose_name_can_not_be_made_durable_is_an_error_and_not_set_aside() {
        use crate::disk::sim::{Call, Fault, Lasting, SimFs};
        let (top, path) = (Path::new("/data"), Path::new("/data/lanes"));
        for (at, call) in [(0, Call::MakeDir), (1, Call::SyncDir)] {
            let fs = SimFs::default();
            fs.create_dir(top).unwrap();
            fs.break_at(Fault { at: fs.calls() + at, errno: Errno::IO, lasting: Lasting::Once });
            assert!(make_dir(&fs, top, path).is_err());
            assert_eq!(fs.repair().iter().map(|hit| hit.1).collect::<Vec<_>>(), [call]);
            make_dir(&fs, top, path).unwrap();
            assert_eq!(fs.list(top).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>(), ["lanes"]);
        }
    }

    #[test]
    fn what_is_set_aside_gets_the_lowest_free_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for number in 1..=3 {
            RealFs.create(&path).unwrap();
            assert_eq!(set_aside(&RealFs, &path).unwrap(), dir.path().join(format!("file.aside-{number}")));
        }
        RealFs.remove(&dir.path().join("file.aside-2")).unwrap();
        RealFs.create(&path).unwrap();
        set_aside(&RealFs, &path).unwrap();
        assert_eq!(names(dir.path()), ["file.aside-1", "file.aside-2", "file.aside-3"]);
    }

    #[test]
    fn an_unfinished_file_is_deleted_and_anything_else_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        make_way(&RealFs, &path).unwrap();
        RealFs.create(&path).unwrap();
        make_way(&RealFs, &path).unwrap();
        assert!(names(dir.path()).is_empty());
        std::fs::create_dir(&path).unwrap();
        make_way(&RealFs, &path).unwrap();
        assert_eq!(names(dir.path()), ["file.aside-1"]);
        // A disk that refuses is heard.
        RealFs.create(&path).unwrap();
        let fs = Faulty::new();
        fs.fail_next(Op::Remove, 1);
        assert!(make_way(&fs, &path).is_err());
        assert_eq!(names(dir.path()), ["file", "file.aside-1"]);
    }

    #[test]
    fn directories_are_made_below_the_top_and_a_file_in_the_place_of_one_is_set_aside() {
        let top = tempfile::tempdir().unwrap();
        RealFs.create(&top.path().join("a")).unwrap();
        make_dir(&RealFs, top.path(), &top.path().join("a/b/c")).unwrap();
        assert!(top.path().join("a/b/c").is_dir());
        assert_eq!(names(top.path()), ["a", "a.aside-1"]);
        make_dir(&RealFs, top.path(), &top.path().join("a/b")).unwrap();
        assert_eq!(names(top.path()), ["a", "a.aside-1"]);
        // The top itself is not ours to make.
        make_dir(&RealFs, &top.path().join("gone"), &top.path().join("gone")).unwrap();
        assert_eq!(names(top.path()), ["a", "a.aside-1"]);
        // A name that no directory can have is an error, and nothing is set aside for it.
        assert!(make_dir(&RealFs, top.path(), &top.path().join("n".repeat(300))).is_err());
    }

    #[test]
    fn a_copy_that_was_set_aside_is_durable_with_its_name() {
        use crate::disk::faulty::Syncs;
        let copied = Syncs::made_by(|_| {}, |fs, dir| copy_aside(fs, &dir.join("file"), b"damaged"));
        assert_eq!(copied, Syncs::of(1, 1));
    }
}
