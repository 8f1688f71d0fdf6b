//! An engine between a log and a cluster, and everything that happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::super::parked::ParkedLog;
use super::super::super::ways::Ways;
use super::super::letters::Grave;
use super::super::{Engine, Group, Limits, Now, Router, Settings, Wake, is_rerouted, make_one, splitmix};
use super::cluster::{Cluster, Record, TestSink};
use super::log::TestLog;
use super::parking::{self, ModelLog};
use crate::config::model::{KafkaCompression, Partitioner, TimestampPolicy};
use crate::disk::sim::SimFs;
use crate::ids::{DestinationName, Incarnation, LaneName, Seq, SpoolId, StreamName, TopicName};
use crate::kafka::{Outcome, Window};
use crate::state::journal::{Intent, fold};
use crate::state::letters::Stored;
use crate::state::park::Park;
use crate::state::positions::{Positions, Replaying};

pub(super) const SPOOL: SpoolId = SpoolId(1 << 40);
/// Letters that could not be kept are tried again after this.
const LETTERS_AGAIN: Duration = Duration::from_secs(3);

pub(in crate::deliver) fn settings() -> Settings {
    Settings {
        last_change: 0,
        compression: KafkaCompression::None,
        partitioner: Partitioner::Java,
        timestamp: TimestampPolicy::Event,
        timestamp_max_age: Duration::from_secs(3600),
        earliest: 0,
        linger: Duration::ZERO,
        batch_size: 800,
        header: Some(Incarnation(SPOOL.0)),
        routes: 1,
        holds_in_doubt: false,
        missing_topic_after: Duration::from_secs(24 * 3600),
        journal: false,
        renewed: false,
        limits: Limits {
            buffer: 4000,
            side_buffer: 2000,
            apart: 4000,
            entries: 12,
            graves: 20,
            stuck_after: Duration::from_secs(3),
        },
    }
}

pub(super) struct World {
    pub(super) log: TestLog,
    pub(super) sink: TestSink,
    pub(super) cluster: Cluster,
    pub(super) engine: Engine<ModelLog, TestSink>,
    pub(super) park: Arc<Park<SimFs>>,
    /// What topics that will not have them for now wait for is parked, and the log forgets it.
    pub(super) parks: bool,
    /// How often the log has forgotten something that is parked.
    pub(super) parked: u64,
    /// Single partitions lose their leaders or freeze, and come back.
    pub(super) partitions: bool,
    /// And topics grow.
    pub(super) grows: bool,
    /// Topics are deleted, and made anew with more or fewer partitions.
    pub(super) shrinks: bool,
    /// Windows that were on their way to a partition when it went.
    pub(super) stranded: usize,
    /// Windows in flight that may have arrived, though nobody answered.
    pub(super) uncertain: BTreeSet<u64>,
    /// How often a partition was apart.
    pub(super) apart: u64,
    /// How often all readers have become one while their process lived.
    pub(super) rejoined: u64,
    /// Keys choose by this from the next start on.
    pub(super) partitioner: Partitioner,
    /// Which is another one at each.
    pub(super) repartitions: bool,
    pub(super) start: Instant,
    pub(super) elapsed: Duration,
    pub(super) random: u64,
    /// Events of windows that were appended though their process never heard of it.
    pub(super) unheard: u64,
    pub(super) lost: BTreeSet<Seq>,
    /// Windows that a process before had sent by other routes, and a person gave up.
    pub(super) given_up_before: u64,
    /// Events of windows that a person has given up though they may have arrived; `None`: nobody does such things.
    pub(super) abandoned: Option<u64>,
    /// Events of windows that a process left in doubt.
    pub(super) in_doubt: u64,
    pub(super) book: Option<Book>,
    /// Windows are written down while the engine goes on, and these are.
    pub(super) beside: bool,
    pub(super) away: Option<Group>,
    pub(super) letters: Store,
    /// Events that were refused by themselves when their process was killed: those behind them have gone on.
    pub(super) condemned: BTreeSet<Seq>,
    pub(super) missing_topic_after: Duration,
    /// From the next start on.
    pub(super) compression: KafkaCompression,
    /// What can't be found out is held.
    pub(super) holds_in_doubt: bool,
    /// Streams that go to another topic than that of their name; they change at every start.
    pub(super) rerouted: Option<Rerouted>,
    /// Nothing takes long, so that events without a key keep their order in a partition too.
    pub(super) swift: bool,
    /// The routes before, the newest first, each with the number after the last event accepted under it.
    pub(super) routes_before: Vec<(Seq, Rerouted)>,
}

