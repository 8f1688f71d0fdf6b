//! Everything that must stand before the first event is accepted, in the order it is built.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;

use super::error::AgentError;
use super::found::{Found, Reader, Readied, plans};
use super::lanes::{Lanes, OpenLane};
use super::older::OlderCopy;
use super::opened::Opened;
use super::routed::follow_routes;
use crate::config::model::{Config, Destination};
use crate::config::{LaneTable, RouteTable};
use crate::deliver::{Copies, Crossing, Delivery, Means, Need, Needs, Parts, Progress};
use crate::disk::RealFs;
use crate::ids::DestinationName;
use crate::kafka::SharedPace;
use crate::metrics::Metrics;
use crate::spool::{DataDir, Lane, Life};
use crate::state::homes::{History, HomesFile};
use crate::state::ledger::SledLedger;
use crate::state::letters::{self, Copied, Letters};
use crate::state::positions::StoreError;
use crate::state::routes::RouteHistory;
use crate::state::{handover, orphans};

/// What stands.
pub(super) struct Stand {
    pub(super) data: DataDir,
    pub(super) lanes: Lanes,
    pub(super) ledger: Arc<SledLedger>,
    pub(super) letters: Arc<Letters<RealFs>>,
    copies: Mutex<Option<Means<RealFs>>>,
    copying: Arc<OnceLock<Copies>>,
    pub(super) older: OlderCopy,
    destinations: Vec<Destination>,
}

type Crossings = BTreeMap<DestinationName, (Arc<History>, Arc<Progress>)>;

/// What every delivery is made of.
struct Makings<'a> {
    data: &'a DataDir,
    routes: &'a Arc<RouteTable>,
    ledger: &'a Arc<SledLedger>,
    letters: &'a Arc<Letters<RealFs>>,
    route_history: &'a Arc<RouteHistory>,
    metrics: &'a Arc<Metrics>,
    older: OlderCopy,
    runtime: &'a Handle,
    paces: BTreeMap<DestinationName, SharedPace>,
    crossings: Crossings,
}

