//! The delivery of one lane to one destination, as the agent sees it.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::board::Board;
use super::counts::Counts;
use super::crossing::Crossing;
use super::engine::{Engine, Limits, Router, Settings, Sink, is_rerouted, make_one};
use super::graves;
use super::inbox::Inbox;
use super::needs::Needs;
use super::parked::ParkedLog;
use super::scribe::Scribe;
use super::ways::Ways;
use super::worker::{Judge, Names, Worker};
use crate::config::RouteTable;
use crate::config::model::{Destination, InDoubt};
use crate::disk::Fs;
use crate::event::UnixMillis;
use crate::ids::{DestinationName, Incarnation, Seq, StreamName, TopicName};
use crate::kafka::{Observer, Pace, Producer, Window};
use crate::metrics::Metrics;
use crate::spool::Lane;
use crate::state::journal::{Intent, Journal, JournalError};
use crate::state::ledger::Ledger;
use crate::state::letters::{Letter, Letters};
use crate::state::park::Park;
use crate::state::positions::{Positions, Store, StoreError};
use crate::state::routes::RouteHistory;

/// The producer's task and the delivery's thread come round within this.
const ABANDONING: Duration = Duration::from_secs(3);
const LOOK_FOR_CLOSE: Duration = Duration::from_millis(20);

/// When this program was written, or before: the first of January 2026.
const WRITTEN: UnixMillis = 1_767_225_600_000;

/// What a delivery is made of.
pub struct Parts<'a, F: Fs> {
    /// Where events come from.
    pub lane: &'a Lane<F>,
    /// Where they go.
    pub destination: &'a Destination,
    /// The name it had, if it has taken over what was known under that in this lane.
    pub formerly: Option<DestinationName>,
    /// Which of them, under which topics.
    pub routes: Arc<RouteTable>,
    /// Which of those that were accepted under other routes.
    pub route_history: Arc<RouteHistory>,
    /// The file of its positions.
    pub store: Store<F>,
    /// Where it goes on.
    pub positions: Positions,
    /// Where windows are written down before they are sent; `None` with `delivery = "at-least-once"`.
    pub journal: Option<Journal<F>>,
    /// Where events go that will never arrive.
    pub letters: Arc<Letters<F>>,
    /// Where events wait for topics that will not have them for now.
    pub park: Arc<Park<F>>,
    /// What an earlier process left in doubt.
    pub in_doubt: Vec<Intent>,
    /// Counters of an earlier process are another life's.
    pub renewed: bool,
    /// Knows what the log has given out.
    pub judge: Judge,
    /// Under which incarnation events go out.
    pub incarnation: Incarnation,
    /// Where the destination's other lanes matter: a stream has moved between them.
    pub crossing: Option<Crossing>,
    /// The lane's share of what may be sent to the destination.
    pub pace: Pace,
    /// Shared by the deliveries of the lane.
    pub needs: Arc<Needs>,
    /// Where finished segments are noted.
    pub ledger: Arc<dyn Ledger>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where connections live.
    pub runtime: Handle,
}

/// A running delivery.
#[derive(Debug)]
pub struct Delivery {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    names: Names,
    producer: Producer,
    settled: watch::Receiver<Seq>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What the thread waits for before it begins.
    go: Mutex<Option<SyncSender<()>>>,
}

/// One that nobody has closed ends by itself, and does nothing if it has not begun.
impl Drop for Delivery {
    fn drop(&mut self) {
        self.inbox.close(Instant::now());
    }
}

impl Sink for Producer {
    fn send(&self, window: Window) {
        Producer::send(self, window);
    }

    fn track(&self, topic: TopicName) {
        Producer::track(self, topic);
    }

    fn renew(&self) {
        Producer::renew(self);
    }

    fn recall_unsent(&self) {
        // How many come back is seen by their outcomes.
        drop(Producer::recall(self, false));
    }
}

