//! `spoolway spool`: looking into a data directory, beside a running agent or without one. Never writes there:
//! `repair` writes into another.

pub(super) mod dump;
mod inspect;
mod parked;
mod passed_over;
mod put_aside;
mod repair;
mod replay;
mod selection;
mod time;
mod verify;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(super) use self::repair::is_running;

use super::{Failure, General, Outcome};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, SpoolId};
use crate::spool::inspect::{LaneSnapshot, Snapshot};
use crate::spool::{OpenError, ReadError};
use crate::state::positions::{self, Restored};

/// What `spoolway spool` takes.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the spool.
#[derive(Debug, Subcommand)]
enum Command {
    /// List lanes: segments, streams, holes, what each destination still needs. Reads headers only.
    Inspect(inspect::InspectArgs),
    /// Print events, one JSON object a line.
    Dump(dump::DumpArgs),
    /// Read and check every byte; exit code 3 if events are lost to damage or a segment can't be read.
    Verify(verify::VerifyArgs),
    /// Salvage every intact event into a fresh spool; exit code 3 if some are lost or may be.
    Repair(repair::RepairArgs),
    /// Send kept events again, on purpose. Says what it would send; sends with --execute.
    Replay(replay::ReplayArgs),
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

/// What a command looks at.
struct Looked {
    dir: PathBuf,
    spool: SpoolId,
    lanes: Vec<LaneSnapshot<RealFs>>,
    /// What the positions files of the lanes said, read before the lanes.
    readers: BTreeMap<LaneName, Readers>,
}

type Readers = Vec<(DestinationName, Restored)>;

impl Directory {
    fn look(&self) -> Result<Looked, Failure> {
        exists(&self.dir)?;
        let mut readers = BTreeMap::new();
        let snapshot = Snapshot::take_with(&RealFs, &self.dir, |spool, lane| {
            let found = positions::look(&RealFs, &self.dir, spool, lane).map_err(|source| OpenError::Io {
                operation: "read the positions in",
                path: positions::directory(&self.dir, lane),
                source,
            })?;
            let highest = positions::highest(&found);
            readers.insert(lane.clone(), found);
            Ok(highest)
        });
        let Snapshot { spool, lanes } = snapshot.map_err(|e| failure(&e))?;
        let dir = self.dir.clone();
        let Some(wanted) = &self.lane else { return Ok(Looked { dir, spool, lanes, readers }) };
        let (lanes, others): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|l| l.name().as_str() == wanted);
        if lanes.is_empty() {
            let names: Vec<_> = others.iter().map(|l| l.name().to_string()).collect();
            let there =
                if names.is_empty() { "it has none".into() } else { format!("it has {}", names.join(", ")) };
            return Err(Failure::usage(format!(
                "{} has no lane named {wanted:?}; {there}",
                self.dir.display()
            )));
        }
        Ok(Looked { dir, spool, lanes, readers })
    }
}

/// Nothing there, or no directory, is wrong usage.
pub(super) fn exists(dir: &Path) -> Result<(), Failure> {
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{} is not a directory; name relay.data_dir", dir.display()))),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            Err(Failure::usage(format!("{} does not exist; name relay.data_dir", dir.display())))
        }
        Err(e) => Err(cannot("look at", dir, &e)),
    }
}

fn cannot(operation: &str, path: &Path, e: &std::io::Error) -> Failure {
    let remedy = match e.kind() {
        ErrorKind::PermissionDenied => "run this as the user the agent runs as, or as root",
        _ => "check the disk's health",
    };
    Failure::running(format!("cannot {operation} {}: {e}; {remedy}", path.display()))
}

/// The wrong directory is wrong usage; a directory that can't be read is a failure.
pub(super) fn failure(error: &OpenError) -> Failure {
    match error {
        OpenError::NotASpool { .. } | OpenError::Newer { .. } => Failure::usage(error),
        OpenError::Io { operation, path, source } => cannot(operation, path, source),
        _ => Failure::running(error),
    }
}

fn read_failure(error: &ReadError) -> Failure {
    cannot("read", &error.path, &error.source)
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
        Command::Repair(args) => repair::run(&args),
        Command::Replay(args) => replay::run(&args),
    }
}
