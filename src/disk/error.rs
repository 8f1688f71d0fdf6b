//! What can go wrong with a state file.

use std::io;
use std::path::PathBuf;

/// An operation on a file failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `write`, `sync`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The value does not fit the room that was set aside for it.
    #[error("{} bytes do not fit the {} bytes set aside in {}", size, capacity, path.display())]
    TooLarge {
        /// Bytes of the value.
        size: usize,
        /// Bytes of room.
        capacity: usize,
        /// The file.
        path: PathBuf,
    },
}

impl DiskError {
    /// For `map_err`: names the operation and the path.
    pub fn io<'a>(operation: &'static str, path: &'a std::path::Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| DiskError::Io { operation, path: path.to_owned(), source }
    }
}
