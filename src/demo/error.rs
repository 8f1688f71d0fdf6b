//! Why a demonstration could not be given.

use std::io;
use std::path::PathBuf;

use crate::kafka::consume::ConsumeError;
use crate::target::TargetError;

/// The demo could not be run to its end; says nothing about losses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A file or folder of the demo can't be used.
    #[error("{path}: {source}; set TMPDIR to a folder with some 300 MB of room that you may write to")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process of the demo could not be started or spoken to.
    #[error("{what}: {source}")]
    Process {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The agent did not do what an agent does, in time.
    #[error("{what} within {seconds} s; the end of its log:\n{log}")]
    Agent {
        /// What did not happen.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The embedded target failed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The topic could not be read.
    #[error("reading the topic back: {0}")]
    Read(#[from] ConsumeError),
    /// The cluster did not do what was asked.
    #[error("{what} at {bootstrap}: {cause}")]
    Cluster {
        /// What was asked.
        what: &'static str,
        /// Of whom.
        bootstrap: String,
        /// What came back.
        cause: String,
    },
    /// Nor is it known whether it does it yet.
    #[error("{what} at {bootstrap}: {cause}")]
    Unanswered {
        /// What was asked.
        what: &'static str,
        /// Of whom.
        bootstrap: String,
        /// What came back.
        cause: String,
    },
    /// The topic could not be deleted at the end.
    #[error("{came_out}; the topic {topic} may be left: {cause}")]
    Left {
        /// What the demo came to else.
        came_out: String,
        /// Which.
        topic: String,
        /// Why.
        cause: String,
    },
    /// It was told to stop.
    #[error("interrupted; nothing of the demo is left")]
    Interrupted,
    /// A part of the demo was started by someone else.
    #[error("{0}")]
    Part(String),
}

impl DemoError {
    pub(super) fn process(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Process { what, source }
    }
}
