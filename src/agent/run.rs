//! From a configuration to a running agent, and to its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::facts::Facts;
use super::stand::Stand;
use crate::admin;
use crate::config::RouteTable;
use crate::config::model::{Config, MAIN_LANE, SourceKind};
use crate::metrics::Metrics;
use crate::shape::{Door, Limits};
use crate::source::Sources;

/// How long deliveries may take, at a stop, to hear of what is in flight.
const SETTLE: Duration = Duration::from_secs(3);
/// How often threads are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Why the agent ends.
enum End {
    /// Somebody said so.
    Told(&'static str),
    /// Standard input ended, and everything of it is accepted.
    Input,
    /// To go on with another configuration.
    Reload(Box<Config>),
}

/// What becomes of an agent that has ended in good order.
enum Ended {
    Stopped,
    Reload(Box<Config>),
}

/// What came of looking at the configuration again.
#[derive(Debug)]
pub enum Reread {
    /// It is as it was.
    Same,
    /// It is another one, and right.
    Changed(Box<Config>),
    /// It is wrong, which has been said.
    Wrong,
}

/// What outlives a reload.
struct Process {
    metrics: Arc<Metrics>,
    began: Instant,
}

/// Runs the agent until it is told to stop, or its only input has ended and all of it is delivered. SIGHUP has `reread` look
/// at the configuration again; without it, SIGHUP is a stop.
///
/// A configuration that has changed is taken over by a stop and a start in this process, so that all of it can change, and
/// what waits is treated as at any other start. One that can't be started with is left for the one before.
///
/// # Errors
/// [`AgentError`] says what could not be started, or what ended.
pub fn run(config: &Config, reread: Option<&dyn Fn() -> Reread>) -> Result<(), AgentError> {
    let process = Process { metrics: Metrics::new(), began: Instant::now() };
    process.metrics.config_ok.set(1);
    let (mut config, mut before) = (Box::new(config.clone()), None);
    loop {
        let mut stood = false;
        match run_once(&config, &process, reread, &mut stood) {
            Ok(Ended::Stopped) => return Ok(()),
            Ok(Ended::Reload(new)) => before = Some(std::mem::replace(&mut config, new)),
            Err(error) if !stood && before.is_some() => {
                tracing::error!(%error, "the changed configuration can't be started with: going back to the one before");
                process.metrics.config_ok.set(0);
                config = before.take().unwrap_or(config);
            }
            Err(error) => return Err(error),
        }
    }
}

fn run_once(
    config: &Config,
    process: &Process,
    reread: Option<&dyn Fn() -> Reread>,
    stood: &mut bool,
) -> Result<Ended, AgentError> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 4);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(AgentError::system("starting the async threads"))?;
    let result = runtime.block_on(serve(config, process, reread, stood));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(
    config: &Config,
    process: &Process,
    reread: Option<&dyn Fn() -> Reread>,
    stood: &mut bool,
) -> Result<Ended, AgentError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::clone(&process.metrics);
    let routes = Arc::new(RouteTable::new(config)?);
    let handle = Handle::current();
    let stand = tokio::task::block_in_place(|| Stand::build(config, &routes, &metrics, &handle))?;
    let stop = CancellationToken::new();
    let facts = Arc::new(Facts {
        id: config.relay.id.clone(),
        data_dir: config.relay.data_dir.clone(),
        life: stand.data.life(),
        started: process.began,
        lanes: stand.lanes.clone(),
        ledger: Arc::clone(&stand.ledger),
        letters: Arc::clone(&stand.letters),
        sources: OnceLock::new(),
        stopping: false.into(),
    });
    let served = start(config, &stand, &facts, &routes, &metrics, &stop);
    let result = match served {
        Ok(_admin) => {
            *stood = true;
            say_ready(config, &facts);
            let reload =
                || reread.map(|reread| tokio::task::block_in_place(|| look_again(config, process, reread)));
            let end = until_end(&facts, &mut signals, &reload).await;
            finish(&facts, &stop, end).await
        }
        Err(e) => Err(e),
    };
    shut_down(&stand, &facts, &stop).await;
    result
}

