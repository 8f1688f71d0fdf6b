//! Whether a lane takes events, and why not.

use std::io;
use std::sync::Arc;

use crate::intake::Refused;

/// The state every sender looks at before it queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gate {
    /// Come in.
    Open,
    /// Over the quota, or no room on the file system.
    Full(Arc<str>),
    /// Writing fails.
    Failing(Arc<str>),
    /// No more.
    Closed,
}

impl Gate {
    /// What a sender that does not wait is told.
    pub(super) fn refusal(&self) -> Option<Refused> {
        match self {
            Gate::Open => None,
            Gate::Full(why) => Some(Refused::Full(why.to_string())),
            Gate::Failing(why) => Some(Refused::Failing(why.to_string())),
            Gate::Closed => Some(Refused::ShuttingDown),
        }
    }

    /// What an error of the disk does to the gate: no room is not a failure, it ends when there is room.
    pub(super) fn of_error(e: &io::Error, message: String) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Gate::Full(message.into())
            }
            _ => Gate::Failing(message.into()),
        }
    }
}
