//! `spoolway status`.

use clap::Args;

use super::{Failure, General, Outcome};

/// What `spoolway status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: StatusArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway status` is not built in yet"))
}
