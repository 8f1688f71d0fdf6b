//! `spoolway run`.

use clap::Args;

use super::{ConfigFiles, Failure, General, Outcome};

/// What `spoolway run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFiles,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(_args: RunArgs, _general: &General) -> Outcome {
    Err(Failure::running("`spoolway run` is not built in yet"))
}
