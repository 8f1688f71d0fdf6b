//! The life of the process: one configuration after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::error::AgentError;
use super::manager::Manager;
use super::rereads::Wish;
use super::run::{Ended, LOOK_AFTER, serve};
use super::signals::{HANGUP, Signals};
use super::stop::Left;
use crate::config::model::{Config, SourceKind};
use crate::metrics::Metrics;
use crate::spool::OpenError;
use crate::state::overrides::Overrides;

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

/// How the configuration is looked at again.
pub struct Rereading {
    /// Reads it, and compares it with the one that runs.
    pub reread: Arc<dyn Fn(&Configured) -> Reread + Send + Sync>,
    /// A sum over its files as they are.
    pub fingerprint: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The same as it was before the one that runs was read.
    pub began: u64,
}

/// What outlives a reload.
pub(super) struct Process {
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
    pub(super) signals: Signals,
    pub(super) manager: Manager,
    pub(super) watch: Watch,
    /// Whether the configuration's files are to be read.
    pub(super) wish: Wish,
    /// What the agent before has not ended.
    pub(super) left: Left,
    /// Routes that were set while running, and those of the life before; `None`: as the data directory has them.
    pub(super) overrides: Option<Overrides>,
    pub(super) overrides_before: Option<Overrides>,
    /// The data directory does not have them yet.
    pub(super) overrides_unkept: bool,
}

/// Which content of the files was looked at last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: u64,
    /// One that was there at the last look, and may still be written.
    changing: Option<u64>,
}

impl Watch {
    /// Whether files have another content, and have it for the second time: each content is looked at once.
    pub(super) fn has_changed(&mut self, sum: u64) -> bool {
        let is_new = sum != self.seen;
        let is_steady = self.changing.replace(sum) == Some(sum);
        if is_new && is_steady {
            self.seen = sum;
        }
        is_new && is_steady
    }
}

/// Threads for what blocks (files, decoders, names of hosts). A burst of connections must not use up the threads that a unit's
/// `TasksMax` leaves for the others.
const BLOCKING: usize = 64;

/// Runs the agent until it is told to stop, or its only input has ended and all of it is delivered. SIGHUP has `reread` look
/// at the configuration again; without it, SIGHUP is a stop.
///
/// A configuration that has changed is taken over by a stop and a start in this process, so that all of it can change, and
/// what waits is treated as at any other start. One that can't be started with is left for the one before; nothing was
/// delivered by it.
///
/// # Errors
/// [`AgentError`] says what could not be started, or what ended.
pub fn run(configured: Configured, reread: Option<&Rereading>) -> Result<(), AgentError> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 4);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(AgentError::system("starting the async threads"))?;
    let result = runtime.block_on(live(configured, reread));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn live(configured: Configured, reread: Option<&Rereading>) -> Result<(), AgentError> {
    let mut process = Process {
        metrics: Metrics::new(),
        began: Instant::now(),
        signals: Signals::new()?,
        manager: Manager::of_process(),
        watch: Watch { seen: reread.map_or(0, |r| r.began), changing: None },
        wish: Wish::Nothing,
        left: Left::nothing(),
        overrides: None,
        overrides_before: None,
        overrides_unkept: false,
    };
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
                let (old, next) = (&current.config.relay.data_dir, &new.config.relay.data_dir);
                if old != next {
                    tracing::warn!(before = %old.display(), now = %next.display(),
                        "the data directory is another one now: what waits in the one before stays there until an agent runs on it again");
                }
                before = Some(std::mem::replace(&mut current, new));
            }
            Err(AgentError::Spool(OpenError::Locked { .. })) if Instant::now() < patience => {
                tokio::time::sleep(LOOK_FOR_LOCK).await;
                continue;
            }
            Err(error) if !stood && before.is_some() => {
                tracing::error!(%error, "the changed configuration can't be started with: going back to the one before");
                process.metrics.config_ok.set(0);
                current = before.take().unwrap_or(current);
                if let Some(overrides) = process.overrides_before.take() {
                    process.overrides = Some(overrides);
                    process.overrides_unkept = true;
                }
            }
            Err(error) => return Err(error),
        }
        if let Some(signal) = outlast(&mut process, reread.is_some()).await {
            tracing::info!(signal, "stopping");
            process.manager.stopping();
            return Ok(());
        }
        patience = Instant::now() + HANDING_ON;
    }
}

