//! Everything that must stand before the first event is accepted, in the order it is built.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::error::AgentError;
use super::lanes::Lanes;
use crate::config::RouteTable;
use crate::config::model::{self as config, Config, Destination};
use crate::deliver::{Delivery, Needs, Parts};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, Seq};
use crate::metrics::Metrics;
use crate::sabotage::{self, Bug};
use crate::spool::{DataDir, Lane, Life};
use crate::state::journal::{self, Found, Intent, Journal};
use crate::state::ledger::SledLedger;
use crate::state::letters::{self, Letters};
use crate::state::positions::{self, Positions, Restored, Store, Unusable};
use crate::state::routes::RouteHistory;

/// What stands.
pub(super) struct Stand {
    pub(super) data: DataDir,
    pub(super) lanes: Lanes,
    pub(super) ledger: Arc<SledLedger>,
    pub(super) letters: Arc<Letters<RealFs>>,
}

/// A positions file, opened, and what it said.
struct Opened {
    store: Store<RealFs>,
    restored: Restored,
    journal: Journal<RealFs>,
    /// What the journal says.
    intents: Vec<Intent>,
}

impl Stand {
    /// Opens the data directory and everything in it, and starts the deliveries.
    pub(super) fn build(
        config: &Config,
        routes: &Arc<RouteTable>,
        metrics: &Arc<Metrics>,
        runtime: &Handle,
    ) -> Result<Self, AgentError> {
        let data = DataDir::open(RealFs, &config.relay.data_dir)?;
        let name = Config::main_lane();
        let opened = open_positions(&data, &name, &config.destinations)?;
        let forgotten = unconfigured(&data, &name, &config.destinations)?;
        let known = opened.iter().chain(forgotten.iter().map(|(_, o)| o));
        let blind = sabotage::commits(Bug::PositionBeyondTheLog);
        let highest = known.filter_map(Opened::highest).filter(|_| !blind);
        let at_least = highest.max().unwrap_or(Seq::FIRST);
        let lane = Lane::open(&data, name, &config.spool, at_least, Arc::clone(metrics))?;
        if lane.was_behind(at_least) || lane.was_behind_its_floor() {
            data.note_rolled_back()?;
        }
        data.note_opening();
        metrics.incarnation_changed.set(changed_at(data.life()));
        let ledger = SledLedger::start(config.relay.data_dir.join("ledger"));
        let ledger = Arc::new(ledger.map_err(AgentError::system("starting the ledger's thread"))?);
        let counted = opened.iter().chain(forgotten.iter().map(|(_, o)| o)).map(Opened::last_letter).max();
        let letters = letters(&data, config, counted.unwrap_or_default())?;
        let goes_on = config.destinations.iter().zip(opened);
        let goes_on: Vec<_> = goes_on
            .map(|(destination, opened)| {
                let (positions, in_doubt) = opened.positions(&data, &lane, destination);
                (destination, opened, positions, in_doubt)
            })
            .collect();
        let route_history = route_history(&data, config, &lane, &goes_on)?;
        let needed = goes_on.iter().map(|(d, _, p, _)| (d.name.clone(), p.needed_from()));
        let needs = Arc::new(Needs::new(needed.chain(held_for(&forgotten, &lane))));
        let mut deliveries = Vec::new();
        for (destination, opened, positions, in_doubt) in goes_on {
            let journal = with_journal(destination, opened.journal);
            let delivery = Delivery::start(Parts {
                lane: &lane,
                destination,
                routes: Arc::clone(routes),
                route_history: Arc::clone(&route_history),
                store: opened.store,
                positions,
                letters: Arc::clone(&letters),
                journal,
                in_doubt,
                renewed: data.is_renewed(),
                incarnation: data.life().incarnation,
                needs: Arc::clone(&needs),
                ledger: Arc::clone(&ledger) as Arc<_>,
                metrics: Arc::clone(metrics),
                runtime: runtime.clone(),
            });
            deliveries.push(delivery.map_err(AgentError::system("starting a delivery's thread"))?);
        }
        let lanes = Lanes { main: lane, deliveries: Arc::new(deliveries) };
        Ok(Self { data, lanes, ledger, letters })
    }
}

/// The routes as they were when what waits was accepted.
fn route_history(
    data: &DataDir,
    config: &Config,
    lane: &Lane,
    goes_on: &[(&Destination, Opened, Positions, Vec<Intent>)],
) -> Result<Arc<RouteHistory>, AgentError> {
    let ends = [(lane.name().clone(), lane.durable().next())].into();
    let is_past = |_: &LaneName, until| goes_on.iter().all(|(_, _, p, _)| p.needed_from() >= until);
    let routes = config.all_routes();
    let history = RouteHistory::begin(&RealFs, data.path(), data.spool_id(), &routes, &ends, is_past);
    Ok(Arc::new(history?))
}

/// The store of dead letters; new ones get numbers above `counted`.
fn letters(data: &DataDir, config: &Config, counted: u64) -> Result<Arc<Letters<RealFs>>, AgentError> {
    let settings = letters::Settings {
        max_size: config.dead_letters.max_size,
        max_event_size: config.spool.max_event_size,
    };
    let opened = Letters::open(&RealFs, data.path(), data.spool_id(), settings, counted + 1);
    Ok(Arc::new(opened?))
}