/// The topic of each stream; `None`: it is taken no more.
pub(super) type Rerouted = BTreeMap<String, Option<&'static str>>;

/// What is durable with a journal.
#[derive(Clone)]
pub(super) struct Book {
    pub(super) positions: Positions,
    pub(super) intents: Vec<Intent>,
    /// This process has begun a generation of its own.
    pub(super) begun: bool,
    pub(super) control: Option<Control>,
    /// The topics' ids change all the time, as between brokers that know of a new one and brokers that do not.
    pub(super) flips: bool,
    /// See [`Control::WrittenAfterTheSend`].
    pub(super) late: Vec<Intent>,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Control {
    /// A window is written down when the next one is sent.
    WrittenAfterTheSend,
    /// Windows that are written down while the engine goes on leave before they are durable.
    SentWhileWritten,
    /// What is in doubt is sent again under an id of the new process.
    FreshIdentity,
    /// What is in doubt is forgotten, and its events are put into new windows.
    CutAnew,
    /// The reader of a partition no longer knows what was on its way when it was set apart.
    ForgetsWhatWasOnItsWay,
    /// A topic that has grown has other events of its keys in a partition that is apart.
    CountsAnew,
    /// The reader of a partition no longer knows what it has settled beyond its position.
    ForgetsWhatIsSettled,
}

/// The store of dead letters, all of it durable.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) all: Vec<Stored>,
    pub(super) taken: BTreeSet<u64>,
    pub(super) gone: BTreeSet<u64>,
    /// There is no room.
    pub(super) full: bool,
}

impl Store {
    pub(super) fn there(&self) -> impl Iterator<Item = &Stored> {
        self.all.iter().filter(|s| !self.taken.contains(&s.id) && !self.gone.contains(&s.id))
    }

    /// The positions that say that these are letters no more are durable.
    pub(super) fn saved(&mut self, redone: Vec<u64>) {
        self.taken.retain(|id| !redone.contains(id));
        self.gone.extend(redone);
    }
}

impl World {
    /// What a worker does when it begins.
    fn restore_letters(&mut self, (counted, replaying): (u64, Vec<Replaying>)) {
        let ids: BTreeSet<u64> = replaying.iter().filter(|r| !r.has_arrived()).map(|r| r.id).collect();
        let letters = self.letters.all.iter().filter(|s| ids.contains(&s.id)).cloned().collect();
        self.letters.taken.extend(&ids);
        self.engine.restore_redo(&replaying, letters);
        let others: Vec<u64> = self.letters.taken.difference(&ids).copied().collect();
        for id in others {
            self.letters.taken.remove(&id);
            if id <= counted {
                self.letters.gone.insert(id);
            }
        }
        let known: Vec<_> = self
            .letters
            .there()
            .filter(|s| s.id > counted)
            .map(|s| (s.id, s.letter.seq, s.letter.run))
            .collect();
        self.engine.known_letters(known);
    }

    /// What a worker does for dead letters. Returns whether it kept any.
    fn bury(&mut self) -> bool {
        if !self.engine.has_letters(self.now().instant) {
            return false;
        }
        self.settle_journal();
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let further = self.engine.condemn_more(self.now());
        let letters = self.engine.letters(&lane, &home, self.now());
        if letters.is_empty() {
            return further;
        }
        if self.letters.full || self.random(6) == 0 {
            self.refuse_letters();
            return false;
        }
        for letter in letters {
            let id = self.letters.all.len() as u64 + 1;
            self.letters.all.push(Stored { id, letter });
        }
        if self.random(8) == 0 && self.book.is_some() {
            // The letters are durable, and nothing says that they count.
            self.kill();
            return true;
        }
        self.engine.buried(self.letters.all.len() as u64);
        true
    }

