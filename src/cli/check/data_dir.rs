//! What can be said of the data directory before there is an agent: whose it is to write, and how large its file system.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

/// What is to be said where whoever runs this could not write there. A note and no problem: the agent may run as another user.
pub(super) fn unwritable(dir: &Path) -> Option<String> {
    let near = nearest(dir)?;
    let e = match std::fs::metadata(&near) {
        Ok(found) if !found.is_dir() => ErrorKind::NotADirectory.into(),
        Ok(_) => access(&near, Access::WRITE_OK | Access::EXEC_OK).err()?.into(),
        Err(e) => e,
    };
    let e: std::io::Error = e;
    let (dir, near) = (dir.display(), near.display());
    Some(format!(
        "relay.data_dir {dir} can't be written by the user who runs this check ({near}: {e}): run the agent as a user who can, \
         or set relay.data_dir elsewhere"
    ))
}

/// Bytes of the file system it is on, or will be.
pub(super) fn file_system(dir: &Path) -> Option<u64> {
    let found = statvfs(&nearest(dir)?).ok()?;
    Some(found.f_blocks.saturating_mul(found.f_frsize))
}

/// The directory, or of those above it the nearest one that is there.
fn nearest(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    let is_absent = |path: &Path| std::fs::metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    dir.ancestors().find(|path| !is_absent(path)).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_or_can_be_made_is_fine_and_below_a_file_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(unwritable(dir.path()), None);
        assert_eq!(unwritable(&dir.path().join("a/b")), None);
        std::fs::write(dir.path().join("file"), "").unwrap();
        let told = unwritable(&dir.path().join("file/b")).unwrap();
        assert!(told.contains("file/b can't be written") && told.contains("ot a directory"), "{told}");
        assert_eq!(file_system(&dir.path().join("a/b")), file_system(dir.path()));
        assert!(file_system(dir.path()).unwrap() > 0);
    }
}
