//! The socket file of a Unix source: who may connect, whose file it is, when it goes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::error::BindError;
use super::listen::{Accept, BACKLOG};
use crate::logs::Limit;

/// Only the agent's own user may connect; others are let in by a directory's or file's owner on purpose.
const MODE: u32 = 0o600;
/// Where users are named: anybody reaches it, and the kernel says who it is.
const MODE_OF_NAMED: u32 = 0o666;
/// Where names of users stand (passwd(5)).
const PASSWD: &str = "/etc/passwd";
/// Where the kernel says which number it gives for users that our user namespace does not have (user_namespaces(7)), and what it says
/// if nobody changed that.
const OVERFLOW: (&str, u32) = ("/proc/sys/kernel/overflowuid", 65_534);

/// A bound socket file; removed when dropped, if it is still the one that was bound.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

/// A listening socket, and whom it takes connections from.
#[derive(Debug)]
pub(super) struct UnixDoor {
    listener: UnixListener,
    /// `None`: the file's mode decides.
    allowed: Option<Vec<u32>>,
    name: String,
    said: Limit<u32>,
}

impl Accept for UnixDoor {
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let Some(allowed) = &self.allowed else { return Ok(stream) };
            let uid = stream.peer_cred()?.uid();
            if allowed.contains(&uid) {
                return Ok(stream);
            }
            if let Some(suppressed) = self.said.pass(&uid) {
                tracing::warn!(
                    source = self.name,
                    uid,
                    suppressed,
                    "a user that is not in allow_users wants to connect, and is not let in"
                );
            }
        }
    }
}

/// Why a user can't be let in by that name.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Unknown(String),
    /// The number stands for everybody whom a user namespace does not know.
    Anybody(String),
}

/// The numbers of users that are named, of root and of our own. `passwd` is the text of [`PASSWD`], `overflow` the number of
/// those that have none here.
fn numbers(users: &[String], passwd: &str, overflow: u32) -> Result<Vec<u32>, Wrong> {
    let number = |user: &String| {
        let row = passwd
            .lines()
            .map(|row| row.split(':').collect::<Vec<_>>())
            .find(|row| row.first() == Some(&user.as_str()));
        let number = row.and_then(|row| row.get(2).copied()).unwrap_or(user);
        match number.parse::<u32>() {
            Ok(number) if number == overflow => Err(Wrong::Anybody(user.clone())),
            Ok(number) => Ok(number),
            Err(_) => Err(Wrong::Unknown(user.clone())),
        }
    };
    let own = [0, rustix::process::geteuid().as_raw()];
    users.iter().map(number).chain(own.map(Ok)).collect()
}

/// Binds `path`, for `users` besides our own. A socket file that nobody listens on is left over from a killed process and is replaced.
pub(super) fn bind(name: &str, path: &Path, users: &[String]) -> Result<(UnixDoor, SocketFile), BindError> {
    let allowed = if users.is_empty() {
        None
    } else {
        let passwd = fs::read_to_string(PASSWD).unwrap_or_default();
        let overflow = fs::read_to_string(OVERFLOW.0).ok().and_then(|text| text.trim().parse().ok());
        let source_name = name.to_owned();
        Some(numbers(users, &passwd, overflow.unwrap_or(OVERFLOW.1)).map_err(|wrong| match wrong {
            Wrong::Unknown(user) => BindError::UnknownUser { source_name, user },
            Wrong::Anybody(user) => BindError::Anybody { source_name, user },
        })?)
    };
    let failed = |cause| BindError::Path { source_name: name.to_owned(), path: path.to_owned(), cause };
    clear_stale(name, path)?;
    let socket = UnixSocket::new_stream().map_err(failed)?;
    socket.bind(path).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path) };
    // Before listen: until then nobody can connect, whatever the umask allowed.
    let mode = if allowed.is_some() { MODE_OF_NAMED } else { MODE };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    let said = Limit::new(Duration::from_secs(30));
    Ok((UnixDoor { listener, allowed, name: name.to_owned(), said }, file))
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
        let (_listener, file) = bind("s", &path, &[]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn users_are_named_or_numbered_and_an_unknown_one_is_told() {
        let passwd = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nodd:x\n";
        let users = |list: &[&str]| {
            numbers(&list.iter().map(|user| (*user).to_owned()).collect::<Vec<_>>(), passwd, 99)
        };
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(users(&["www-data", "1000"]), Ok(vec![33, 1000, 0, own]));
        for unknown in ["www", "odd", "-1"] {
            assert_eq!(users(&[unknown]), Err(Wrong::Unknown(unknown.to_owned())));
        }
        assert_eq!(users(&["www-data", "99"]), Err(Wrong::Anybody("99".to_owned())));
        assert!(matches!(bind("s", Path::new("s"), &["nobody".to_owned()]), Err(BindError::Anybody { .. })));
    }

    #[tokio::test]
    async fn where_users_are_named_anybody_reaches_the_socket_and_only_they_come_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (mut door, _file) = bind("s", &path, &["1000".to_owned()]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        let _ours = StdUnixStream::connect(&path).unwrap();
        door.accept().await.unwrap();
        // As if we were none of them.
        door.allowed = Some(vec![u32::MAX - 7]);
        let mut stranger = UnixStream::connect(&path).await.unwrap();
        let mut heard = [0];
        let (accepted, read) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(200), door.accept()),
            tokio::io::AsyncReadExt::read(&mut stranger, &mut heard)
        );
        assert!(accepted.is_err(), "nobody came in");
        assert_eq!(read.unwrap(), 0, "the connection is closed");
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind("s", &path, &[]).unwrap();
        assert!(matches!(bind("t", &path, &[]), Err(BindError::SocketInUse { .. })));
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(bind("s", &path, &[]), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[tokio::test]
    async fn a_successors_socket_is_not_removed_by_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (listener, old) = bind("s", &path, &[]).unwrap();
        drop(listener);
        let (_new_listener, _new) = bind("s", &path, &[]).unwrap();
        // A file system may hand out the same inode number again; then there is nothing to tell apart.
        if old.identity != identity(&path) {
            drop(old);
            assert!(path.exists());
        }
    }
}