    /// They can't be kept for now: whatever topic they are of says that it waits.
    fn refuse_letters(&mut self) {
        self.engine.letters_refused("full", self.now().instant + LETTERS_AGAIN);
        let waiting: Vec<String> = self.engine.view().waiting.into_iter().map(|(topic, _)| topic).collect();
        for topic in self.engine.graves.iter().filter_map(Grave::topic) {
            assert!(waiting.contains(&topic.to_string()), "{topic} does not say that it waits");
        }
    }

    /// A person has a letter sent again.
    pub(super) fn replay(&mut self) {
        let there: Vec<Stored> = self.letters.there().cloned().collect();
        if there.is_empty() || self.book.as_ref().is_some_and(|b| !b.begun) {
            return;
        }
        let stored = there[self.random(there.len())].clone();
        if !self.engine.may_redo(&stored.letter) {
            return;
        }
        let id = stored.id;
        self.engine.begin_redo(vec![stored]);
        if self.book.is_some() && self.random(8) == 0 {
            return self.kill();
        }
        let positions = self.engine.positions(SPOOL);
        if let Some(book) = &mut self.book {
            book.positions = positions;
            self.letters.saved(self.engine.take_redone());
        }
        if self.book.is_some() && self.random(8) == 0 {
            return self.kill();
        }
        self.letters.taken.insert(id);
        self.engine.start_redo();
    }

    pub(super) fn new(seed: u64) -> Self {
        let (log, sink, park) =
            (TestLog::default(), TestSink::default(), Arc::new(parking::open(&SimFs::default())));
        let engine = engine(&log, &park, &sink, Positions::fresh(SPOOL, Seq::FIRST), seed);
        let mut cluster = Cluster { id: 7, ..Cluster::default() };
        cluster.missing.insert(TopicName::new("late").unwrap());
        Self {
            log,
            sink,
            cluster,
            engine,
            park,
            parks: false,
            parked: 0,
            partitions: false,
            grows: false,
            shrinks: false,
            stranded: 0,
            apart: 0,
            rejoined: 0,
            partitioner: settings().partitioner,
            repartitions: false,
            uncertain: BTreeSet::new(),
            start: Instant::now(),
            elapsed: Duration::ZERO,
            random: seed,
            unheard: 0,
            lost: BTreeSet::new(),
            given_up_before: 0,
            abandoned: None,
            in_doubt: 0,
            book: None,
            beside: false,
            away: None,
            letters: Store::default(),
            condemned: BTreeSet::new(),
            missing_topic_after: settings().missing_topic_after,
            compression: settings().compression,
            holds_in_doubt: false,
            rerouted: None,
            routes_before: Vec::new(),
            swift: false,
        }
    }

    /// One that writes windows down before it sends them.
    pub(super) fn exact(seed: u64, control: Option<Control>) -> Self {
        let mut world = Self::new(seed);
        let positions = Positions::fresh(SPOOL, Seq::FIRST);
        world.book = Some(Book {
            positions,
            intents: Vec::new(),
            begun: false,
            control,
            flips: false,
            late: Vec::new(),
        });
        world.start(seed);
        world
    }

    /// From the next start on, routes are others at each.
    pub(super) fn begin_rerouting(&mut self) {
        let own = ["a", "b", "late"].map(|name| (name.to_owned(), Some(name)));
        self.rerouted = Some(own.into());
    }

    fn change_routes(&mut self) {
        let choices =
            [("a", [Some("a"), Some("b")]), ("b", [Some("b"), None]), ("late", [Some("late"), Some("a")])];
        let drawn: Rerouted =
            choices.map(|(stream, topics)| (stream.to_owned(), topics[self.random(2)])).into();
        let end = self.log.end();
        if let Some(rerouted) = &mut self.rerouted {
            self.routes_before.insert(0, (end, std::mem::replace(rerouted, drawn)));
        }
    }

