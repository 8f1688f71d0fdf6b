//! `spoolway spool`.

use clap::Args;

use super::{Failure, General, Outcome};

/// What `spoolway spool` takes.
#[derive(Debug, Args)]
pub struct SpoolArgs {}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: SpoolArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway spool` is not built in yet"))
}
