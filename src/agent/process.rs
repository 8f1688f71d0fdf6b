//! The life of the process: one configuration after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::error::AgentError;
use super::run::{Ended, serve};
use super::signals::Signals;
use crate::config::model::{Config, SourceKind};
use crate::metrics::Metrics;
use crate::spool::OpenError;

/// Threads of the configuration before may hold the data directory for this long.
const HANDING_ON: Duration = Duration::from_secs(10);
const LOOK_FOR_LOCK: Duration = Duration::from_millis(50);

/// A configuration, and all of it as text, by which two are compared.
#[derive(Debug, Clone)]
pub struct Configured {
    /// What the agent works with.
    pub config: Config,
    /// Every key with its value.
    pub effective: String,
}

/// What came of looking at the configuration again.
#[derive(Debug)]
pub enum Reread {
    /// It is the one that runs.
    Same,
    /// It is another one, and right.
    Changed(Box<Configured>),
    /// It is wrong, which has been said.
    Wrong,
}

/// Looks at the configuration again, and compares it with the one that runs.
pub type Rereading<'a> = dyn Fn(&Configured) -> Reread + 'a;

/// What outlives a reload.
pub(super) struct Process {
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
    pub(super) signals: Signals,
}

/// Runs the agent until it is told to stop, or its only input has ended and all of it is delivered. SIGHUP has `reread` look
/// at the configuration again; without it, SIGHUP is a stop.
///
/// A configuration that has changed is taken over by a stop and a start in this process, so that all of it can change, and
/// what waits is treated as at any other start. One that can't be started with is left for the one before; nothing was
/// delivered by it.
///
/// # Errors
/// [`AgentError`] says what could not be started, or what ended.
pub fn run(configured: Configured, reread: Option<&Rereading<'_>>) -> Result<(), AgentError> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 4);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(AgentError::system("starting the async threads"))?;
    let result = runtime.block_on(live(configured, reread));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn live(configured: Configured, reread: Option<&Rereading<'_>>) -> Result<(), AgentError> {
    let mut process = Process { metrics: Metrics::new(), began: Instant::now(), signals: Signals::new()? };
    process.metrics.config_ok.set(1);
    let (mut current, mut before) = (Box::new(configured), None);
    // Only what an earlier life of this process holds is waited for.
    let mut patience = Instant::now();
    loop {
        let mut stood = false;
        let ended = serve(&current, &mut process, reread, &mut stood).await;
        process.metrics.forget_places();
        match ended {
            Ok(Ended::Stopped) => return Ok(()),
            Ok(Ended::Reload(new)) => {
                before = Some(std::mem::replace(&mut current, new));
                patience = Instant::now() + HANDING_ON;
            }
            Err(AgentError::Spool(OpenError::Locked { .. })) if Instant::now() < patience => {
                tokio::time::sleep(LOOK_FOR_LOCK).await;
            }
            Err(error) if !stood && before.is_some() => {
                tracing::error!(%error, "the changed configuration can't be started with: going back to the one before");
                process.metrics.config_ok.set(0);
                current = before.take().unwrap_or(current);
                patience = Instant::now() + HANDING_ON;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Configured {
    /// The configuration to go on with, if it is another one.
    pub(super) fn look_again(&self, metrics: &Metrics, reread: &Rereading<'_>) -> Option<Box<Configured>> {
        let reads_input = self.config.sources.iter().any(|s| matches!(s.kind, SourceKind::Stdin { .. }));
        let (ok, new) = match reread(self) {
            Reread::Same => {
                tracing::info!("the configuration has not changed");
                (true, None)
            }
            Reread::Changed(_) if reads_input => {
                tracing::error!(
                    "the configuration has changed, and standard input can't be handed on: stop the agent and start it again"
                );
                (false, None)
            }
            Reread::Changed(new) => (true, Some(new)),
            Reread::Wrong => {
                tracing::error!(
                    "the configuration is wrong, and the one before goes on: `spoolway check` says the same"
                );
                (false, None)
            }
        };
        metrics.config_ok.set(i64::from(ok));
        new
    }
}
