//! The engine and the real client against a broker that speaks the protocol, in simulated time.
//!
//! Everything runs on one thread whose clock moves on whenever all of it waits, and talks over pipes in memory: days take
//! seconds, and nothing depends on how busy the host is.

#![expect(clippy::print_stdout, reason = "figures for docs/reliability.md, with --nocapture")]

mod anew;
mod clocks;
mod codes;
mod flapping;
mod leaderless;
mod many;
mod older;
mod times;
mod unnamed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::super::inbox::Inbox;
use super::super::super::topic::Topic;
use super::super::super::ways::Ways;
use super::super::{Engine, Limits, Now, Settings, Wake};
use super::cluster::Record;
use super::log::TestLog;
use super::world::{SPOOL, settings};
use crate::config::model::{Destination, HostPort};
use crate::event::UnixMillis;
use crate::ids::{DestinationName, LaneName, Seq, StreamName, TopicName};
use crate::kafka::clock::unix_now;
use crate::kafka::{
    BatchReader, LinkState, Observer, Outcome, Producer, RecordHeader, SharedPace, Topology, clock,
    connection, header,
};
use crate::metrics::Metrics;
use crate::state::journal::{Intent, fold};
use crate::state::letters::Stored;
use crate::state::positions::Positions;
use crate::target::{Target, TargetOptions};

/// When every story begins.
const BEGINNING: UnixMillis = 1_800_000_000_000;
const HOUR: i64 = 3_600_000;
/// Bytes in windows of the main reader, and of a topic that is set apart.
const BUFFER: usize = 64 << 10;
/// A window may be this much larger than the bound says when it is closed.
const WINDOW: usize = 8 << 10;

/// An inbox that can be awaited.
#[derive(Default)]
struct Bell {
    inbox: Inbox,
    rung: Notify,
}

impl Bell {
    fn ring(&self, tell: impl FnOnce(&Inbox)) {
        tell(&self.inbox);
        self.rung.notify_one();
    }
}

impl Observer for Bell {
    fn settled(&self, window: u64, outcome: Outcome) {
        self.ring(|inbox| inbox.settled(window, outcome));
    }
    fn producer_id(&self, producer_id: i64, epoch: i16) {
        self.ring(|inbox| inbox.producer_id(producer_id, epoch));
    }
    fn topology(&self, topology: Arc<Topology>) {
        self.ring(|inbox| inbox.topology(topology));
    }
    fn link(&self, state: LinkState) {
        self.ring(|inbox| inbox.link(state));
    }
    fn saw(&self, event: RecordHeader) {
        self.ring(|inbox| inbox.saw(event));
    }
}

/// What was told of delivered windows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Told {
    delivered: u64,
    restamped: u64,
    expired: u64,
    possibly_doubled: u64,
}

/// A process.
struct Life {
    engine: Engine<TestLog, Producer>,
    bell: Arc<Bell>,
    /// What is durable is its own.
    begun: bool,
}

/// A log, a broker, and one process after the other between them.
struct Site {
    target: Arc<Target>,
    log: TestLog,
    destination: Destination,
    life: Option<Life>,
    positions: Positions,
    intents: Vec<Intent>,
    letters: Vec<Stored>,
    told: Told,
    /// What processes saw where they looked for windows.
    seen: Vec<RecordHeader>,
    /// The log is an older one.
    is_put_back: bool,
    lives: u64,
    /// A deliberate mistake: what a process left in doubt is forgotten, and put into new windows.
    cuts_anew: bool,
    missing_topic_after: Duration,
}

impl Site {
    /// A broker with a topic `t`; no process yet.
    async fn new(partitions: i32) -> Self {
        Self::among(1, partitions).await
    }

    /// The same of several brokers.
    async fn among(brokers: usize, partitions: i32) -> Self {
        clock::simulated::begin(BEGINNING);
        let topics = vec![("t".to_owned(), partitions)];
        let target = Arc::new(
            Target::start(TargetOptions { brokers, topics, ..TargetOptions::default() }).await.unwrap(),
        );
        let network = Arc::downgrade(&target);
        connection::simulated::begin(Box::new(move |broker| {
            let gone = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            network.upgrade().ok_or_else(gone)?.dial(broker)
        }));
        let at = target.brokers()[0];
        let bootstrap = HostPort { host: at.ip().to_string(), port: at.port() };
        Self {
            target,
            log: TestLog::default(),
            destination: Destination::new(DestinationName::new("home").unwrap(), vec![bootstrap]),
            life: None,
            positions: Positions::fresh(SPOOL, Seq::FIRST),
            intents: Vec::new(),
            letters: Vec::new(),
            told: Told::default(),
            seen: Vec::new(),
            is_put_back: false,
            lives: 0,
            cuts_anew: false,
            missing_topic_after: settings().missing_topic_after,
        }
    }

