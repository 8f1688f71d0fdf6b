//! `spoolway status`: what a running agent is doing, asked of its admin address.

mod client;

mod ledger;
mod nagios;
mod table;
mod text;
mod view;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use self::client::{Client, ClientError};
use self::view::{Ready, Status};
use super::{ConfigFiles, Exit, Failure, General, Outcome, output};
use crate::config::model::HostPort;
use crate::config::{DEFAULT_FILE, VARIABLE, parse_host_port};
use crate::event::UnixMillis;

/// What `spoolway status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the configuration is; its admin.listen says whom to ask.
    #[command(flatten)]
    pub config: ConfigFiles,
    /// Ask the agent at this address instead of reading a configuration.
    #[arg(long, value_name = "HOST:PORT", env = "SPOOLWAY_ADMIN", value_parser = address)]
    pub admin: Option<HostPort>,
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

fn address(text: &str) -> Result<HostPort, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    parse_host_port(bare)
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
    let client = Client::new(whom(args)?);
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

fn nagios(args: &StatusArgs) -> Outcome {
    let limits = nagios::Limits { warn: args.warn_lag, critical: args.crit_lag };
    let verdict = match whom(args) {
        Err(failure) => nagios::Verdict::unknown(&failure),
        Ok(address) => {
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

/// Where an agent listens whose configuration says nothing of it.
const DEFAULT_ADMIN: (&str, u16) = ("127.0.0.1", 9674);

/// The address to ask: `--admin`, else the configuration's; without any configuration the default one.
fn whom(args: &StatusArgs) -> Result<HostPort, Failure> {
    if let Some(address) = &args.admin {
        return Ok(address.clone());
    }
    let nothing_named = args.config.files.is_empty() && std::env::var_os(VARIABLE).is_none();
    if nothing_named && !std::path::Path::new(DEFAULT_FILE).exists() {
        let (host, port) = DEFAULT_ADMIN;
        return Ok(HostPort { host: host.to_owned(), port });
    }
    let listen = args.config.load()?.config.admin.listen.ok_or_else(|| {
        Failure::usage(
            "admin.listen is \"off\" in the configuration, so the agent can't be asked: give it an address",
        )
    })?;
    // An agent that listens everywhere is asked over loopback.
    let host = match listen.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        std::net::IpAddr::V4(_) => "127.0.0.1".to_owned(),
        std::net::IpAddr::V6(_) => "::1".to_owned(),
    };
    Ok(HostPort { host, port: listen.port() })
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::running(error)
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests;