    fn ways(&self) -> Router {
        let topic = |name: &str| TopicName::new(name).unwrap();
        let (rerouted, before) = (self.rerouted.clone(), self.routes_before.clone());
        Box::new(move |stream: &StreamName| {
            let Some(rerouted) = &rerouted else { return Ways::to(Some(topic(stream.as_str()))) };
            let of = |routes: &Rerouted| routes.get(stream.as_str()).copied().flatten().map(topic);
            let before = before.iter().filter_map(|(until, routes)| Some((*until, of(routes)?)));
            Ways { now: of(rerouted), before: before.collect(), ..Ways::default() }
        })
    }

    /// Another process begins, from what is durable.
    pub(super) fn start(&mut self, seed: u64) {
        self.change_routes();
        if self.repartitions && self.random(2) == 0 {
            self.partitioner = match self.partitioner {
                Partitioner::Java => Partitioner::ConsistentRandom,
                Partitioner::ConsistentRandom => Partitioner::Java,
            };
        }
        let router = self.ways();
        let Some(book) = &mut self.book else { return };
        book.begun = false;
        book.late.clear();
        let producer = self.cluster.producer();
        let mut positions = book.positions.clone();
        let mut in_doubt = fold(&mut positions, book.intents.clone());
        self.sink.tracked.lock().unwrap().clear();
        self.in_doubt += in_doubt.iter().map(|i| u64::from(i.count())).sum::<u64>();
        match book.control {
            Some(Control::FreshIdentity) => {
                in_doubt.iter_mut().for_each(|i| i.producer_id = 1000 + producer);
            }
            Some(Control::CutAnew) => in_doubt.clear(),
            Some(Control::ForgetsWhatWasOnItsWay) => {
                let aparts = positions.sides.iter_mut().flat_map(|side| &mut side.apart);
                aparts.for_each(|apart| apart.keys.extras.clear());
            }
            Some(Control::CountsAnew) => {
                let aparts = positions.sides.iter_mut().flat_map(|side| &mut side.apart);
                aparts.for_each(|apart| apart.keys.count += 1);
            }
            Some(Control::ForgetsWhatIsSettled) => {
                let aparts = positions.sides.iter_mut().flat_map(|side| &mut side.apart);
                aparts.for_each(|apart| apart.partial.clear());
            }
            _ => {}
        }
        let routes =
            self.rerouted.as_ref().map_or(1, |r| u64::from(crc32fast::hash(format!("{r:?}").as_bytes())) + 1);
        if is_rerouted(&positions, routes) {
            (book.positions, book.intents) = (positions.clone(), in_doubt.clone());
            make_one(&mut positions);
        }
        let settings = Settings {
            journal: true,
            compression: self.compression,
            partitioner: self.partitioner,
            missing_topic_after: self.missing_topic_after,
            holds_in_doubt: self.holds_in_doubt,
            routes,
            ..settings()
        };
        self.reopen_park();
        let (log, sink) = (ParkedLog::new(self.log.clone(), Arc::clone(&self.park)), self.sink.clone());
        let known = (positions.letters, positions.replaying.clone());
        self.engine = Engine::new(log, sink, settings, router, positions, seed);
        self.restore_letters(known);
        self.engine.link(true);
        self.engine.resume(in_doubt, self.start + self.elapsed);
        self.engine.producer_id(producer, 0);
    }

    /// What waits is written down and sent.
    pub(super) fn depart(&mut self) {
        if self.away.is_some() && self.random(3) != 0 {
            return; // it is still being written
        }
        self.land();
        if self.engine.has_departures() {
            let begun = self.book.as_ref().is_some_and(|b| b.begun);
            if self.beside && begun && self.random(4) != 0 {
                return self.hand_over();
            }
            self.write_down();
        }
        self.engine.depart();
    }

    fn hand_over(&mut self) {
        let group = self.engine.take_departing();
        if self.book.as_ref().is_some_and(|b| b.control == Some(Control::SentWhileWritten)) {
            let intents: Vec<Intent> = group.intents().cloned().collect();
            group.send(&self.sink);
            self.book.as_mut().unwrap().late.extend(intents);
            self.away = Some(Group::default());
        } else {
            self.away = Some(group);
        }
    }

