//! `spoolway healthcheck`: for those who ask by a command whether an agent is well, such as a container's HEALTHCHECK.
//!
//! Exit codes are 0 and 1 and nothing else: to Docker 2 is reserved, and whoever can't find the agent has no other remedy
//! than whoever finds it stuck.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::client::{Client, ClientError, Whom};
use super::{Exit, Failure, General, Outcome, output};

/// What `spoolway healthcheck` takes.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub agent: Whom,
    /// Ask whether it is ready, too: to accept events, to deliver them in time, or both.
    #[arg(long, value_name = "FOR")]
    pub ready: Option<Readiness>,
    /// No answer within this time is a failure.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What an agent may be asked to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Readiness {
    /// It can take events.
    Accept,
    /// It delivers them within admin.ready_max_lag.
    Deliver,
    /// Both.
    All,
}

impl Readiness {
    const fn path(self) -> &'static str {
        match self {
            Self::Accept => "/readyz?for=accept",
            Self::Deliver => "/readyz?for=deliver",
            Self::All => "/readyz",
        }
    }
}

/// The answer of `/healthz`.
#[derive(Debug, Deserialize)]
struct Health {
    healthy: bool,
    reason: Option<String>,
}

/// The answer of `/readyz`.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: bool,
    accept: Option<Part>,
    deliver: Option<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    reasons: Vec<String>,
}

/// Asks the agent and says in one line what came of it.
///
/// # Errors
/// [`Failure`] with exit code 1, whatever is wrong.
pub fn run(args: &HealthcheckArgs, _general: &General) -> Outcome {
    let said = ask(args).map_err(|failure| Failure::running(one_line(failure.message())))?;
    output::line(&said)?;
    Ok(Exit::Done)
}

fn ask(args: &HealthcheckArgs) -> Result<String, Failure> {
    let (address, besides) = args.agent.address_to_look()?;
    let with = |said: &str| besides.map_or_else(|| said.to_owned(), |besides| format!("{said}; {besides}"));
    match look(&Client::within(address, args.timeout), args.ready) {
        Ok(said) => Ok(with(said)),
        Err(failure) => Err(Failure::running(with(failure.message()))),
    }
}

fn look(client: &Client, ready: Option<Readiness>) -> Result<&'static str, Failure> {
    let health: Health = answer(client, "/healthz")?;
    if !health.healthy {
        return Err(not("healthy", &Vec::from_iter(health.reason)));
    }
    let Some(what) = ready else { return Ok("healthy") };
    let ready: Ready = answer(client, what.path())?;
    if ready.ready {
        return Ok("healthy and ready");
    }
    let reasons = [ready.accept, ready.deliver].into_iter().flatten().flat_map(|part| part.reasons);
    Err(not("ready", &reasons.collect::<Vec<_>>()))
}

fn answer<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, ClientError> {
    client.get(path).and_then(|body| client.read(&body))
}

fn not(what: &str, reasons: &[String]) -> Failure {
    let why = if reasons.is_empty() { "it does not say why".to_owned() } else { reasons.join("; ") };
    Failure::running(format!("the agent is not {what}: {why}"))
}

/// What is kept of a health check's output is often its first line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
