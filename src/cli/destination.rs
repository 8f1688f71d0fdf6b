//! `spoolway destination`: what is kept for a destination that is no more, or will not come back.

mod abandon;

use std::path::Path;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::{Client, asked_at};
use super::{ConfigFiles, Exit, Failure, General, Outcome, output};
use crate::config::model::{Admin, Config};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, Seq};
use crate::spool::inspect::Snapshot;
use crate::spool::{self, OpenError};
use crate::state::letters::{self, Letters};
use crate::state::positions::{self, Restored};
use crate::state::{handover, known, orphans};

/// What `spoolway destination` takes.
#[derive(Debug, Args)]
pub struct DestinationArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give up what waits for a destination that is no longer configured.
    Forget(ForgetArgs),
    /// Give up what is in doubt at a cluster that will not come back: what was sent there and never answered is sent anew, where
    /// its streams go now, and counted as possibly doubled. The running agent does it.
    Abandon(abandon::AbandonArgs),
}

/// What `spoolway destination forget` takes.
#[derive(Debug, Args)]
struct ForgetArgs {
    /// The destination's name.
    #[arg(value_name = "NAME", value_parser = name)]
    name: DestinationName,
    /// Where the configuration is; its relay.data_dir is looked into.
    #[command(flatten)]
    config: ConfigFiles,
    /// Do it; without this option it is only said what would be given up.
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// The result with `--json`.
#[derive(Debug, Serialize)]
struct Verdict {
    destination: String,
    forgotten: bool,
    /// Of all lanes.
    events: u64,
    lanes: Vec<Row>,
}

/// What waits in one lane.
#[derive(Debug, Serialize)]
struct Row {
    lane: String,
    events: u64,
}

/// What of `/status` is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Running {
    accounts: Vec<Account>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    destination: String,
}

fn name(text: &str) -> Result<DestinationName, String> {
    DestinationName::new(text).map_err(|e| e.to_string())
}

/// Runs the command.
///
/// # Errors
/// [`Failure`] with the exit code and the message.
pub fn run(args: &DestinationArgs, general: &General) -> Outcome {
    general.start_logs();
    match &args.command {
        Command::Forget(args) => forget(args),
        Command::Abandon(args) => abandon::abandon(args),
    }
}

fn forget(args: &ForgetArgs) -> Outcome {
    let config = args.config.load()?.config;
    let ForgetArgs { name, yes, .. } = args;
    is_free(&config, name)?;
    let data_dir = &config.relay.data_dir;
    // Until it is done no agent starts; one that runs must know nothing of it.
    let held = match spool::hold(&RealFs, data_dir) {
        Ok(held) => Some(held),
        Err(OpenError::Locked { .. }) => {
            is_unknown_to_the_agent(&config.admin, name)?;
            None
        }
        Err(e) => return Err(Failure::running(e)),
    };
    let lanes = waiting(data_dir, name)?;
    if lanes.is_empty() {
        return Err(Failure::usage(format!(
            "nothing is known of a destination {name} in {}",
            data_dir.display()
        )));
    }
    if *yes {
        for (lane, _) in &lanes {
            handover::forget(&RealFs, data_dir, lane, name).map_err(Failure::running)?;
        }
        if held.is_some() {
            put_letters_back(&config)?;
        }
    }
    tell(args, &lanes, held.is_none())?;
    Ok(if *yes { Exit::Done } else { Exit::Usage })
}

/// Letters that it was sending again are letters as before. Beside an agent that runs they are by its next start.
fn put_letters_back(config: &Config) -> Result<(), Failure> {
    let data_dir = &config.relay.data_dir;
    let snapshot = Snapshot::take_with(&RealFs, data_dir, |_, _| Ok(Seq::NONE)).map_err(Failure::running)?;
    if letters::being_sent(&RealFs, data_dir, snapshot.spool).map_err(Failure::running)?.is_empty() {
        return Ok(());
    }
    // Nothing is appended, so the bounds do not matter.
    let settings = letters::Settings { max_size: 0, max_event_size: 0 };
    let heir = |old: &DestinationName| config.heir(old).map(|d| &d.name);
    let store = Letters::open(&RealFs, data_dir, snapshot.spool, settings, 0).map_err(Failure::running)?;
    orphans::put_back(&RealFs, data_dir, snapshot.spool, &store, heir).map_err(Failure::running)?;
    Ok(())
}

