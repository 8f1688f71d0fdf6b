//! `spoolway spool`: looking into a data directory, beside a running agent or without one. Never writes.

mod dump;
mod inspect;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, General, Outcome};
use crate::disk::RealFs;
use crate::ids::LaneName;
use crate::spool::OpenError;
use crate::spool::inspect::{LaneSnapshot, Snapshot};

/// What `spoolway spool` takes.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the spool.
#[derive(Debug, Subcommand)]
enum Command {
    /// List lanes and segments: ranges, streams, holes, sizes. Reads headers only.
    Inspect(inspect::InspectArgs),
    /// Print events, one JSON object a line.
    Dump(dump::DumpArgs),
    /// Read and check every byte; exit code 3 if events are lost to damage.
    Verify(verify::VerifyArgs),
}

/// The directory a command looks into.
#[derive(Debug, Clone, Args)]
struct Directory {
    /// The data directory (relay.data_dir).
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this lane.
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,
}

impl Directory {
    fn snapshot(&self) -> Result<(Snapshot<RealFs>, Vec<LaneSnapshot<RealFs>>), Failure> {
        let snapshot = Snapshot::take(&RealFs, &self.dir).map_err(failure)?;
        let wanted = |name: &LaneName| self.lane.as_ref().is_none_or(|lane| lane == name.as_str());
        let lanes: Vec<_> = snapshot.lanes.iter().filter(|l| wanted(l.name())).cloned().collect();
        match &self.lane {
            Some(lane) if lanes.is_empty() => {
                Err(Failure::usage(format!("{} has no lane named {lane:?}", self.dir.display())))
            }
            _ => Ok((snapshot, lanes)),
        }
    }
}

/// The wrong directory is wrong usage; a directory that can't be read is a failure.
fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::NotASpool { .. } | OpenError::Newer { .. } => Failure::usage(error),
        OpenError::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::usage(error)
        }
        _ => Failure::running(error),
    }
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(args: SpoolArgs, general: &General) -> Outcome {
    general.start_logs();
    match args.command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}