impl Stand {
    /// Opens the data directory and everything in it, and starts the deliveries, which wait for [`Stand::go`].
    pub(super) fn build(
        config: &Config,
        routes: &Arc<RouteTable>,
        metrics: &Arc<Metrics>,
        runtime: &Handle,
    ) -> Result<Self, AgentError> {
        let data = DataDir::open(RealFs, &config.relay.data_dir)?;
        rename(&data, &config.destinations)?;
        let homes = Arc::new(LaneTable::new(&config.streams)?);
        let (mut file, mut history) = HomesFile::open(&RealFs, data.path(), data.spool_id())?;
        let on_disk = data.lane_names()?;
        let found = plans(config, &data, &on_disk)?.into_iter().map(|plan| {
            let name = &plan.lane.name;
            let wanted = |d: &Destination| {
                plan.draining
                    || routes.reaches(&d.name, &homes, name)
                    || history.reaches(routes, &d.name, name, on_disk.contains(name))
            };
            Found::open(&data, &plan, &config.destinations, wanted, (&history, metrics))
        });
        let found = found.collect::<Result<Vec<_>, _>>()?;
        if found.iter().any(|f| f.is_rolled_back) {
            data.note_rolled_back()?;
        }
        data.note_opening();
        metrics.incarnation_changed.set(changed_at(data.life()));
        let ends = found.iter().map(|f| (f.lane.name().clone(), f.lane.durable().next()));
        history.begin(&config.streams, ends.collect())?;
        let ledger = SledLedger::start(config.relay.data_dir.join("ledger"));
        let ledger = Arc::new(ledger.map_err(AgentError::system("starting the ledger's thread"))?);
        let counted = found.iter().flat_map(Found::opened).map(Opened::last_letter).max();
        let letters = letters(&data, config, counted.unwrap_or_default())?;
        put_orphans_back(&data, config, &letters);
        let mut readied = found.into_iter().map(|found| found.ready(&data)).collect::<Result<Vec<_>, _>>()?;
        history.forget(|lane, below| readied.iter().all(|r| r.is_past(None, lane, below)));
        // DURABILITY: before anything is taken in a lane that it was not taken in before.
        file.keep_if_it_can_be(&history)?;
        let route_history = Arc::new(follow_routes(&data, config, &mut readied)?);
        let crossings = crossings(&history, &readied, &config.destinations);
        let older = OlderCopy::default();
        let makings = Makings {
            data: &data,
            routes,
            route_history: &route_history,
            ledger: &ledger,
            letters: &letters,
            metrics,
            older: older.clone(),
            runtime,
            paces: config
                .destinations
                .iter()
                .map(|d| (d.name.clone(), SharedPace::new(d.max_rate)))
                .collect(),
            crossings,
        };
        let lanes = readied.into_iter().map(|readied| makings.start(readied)).collect::<Result<_, _>>()?;
        let copies = Mutex::new(copies(&data, config, &letters, (metrics, runtime)));
        let (copying, destinations) = (Arc::default(), config.destinations.clone());
        Ok(Self {
            lanes: Lanes::new(lanes, homes),
            data,
            ledger,
            letters,
            copies,
            copying,
            older,
            destinations,
        })
    }
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

/// Nobody will send letters that were being sent again by a destination that is forgotten.
fn put_orphans_back(data: &DataDir, config: &Config, letters: &Letters<RealFs>) {
    let heir = |old: &DestinationName| config.heir(old).map(|d| &d.name);
    match orphans::put_back(&RealFs, data.path(), data.spool_id(), letters, heir) {
        Ok(0) => {}
        Ok(count) => tracing::info!(
            count,
            "dead letters that a destination was sending again which is forgotten by now are dead letters as before"
        ),
        Err(error) => {
            tracing::error!(%error, "dead letters that nobody sends any more can't be put back; they are listed nowhere until a start can");
        }
    }
}

impl Stand {
    /// Begins to deliver.
    pub(super) fn go(&self) {
        self.lanes.deliveries().for_each(Delivery::go);
        let means = self.copies.lock().unwrap_or_else(PoisonError::into_inner).take();
        match means.map(|means| Copies::start(means, &self.destinations)).transpose() {
            Ok(Some(copies)) => drop(self.copying.set(copies)),
            Ok(None) => {}
            Err(error) => say_uncopied(&error),
        }
    }

