//! `spoolway destination abandon`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::name;
use crate::cli::client::{Client, Whom};
use crate::cli::{Exit, Outcome, output};
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
    let body = client.command("/destinations/abandon", &json!({ "destination": args.name }).to_string())?;
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
