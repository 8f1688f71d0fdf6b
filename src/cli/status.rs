//! `spoolway status`: what a running agent is doing, asked of its admin address.

pub(super) mod ledger;
mod nagios;
pub(super) mod table;
mod text;
mod view;
pub(super) mod words;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use self::view::{Ready, Status};
use super::client::Client;
use super::{Exit, Failure, General, Outcome, output};
use crate::event::UnixMillis;

/// What `spoolway status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub agent: super::client::Whom,
    /// Print what the agent answered as JSON, word for word; with --ledger one row a line.
    #[arg(long)]
    pub json: bool,
    /// Print one line for Nagios and its kin and exit with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown).
    #[arg(long, conflicts_with_all = ["json", "ledger"])]
    pub nagios: bool,
    /// With --nagios: a destination that lags this long is a warning.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    pub warn_lag: Duration,
    /// With --nagios: a destination that lags this long is critical.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    pub crit_lag: Duration,
    /// List the finished segments: which events, what became of them, their hash, and when.
    #[arg(long)]
    pub ledger: bool,
}

/// Asks the agent and prints what it says.
///
/// # Errors
/// [`Failure`] when no agent answers (exit code 1) or it is not known whom to ask (2). With `--nagios` that
/// is an answer, too: critical and unknown.
pub fn run(args: &StatusArgs, _general: &General) -> Outcome {
    if args.nagios {
        return nagios(args);
    }
    let (address, besides) = args.agent.address_to_look()?;
    if let Some(besides) = besides {
        anstream::eprintln!("{besides}");
    }
    let client = Client::new(address);
    if args.ledger {
        return ledger::print(&client, args.json);
    }
    let body = client.get("/status")?;
    if args.json {
        output::line(body.trim_end())?;
        return Ok(Exit::Done);
    }
    let status: Status = client.read(&body)?;
    let ready: Ready = client.read(&client.get("/readyz")?)?;
    output::print(&text::render(&status, &ready, now()))?;
    Ok(Exit::Done)
}

/// What a monitor is told of a command line that makes no sense: its rules want one line, and "unknown".
pub(super) fn unknown(error: &clap::Error) -> ExitCode {
    let error = error.to_string();
    // Below stands how it is used.
    let said = error.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let verdict = nagios::Verdict::unknown(&Failure::usage(said.trim_start_matches("error: ")));
    match output::line(&verdict.line) {
        Ok(()) => Exit::Code(verdict.code).into(),
        Err(failure) => failure.report(),
    }
}

fn nagios(args: &StatusArgs) -> Outcome {
    let limits = nagios::Limits { warn: args.warn_lag, critical: args.crit_lag };
    let verdict = match args.agent.address_to_look() {
        _ if limits.warn > limits.critical => {
            nagios::Verdict::unknown(&Failure::usage("--warn-lag is longer than --crit-lag"))
        }
        Err(failure) => nagios::Verdict::unknown(&failure),
        Ok((address, _)) => {
            let client = Client::new(address);
            match client.get("/status").and_then(|body| client.read(&body)) {
                Ok(status) => nagios::judge(&status, limits),
                Err(error) => nagios::Verdict::silent(&error),
            }
        }
    };
    output::line(&verdict.line)?;
    Ok(Exit::Code(verdict.code))
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests;
