//! The socket file of a Unix source: who may connect, whose file it is, when it goes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

use super::error::BindError;
use super::listen::BACKLOG;

/// Only the agent's own user may connect; others are let in by a directory's or file's owner on purpose.
const MODE: u32 = 0o600;

/// A bound socket file; removed when dropped, if it is still the one that was bound.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

/// Binds `path`. A socket file that nobody listens on is left over from a killed process and is replaced.
pub(super) fn bind(name: &str, path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |cause| BindError::Path { source_name: name.to_owned(), path: path.to_owned(), cause };
    clear_stale(name, path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path) };
    // Before listen: until then nobody can connect, whatever the umask allowed.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    Ok((listener, file))
}

fn clear_stale(name: &str, path: &Path) -> Result<(), BindError> {
    let (source_name, path) = (name.to_owned(), path.to_owned());
    match fs::symlink_metadata(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(BindError::Path { source_name, path, cause }),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket { source_name, path }),
        Ok(_) => {}
    }
    match StdUnixStream::connect(&path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(&path).map_err(|cause| BindError::Path { source_name, path, cause })
        }
        Ok(_) => Err(BindError::SocketInUse { source_name, path }),
        Err(cause) => Err(BindError::Path { source_name, path, cause }),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_none() || self.identity != identity(&self.path) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "can't remove the socket file; the next start will");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_private_and_goes_with_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (_listener, file) = bind("s", &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind("s", &path).unwrap();
        assert!(matches!(bind("t", &path), Err(BindError::SocketInUse { .. })));
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(bind("s", &path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[tokio::test]
    async fn a_successors_socket_is_not_removed_by_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (listener, old) = bind("s", &path).unwrap();
        drop(listener);
        let (_new_listener, _new) = bind("s", &path).unwrap();
        // A file system may hand out the same inode number again; then there is nothing to tell apart.
        if old.identity != identity(&path) {
            drop(old);
            assert!(path.exists());
        }
    }
}