/// Waits for the end of what was left to itself since its disk does not answer: it holds the data directory, or would write beside the
/// next agent what only one may write. Returns the signal that ends the process, if one comes before.
async fn outlast(process: &mut Process, hangup_rereads: bool) -> Option<&'static str> {
    let Process { left, signals, manager, wish, .. } = process;
    let mut look = tokio::time::interval(manager.pace(LOOK_AFTER));
    let mut over = std::pin::pin!(left.over());
    loop {
        tokio::select! {
            biased;
            () = &mut over => return None,
            name = signals.next() => match name {
                HANGUP if hangup_rereads => *wish = Wish::Wanted,
                name => return Some(name),
            },
            _ = look.tick() => {
                manager.look(Instant::now(), None, || "waiting for a disk that does not answer".to_owned());
            }
        }
    }
}

impl Configured {
    /// Whether it reads standard input, which can't be handed on to another life.
    pub(super) fn reads_input(&self) -> bool {
        self.config.sources.iter().any(|s| matches!(s.kind, SourceKind::Stdin { .. }))
    }

    /// The configuration to go on with, if what was found is another one.
    pub(super) fn look_again(
        &self,
        (metrics, overrides): (&Metrics, &Overrides),
        found: Reread,
    ) -> Option<Box<Configured>> {
        let reads_input = self.reads_input();
        let is_overridden = overrides.set.iter().any(|set| !set.pinned);
        let failed = matches!(found, Reread::Wrong) || reads_input && matches!(found, Reread::Changed(_));
        // Before it is said: whoever reads the log may look at the metric next.
        metrics.config_ok.set(i64::from(!failed));
        match found {
            // The files win, whether they have changed or not.
            Reread::Same if is_overridden && !reads_input => Some(Box::new(self.clone())),
            Reread::Same => {
                tracing::info!("the configuration has not changed");
                None
            }
            Reread::Changed(_) if reads_input => {
                tracing::error!(
                    "the configuration has changed, and standard input can't be handed on: stop the agent and start it again"
                );
                None
            }
            Reread::Changed(new) => Some(new),
            Reread::Wrong => {
                tracing::error!(
                    "the configuration is wrong, and the one before goes on: `spoolway check` says the same"
                );
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by an audit: what copies dead letters and the ledger hold no lock, and the next agent began beside them.
    #[tokio::test]
    async fn the_next_agent_begins_when_nothing_of_the_one_before_is_left() {
        let mut process = Process {
            metrics: Metrics::new(),
            began: Instant::now(),
            signals: Signals::new().unwrap(),
            manager: Manager::default(),
            watch: Watch::default(),
            wish: Wish::Nothing,
            left: Left::nothing(),
            overrides: None,
            overrides_before: None,
            overrides_unkept: false,
        };
        assert_eq!(outlast(&mut process, true).await, None);
        let (holds, left) = Left::new();
        process.left = left;
        tokio::select! {
            biased;
            _ = outlast(&mut process, true) => panic!("something is left"),
            () = tokio::task::yield_now() => {}
        }
        drop(holds);
        let waited = tokio::time::timeout(Duration::from_secs(30), outlast(&mut process, true)).await;
        assert_eq!(waited, Ok(None));
    }

    #[test]
    fn a_content_is_looked_at_once_and_only_when_it_has_come_to_rest() {
        let mut watch = Watch { seen: 1, changing: None };
        let told: Vec<bool> = [1, 1, 2, 3, 3, 3, 3, 1, 1, 1].map(|sum| watch.has_changed(sum)).into();
        assert_eq!(told, [false, false, false, false, true, false, false, false, true, false]);
    }
}
