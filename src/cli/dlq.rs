//! `spoolway dlq`: dead letters. Listing and showing read the data directory, whether the agent runs or not; sending again
//! is asked of the agent, and so is throwing away while one runs.

mod change;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::Whom;
use super::spool::{exists, failure};
use super::{Exit, Failure, General, Outcome};
use crate::config::Pattern;
use crate::disk::RealFs;
use crate::spool::salvage::Old;
use crate::state::letters::{Found, Reason, Stored, look};

/// What `spoolway dlq` takes.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: Command,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
enum Command {
    /// List them, oldest first.
    List(show::ListArgs),
    /// Show one, with its payload.
    Show(show::ShowArgs),
    /// Send letters again to the destination that refused them, under the topic their stream has by now. They are pending
    /// until they are delivered, or dead letters again.
    #[command(
        override_usage = "spoolway dlq replay [OPTIONS] <ID>...\n       spoolway dlq replay [OPTIONS] --all\n       \
        spoolway dlq replay [OPTIONS] --destination <NAME> | --topic <NAME> | --stream <NAME> | --reason <WORD>"
    )]
    Replay(change::ReplayArgs),
    /// Throw letters away, for good.
    #[command(
        override_usage = "spoolway dlq purge [OPTIONS] --yes <ID>...\n       spoolway dlq purge [OPTIONS] --yes --all\n       \
        spoolway dlq purge [OPTIONS] --yes --destination <NAME> | --topic <NAME> | --stream <NAME> | --reason <WORD>"
    )]
    Purge(change::PurgeArgs),
}

/// Whose letters.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The agent, and by its configuration the data directory.
    #[command(flatten)]
    agent: Whom,
    /// The data directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Which letters.
#[derive(Debug, Clone, Default, Args)]
struct Which {
    /// Only those of this destination.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only those for this topic.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those of streams of this name or glob.
    #[arg(long, value_name = "NAME", value_parser = Pattern::parse)]
    stream: Option<Pattern>,
    /// Only those with this reason: too_large, refused or topic_missing.
    #[arg(long, value_name = "WORD", value_parser = Reason::ALL.map(|(_, name)| name))]
    reason: Option<String>,
}

impl Which {
    fn takes(&self, stored: &Stored) -> bool {
        let letter = &stored.letter;
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|w| w == value);
        is(&self.destination, letter.destination.as_str())
            && is(&self.topic, letter.topic.as_str())
            && is(&self.reason, letter.reason.name())
            && self.stream.as_ref().is_none_or(|pattern| pattern.takes(&letter.stream))
    }

    fn is_all(&self) -> bool {
        self.destination.is_none() && self.topic.is_none() && self.stream.is_none() && self.reason.is_none()
    }
}

impl Place {
    fn dir(&self) -> Result<PathBuf, Failure> {
        let dir = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => {
                let instead = "name the data directory with --data-dir DIR";
                self.agent.config.load_or(instead)?.config.relay.data_dir
            }
        };
        exists(&dir)?;
        Ok(dir)
    }

    fn look(&self, limit: usize, wanted: impl FnMut(&Stored) -> bool) -> Result<Found, Failure> {
        let dir = self.dir()?;
        let spool = Old::identify(&RealFs, &dir).map_err(|e| failure(&e))?;
        let found = look(&RealFs, &dir, spool, limit, wanted);
        let found = found.map_err(|e| {
            Failure::running(format!("{e}; run this as the user the agent runs as, or as root"))
        })?;
        for path in &found.damaged {
            anstream::eprintln!("{} has damaged bytes: some letters in it can't be read", path.display());
        }
        Ok(found)
    }
}

/// Damage is told by the exit code.
fn exit(found: &Found) -> Exit {
    if found.damaged.is_empty() { Exit::Done } else { Exit::Loss }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(args: &DlqArgs, general: &General) -> Outcome {
    general.start_logs();
    match &args.command {
        Command::List(args) => show::list(args),
        Command::Show(args) => show::show(args),
        Command::Replay(args) => change::replay(args),
        Command::Purge(args) => change::purge(args),
    }
}
