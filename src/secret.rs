//! Secrets, and where they come from.
//!
//! What this promises: a secret is in no log, no report and no printed configuration. It has no `Display`, its `Debug` says
//! nothing, it can't be serialized, and its memory is zeroed when it is dropped. Whoever needs the text says so with
//! [`Secret::reveal`], which is easy to search for.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Largest file that a value may come from.
const MAX_FILE: u64 = 64 * 1024;

/// Text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for those who must send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a secret is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Known since the start: from the environment.
    Known(Secret),
    /// In a file, read each time it is needed, so that a corrected one counts at once.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now.
    ///
    /// # Errors
    /// In words, with the file's name, when the file can't be read.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Known(secret) => Ok(secret.clone()),
            Self::File(path) => match read_value(path) {
                Ok(text) => Ok(Secret(text)),
                Err(cause) => Err(format!("the file {} can't be read: {cause}", path.display())),
            },
        }
    }
}

/// A file's text without the line end that editors put there.
pub(crate) fn read_value(path: &Path) -> Result<Zeroizing<String>, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err("it has more than 64 KiB".to_owned());
    }
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    Ok(text)
}

/// Opens a file that nobody but its owner may read, such as a private key.
///
/// # Errors
/// In words, with the file's name and the remedy, when it can't be read or others may read it.
pub(crate) fn open_private(path: &Path) -> Result<std::fs::File, String> {
    use std::os::unix::fs::MetadataExt;
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(named)?;
    let mode = file.metadata().map_err(named)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let name = path.display();
        return Err(format!(
            "{name} has mode {mode:03o}: a private key must be for its owner alone; chmod 600 {name}"
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let known = SecretSource::Known(Secret::new("hunter2".to_owned()));
        assert!(!format!("{known:?}").contains("hunter2"));
        assert_eq!(known.read().unwrap().reveal(), "hunter2");
    }

    #[test]
    fn a_private_file_that_others_may_read_is_refused_with_its_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let opened = open_private(file.path());
            assert_eq!(opened.is_ok(), good, "{mode:o} {opened:?}");
            assert!(opened.is_ok() || opened.unwrap_err().contains("chmod 600"), "{mode:o}");
        }
    }

    #[test]
    fn a_file_is_read_each_time_without_its_line_end_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let source = SecretSource::File(path.clone());
        assert!(source.read().unwrap_err().contains("password can't be read: No such file"));
        for (text, read) in [("a\n", "a"), ("b\r\n", "b"), (" c \n\n", " c \n"), ("", "")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap().reveal(), read);
        }
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(source.read().unwrap_err().contains("more than 64 KiB"));
    }
}
