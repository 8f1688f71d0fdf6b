//! Secrets, and where they come from.
//!
//! What this promises: a secret is in no log, no report and no printed configuration. It has no `Display`, its `Debug` says
//! nothing, it can't be serialized, and its memory is zeroed when it is dropped. Whoever needs the text says so with
//! [`Secret::reveal`], which is easy to search for.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::sabotage::{self, Bug};

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
    /// In words, with the file's name, when the file can't be read, or others than its owner may read it.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Known(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = open_private(path).and_then(|file| {
                    read_text(file).map_err(|cause| format!("{} can't be read: {cause}", path.display()))
                });
                if let Ok(text) = &text {
                    sabotage::stumble(Bug::PanicOverSecret, text.as_bytes());
                }
                text.map(Secret).map_err(|cause| format!("the secret's file {cause}"))
            }
        }
    }
}

/// What another program says, with stars where it repeats one of our secrets.
pub(crate) fn without(said: &str, secrets: &[&str]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(said.to_owned(), |said, secret| said.replace(secret, "********"))
}

/// A file's text without the line end that editors put there.
pub(crate) fn read_value(path: &Path) -> Result<Zeroizing<String>, String> {
    read_text(std::fs::File::open(path).map_err(|e| e.to_string())?)
}

fn read_text(file: std::fs::File) -> Result<Zeroizing<String>, String> {
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

/// Opens a file that nobody but its owner may read, such as a private key or a password.
///
/// A file that belongs to root, while we are somebody else, may be readable for a group too: systemd's credentials
/// (an ACL shows as the group's right) and Kubernetes' secrets (`fsGroup`) come so, and only root could change it.
///
/// # Errors
/// In words, with the file's name and the remedy, when it can't be read or others may read it.
pub(crate) fn open_private(path: &Path) -> Result<std::fs::File, String> {
    use std::os::unix::fs::MetadataExt;
    let name = path.display();
    let file = std::fs::File::open(path).map_err(|e| format!("{name}: {e}"))?;
    let meta = file.metadata().map_err(|e| format!("{name}: {e}"))?;
    let (mode, forbidden) = (meta.mode() & 0o777, forbidden(meta.uid(), rustix::process::geteuid().as_raw()));
    if mode & forbidden != 0 {
        return Err(format!(
            "{name} has mode {mode:03o}: a secret must be for its owner alone; chmod 600 {name}"
        ));
    }
    Ok(file)
}

/// Bits that a secret's file must not have.
const fn forbidden(owner: u32, ours: u32) -> u32 {
    if owner == 0 && ours != 0 { 0o037 } else { 0o077 }
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
    fn what_repeats_a_secret_is_shown_without_it() {
        assert_eq!(
            without("no such user u:hunter2 (hunter2)", &["", "hunter2"]),
            "no such user u:******** (********)"
        );
        assert_eq!(without("no", &[]), "no");
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
    fn what_root_gives_to_a_service_may_be_readable_for_its_group_and_nothing_else_may() {
        assert_eq!(forbidden(0, 990) & 0o040, 0, "root's, as systemd and Kubernetes hand it over");
        assert_ne!(forbidden(0, 990) & 0o004, 0, "and never for all");
        for (owner, ours) in [(990, 990), (991, 990), (0, 0)] {
            assert_eq!(forbidden(owner, ours), 0o077);
        }
    }

    #[test]
    fn a_file_is_read_each_time_without_its_line_end_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let source = SecretSource::File(path.clone());
        assert!(source.read().unwrap_err().contains("password: No such file"));
        std::fs::write(&path, "a").unwrap();
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode(0o644)).unwrap();
        assert!(source.read().unwrap_err().contains("has mode 644"), "it is for its owner alone");
        std::fs::set_permissions(&path, mode(0o600)).unwrap();
        for (text, read) in [("a\n", "a"), ("b\r\n", "b"), (" c \n\n", " c \n"), ("", "")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap().reveal(), read);
        }
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(source.read().unwrap_err().contains("more than 64 KiB"));
    }
}
