//! `spoolway run`.

use std::sync::Arc;

use clap::Args;

use super::{ConfigFiles, Exit, Failure, General, Outcome};
use crate::agent::{self, Configured, Reread, Rereading};
use crate::config;
use crate::config::model::Config;
use crate::config::{Environment, Loaded, Report};
use crate::demo;
use crate::logs;

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
pub fn run(args: RunArgs, general: &General) -> Outcome {
    general.start_logs();
    demo::end_with_the_demo().map_err(Failure::running)?;
    let files = args.config.files.clone();
    let fingerprint = move || config::fingerprint(&files);
    let began = fingerprint();
    let general = general.clone();
    let load = move || loaded(&args.config, &general);
    let loaded = load()?;
    let files: Vec<String> = loaded.files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    tracing::info!(files = files.join(", "), "configuration read");
    log_notes(&loaded.notes);
    let reread = move |running: &Configured| match load() {
        Err(_) => Reread::Wrong,
        Ok(new) if new.effective.to_string() == running.effective => Reread::Same,
        Ok(new) => {
            log_notes(&new.notes);
            Reread::Changed(Box::new(configured(new)))
        }
    };
    let rereading = Rereading { reread: Arc::new(reread), fingerprint: Arc::new(fingerprint), began };
    agent::run(configured(loaded), Some(&rereading)).map_err(Failure::running)?;
    Ok(Exit::Done)
}

/// Whoever reads a log of JSON lines reads lines of JSON: there, what is wrong is one field of one line.
fn loaded(files: &ConfigFiles, general: &General) -> Result<Loaded, Failure> {
    if general.log_format == logs::Format::Text {
        return files.load();
    }
    let lookup = |name: &str| std::env::var(name).ok();
    config::load(&files.files, &Environment::Lookup(&lookup)).map_err(|report| {
        tracing::error!(problems = report.errors(), report = %report, "the configuration can't be used");
        Failure::quiet(Exit::Usage)
    })
}

fn configured(loaded: Loaded) -> Configured {
    Configured { effective: loaded.effective.to_string(), config: loaded.config }
}

/// Says in the log what is worth knowing about the configuration.
fn log_notes(notes: &Report) {
    for row in notes.rows() {
        tracing::info!(file = row.file, line = row.line, help = row.help, "{}", row.message);
    }
}

/// Runs the agent with a configuration that nobody can change.
pub(super) fn agent(config: &Config) -> Outcome {
    let configured = Configured { config: config.clone(), effective: String::new() };
    agent::run(configured, None).map_err(Failure::running)?;
    Ok(Exit::Done)
}