/// The journal, where the destination is to have one. One that is not kept any more goes away: kept again later, it would
/// speak of windows whose events have been sent otherwise since.
fn with_journal(destination: &Destination, journal: Journal<RealFs>) -> Option<Journal<RealFs>> {
    let name = destination.name.as_str();
    if destination.delivery == config::Delivery::AtLeastOnce {
        if let Err(error) = journal.discard() {
            tracing::warn!(destination = name, %error, "a journal that is kept no more could not be removed");
        }
        return None;
    }
    if let Err(error) = journal.prepare() {
        tracing::error!(destination = name, %error, "the journal can't be made; it is tried again before anything is sent");
    }
    Some(journal)
}

/// Seconds since 1970; 0 while it is the directory's first life.
fn changed_at(life: Life) -> i64 {
    life.cause.advice().map_or(0, |_| life.since / 1000)
}

impl Opened {
    /// The highest number it names: new events must not be given one below.
    fn highest(&self) -> Option<Seq> {
        let positions = match &self.restored {
            Restored::Positions(positions) => Some(positions.highest()),
            _ => None,
        };
        positions.max(Some(journal::highest(&self.intents)).filter(|h| *h > Seq::NONE))
    }

    /// Number of the last dead letter it counts.
    fn last_letter(&self) -> u64 {
        match &self.restored {
            Restored::Positions(positions) => positions.letters,
            _ => 0,
        }
    }

    /// Whether it names events that the log never had, or has no more.
    fn is_ahead_of(&self, lane: &Lane) -> bool {
        let blind = sabotage::commits(Bug::PositionBeyondTheLog);
        !blind && self.highest().is_some_and(|highest| lane.was_behind(highest))
    }

    /// Where it goes on, and what it has to settle first.
    fn positions(&self, data: &DataDir, lane: &Lane, destination: &Destination) -> (Positions, Vec<Intent>) {
        let mut positions = self.restored_positions(data, lane, destination.name.as_str());
        // Where the positions begin anew, everything is to be sent, whatever was known before.
        let goes_on = matches!(self.restored, Restored::Positions(_)) && !self.is_ahead_of(lane);
        let usable = destination.delivery == config::Delivery::ExactlyOnce && goes_on;
        let intents = if usable { self.intents.clone() } else { Vec::new() };
        let in_doubt = journal::fold(&mut positions, intents);
        if data.is_renewed() {
            // The other life may count on: this one begins counters of its own.
            positions.counters.clear();
        }
        (positions, in_doubt)
    }

    fn restored_positions(&self, data: &DataDir, lane: &Lane, destination: &str) -> Positions {
        match &self.restored {
            // INVARIANT: the log is the only truth. A position that does not fit it belongs to another past of it,
            // so it proves of no event that is there that it was delivered.
            Restored::Positions(positions) if self.is_ahead_of(lane) => {
                tracing::error!(
                    destination,
                    position = positions.position.0,
                    "the positions file is ahead of the log: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), lane.first())
            }
            Restored::Positions(positions) => (**positions).clone(),
            Restored::Nothing => Positions::fresh(data.spool_id(), lane.first()),
            Restored::Unusable(why) => {
                tracing::error!(
                    destination,
                    %why,
                    "the positions file can't be used: everything on disk is sent again, and its counts start anew"
                );
                Positions::fresh(data.spool_id(), lane.first())
            }
        }
    }
}

fn open_positions(
    data: &DataDir,
    lane: &LaneName,
    destinations: &[Destination],
) -> Result<Vec<Opened>, AgentError> {
    destinations.iter().map(|d| open_one(data, lane, &d.name)).collect()
}

fn open_one(data: &DataDir, lane: &LaneName, name: &DestinationName) -> Result<Opened, AgentError> {
    let (store, restored) = Store::open(&RealFs, data.path(), data.spool_id(), lane, name)?;
    let (journal, Found { intents, damaged }) =
        Journal::open(&RealFs, data.path(), data.spool_id(), lane, name);
    if damaged {
        tracing::error!(
            destination = %name,
            "the journal can't be read: what was in flight when the agent last stopped may arrive twice"
        );
    }
    Ok(Opened { store, restored, journal, intents })
}

/// Positions of destinations that are not configured any more: what they need stays on disk.
fn unconfigured(
    data: &DataDir,
    lane: &LaneName,
    destinations: &[Destination],
) -> Result<Vec<(DestinationName, Opened)>, AgentError> {
    let directory = positions::directory(data.path(), lane);
    let names = positions::names(&RealFs, &directory)
        .into_iter()
        .filter(|name| destinations.iter().all(|d| d.name != *name));
    names.map(|name| open_one(data, lane, &name).map(|opened| (name, opened))).collect()
}

/// What destinations that are not configured any more still need.
fn held_for<'a>(
    forgotten: &'a [(DestinationName, Opened)],
    lane: &'a Lane,
) -> impl Iterator<Item = (DestinationName, Seq)> + 'a {
    forgotten.iter().filter_map(|(name, opened)| {
        let needed = match &opened.restored {
            Restored::Positions(positions) if !opened.is_ahead_of(lane) => positions.needed_from(),
            // It is not known what it still needs, so all of it may be.
            Restored::Positions(_) | Restored::Unusable(Unusable::Damaged | Unusable::Content(_)) => lane.first(),
            Restored::Unusable(_) | Restored::Nothing => return None,
        };
        let waiting = lane.durable().next().0.saturating_sub(needed.0);
        tracing::warn!(
            destination = %name,
            waiting,
            "this destination is no longer configured; what it has not received stays on disk until it is configured again or its positions file is deleted"
        );
        Some((name.clone(), needed))
    })
}
