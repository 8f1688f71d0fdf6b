//! What the admin server asks of the agent.

use super::command::{Command, CommandError};
use crate::state::ledger::{LedgerError, Page, Query};
use crate::status::Status;

/// What the agent says of itself.
///
/// Every method but [`Facts::ledger`] and [`Facts::command`] is called on a thread of the async runtime and must not block: locks
/// held for moments, no I/O. A reason is one sentence for a person: what, why, and what to do.
pub trait Facts: Send + Sync + 'static {
    /// All of `/status`.
    fn status(&self) -> Status;

    /// Why no event can be taken now (spool full or failing, shutting down), or `None`.
    fn accept_problem(&self) -> Option<String>;

    /// Why delivery is not ready now, apart from the lag, which the server compares with
    /// `admin.ready_max_lag` itself: say, a required destination that was not reached since start.
    fn deliver_problem(&self) -> Option<String>;

    /// Which task has not come round for too long, or has ended, or `None`.
    fn stalled(&self) -> Option<String>;

    /// What an operator should know though everything is ready (say, an incarnation that has changed);
    /// shown in `/readyz`. The server adds a note of its own for each destination that is not up, with its
    /// last error.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Does what was asked, and says what came of it. May block on the disk: called on a thread for that.
    ///
    /// # Errors
    /// When it can't be done.
    fn command(&self, command: Command) -> Result<serde_json::Value, CommandError>;

    /// Rows of the delivery ledger. May block on the disk: called on a thread for that.
    ///
    /// # Errors
    /// When the ledger can't be read for now.
    fn ledger(&self, query: &Query) -> Result<Page, LedgerError>;
}
