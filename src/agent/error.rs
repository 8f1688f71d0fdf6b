//! Why the agent could not start or go on.

use super::opened::GoOnError;
use crate::admin;
use crate::config::PatternError;
use crate::disk::DiskError;
use crate::source;
use crate::spool::OpenError;
use crate::state::homes::{BeginError, HomesError};
use crate::state::positions::StoreError;
use crate::state::routes::RoutesError;

/// The agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The data directory or a lane could not be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// A positions file could not be opened or made.
    #[error("{0}; check that relay.data_dir can be written")]
    Positions(#[from] StoreError),
    /// A state file could not be opened or made.
    #[error("{0}; check that relay.data_dir can be written")]
    State(#[from] DiskError),
    /// The lanes that streams were in could not be read or kept.
    #[error("{0}; check that relay.data_dir can be written")]
    Homes(#[from] HomesError),
    /// The routes as they were could not be kept.
    #[error("{0}; check that relay.data_dir can be written")]
    Routes(#[from] RoutesError),
    /// What a change of routes hands over could not be made durable.
    #[error("{0}; check that relay.data_dir can be written")]
    HandOver(#[from] GoOnError),
    /// Streams can't be given other lanes now.
    #[error(transparent)]
    Moves(#[from] BeginError),
    /// A source could not be bound.
    #[error(transparent)]
    Source(#[from] source::BindError),
    /// Standard input could not be read to its end.
    #[error(transparent)]
    Stdin(#[from] source::EndError),
    /// Lines of standard input that could not be taken, at its end.
    #[error(
        "lines of standard input that were refused, and are not delivered: {0} (the log says why: over spool.max_event_size, say); all others are"
    )]
    LeftOut(u64),
    /// The admin server could not be started.
    #[error(transparent)]
    Admin(#[from] admin::StartError),
    /// A route that can't be read, though the configuration was checked.
    #[error("route: {0}")]
    Route(#[from] PatternError),
    /// The system refused a thread, a signal handler or randomness.
    #[error("{what}: {source}")]
    System {
        /// What it was for.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread ended that must not.
    #[error("{0} ended unexpectedly (see the log); start the agent again: everything accepted is on disk")]
    Died(String),
}

impl AgentError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| AgentError::System { what, source }
    }
}
