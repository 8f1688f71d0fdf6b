//! `spoolway destination abandon`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::name;
use crate::cli::client::{Client, ClientError, Whom};
use crate::cli::{Exit, Failure, Outcome, output};
use crate::ids::DestinationName;

/// What `spoolway destination abandon` takes.
#[derive(Debug, Args)]
pub(super) struct AbandonArgs {
    /// The destination's name.
    #[arg(value_name = "NAME", value_parser = name)]
    name: DestinationName,
    /// The agent.
    #[command(flatten)]
    agent: Whom,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What the agent did.
#[derive(Debug, Deserialize)]
struct Done {
    events: u64,
    lanes: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    lane: String,
    events: u64,
}

pub(super) fn abandon(args: &AbandonArgs) -> Outcome {
    let client = Client::new(args.agent.address()?);
    let asked = client.post("/destinations/abandon", &json!({ "destination": args.name }).to_string());
    let body = asked.map_err(|error| match error {
        // Without one nothing is settled either, and what can be needs no giving up.
        ClientError::Connect { .. } => Failure::running(format!(
            "{error}. Only a running agent can give up what is in doubt: start it first; it finds out what it can by itself, \
             and this command gives up the rest"
        )),
        error => Failure::of_command(error),
    })?;
    let done: Done = client.read(&body)?;
    if args.json {
        output::line(&body)?;
        return Ok(Exit::Done);
    }
    let rows: String =
        done.lanes.iter().map(|row| format!("  lane {}: {} events\n", row.lane, row.events)).collect();
    output::print(&format!(
        "{} events that were in doubt at {} are given up: they are sent anew, and counted as possibly doubled\n{rows}",
        done.events, args.name
    ))?;
    Ok(Exit::Done)
}
