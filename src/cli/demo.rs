//! `spoolway demo`.

use clap::Args;

use super::{Failure, General, Outcome};

/// What `spoolway demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: DemoArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway demo` is not built in yet"))
}
