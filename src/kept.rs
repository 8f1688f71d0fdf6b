//! What is made of files, and made anew when one of them has changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells a file from what it was: device, inode, size, and when content and inode last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 4], [u64; 3]);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    Some(Stamp(times, [meta.dev(), meta.ino(), meta.size()]))
}

/// The last good value.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<Arc<T>>,
    stamps: Vec<Option<Stamp>>,
    /// Why the files as they are now can't be used; said once.
    failed: Option<String>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, stamps: Vec::new(), failed: None }) }
    }
}

impl<T> Kept<T> {
    /// The value of the files as they are; of the files as they were, if they can't be used now. Blocking.
    ///
    /// # Errors
    /// Why it can't be made, when it never could.
    pub(crate) fn get(
        &self,
        files: &[&Path],
        make: impl FnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        // Taken before the files are read: what changes meanwhile is seen the next time.
        let stamps: Vec<_> = files.iter().map(|path| stamp(path)).collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &state.value
            && state.stamps == stamps
            && state.failed.is_none()
        {
            return Ok(Arc::clone(value));
        }
        match make() {
            Ok(made) => {
                if state.value.is_some() {
                    tracing::info!(files = %names(files), "changed files were read again");
                }
                let made = Arc::new(made);
                *state = State { value: Some(Arc::clone(&made)), stamps, failed: None };
                Ok(made)
            }
            Err(reason) => {
                let Some(last) = state.value.clone() else { return Err(reason) };
                if state.failed.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "a changed file can't be used: the last good one stays in force");
                }
                state.failed = Some(reason);
                Ok(last)
            }
        }
    }
}

fn names(files: &[&Path]) -> String {
    files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<String, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        if text == "bad" { Err("bad".to_owned()) } else { Ok(text) }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_leaves_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let kept = Kept::default();
        let get = || kept.get(&[&path], || read(&path)).map(|text| text.to_string());
        assert!(get().is_err(), "there never was one");
        std::fs::write(&path, "one").unwrap();
        assert_eq!(get().unwrap(), "one");
        assert_eq!(kept.get(&[&path], || Err("read though unchanged".into())).unwrap().as_str(), "one");
        std::fs::write(&path, "bad").unwrap();
        assert_eq!(get().unwrap(), "one");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(get().unwrap(), "one");
        // A renewed file put in its place by a rename, as tools do.
        std::fs::write(dir.path().join("new"), "two").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(get().unwrap(), "two");
    }
}
