//! What can go wrong when a spool is opened or read.

use std::io;
use std::path::{Path, PathBuf};

pub(super) use crate::disk::is_damage;

use crate::disk::DiskError;

/// What the last segment of a lane says, see [`OpenError::Withheld`].
pub(super) const NEXT: &str = "which number comes next";
/// What `FORMAT`, or else the segments, say.
pub(super) const WHOSE: &str = "whose data directory this is";

/// A data directory or lane could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another spoolway process; stop that one or set another relay.data_dir", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "{} was written by a newer spoolway (unknown format bits {bits:#x}); run that version, or use another data_dir",
        path.display()
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// Format bits that this version does not know.
        bits: u64,
    },
    /// It is not a data directory.
    #[error("{} is not a spoolway data directory: it has no whole FORMAT file, and no segment that names its spool", path.display())]
    NotASpool {
        /// What was looked at.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {operation} {}: {source}; check that the data directory (relay.data_dir; --data-dir of `pipe`) exists and can be written", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk does not give what says how the log goes on. Nothing of the log was changed.
    #[error(
        "the disk does not give {}: {source}; without it nobody can tell {unknown}, so nothing of the log was changed, and no event is taken: see to the \
         disk and start again; if that file is lost for good, move it away, with what was in it",
        path.display()
    )]
    Withheld {
        /// The file.
        path: PathBuf,
        /// What only that file says.
        unknown: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// A state file of the lane could not be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    pub(super) fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| OpenError::Io { operation, path: path.to_owned(), source }
    }
}

/// A segment could not be read. The reader has not moved: asking again tries again, and after a few times the
/// unreadable part counts as damaged.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} at byte {offset}: {source}; check the disk's health", path.display())]
pub struct ReadError {
    /// The segment.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What the disk said.
    pub source: io::Error,
}