    /// What is being written is durable and leaves, or can't be written, and then everything is written anew.
    fn land(&mut self) {
        let Some(group) = self.away.take() else { return };
        let fails = self.random(8) == 0;
        let is_there = self.random(2) == 0;
        let Some(book) = &mut self.book else { return };
        if !fails || is_there {
            book.intents.extend(group.intents().cloned());
            book.intents.append(&mut book.late);
        }
        if fails {
            book.begun = false;
            self.engine.put_back(group);
        } else {
            self.engine.note_left();
            group.send(&self.sink);
        }
    }

    fn write_down(&mut self) {
        let all = self.random(8) == 0;
        if let Some(book) = self.book.as_mut().filter(|_| self.engine.has_news()) {
            if all || !book.begun {
                book.positions = self.engine.positions(SPOOL);
                self.log.assert_stands(&book.positions);
                self.letters.saved(self.engine.take_redone());
                book.intents = self.engine.in_doubt().cloned().collect();
                book.begun = true;
            } else if book.control == Some(Control::WrittenAfterTheSend) {
                let late = std::mem::replace(&mut book.late, self.engine.departing().cloned().collect());
                book.intents.extend(late);
            } else {
                book.intents.extend(self.engine.departing().cloned());
            }
        }
    }

    pub(super) fn random(&mut self, below: usize) -> usize {
        usize::try_from(splitmix(&mut self.random) % below as u64).unwrap()
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: self.start + self.elapsed, unix: 1_000_000 }
    }

    pub(super) fn append(&mut self) {
        let stream = ["a", "b", "late"][self.random(3)];
        if self.rerouted.as_ref().is_some_and(|routes| routes[stream].is_none()) {
            return; // the door refuses it
        }
        let count = 1 + self.random(9);
        let many = if self.partitions { 9 } else { 5 };
        let keys: Vec<_> =
            (0..count).map(|_| Some(self.random(many + 1)).filter(|k| *k < many).map(|k| k as u8)).collect();
        self.log.append(stream, &keys);
    }

    pub(super) fn tell_topology(&mut self) {
        let topics = self.sink.tracked.lock().unwrap().clone();
        self.engine.topology(&self.cluster.topology(&topics));
    }

    pub(super) fn pump(&mut self) {
        for _ in 0..10_000 {
            let mut wake = self.engine.pump(self.now());
            if self.engine.wants_one_reader(self.now().instant) {
                self.rejoin();
                wake = Wake::Again;
            }
            if self.engine.wants_durable_positions() {
                if self.engine.has_news() {
                    self.settle_journal();
                }
                let positions = self.engine.positions(SPOOL);
                if let Some(book) = &mut self.book {
                    book.positions = positions;
                    self.letters.saved(self.engine.take_redone());
                }
                self.engine.note_durable_positions();
                wake = Wake::Again;
            }
            self.depart();
            let buried = self.bury();
            if wake != Wake::Again && !buried {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    /// What became of windows is written down; what is due leaves.
    fn settle_journal(&mut self) {
        self.land();
        self.write_down();
        self.engine.depart();
        self.engine.note_written();
    }

    /// What a worker does where keys choose anew; it may die on the way.
    fn rejoin(&mut self) {
        self.land();
        self.write_down();
        self.engine.depart();
        if let Some(book) = &mut self.book {
            book.positions = self.engine.positions(SPOOL);
            book.intents = self.engine.in_doubt().cloned().collect();
            (book.begun, book.late) = (true, Vec::new());
            self.letters.saved(self.engine.take_redone());
        }
        self.engine.note_written();
        if self.book.is_some() && self.random(8) == 0 {
            return self.kill();
        }
        self.rejoined += u64::from(self.engine.make_one_reader(self.now().instant));
        if self.book.is_some() && self.random(8) == 0 {
            self.kill();
        }
    }

    /// One window in flight gets its answer.
    pub(super) fn answer(&mut self, faults: bool) {
        let waiting = self.sink.sent.lock().unwrap().len();
        if waiting == 0 {
            return;
        }
        let index = self.random(waiting);
        let window = self.sink.sent.lock().unwrap().remove(index);
        let in_doubt =
            window.journaled.as_ref().is_some_and(|j| j.doubtful) || self.uncertain.contains(&window.id);
        let place = (window.topic.clone(), window.partition);
        if self.cluster.frozen.contains(&place) {
            // It may have arrived.
            if faults && self.book.is_some() && self.random(4) == 0 && !in_doubt {
                self.uncertain.insert(window.id);
                let _ = self.cluster.produce(&window, false);
            }
            return self.sink.sent.lock().unwrap().insert(0, window);
        }
        if self.cluster.leaderless.contains(&place) && (in_doubt || self.random(2) == 0) {
            return self.sink.sent.lock().unwrap().push(window);
        }
        if self.cluster.is_gone(&place) && in_doubt {
            // After a while; nobody will find out.
            return self.abandon(&window);
        }
        let outcome = if self.cluster.is_gone(&place) {
            Outcome::Deferred { code: 3, message: "no such partition".into() }
        } else if self.cluster.leaderless.contains(&place) {
            Outcome::Deferred { code: 5, message: "no leader".into() }
        } else if self.cluster.thin.contains(&place) {
            match in_doubt {
                true => return self.sink.sent.lock().unwrap().push(window),
                false => Outcome::Deferred { code: 19, message: "too few replicas".into() },
            }
        } else if self.cluster.missing.contains(&window.topic) && in_doubt {
            // It stays in doubt.
            return match self.abandons() {
                true => self.abandon(&window),
                false => self.sink.sent.lock().unwrap().push(window),
            };
        } else if self.cluster.missing.contains(&window.topic) {
            Outcome::Deferred { code: 3, message: "missing".into() }
        } else if faults && in_doubt && self.abandons() {
            return self.abandon(&window);
        } else if faults && !in_doubt && self.random(16) == 0 {
            // It was never sent, and is asked back.
            Outcome::Returned { in_doubt: false }
        } else if faults && !in_doubt && self.random(8) == 0 {
            let code = [10, 87][self.random(2)];
            Outcome::Refused { code, message: "no".into(), records: vec![] }
        } else {
            let uncertain = self.uncertain.contains(&window.id);
            let unheard = faults && self.book.is_some() && self.random(4) == 0;
            if unheard {
                // The first answer is lost on the way, and perhaps the broker's memory after it.
                self.unheard += u64::from(window.batch.count());
                let _ = self.cluster.produce(&window, uncertain);
                if self.random(2) == 0 {
                    self.cluster.memory.clear();
                }
                if self.abandons() {
                    return self.abandon(&window);
                }
            }
            self.cluster.produce(&window, unheard || uncertain)
        };
        let _ = self.engine.settled(window.id, outcome, self.now());
    }

    fn abandons(&mut self) -> bool {
        self.abandoned.is_some() && self.random(2) == 0
    }

    /// A person gives up a window that is in doubt.
    fn abandon(&mut self, window: &Window) {
        self.abandoned = self.abandoned.map(|events| events + u64::from(window.batch.count()));
        self.given_up_before += u64::from(self.engine.goes_by_old_routes());
        let told = self.engine.settled(window.id, Outcome::Returned { in_doubt: true }, self.now());
        assert_eq!(told, None);
    }

    /// SIGKILL: what was in flight was appended or not, and nobody heard.
    pub(super) fn kill(&mut self) {
        self.condemned.extend(self.engine.graves.iter().map(Grave::seq));
        let away = self.away.take().filter(|_| self.random(2) == 0);
        if let Some((group, book)) = away.zip(self.book.as_mut()) {
            book.intents.extend(group.intents().cloned());
        }
        if self.random(2) == 0 {
            // Not a power cut: what was saved is there.
            let positions = self.engine.positions(SPOOL);
            if let Some(book) = self.book.as_mut().filter(|b| b.begun) {
                book.positions = positions;
                self.letters.saved(self.engine.take_redone());
            }
        }
        let uncertain = std::mem::take(&mut self.uncertain);
        let positions = self.engine.positions(SPOOL);
        let in_flight = std::mem::take(&mut *self.sink.sent.lock().unwrap());
        for window in in_flight {
            let place = (window.topic.clone(), window.partition);
            let stuck = self.cluster.leaderless.contains(&place) || self.cluster.is_gone(&place);
            if !stuck && !self.cluster.missing.contains(&window.topic) && self.random(2) == 0 {
                self.unheard += u64::from(window.batch.count());
                let _ = self.cluster.produce(&window, uncertain.contains(&window.id));
            }
        }
        if self.random(4) == 0 {
            self.cluster.memory.clear();
        }
        let seed = splitmix(&mut self.random);
        if self.book.is_some() {
            self.start(seed);
        } else {
            let known = (positions.letters, positions.replaying.clone());
            self.engine = engine(&self.log, &self.park, &self.sink, positions, seed);
            self.restore_letters(known);
        }
        self.tell_topology();
    }

    pub(super) fn lose_a_block(&mut self) {
        let blocks = self.log.0.lock().unwrap().len();
        if blocks > 0 {
            let index = self.random(blocks);
            let dropped = self.random(2) == 0;
            let Some(range) = self.log.lose(index, dropped) else { return };
            self.lost.extend((range.first.0..range.end.0).map(Seq));
        }
    }

    pub(super) fn step(&mut self, kills: bool, losses: bool) {
        if self.partitions {
            self.partitions_come_and_go();
        }
        if self.shrinks {
            self.topics_are_made_anew();
        }
        match self.random(20) {
            0..=6 => self.append(),
            7..=14 => self.answer(true),
            15 => {
                if self.book.as_ref().is_some_and(|b| b.flips) {
                    self.cluster.id ^= 1;
                }
                self.tell_topology();
            }
            16 => self.elapsed += if self.swift { Duration::from_millis(1) } else { Duration::from_secs(4) },
            17 if kills => self.kill(),
            18 if self.random(2) == 0 => self.replay(),
            18 if losses => self.lose_a_block(),
            18 if self.parks => self.park_some(),
            _ => self.pump(),
        }
        self.check_account();
    }

    pub(super) fn check_account(&self) {
        let positions = self.engine.positions(SPOOL);
        assert!(positions.totals.sum() < self.log.end().0, "miscounted: {positions:?}");
        assert!(self.engine.view().parked <= self.log.end().0);
    }

    /// Faults end: everything drains.
    pub(super) fn drain(&mut self) {
        self.cluster.missing.clear();
        if self.swift {
            self.tell_topology();
            self.pump();
        }
        while self.swift && !self.sink.sent.lock().unwrap().is_empty() {
            self.answer(false);
            self.pump();
        }
        self.cluster.leaderless.clear();
        self.cluster.frozen.clear();
        self.cluster.thin.clear();
        for round in 0.. {
            self.tell_topology();
            if self.engine.producer.is_none() {
                // Its epochs had run out, or another cluster had come.
                let producer = self.cluster.producer();
                self.engine.producer_id(producer, 0);
            }
            self.elapsed += Duration::from_secs(130);
            self.pump();
            let mut answers = 0;
            while !self.sink.sent.lock().unwrap().is_empty() {
                self.answer(false);
                self.pump();
                answers += 1;
                assert!(answers < 10_000, "what comes back is sent again at once, for ever");
            }
            let letters = self.engine.redo.is_empty() && self.engine.graves.is_empty();
            if letters && self.engine.settled_below() == self.log.end() && self.engine.sides.is_empty() {
                let redone = self.engine.take_redone();
                self.letters.saved(redone);
                return;
            }
            assert!(round < 1000, "does not drain: {:?}", self.engine.positions(SPOOL));
        }
    }

    pub(super) fn check(&self, kills: bool) {
        let mut times_seen: BTreeMap<Seq, u64> = BTreeMap::new();
        for ((topic, partition), log) in &self.cluster.logs {
            log.iter().for_each(|(h, _)| *times_seen.entry(h.seq).or_default() += 1);
            let replayed =
                |seq| self.condemned.contains(&seq) || self.letters.all.iter().any(|s| s.letter.seq == seq);
            let streams = self.log.streams();
            for stream in ["a", "b", "late"] {
                let of = |seq: Seq| streams.get(&seq).is_none_or(|s| s.as_str() == stream);
                check_order_of_keys(log.iter().filter(|(h, _)| !replayed(h.seq) && of(h.seq)));
                if self.swift {
                    let seqs: Vec<Seq> =
                        log.iter().map(|(h, _)| h.seq).filter(|seq| of(*seq) && !replayed(*seq)).collect();
                    assert!(seqs.is_sorted(), "out of order: {stream} in {topic}/{partition}: {seqs:?}");
                }
            }
        }
        for stored in self.letters.there() {
            *times_seen.entry(stored.letter.seq).or_default() += 1;
        }
        let end = self.log.end();
        let missing: Vec<_> =
            (1..end.0).map(Seq).filter(|s| !times_seen.contains_key(s) && !self.lost.contains(s)).collect();
        assert!(missing.is_empty(), "lost: {missing:?}");
        let doubled: u64 = times_seen.values().map(|n| n - 1).sum();
        let allowed = self.abandoned.unwrap_or_default();
        let allowed = allowed
            + match &self.book {
                None => self.unheard,
                Some(_) if self.lost.is_empty() => 0,
                // A window that can't be built again is given up, and those of its events that can be read go out anew.
                Some(_) => self.in_doubt,
            };
        let of = |seq: Seq| {
            let logs = self
                .cluster
                .logs
                .iter()
                .flat_map(|(place, log)| log.iter().filter(|(h, _)| h.seq == seq).map(move |_| place));
            let letters: Vec<_> = self
                .letters
                .all
                .iter()
                .filter(|s| s.letter.seq == seq)
                .map(|s| {
                    (
                        s.id,
                        s.letter.reason,
                        self.letters.gone.contains(&s.id),
                        self.letters.taken.contains(&s.id),
                    )
                })
                .collect();
            format!("{seq}: in {:?}, letters {letters:?}", logs.collect::<Vec<_>>())
        };
        let which: Vec<_> = times_seen.iter().filter(|(_, n)| **n > 1).map(|(seq, _)| of(*seq)).collect();
        assert!(doubled <= allowed, "doubled: {doubled}, {allowed} were in doubt: {which:#?}");
        self.check_counters(kills);
        let totals = self.engine.positions(SPOOL).totals;
        assert!(totals.sum() == end.0 - 1, "miscounted: {totals:?} of {}", end.0 - 1);
        if self.lost.is_empty() {
            assert_eq!(totals.dead_lettered, self.letters.there().count() as u64, "{totals:?}");
            assert_eq!(totals.dropped + totals.lost, 0, "{totals:?}");
        }
    }
}

impl World {
    /// After what they are to show: where an event is doubled, its counter is, too.
    fn check_counters(&self, kills: bool) {
        let exact = self.book.as_ref().is_some_and(|b| !b.flips) && self.lost.is_empty();
        if kills && !(exact && self.abandoned.is_none()) {
            return;
        }
        for ((topic, partition), log) in &self.cluster.logs {
            let counters: Vec<_> = log.iter().map(|(h, _)| h.counter.value).collect();
            let in_turn = counters.iter().copied().eq(0..log.len() as u64);
            assert!(in_turn, "miscounted: the counters in {topic}/{partition} are {counters:?}");
        }
    }
}

/// First appearances of one key's events come in the order accepted, whatever was sent again.
pub(super) fn check_order_of_keys<'a>(log: impl Iterator<Item = &'a Record>) {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<&[u8], Seq> = BTreeMap::new();
    for (header, key) in log {
        let Some(key) = key else { continue };
        if seen.insert(header.seq) {
            let before = newest.insert(key, header.seq);
            assert!(
                before.is_none_or(|b| b < header.seq),
                "out of order: key {key:?} at {} behind {before:?}",
                header.seq
            );
        }
    }
}

pub(super) fn engine(
    log: &TestLog,
    park: &Arc<Park<SimFs>>,
    sink: &TestSink,
    positions: Positions,
    seed: u64,
) -> Engine<ModelLog, TestSink> {
    sink.tracked.lock().unwrap().clear();
    let log = ParkedLog::new(log.clone(), Arc::clone(park));
    let router = Box::new(|stream: &StreamName| Ways::to(TopicName::new(stream.as_str()).ok()));
    let mut engine = Engine::new(log, sink.clone(), settings(), router, positions, seed);
    engine.link(true);
    engine
}