impl Delivery {
    /// Starts the delivery's thread, which waits for [`Delivery::go`], and its producer. Never fails because of the cluster.
    ///
    /// # Errors
    /// When the system has no thread or no randomness to give.
    pub fn start<F: Fs>(parts: Parts<'_, F>) -> io::Result<Self> {
        let mut parts = parts;
        let router = router(&parts);
        let routes = parts.route_history.sum(&parts.routes, &parts.destination.name);
        let name = &parts.destination.name;
        let journal = (parts.journal.as_mut(), parts.in_doubt.as_slice());
        follow_routes(name, (&mut parts.positions, routes), &mut parts.store, journal)
            .map_err(io::Error::other)?;
        let Parts { lane, destination, positions, metrics, .. } = parts;
        let names = Names {
            spool: lane.spool_id(),
            lane: lane.name().clone(),
            destination: destination.name.clone(),
            formerly: parts.formerly,
        };
        let inbox = Arc::new(Inbox::default());
        let bell = Arc::clone(&inbox);
        lane.on_durable(Box::new(move |_| bell.durable()));
        let observer: Arc<dyn Observer> = Arc::clone(&inbox) as Arc<dyn Observer>;
        let producer = Producer::start(destination, &metrics, observer, parts.pace, &parts.runtime);
        let board = Arc::new(Board::new(
            names.lane.clone(),
            names.destination.clone(),
            positions.since,
            positions.totals,
        ));
        let needed = positions.needed_from();
        board.post_saved(needed, positions.totals);
        let (settled, settled_rx) = watch::channel(needed);
        let seed = getrandom::u64().map_err(|e| io::Error::other(e.to_string()))?;
        let mut settings = settings(destination, parts.incarnation);
        (settings.journal, settings.renewed, settings.routes) =
            (parts.journal.is_some(), parts.renewed, routes);
        settings.last_change = parts.route_history.last_change();
        let (counted, replaying) = (positions.letters, positions.replaying.clone());
        let log = ParkedLog::new(lane.clone(), Arc::clone(&parts.park));
        let mut engine = Engine::new(log, producer.clone(), settings, router, positions, seed);
        graves::restore(&mut engine, &parts.letters, &names, (counted, &replaying))
            .map_err(io::Error::other)?;
        engine.resume(parts.in_doubt, Instant::now());
        if let Some(crossing) = parts.crossing.clone() {
            engine.set_gate(Box::new(move |stream, topic, seq| crossing.holds(stream, topic, seq)));
        }
        let worker = Worker {
            engine,
            scribe: Scribe::new(parts.journal),
            letters: parts.letters,
            park: parts.park,
            parking: None,
            judge: parts.judge,
            is_older_copy: false,
            inbox: Arc::clone(&inbox),
            board: Arc::clone(&board),
            store: parts.store,
            retention: Box::new(lane.clone()),
            needs: parts.needs,
            crossing: parts.crossing,
            ledger: parts.ledger,
            settled,
            counts: Counts::new(&metrics, &names),
            names: names.clone(),
        };
        let name = format!("deliver {}", destination.name);
        let (go, begun) = mpsc::sync_channel(1);
        let body = move || begun.recv().map_or((), |()| worker.run());
        let thread = std::thread::Builder::new().name(name).spawn(body)?;
        let (thread, go) = (Mutex::new(Some(thread)), Mutex::new(Some(go)));
        Ok(Self { inbox, board, names, producer, settled: settled_rx, thread, go })
    }

    /// What it shows.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Resolves when everything up to `last` is settled; for ever not, if the delivery ends before.
    pub async fn settled(&self, last: Seq) {
        if self.settled.clone().wait_for(|below| *below > last).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Begins to deliver.
    pub fn go(&self) {
        let go = self.go.lock().unwrap_or_else(PoisonError::into_inner).take();
        if go.is_some_and(|go| go.send(()).is_err()) {
            tracing::error!(destination = %self.board.destination(), "the delivery thread has ended before it began");
        }
    }

    /// Whether a dead letter is its own.
    #[must_use]
    pub fn owns(&self, letter: &Letter) -> bool {
        self.names.own(letter)
    }

    /// Sends dead letters of its own again, by their numbers.
    pub fn replay(&self, letters: Vec<u64>) {
        self.inbox.replay(letters);
    }

    /// Gives up what is in doubt: its events go where they are routed, and are counted, since they may have arrived. Blocking;
    /// says how many there were, `None` if there is no answer.
    #[must_use]
    pub fn abandon(&self) -> Option<u64> {
        let (sent, unread) = (self.producer.recall(true), self.inbox.abandon());
        let is_closed = || self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        Some(answer(&sent, is_closed)? + answer(&unread, is_closed)?)
    }

    /// Whether its thread or its producer has ended though nobody closed it.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|t| t.is_finished() || self.producer.has_died())
    }

    /// Delivers what is in windows, `deadline` at the latest, keeps its positions and ends. Blocking.
    pub fn close(&self, deadline: Instant) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inbox.close(deadline);
        drop(self.go.lock().unwrap_or_else(PoisonError::into_inner).take());
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!(destination = %self.board.destination(), "the delivery thread had panicked");
        }
    }

    /// Ends its connections.
    pub async fn disconnect(&self) {
        self.producer.close().await;
    }
}

/// A delivery that is closed meanwhile may never answer, and whoever closes it must not wait for whoever asks it.
fn answer(told: &Receiver<u64>, is_closed: impl Fn() -> bool) -> Option<u64> {
    let until = Instant::now() + ABANDONING;
    loop {
        match told.recv_timeout(LOOK_FOR_CLOSE) {
            Ok(events) => return Some(events),
            Err(RecvTimeoutError::Timeout) if !is_closed() && Instant::now() < until => {}
            Err(_) => return None,
        }
    }
}

