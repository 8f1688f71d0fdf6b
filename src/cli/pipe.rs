//! `spoolway pipe`.

use clap::Args;

use super::{Failure, General, Outcome};

/// What `spoolway pipe` takes.
#[derive(Debug, Args)]
pub struct PipeArgs {}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: PipeArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway pipe` is not built in yet"))
}
