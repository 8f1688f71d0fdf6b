//! `spoolway route`: where streams go, and where they are to go until the configuration says otherwise.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Whom};
use super::{Exit, General, Outcome, output};

/// So long the agent is given to take a route over, and between two looks.
const TAKEN_OVER: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(100);

/// What `spoolway route` takes.
#[derive(Debug, Args)]
pub struct RouteArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have streams go to a destination, and nowhere else, from now on.
    Set(SetArgs),
    /// Take back what was set.
    Unset(UnsetArgs),
    /// List the routes of the running agent, first those that were set.
    List(ListArgs),
}

#[derive(Debug, Args)]
struct SetArgs {
    /// A stream's name, or a glob.
    #[arg(value_name = "STREAMS")]
    stream: String,
    /// The destination, and the topic or its template; without one, topics have the names of their streams.
    #[arg(value_name = "DESTINATION[:TOPIC]")]
    to: String,
    /// Keep it when the configuration's files change; without this the files win at the next reload.
    #[arg(long)]
    pin: bool,
    /// The agent.
    #[command(flatten)]
    agent: Whom,
}

#[derive(Debug, Args)]
struct UnsetArgs {
    /// As it was set.
    #[arg(value_name = "STREAMS")]
    stream: String,
    /// The agent.
    #[command(flatten)]
    agent: Whom,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The agent.
    #[command(flatten)]
    agent: Whom,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What of `/status` is looked at.
#[derive(Debug, Deserialize)]
struct Running {
    routes: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Row {
    streams: Vec<String>,
    to: String,
    topic: String,
    origin: String,
    pinned: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Failure`](super::Failure) with the exit code and the message.
pub fn run(args: &RouteArgs, general: &General) -> Outcome {
    general.start_logs();
    match &args.command {
        Command::Set(args) => set(args),
        Command::Unset(args) => unset(args),
        Command::List(args) => list(args),
    }
}

fn set(args: &SetArgs) -> Outcome {
    let SetArgs { stream, to, pin, agent } = args;
    let (to, topic) = match to.split_once(':') {
        Some((to, topic)) => (to, Some(topic)),
        None => (to.as_str(), None),
    };
    let body = json!({ "stream": stream, "to": to, "topic": topic, "pin": pin });
    let client = Client::new(agent.address()?);
    client.command("/routes/set", &body.to_string())?;
    let holds =
        wait_until(&client, |row| row.streams == [stream.as_str()] && row.to == to && row.origin == "set");
    let until = if *pin {
        "until it is unset"
    } else {
        "until the next reload of the configuration, or until it is unset"
    };
    output::line(&format!("{stream} goes to {to}, and nowhere else, {until}{}", said(holds)))?;
    Ok(Exit::Done)
}

/// Waits until a route is in use: what is set has the agent read its routes anew. Whether it is.
fn wait_until(client: &Client, is_it: impl Fn(&Row) -> bool) -> bool {
    let deadline = Instant::now() + TAKEN_OVER;
    while Instant::now() < deadline {
        // For a moment nobody answers.
        let running: Result<Running, _> = client.get("/status").and_then(|body| client.read(&body));
        let rows = running.into_iter().flat_map(|running| running.routes);
        if rows.filter_map(|row| serde_json::from_value(row).ok()).any(|row| is_it(&row)) {
            return true;
        }
        std::thread::sleep(BETWEEN);
    }
    false
}

fn said(holds: bool) -> &'static str {
    if holds { "" } else { "; the agent has kept it, and has not taken it over yet: see its log" }
}

fn unset(args: &UnsetArgs) -> Outcome {
    let client = Client::new(args.agent.address()?);
    client.command("/routes/unset", &json!({ "stream": args.stream }).to_string())?;
    output::line(&format!("{} goes as the configuration says", args.stream))?;
    Ok(Exit::Done)
}

fn list(args: &ListArgs) -> Outcome {
    let client = Client::new(args.agent.address()?);
    let running: Running = client.read(&client.get("/status")?)?;
    if args.json {
        output::line(&serde_json::Value::from(running.routes).to_string())?;
        return Ok(Exit::Done);
    }
    for row in running.routes {
        let row: Row = client.read(&row.to_string())?;
        let origin = match (row.origin.as_str(), row.pinned) {
            ("set", true) => "  (set, pinned)",
            ("set", false) => "  (set)",
            _ => "",
        };
        output::line(&format!("{} -> {}:{}{origin}", row.streams.join(", "), row.to, row.topic))?;
    }
    Ok(Exit::Done)
}