    /// A process begins, from what is durable.
    fn begin(&mut self) {
        self.lives += 1;
        let bell = Arc::new(Bell::default());
        let observer: Arc<dyn Observer> = Arc::clone(&bell) as _;
        let runtime = tokio::runtime::Handle::current();
        let pace = SharedPace::new(None).join(false);
        let producer = Producer::start(&self.destination, &Metrics::new(), observer, pace, &runtime);
        let mut positions = self.positions.clone();
        let mut in_doubt = fold(&mut positions, self.intents.clone());
        if self.cuts_anew {
            in_doubt.clear();
        }
        let counted = positions.letters;
        let settings = Settings {
            journal: true,
            timestamp: self.destination.timestamp,
            timestamp_max_age: self.destination.timestamp_max_age,
            batch_size: 4 << 10,
            missing_topic_after: self.missing_topic_after,
            limits: Limits { buffer: BUFFER, side_buffer: BUFFER, apart: BUFFER, ..Limits::default() },
            ..settings()
        };
        let router = Box::new(|stream: &StreamName| Ways::to(TopicName::new(stream.as_str()).ok()));
        let mut engine = Engine::new(self.log.clone(), producer, settings, router, positions, self.lives);
        let known = self.letters.iter().filter(|s| s.id > counted);
        engine.known_letters(known.map(|s| (s.id, s.letter.seq, s.letter.run)));
        engine.resume(in_doubt, Instant::now().into_std());
        self.life = Some(Life { engine, bell, begun: false });
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.life = None;
    }

    fn engine(&mut self) -> &mut Engine<TestLog, Producer> {
        &mut self.life.as_mut().unwrap().engine
    }

    /// Events are accepted, now.
    fn accept(&mut self, count: u8) {
        self.accept_at(count, unix_now());
    }

    fn accept_at(&mut self, count: u8, time: UnixMillis) {
        let keys: Vec<_> = (0..count).map(|n| Some(n % 7)).collect();
        self.log.append_at("t", &keys, time);
        if let Some(life) = &self.life {
            life.bell.rung.notify_one();
        }
    }