/// Goes on by the routes as they are by now.
fn follow_routes<F: Fs>(
    destination: &DestinationName,
    (positions, routes): (&mut Positions, u64),
    store: &mut Store<F>,
    (journal, in_doubt): (Option<&mut Journal<F>>, &[Intent]),
) -> Result<(), RouteError> {
    if !is_rerouted(positions, routes) {
        return Ok(());
    }
    // What comes of it knows less of what has arrived, so the journal must not ask it.
    store.save(positions)?;
    store.sync()?;
    if let Some(journal) = journal {
        journal.begin(in_doubt)?;
    }
    let topics: Vec<_> = positions.sides.iter().map(|s| s.topic.as_str()).collect();
    tracing::info!(
        %destination,
        topics = topics.join(", "),
        "routes have changed, or a topic has lost partitions: what waits for these topics goes the new way"
    );
    make_one(positions);
    Ok(())
}

/// Routes have changed, and the state of delivery can't be brought along.
#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error(transparent)]
    Positions(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn router<F: Fs>(parts: &Parts<'_, F>) -> Router {
    let (name, lane) = (parts.destination.name.clone(), parts.lane.name().clone());
    let (routes, history) = (Arc::clone(&parts.routes), Arc::clone(&parts.route_history));
    Box::new(move |stream: &StreamName| {
        let now = routes.topic_for(stream, &name).unwrap_or_else(|error| {
            tracing::error!(%stream, destination = %name, %error, "the route's topic name is not valid for this stream: its events count as filtered");
            None
        });
        Ways { now, before: history.ways(&lane, stream, &name), share: history.share(&lane, stream, &name) }
    })
}

fn settings(destination: &Destination, incarnation: Incarnation) -> Settings {
    Settings {
        compression: destination.compression,
        partitioner: destination.partitioner,
        timestamp: destination.timestamp,
        timestamp_max_age: destination.timestamp_max_age,
        earliest: WRITTEN,
        linger: destination.linger,
        batch_size: destination.batch_size,
        header: destination.header.then_some(incarnation),
        routes: 0,
        last_change: 0,
        holds_in_doubt: destination.in_doubt == InDoubt::Hold,
        missing_topic_after: destination.missing_topic_after,
        journal: false,
        renewed: false,
        limits: Limits::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::{Faulty, Syncs};
    use crate::ids::{LaneName, SpoolId};
    use crate::state::positions::{Restored, Side};
    use std::path::Path;

    #[test]
    fn where_everybody_stood_is_durable_before_the_journal_forgets_it_for_other_routes() {
        let (spool, name) = (SpoolId(7), DestinationName::new("home").unwrap());
        let lane = LaneName::new("main").unwrap();
        let side = Side {
            topic: TopicName::new("t").unwrap(),
            from: Seq(2),
            position: Seq(3),
            end: None,
            waiting: 1,
            since: 0,
            dropped: false,
            missing_for: 0,
            streams: Vec::new(),
            apart: Vec::new(),
        };
        let apart = Positions { routes: 1, sides: vec![side], ..Positions::fresh(spool, Seq(9)) };
        let store = |fs: &_, dir: &Path| Store::open(fs, dir, spool, &lane, &name).unwrap();
        let journal = |fs: &_, dir: &Path| Journal::open(fs, dir, spool, &lane, &name).0;
        let prepare = |dir: &Path| {
            store(&Faulty::new(), dir);
            let mut journal = journal(&Faulty::new(), dir);
            journal.prepare().unwrap();
            journal.begin([]).unwrap();
        };
        let followed = Syncs::made_by(prepare, |fs, dir| {
            let (mut positions, mut store, mut journal) = (apart.clone(), store(fs, dir).0, journal(fs, dir));
            let followed = follow_routes(&name, (&mut positions, 2), &mut store, (Some(&mut journal), &[]));
            assert_eq!(positions.sides.is_empty(), followed.is_ok());
            followed
        });
        // Positions and the journal; the names of both with those on the way.
        assert_eq!(followed, Syncs::of(2, 3 + 3));
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (mut same, mut file) = (apart, store(&Faulty::new(), dir.path()).0);
        follow_routes(&name, (&mut same, 1), &mut file, (None, &[])).unwrap();
        assert_eq!((same.sides.len(), store(&Faulty::new(), dir.path()).1), (1, Restored::Nothing));
    }
    #[test]
    fn whoever_asks_a_delivery_that_is_closed_meanwhile_does_not_wait_for_it() {
        let (asked, told) = mpsc::sync_channel(1);
        let began = Instant::now();
        assert_eq!(answer(&told, || true), None);
        assert!(began.elapsed() < ABANDONING, "{:?}", began.elapsed());
        asked.send(7).unwrap();
        assert_eq!(answer(&told, || true), Some(7), "what has been answered counts");
    }
}
