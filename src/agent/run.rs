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
use crate::config::model::{Config, SourceKind};
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
}

/// Runs the agent until it is told to stop, or its only input has ended and all of it is delivered.
///
/// # Errors
/// [`AgentError`] says what could not be started, or what ended.
pub fn run(config: &Config) -> Result<(), AgentError> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 4);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(AgentError::system("starting the async threads"))?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve(config: &Config) -> Result<(), AgentError> {
    let mut signals = Signals::new()?;
    let metrics = Metrics::new();
    metrics.config_ok.set(1);
    let routes = Arc::new(RouteTable::new(config)?);
    let handle = Handle::current();
    let stand = tokio::task::block_in_place(|| Stand::build(config, &routes, &metrics, &handle))?;
    let stop = CancellationToken::new();
    let facts = Arc::new(Facts {
        id: config.relay.id.clone(),
        life: stand.data.life(),
        started: Instant::now(),
        lanes: stand.lanes.clone(),
        ledger: Arc::clone(&stand.ledger),
        letters: Arc::clone(&stand.letters),
        sources: OnceLock::new(),
        stopping: false.into(),
    });
    let served = start(config, &stand, &facts, &routes, &metrics, &stop);
    let result = match served {
        Ok(_admin) => {
            say_ready(config, &facts);
            let end = until_end(&facts, &mut signals).await;
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
    let lane = facts.lanes.main.status();
    let waiting: u64 = admin::Facts::status(facts).accounts.iter().map(|a| a.pending).sum();
    tracing::info!(
        relay = config.relay.id,
        version = env!("CARGO_PKG_VERSION"),
        incarnation = %facts.life.incarnation,
        data_dir = %config.relay.data_dir.display(),
        durable_seq = lane.durable_seq.0,
        waiting,
        "ready"
    );
}

async fn until_end(facts: &Facts, signals: &mut Signals) -> Result<End, AgentError> {
    let Some(sources) = facts.sources.get() else { return Ok(End::Told("nothing to do")) };
    let mut look = tokio::time::interval(LOOK_AFTER);
    loop {
        tokio::select! {
            name = signals.next() => return Ok(End::Told(name)),
            ended = sources.finished() => {
                ended?;
                return Ok(End::Input);
            }
            _ = look.tick() => {
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
) -> Result<(), AgentError> {
    let result = match end {
        Ok(End::Told(signal)) => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(End::Input) => drain(facts).await,
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
    let last = facts.lanes.main.durable();
    let mut signals = Signals::new()?;
    let all = async {
        for delivery in facts.lanes.deliveries.iter() {
            delivery.settled(last).await;
        }
    };
    tracing::info!(durable_seq = last.0, "input ended; delivering what is left");
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
        stand.lanes.main.close();
        let deadline = Instant::now() + SETTLE;
        std::thread::scope(|scope| {
            for delivery in stand.lanes.deliveries.iter() {
                scope.spawn(move || delivery.close(deadline));
            }
        });
        stand.ledger.close();
    });
    for delivery in stand.lanes.deliveries.iter() {
        delivery.disconnect().await;
    }
    let waiting: u64 = admin::Facts::status(facts).accounts.iter().map(|a| a.pending).sum();
    tracing::info!(waiting, "stopped");
}

/// The signals that end the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, AgentError> {
        let listen = |kind| signal(kind).map_err(AgentError::system("listening for signals"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