    fn is_drained(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.engine.settled_below() == self.log.end())
    }

    /// Goes on until something is so; false if it is not so after `longest`.
    async fn go_on(&mut self, longest: Duration, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end = Instant::now() + longest;
        loop {
            let wake = self.pump();
            if so(self) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            let at = if let Wake::At(at) = wake { Instant::from_std(at).min(end) } else { end };
            let bell = Arc::clone(&self.life.as_ref().unwrap().bell);
            tokio::select! {
                () = bell.rung.notified() => {}
                () = sleep_until(at) => {}
            }
            self.hear();
        }
    }

    /// Goes on for a while.
    async fn pass(&mut self, time: Duration) {
        if self.life.is_some() {
            self.go_on(time, |_| false).await;
        } else {
            tokio::time::sleep(time).await;
        }
    }

    /// Everything is settled before `longest` is over. How long it took.
    async fn drain(&mut self, longest: Duration, what: &str) -> Duration {
        let began = Instant::now();
        let drained = self.go_on(longest, Site::is_drained).await;
        let life = self.life.as_ref().unwrap();
        assert!(drained, "{what}: not delivered after {longest:?}: {:?}", life.engine.view());
        began.elapsed()
    }

    fn hear(&mut self) {
        let life = self.life.as_mut().unwrap();
        let mail = life.bell.inbox.take();
        self.saw(mail.seen);
        let life = self.life.as_mut().unwrap();
        for (window, outcome) in mail.outcomes {
            if let Some(delivered) = life.engine.settled(window, outcome, now()) {
                self.told.delivered += u64::from(delivered.count);
                self.told.restamped += u64::from(delivered.restamped);
                self.told.expired += u64::from(delivered.expired);
                self.told.possibly_doubled += u64::from(delivered.count) * u64::from(delivered.doubtful);
            }
        }
        self.told.possibly_doubled += life.engine.take_possibly_doubled();
        if let Some(topology) = mail.topology {
            life.engine.topology(&topology);
        }
        if let Some((producer_id, epoch)) = mail.producer {
            life.engine.producer_id(producer_id, epoch);
        }
        if let Some(link) = mail.link {
            life.engine.link(link.up);
        }
    }

    /// What the thread around the engine does.
    fn pump(&mut self) -> Wake {
        for _ in 0..100_000 {
            let wake = self.engine().pump(now());
            let mut again = wake == Wake::Again;
            if self.engine().wants_one_reader(now().instant) {
                self.positions = self.engine().positions(SPOOL);
                self.intents = self.engine().in_doubt().cloned().collect();
                self.life.as_mut().unwrap().begun = true;
                again |= self.engine().make_one_reader(now().instant);
            }
            if self.engine().wants_durable_positions() {
                self.settle_journal();
                self.positions = self.engine().positions(SPOOL);
                self.engine().note_durable_positions();
                again = true;
            }
            if self.engine().has_departures() {
                self.write_down();
            }
            self.engine().depart();
            again |= self.bury();
            self.check_memory();
            if !again {
                return wake;
            }
        }
        panic!("the engine never comes to rest");
    }

    fn write_down(&mut self) {
        let life = self.life.as_mut().unwrap();
        if !life.begun || self.intents.len() > 200 {
            self.positions = life.engine.positions(SPOOL);
            self.intents = life.engine.in_doubt().cloned().collect();
            life.begun = true;
        } else {
            self.intents.extend(life.engine.departing().cloned());
        }
    }

    fn settle_journal(&mut self) {
        if self.engine().has_news() {
            self.write_down();
        }
        self.engine().depart();
        self.engine().note_written();
    }

    fn bury(&mut self) -> bool {
        if !self.engine().has_letters(now().instant) {
            return false;
        }
        self.settle_journal();
        let further = self.engine().condemn_more(now());
        let (lane, home) = (LaneName::new("main").unwrap(), self.destination.name.clone());
        let letters = self.engine().letters(&lane, &home, now());
        if letters.is_empty() {
            return further;
        }
        for letter in letters {
            let id = self.letters.len() as u64 + 1;
            self.letters.push(Stored { id, letter });
        }
        let last = self.letters.len() as u64;
        self.engine().buried(last);
        true
    }

    /// However long it lasts, no more is held than the bounds say.
    fn check_memory(&mut self) {
        let engine = self.engine();
        let bytes: usize = engine.topics.values().map(Topic::bytes).sum();
        assert!(bytes <= 2 * BUFFER + WINDOW, "{bytes} bytes in windows");
        let limit = engine.settings.limits.entries;
        assert!(engine.main.tracker.len() <= limit + 64, "{} entries", engine.main.tracker.len());
    }

    /// The records of each partition, with the newest time of their batch, in order.
    fn records(&self) -> BTreeMap<i32, Vec<(Record, UnixMillis)>> {
        let mut all = BTreeMap::new();
        for partition in 0.. {
            let Ok(batches) = self.target.batches("t", partition) else { return all };
            let log: &mut Vec<_> = all.entry(partition).or_default();
            for (head, bytes) in batches {
                for batch in BatchReader::new(&bytes, 1 << 20) {
                    for record in batch.unwrap().records() {
                        let record = record.unwrap();
                        let ours = record.headers.iter().find(|(name, _)| *name == header::NAME).unwrap();
                        let ours = RecordHeader::decode(ours.1.unwrap()).unwrap();
                        log.push(((ours, record.key.map(<[u8]>::to_vec)), head.max_timestamp));
                    }
                }
            }
        }
        unreachable!("partitions end")
    }

    /// How many records there are beyond one of each event.
    fn doubled(&self) -> usize {
        let records = self.records();
        let all: Vec<Seq> = records.values().flatten().map(|((header, _), _)| header.seq).collect();
        all.len() - all.iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Every event is in the topic or a letter, once, and those of a key are in order.
    fn check(&self, what: &str) {
        let mut seen: BTreeMap<Seq, u32> = BTreeMap::new();
        for log in self.records().values() {
            super::world::check_order_of_keys(log.iter().map(|(record, _)| record));
            log.iter().for_each(|((header, _), _)| *seen.entry(header.seq).or_default() += 1);
        }
        self.letters.iter().for_each(|s| *seen.entry(s.letter.seq).or_default() += 1);
        let twice = seen.values().filter(|times| **times > 1).count();
        assert_eq!(twice, 0, "{what}: doubled");
        let missing: Vec<_> = (1..self.log.end().0).filter(|n| !seen.contains_key(&Seq(*n))).collect();
        assert!(missing.is_empty(), "{what}: lost: {missing:?}");
    }
}

fn now() -> Now {
    Now { instant: Instant::now().into_std(), unix: unix_now() }
}
