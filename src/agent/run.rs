//! From a configuration to a running agent, and to its end.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::facts::Facts;
use super::forgotten::Forgotten;
use super::process::{Configured, Process, Reread, Rereading};
use super::rereads::{Files, Wish};
use super::routes_set::RoutesSet;
use super::signals::HANGUP;
use super::stand::Stand;
use super::stop::shut_down;
use crate::admin;
use crate::config::RouteTable;
use crate::config::model::{Config, MAIN_LANE};
use crate::disk::{Patient, RealFs};
use crate::metrics::Metrics;
use crate::shape::{Door, Limits};
use crate::source::Sources;
use crate::state::overrides::Overrides;

/// How long a start asks a disk again that can't be read. The unit gives a start ten minutes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often threads are looked after.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Why the agent ends.
enum End {
    /// Somebody said so.
    Told(&'static str),
    /// Standard input ended, and everything of it is accepted.
    Input,
    /// To go on with another configuration.
    Reload(Box<Configured>),
    /// To go on with the same one, by routes that were set.
    Routes(Box<Configured>),
}

/// What becomes of an agent that has ended in good order.
pub(super) enum Ended {
    Stopped,
    Reload(Box<Configured>),
}

/// Runs the agent until it is told to stop or to go on with another configuration, or its only input has ended and all of
/// it is delivered. `stood` is set when it stands.
pub(super) async fn serve(
    configured: &Configured,
    process: &mut Process,
    reread: Option<&Rereading>,
    stood: &mut bool,
) -> Result<Ended, AgentError> {
    let overrides = process
        .overrides
        .get_or_insert_with(|| Overrides::read(&configured.config.relay.data_dir, &configured.effective));
    let overrides = overrides.clone();
    let config = &overrides.applied(&configured.config);
    let metrics = Arc::clone(&process.metrics);
    let routes = Arc::new(RouteTable::new(config)?);
    let handle = Handle::current();
    let stand = {
        let _patient = Patient::at_most(PATIENCE);
        tokio::task::block_in_place(|| Stand::build(config, &routes, &metrics, &handle))?
    };
    if process.overrides_unkept {
        tokio::task::block_in_place(|| overrides.keep(&RealFs, &config.relay.data_dir))?;
        process.overrides_unkept = false;
    }
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let facts = Arc::new(Facts {
        id: config.relay.id.clone(),
        data_dir: config.relay.data_dir.clone(),
        life: stand.data.life(),
        older: stand.older.clone(),
        started: process.began,
        lanes: stand.lanes.clone(),
        ledger: Arc::clone(&stand.ledger),
        letters: Arc::clone(&stand.letters),
        sources: OnceLock::new(),
        stopping: false.into(),
        table: RoutesSet::new(configured, config, overrides),
    });
    // The admin server outlives the sources, so that a stop can be watched.
    let told = Arc::clone(&facts) as Arc<dyn admin::Facts>;
    let admin = admin::Server::start(&config.admin, told, Arc::clone(&metrics), admin_stop.clone());
    let started = match &admin {
        Ok(_) => start(config, &stand, &facts, &routes, &metrics, &stop),
        Err(_) => Ok(()),
    };
    let result = match started {
        Ok(()) if admin.is_ok() => {
            *stood = true;
            // Nothing is delivered by a configuration that does not stand.
            stand.go();
            say_ready(config, &facts);
            process.manager.ready();
            let end = until_end(&facts, process, (configured, reread)).await;
            finish(&facts, &stop, process, end).await
        }
        started => started.map(|()| Ended::Stopped),
    };
    process.left = shut_down(&stand, &facts, &stop).await;
    admin_stop.cancel();
    admin?.stopped().await;
    result
}

fn start(
    config: &Config,
    stand: &Stand,
    facts: &Arc<Facts>,
    routes: &Arc<RouteTable>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<(), AgentError> {
    let named = config.named_streams();
    let door = Door::new(stand.lanes.clone(), Arc::clone(routes), Limits::from(&config.spool), named);
    let sources = Sources::start(&config.sources, &config.spool, &Arc::new(door), metrics, stop)?;
    // Set once: `start` is called once.
    facts.sources.get_or_init(|| sources);
    Ok(())
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

async fn until_end(
    facts: &Facts,
    process: &mut Process,
    (configured, reread): (&Configured, Option<&Rereading>),
) -> Result<End, AgentError> {
    let Some(sources) = facts.sources.get() else { return Ok(End::Told("nothing to do")) };
    let mut look = tokio::time::interval(process.manager.pace(LOOK_AFTER));
    let (mut forgotten, mut files) = (Forgotten::default(), Files::default());
    loop {
        // While a disk hangs under a lane, the agent would stop for other routes or another configuration, and could not start with them. While
        // a route is written down it would start without it.
        let hangs = facts.has_hung();
        let may_end = !hangs && !facts.table.is_changing();
        tokio::select! {
            name = process.signals.next() => match reread.filter(|_| name == HANGUP) {
                None => return Ok(End::Told(name)),
                Some(_) => {
                    process.manager.reloading();
                    process.wish = Wish::Wanted;
                    if hangs {
                        tracing::error!("a disk does not answer: the configuration is looked at once it does");
                    } else if !may_end {
                        tracing::warn!("a route is being written down: the configuration is taken over once it is");
                    }
                }
            },
            () = facts.table.changed(), if may_end => match facts.table.leave() {
                Some(overrides) => {
                    process.manager.reloading();
                    process.overrides_before = process.overrides.replace(overrides);
                    return Ok(End::Routes(Box::new(configured.clone())));
                }
                // The next is being written down already.
                None => facts.table.remind(),
            },
            ended = sources.finished() => {
                ended?;
                return Ok(End::Input);
            }
            sum = files.sum.answer() => {
                if process.watch.has_changed(sum) {
                    tracing::info!("the configuration's files have changed");
                    process.wish = Wish::Wanted;
                }
            }
            (sum, found) = files.found.answer(), if may_end => {
                process.wish.answered();
                process.watch.has_changed(sum);
                if let Some(new) = look_again(facts, process, configured, found) {
                    process.manager.still_reloading();
                    return Ok(End::Reload(new));
                }
                if process.wish == Wish::Nothing {
                    process.manager.ready();
                }
            }
            _ = look.tick() => {
                facts.lanes.iter().for_each(|open| open.lane.look_at_disk());
                forgotten.look(&facts.lanes, &facts.data_dir);
                if let Some(what) = facts.dead() {
                    return Err(AgentError::Died(what));
                }
                process.manager.look(Instant::now(), admin::Facts::stalled(facts), || facts.in_a_line());
                if let Some(reread) = reread.filter(|_| configured.config.relay.watch) {
                    files.look(reread);
                }
            }
        }
        if let Some(reread) = reread.filter(|_| !facts.has_hung()) {
            files.read(&mut process.wish, configured, reread);
        }
    }
}

/// The configuration to go on with, if it is another one. What was set above the files before and not pinned is theirs again.
fn look_again(
    facts: &Facts,
    process: &mut Process,
    configured: &Configured,
    found: Reread,
) -> Option<Box<Configured>> {
    let new = configured.look_again((&process.metrics, &facts.table.overrides()), found)?;
    let Some(mut overrides) = facts.table.leave() else {
        // A route has begun to be written down meanwhile: they are looked at once more.
        process.wish = Wish::Wanted;
        return None;
    };
    process.overrides_before = Some(overrides.clone());
    overrides.rebase(&new.effective);
    process.overrides = Some(overrides);
    process.overrides_unkept = true;
    Some(new)
}

async fn finish(
    facts: &Facts,
    stop: &CancellationToken,
    process: &mut Process,
    end: Result<End, AgentError>,
) -> Result<Ended, AgentError> {
    // Before it is said: whoever reads the log may ask next whether events are taken.
    facts.stopping.store(!matches!(end, Ok(End::Input)), Ordering::Relaxed);
    if matches!(end, Ok(End::Told(_)) | Err(_)) {
        process.manager.stopping();
    }
    let result = match end {
        Ok(End::Told(signal)) => {
            tracing::info!(signal, "stopping");
            Ok(Ended::Stopped)
        }
        Ok(End::Reload(new)) => {
            tracing::info!("the configuration has changed: going on with it");
            Ok(Ended::Reload(new))
        }
        Ok(End::Routes(same)) => {
            tracing::info!("routes were set: going on with them");
            Ok(Ended::Reload(same))
        }
        Ok(End::Input) => {
            drain(facts, process).await;
            facts.stopping.store(true, Ordering::Relaxed);
            process.manager.stopping();
            // Whoever pipes something in looks at how it ends, and at no log.
            match facts.sources.get().map_or(0, Sources::rejected) {
                0 => Ok(Ended::Stopped),
                lines => Err(AgentError::LeftOut(lines)),
            }
        }
        Err(e) => Err(e),
    };
    stop.cancel();
    if let Some(sources) = facts.sources.get() {
        sources.stopped().await;
    }
    result
}

/// Standard input has ended: waits until every destination has everything, or a signal comes.
async fn drain(facts: &Facts, process: &mut Process) {
    let Process { signals, manager, .. } = process;
    let all = async {
        for open in facts.lanes.iter() {
            let last = open.lane.durable();
            for delivery in &open.deliveries {
                delivery.settled(last).await;
            }
        }
    };
    let mut all = pin!(all);
    let mut look = tokio::time::interval(manager.pace(LOOK_AFTER));
    tracing::info!("input ended; delivering what is left");
    loop {
        tokio::select! {
            () = &mut all => return tracing::info!("everything is delivered"),
            signal = signals.stop() => {
                return tracing::warn!(signal, "stopping before everything is delivered; it stays on disk");
            }
            _ = look.tick() => manager.look(Instant::now(), admin::Facts::stalled(facts), || facts.in_a_line()),
        }
    }
}
