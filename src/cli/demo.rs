//! `spoolway demo`, and the hidden parts it is made of.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::line;
use super::{ConfigFiles, Exit, Failure, General, Outcome, cluster};
use crate::config::model::HostPort;
use crate::config::parse_host_port;
use crate::demo::{self, DemoError};

/// What `spoolway demo` takes.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Show it on a real cluster, in a topic that is made and deleted again. Default: a broker inside.
    #[arg(short, long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_host_port)]
    pub bootstrap_server: Vec<HostPort>,
    /// Properties of the connection to it, as Kafka's own tools take them: TLS, SASL, client.id, request.timeout.ms.
    #[arg(long, value_name = "FILE", requires = "bootstrap_server")]
    pub command_config: Option<PathBuf>,
    /// Print one JSON object at the end, and nothing before.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: exit code 3 when an event was lost, or when the control was not caught.
///
/// # Errors
/// [`Failure`] when the demo could not be run to its end.
#[expect(clippy::needless_pass_by_value, reason = "commands own what they were given")]
pub fn run(args: DemoArgs, _general: &General) -> Outcome {
    let cluster = match args.bootstrap_server.as_slice() {
        [] => None,
        brokers => Some(cluster::destination("target", brokers, args.command_config.as_deref())?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::running)?;
    let mut printed = Ok(());
    let mut say = |text: &str| {
        if printed.is_ok() && !args.json {
            printed = line(text);
        }
    };
    let report = runtime.block_on(until_interrupted(|stop| demo::show(cluster.as_ref(), stop, &mut say)));
    // What is still looked up in a DNS that does not answer is not waited for.
    runtime.shutdown_background();
    let report = report?;
    printed?;
    if args.json {
        line(&serde_json::to_string_pretty(&report).map_err(Failure::running)?)?;
    }
    Ok(if report.is_good() { Exit::Done } else { Exit::Loss })
}

/// At a signal it is told to clean up, which has its own limits; at the next one it is left as it is.
async fn until_interrupted<F>(show: impl FnOnce(CancellationToken) -> F) -> Result<demo::Report, Failure>
where
    F: Future<Output = Result<demo::Report, DemoError>>,
{
    let stop = CancellationToken::new();
    let mut shown = pin!(show(stop.clone()));
    tokio::select! {
        shown = &mut shown => return shown.map_err(Failure::running),
        () = interrupted() => stop.cancel(),
    }
    tokio::select! {
        shown = shown => shown.map_err(Failure::running),
        () = interrupted_again() => Err(Failure::running(
            "interrupted again before all was cleaned up: on a cluster the demo's topic, spoolway-demo-…, may be left",
        )),
    }
}

/// Resolves at SIGINT, SIGTERM or SIGHUP (a terminal that closes, which to the agents means "read again"), so that the demo's processes and folder go in any case.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// One interrupt can come as several: a terminal that closes is told by the shell and by the kernel, and `timeout` signals
/// the process and then its group. So a second one is what a person sends: not a hangup, and not in the same second.
async fn interrupted_again() {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Processes that `spoolway demo` starts.
#[derive(Debug, Args)]
pub struct DemoPartArgs {
    /// Which.
    #[command(subcommand)]
    pub part: DemoPart,
}

/// A process of the demo.
#[derive(Debug, Subcommand)]
pub enum DemoPart {
    /// Writes down what was acknowledged.
    Ledger {
        /// The file, which must not exist.
        file: PathBuf,
    },
    /// The agent that is wrong on purpose.
    Sabotaged {
        /// The demo's configuration.
        #[command(flatten)]
        config: ConfigFiles,
    },
}

/// Runs a process of the demo.
///
/// # Errors
/// [`Failure`] when it can't do its part.
pub fn run_part(args: DemoPartArgs, general: &General) -> Outcome {
    match args.part {
        DemoPart::Ledger { file } => demo::keep_ledger(&file).map_err(Failure::running)?,
        DemoPart::Sabotaged { config } => {
            general.start_logs();
            demo::end_with_the_demo().map_err(Failure::running)?;
            demo::run_sabotaged(&config.files).map_err(Failure::running)?;
        }
    }
    Ok(Exit::Done)
}
