//! What can go wrong with a state file.

use std::error::Error;
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

    /// Whether the disk is full, or its owner's quota of it.
    #[must_use]
    pub fn is_for_want_of_room(&self) -> bool {
        is_for_want_of_room(self)
    }

    /// Whether nothing can be made on the disk for now: it is full, or may only be read. Both pass, and neither says anything of what
    /// stands there.
    #[must_use]
    pub fn is_no_making(&self) -> bool {
        let read_only =
            matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem);
        read_only || self.is_for_want_of_room()
    }
}

/// Whether an error, or one that it comes from, says that the disk is full, or its owner's quota of it.
#[must_use]
pub fn is_for_want_of_room(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(StorageFull | QuotaExceeded)) || error.source().is_some_and(is_for_want_of_room)
}