/// Nobody in the configuration has the name, or had it.
fn is_free(config: &Config, name: &DestinationName) -> Result<(), Failure> {
    if config.destinations.iter().any(|d| d.name == *name) {
        return Err(Failure::usage(format!(
            "destination {name} is configured: remove its [[destination]] and its routes, and reload the agent, first"
        )));
    }
    if let Some(heir) = config.heir(name) {
        return Err(Failure::usage(format!(
            "destination {} takes over what is known of {name}: remove its `renamed_from` first",
            heir.name
        )));
    }
    Ok(())
}

fn is_unknown_to_the_agent(admin: &Admin, name: &DestinationName) -> Result<(), Failure> {
    let Some(address) = asked_at(admin) else {
        return Err(Failure::usage(
            "an agent runs on this data directory, and admin.listen is \"off\", so it can't be asked whether it still \
             delivers to the destination: stop it first",
        ));
    };
    let client = Client::new(address);
    let running: Running = client.read(&client.get("/status")?)?;
    if running.accounts.iter().any(|account| account.destination == name.as_str()) {
        return Err(Failure::usage(format!(
            "the agent that runs still delivers to {name}: reload it with the configuration that has the destination no \
             more"
        )));
    }
    Ok(())
}

/// The lanes in which something is known of the destination, and how many events wait in each.
fn waiting(data_dir: &Path, name: &DestinationName) -> Result<Vec<(LaneName, u64)>, Failure> {
    let mut known: Vec<(LaneName, Restored)> = Vec::new();
    let snapshot = Snapshot::take_with(&RealFs, data_dir, |_, _| Ok(Seq::NONE)).map_err(Failure::running)?;
    for lane in known::lanes(&RealFs, data_dir) {
        let found = positions::look(&RealFs, data_dir, snapshot.spool, &lane).map_err(|e| {
            Failure::running(format!(
                "cannot read the positions of lane {lane}: {e}; run this as the user the agent runs as"
            ))
        })?;
        known.extend(
            found.into_iter().filter(|(n, _)| n == name).map(|(_, restored)| (lane.clone(), restored)),
        );
    }
    let waiting = known.into_iter().map(|(lane, restored)| {
        let log = snapshot.lanes.iter().find(|l| *l.name() == lane);
        let ends = log.map_or((Seq::FIRST, Seq::FIRST), |l| (l.first(), l.end()));
        (lane, positions::needs(&restored, ends).1)
    });
    Ok(waiting.collect())
}

fn tell(args: &ForgetArgs, lanes: &[(LaneName, u64)], runs: bool) -> Result<(), Failure> {
    let ForgetArgs { name, yes, json, .. } = args;
    let events = lanes.iter().map(|(_, events)| events).sum();
    if *json {
        let lanes = lanes.iter().map(|(lane, events)| Row { lane: lane.to_string(), events: *events });
        let verdict =
            Verdict { destination: name.to_string(), forgotten: *yes, events, lanes: lanes.collect() };
        return output::line(&serde_json::to_string_pretty(&verdict).map_err(Failure::running)?);
    }
    let rows: String =
        lanes.iter().map(|(lane, events)| format!("  lane {lane}: {events} events\n")).collect();
    let end = match (yes, runs) {
        (false, _) => "nothing was changed: say --yes to give them up",
        (true, true) => "forgotten; the agent that runs lets go of them within seconds",
        (true, false) => "forgotten",
    };
    output::print(&format!("{events} events have not been delivered to {name}\n{rows}{end}\n"))
}