    /// What copies dead letters, if something does.
    pub(super) fn copying(&self) -> Arc<OnceLock<Copies>> {
        Arc::clone(&self.copying)
    }
}

fn say_uncopied(error: &impl std::fmt::Display) {
    tracing::error!(%error, "dead letters are not copied to their topic; they stay on disk");
}

/// What copies dead letters to their topic, if they have one.
fn copies(
    data: &DataDir,
    config: &Config,
    letters: &Arc<Letters<RealFs>>,
    (metrics, runtime): (&Arc<Metrics>, &Handle),
) -> Option<Means<RealFs>> {
    let topic = config.dead_letters.topic.clone()?;
    let copied = match Copied::open(&RealFs, data.path(), data.spool_id()) {
        Ok(copied) => copied,
        Err(error) => {
            // Nothing beside the log keeps the agent from starting.
            say_uncopied(&error);
            return None;
        }
    };
    Some(Means {
        topic,
        letters: Arc::clone(letters),
        copied,
        incarnation: data.life().incarnation,
        metrics: Arc::clone(metrics),
        runtime: runtime.clone(),
    })
}

/// Destinations that have another name now take over what is known under the old one.
fn rename(data: &DataDir, destinations: &[Destination]) -> Result<(), AgentError> {
    handover::finish(&RealFs, data.path()).map_err(StoreError::from)?;
    for destination in destinations {
        let Some(old) = &destination.renamed_from else { continue };
        let names = (old, &destination.name);
        let both =
            handover::take_over(&RealFs, data.path(), data.spool_id(), names).map_err(StoreError::from)?;
        for lane in both {
            tracing::warn!(
                %lane,
                destination = %destination.name,
                renamed_from = %old,
                "both names are known, so nothing is taken over: what the old one has not received stays on disk until it is configured again, or given up with `spoolway destination forget`"
            );
        }
    }
    Ok(())
}

/// For each destination for which a stream's events may wait in two lanes, what its deliveries have to know.
fn crossings(history: &History, lanes: &[Readied<'_>], destinations: &[Destination]) -> Crossings {
    let mut crossings = Crossings::new();
    for Destination { name, .. } in destinations {
        let mut history = history.clone();
        history.forget(|lane, below| lanes.iter().all(|r| r.is_past(Some(name), lane, below)));
        if !history.is_settled() {
            let readers =
                lanes.iter().filter(|r| r.readers.iter().any(|reader| reader.destination.name == *name));
            let progress = Progress::new(readers.map(|r| r.lane.name().clone()));
            crossings.insert(name.clone(), (Arc::new(history), Arc::new(progress)));
        }
    }
    crossings
}

/// Seconds since 1970; 0 while it is the directory's first life.
fn changed_at(life: Life) -> i64 {
    life.cause.advice().map_or(0, |_| life.since / 1000)
}

impl Makings<'_> {
    /// Starts the deliveries of a lane.
    fn start(&self, readied: Readied<'_>) -> Result<OpenLane, AgentError> {
        let Readied { lane, draining, first, readers, held, stood, strangers: left, .. } = readied;
        let needed = readers.iter().map(|r| {
            let Destination { name, required, .. } = r.destination;
            (name.clone(), Need { from: r.positions.needed_from(), required: *required })
        });
        let needs = Arc::new(Needs::new(needed.chain(held)));
        let deliveries = readers.into_iter().map(|reader| {
            // Where something is still known under the old name, that was not taken over.
            let formerly = reader.destination.renamed_from.clone();
            let formerly = formerly.filter(|old| left.iter().all(|stranger| stranger.name != *old));
            self.deliver((&lane, first), &needs, (reader, formerly))
        });
        let deliveries = deliveries.collect::<Result<Vec<_>, _>>();
        let deliveries = deliveries.map_err(AgentError::system("starting a delivery's thread"))?;
        Ok(OpenLane { lane, draining, deliveries, needs, held: stood })
    }

    fn deliver(
        &self,
        (lane, first): (&Lane, bool),
        needs: &Arc<Needs>,
        (reader, formerly): (Reader<'_>, Option<DestinationName>),
    ) -> io::Result<Delivery> {
        let Reader { destination, opened, positions, in_doubt } = reader;
        let (store, park, journal) = opened.into_parts(destination);
        let park = Arc::new(park.bounded(lane.park_size(), lane.settings().reserve));
        let crossing = self.crossings.get(&destination.name).map(|(history, progress)| Crossing {
            lane: lane.name().clone(),
            history: Arc::clone(history),
            progress: Arc::clone(progress),
        });
        Delivery::start(Parts {
            lane,
            destination,
            formerly,
            routes: Arc::clone(self.routes),
            route_history: Arc::clone(self.route_history),
            store,
            positions,
            letters: Arc::clone(self.letters),
            park,
            journal,
            in_doubt,
            renewed: self.data.is_renewed(),
            judge: self.older.judge(self.data, lane, destination, self.metrics),
            incarnation: self.data.life().incarnation,
            crossing,
            pace: self
                .paces
                .get(&destination.name)
                .map_or_else(|| SharedPace::new(destination.max_rate).join(first), |pace| pace.join(first)),
            needs: Arc::clone(needs),
            ledger: Arc::clone(self.ledger) as Arc<_>,
            metrics: Arc::clone(self.metrics),
            runtime: self.runtime.clone(),
        })
    }
}
