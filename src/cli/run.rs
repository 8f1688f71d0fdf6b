//! `spoolway run`.

use clap::Args;

use super::{ConfigFiles, Exit, Failure, General, Outcome};
use crate::agent::{self, Reread};
use crate::config::Report;
use crate::config::model::Config;

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
#[expect(clippy::needless_pass_by_value, reason = "commands own what they were given")]
pub fn run(args: RunArgs, general: &General) -> Outcome {
    general.start_logs();
    let loaded = args.config.load()?;
    let files: Vec<String> = loaded.files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    tracing::info!(files = files.join(", "), "configuration read");
    log_notes(&loaded.notes);
    let running = std::cell::RefCell::new(loaded.effective.clone());
    let reread = || match args.config.load() {
        Err(_) => Reread::Wrong,
        Ok(new) if new.effective == *running.borrow() => Reread::Same,
        Ok(new) => {
            log_notes(&new.notes);
            *running.borrow_mut() = new.effective;
            Reread::Changed(Box::new(new.config))
        }
    };
    agent::run(&loaded.config, Some(&reread)).map_err(Failure::running)?;
    Ok(Exit::Done)
}

/// Says in the log what is worth knowing about the configuration.
fn log_notes(notes: &Report) {
    for row in notes.rows() {
        tracing::info!(file = row.file, line = row.line, help = row.help, "{}", row.message);
    }
}

/// Runs the agent with a configuration that nobody can change.
pub(super) fn agent(config: &Config) -> Outcome {
    agent::run(config, None).map_err(Failure::running)?;
    Ok(Exit::Done)
}
