//! The folder a demonstration works in, and the ports it speaks over.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::DemoError;

/// A fresh folder under the system's temporary one; removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
}

impl Workspace {
    pub(super) fn create() -> Result<Self, DemoError> {
        let parent = std::env::temp_dir();
        let folder = |source| DemoError::Folder { path: parent.clone(), source };
        let random = getrandom::u64().map_err(|e| folder(std::io::Error::other(e.to_string())))?;
        let path = parent.join(format!("spoolway-demo-{random:016x}"));
        // `create_dir` fails on a name that is taken, so nobody can have put something there for us.
        fs::create_dir(&path).map_err(|source| DemoError::Folder { path: path.clone(), source })?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, DemoError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(|source| DemoError::Folder { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the demo's folder could not be removed");
        }
    }
}

/// A free port of this host for the agent, kept for it across its deaths.
pub(super) fn reserve() -> Result<(crate::target::Reservation, SocketAddr), DemoError> {
    let reservation = crate::target::Reservation::take(0)?;
    let address = reservation.address();
    Ok((reservation, address))
}
