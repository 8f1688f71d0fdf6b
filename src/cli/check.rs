//! `spoolway check`.

use clap::Args;

use super::{Failure, General, Outcome};

/// What `spoolway check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: CheckArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway check` is not built in yet"))
}