fn start(
    config: &Config,
    stand: &Stand,
    facts: &Arc<Facts>,
    routes: &Arc<RouteTable>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<admin::Server, AgentError> {
    // The admin server outlives the sources, so that a stop can be watched.
    let admin_stop = CancellationToken::new();
    let told = Arc::clone(facts) as Arc<dyn admin::Facts>;
    let admin = admin::Server::start(&config.admin, told, Arc::clone(metrics), admin_stop)?;
    let fixed = config.sources.iter().filter_map(|s| match &s.kind {
        SourceKind::Stdin { stream } | SourceKind::Tcp { stream, .. } | SourceKind::Unix { stream, .. } => {
            Some(stream.clone())
        }
        SourceKind::Http { .. } => None,
    });
    let door = Door::new(stand.lanes.clone(), Arc::clone(routes), Limits::from(&config.spool), fixed);
    let sources = Sources::start(&config.sources, &config.spool, &Arc::new(door), metrics, stop)?;
    // Set once: `start` is called once.
    facts.sources.get_or_init(|| sources);
    Ok(admin)
}

fn say_ready(config: &Config, facts: &Facts) {
    let status = admin::Facts::status(facts);
    let waiting: u64 = status.accounts.iter().map(|a| a.pending).sum();
    let main = status.lanes.iter().find(|lane| lane.name.as_str() == MAIN_LANE);
    tracing::info!(
        relay = config.relay.id,
        version = env!("CARGO_PKG_VERSION"),
        incarnation = %facts.life.incarnation,
        data_dir = %config.relay.data_dir.display(),
        durable_seq = main.map_or(0, |lane| lane.durable_seq.0),
        lanes = status.lanes.len(),
        waiting,
        "ready"
    );
}

/// The configuration to go on with, if it is another one.
fn look_again(config: &Config, process: &Process, reread: &dyn Fn() -> Reread) -> Option<Box<Config>> {
    let reads_input = config.sources.iter().any(|s| matches!(s.kind, SourceKind::Stdin { .. }));
    let (ok, new) = match reread() {
        Reread::Same => {
            tracing::info!("the configuration has not changed since it was read last");
            return None;
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
    process.metrics.config_ok.set(i64::from(ok));
    new
}

/// `reload` looks at the configuration again; `None`: it can't.
async fn until_end(
    facts: &Facts,
    signals: &mut Signals,
    reload: &dyn Fn() -> Option<Option<Box<Config>>>,
) -> Result<End, AgentError> {
    let Some(sources) = facts.sources.get() else { return Ok(End::Told("nothing to do")) };
    let mut look = tokio::time::interval(LOOK_AFTER);
    loop {
        tokio::select! {
            name = signals.next() => match (name == HANGUP).then(reload).flatten() {
                None => return Ok(End::Told(name)),
                Some(Some(new)) => return Ok(End::Reload(new)),
                Some(None) => {}
            },
            ended = sources.finished() => {
                ended?;
                return Ok(End::Input);
            }
            _ = look.tick() => {
                tokio::task::block_in_place(|| facts.lanes.let_go(&facts.data_dir));
                if let Some(what) = facts.dead() {
                    return Err(AgentError::Died(what));
                }
            }
        }
    }
}

async fn finish(
    facts: &Facts,
    stop: &CancellationToken,
    end: Result<End, AgentError>,
) -> Result<Ended, AgentError> {
    let result = match end {
        Ok(End::Told(signal)) => {
            tracing::info!(signal, "stopping");
            Ok(Ended::Stopped)
        }
        Ok(End::Reload(new)) => {
            tracing::info!("the configuration has changed: going on with it");
            Ok(Ended::Reload(new))
        }
        Ok(End::Input) => drain(facts).await.map(|()| Ended::Stopped),
        Err(e) => Err(e),
    };
    facts.stopping.store(true, Ordering::Relaxed);
    stop.cancel();
    if let Some(sources) = facts.sources.get() {
        sources.stopped().await;
    }
    result
}

/// Standard input has ended: waits until every destination has everything, or a signal comes.
async fn drain(facts: &Facts) -> Result<(), AgentError> {
    let mut signals = Signals::new()?;
    let all = async {
        for open in facts.lanes.iter() {
            let last = open.lane.durable();
            for delivery in &open.deliveries {
                delivery.settled(last).await;
            }
        }
    };
    tracing::info!("input ended; delivering what is left");
    tokio::select! {
        () = all => tracing::info!("everything is delivered"),
        signal = signals.next() => tracing::warn!(signal, "stopping before everything is delivered; it stays on disk"),
    }
    Ok(())
}

async fn shut_down(stand: &Stand, facts: &Facts, stop: &CancellationToken) {
    stop.cancel();
    facts.stopping.store(true, Ordering::Relaxed);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for open in stand.lanes.iter() {
                scope.spawn(|| open.lane.close());
            }
        });
        let deadline = Instant::now() + SETTLE;
        std::thread::scope(|scope| {
            for delivery in stand.lanes.deliveries() {
                scope.spawn(move || delivery.close(deadline));
            }
        });
        stand.ledger.close();
    });
    for delivery in stand.lanes.deliveries() {
        delivery.disconnect().await;
    }
    let waiting: u64 = admin::Facts::status(facts).accounts.iter().map(|a| a.pending).sum();
    tracing::info!(waiting, "stopped");
}

const HANGUP: &str = "SIGHUP";

/// The signals that end the agent, or have it look at its configuration.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, AgentError> {
        let listen = |kind| signal(kind).map_err(AgentError::system("listening for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => HANGUP,
        }
    }
}
