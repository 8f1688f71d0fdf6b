//! The engine against a log and a cluster that are models, with everything at random: order of answers,
//! refusals, missing topics, kills.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::log::{BlockInfo, Log, LogError, LogReader, Read, Why};
use super::{Engine, Limits, Now, Settings, Sink, Wake, splitmix};
use crate::config::model::{KafkaCompression, Partitioner, TimestampPolicy};
use crate::event::{Event, EventBatch};
use crate::ids::{Incarnation, RunId, SegmentId, Seq, SeqRange, SpoolId, StreamName, TopicName};
use crate::kafka::batch::Identity;
use crate::kafka::{BatchReader, Outcome, PartitionInfo, RecordHeader, TopicState, Topology, Window, header};
use crate::state::positions::Positions;

const SPOOL: SpoolId = SpoolId(1 << 40);

/// Blocks that never change; some become unreadable.
#[derive(Clone, Default)]
struct TestLog(Arc<Mutex<Vec<Read>>>);

struct TestReader {
    log: TestLog,
    at: Seq,
}

impl Log for TestLog {
    type Reader = TestReader;

    fn reader(&self, from: Seq) -> TestReader {
        TestReader { log: self.clone(), at: from }
    }
}

fn range_of(read: &Read) -> SeqRange {
    match read {
        Read::Block(info, _) => info.range,
        Read::Gone { range, .. } | Read::Skipped { range, .. } => *range,
    }
}

impl LogReader for TestReader {
    fn next(
        &mut self,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Read>, LogError> {
        let log = self.log.0.lock().unwrap();
        let Some(read) = log.iter().find(|r| range_of(r).end > self.at) else { return Ok(None) };
        self.at = range_of(read).end;
        Ok(Some(match read {
            Read::Block(info, _) if !want(&info.stream, info.range) => {
                Read::Skipped { range: info.range, stream: info.stream.clone(), segment: info.segment }
            }
            other => other.clone(),
        }))
    }
}

impl TestLog {
    fn append(&self, stream: &str, keys: &[Option<u8>]) -> SeqRange {
        let mut log = self.0.lock().unwrap();
        let first = log.last().map_or(Seq::FIRST, |b| range_of(b).end);
        let mut batch = EventBatch::new();
        for (i, key) in (0u64..).zip(keys) {
            let key = key.map(|k| [k]);
            let value = (first.0 + i).to_string();
            batch.push(&Event { key: key.as_ref().map(|k| &k[..]), ..Event::of_value(value.as_bytes()) });
        }
        let range = SeqRange::new(first, first.plus(keys.len() as u64));
        let info = BlockInfo {
            range,
            stream: StreamName::new(stream).unwrap(),
            time: 1_000_000,
            run: RunId(2 << 40),
            segment: Some(SegmentId(1 + first.0 / 100)),
        };
        log.push(Read::Block(info, bytes::Bytes::copy_from_slice(batch.as_bytes())));
        range
    }

    fn lose(&self, index: usize, dropped: bool) -> Option<SeqRange> {
        let mut log = self.0.lock().unwrap();
        let read = log.get_mut(index)?;
        let range = range_of(read);
        let why = if dropped { Why::Dropped } else { Why::Lost };
        *read = Read::Gone { range, why };
        Some(range)
    }

    fn end(&self) -> Seq {
        self.0.lock().unwrap().last().map_or(Seq::FIRST, |b| range_of(b).end)
    }
}

#[derive(Clone, Default)]
struct TestSink {
    sent: Arc<Mutex<Vec<Window>>>,
    tracked: Arc<Mutex<BTreeSet<TopicName>>>,
}

impl Sink for TestSink {
    fn send(&self, window: Window) {
        self.sent.lock().unwrap().push(window);
    }
    fn track(&self, topic: TopicName) {
        self.tracked.lock().unwrap().insert(topic);
    }
}

type Record = (RecordHeader, Option<Vec<u8>>);

/// A cluster that appends what it is told to.
#[derive(Default)]
struct Cluster {
    logs: BTreeMap<(TopicName, i32), Vec<Record>>,
    missing: BTreeSet<TopicName>,
}

impl Cluster {
    fn append(&mut self, window: &Window) {
        let mut bytes = Vec::new();
        let identity = Identity { producer_id: 1, epoch: 0, base_sequence: 0 };
        window.batch.encode(identity, 1_000_000, &mut bytes);
        let log = self.logs.entry((window.topic.clone(), window.partition)).or_default();
        for batch in BatchReader::new(&bytes, 1 << 20) {
            for record in batch.unwrap().records() {
                let record = record.unwrap();
                let ours = record.headers.iter().find(|(name, _)| *name == header::NAME).unwrap();
                let header = RecordHeader::decode(ours.1.unwrap()).unwrap();
                assert_eq!(record.value, Some(header.seq.0.to_string().as_bytes()));
                log.push((header, record.key.map(<[u8]>::to_vec)));
            }
        }
    }

    fn topology(&self, topics: &BTreeSet<TopicName>) -> Arc<Topology> {
        let state = |name: &TopicName| {
            if self.missing.contains(name) {
                return TopicState::Missing { code: 3, message: "missing".into() };
            }
            TopicState::Present { id: [7; 16], partitions: vec![PartitionInfo { leader: Some(1) }; 3] }
        };
        let topics = topics.iter().map(|t| (t.clone(), state(t))).collect();
        Arc::new(Topology { cluster_id: None, topics })
    }
}

fn settings() -> Settings {
    Settings {
        compression: KafkaCompression::None,
        partitioner: Partitioner::Java,
        timestamp: TimestampPolicy::Event,
        timestamp_max_age: Duration::from_secs(3600),
        linger: Duration::ZERO,
        batch_size: 800,
        header: Some(Incarnation(SPOOL.0)),
        limits: Limits {
            buffer: 4000,
            side_buffer: 2000,
            apart: 8000,
            entries: 12,
            stuck_after: Duration::from_secs(3),
            retry_after: Duration::from_secs(15),
        },
    }
}

struct World {
    log: TestLog,
    sink: TestSink,
    cluster: Cluster,
    engine: Engine<TestLog, TestSink>,
    start: Instant,
    elapsed: Duration,
    random: u64,
    /// Events of windows that were appended though their process never heard of it.
    unheard: u64,
    lost: BTreeSet<Seq>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (log, sink) = (TestLog::default(), TestSink::default());
        let engine = engine(&log, &sink, Positions::fresh(SPOOL, Seq::FIRST), seed);
        let mut cluster = Cluster::default();
        cluster.missing.insert(TopicName::new("late").unwrap());
        Self {
            log,
            sink,
            cluster,
            engine,
            start: Instant::now(),
            elapsed: Duration::ZERO,
            random: seed,
            unheard: 0,
            lost: BTreeSet::new(),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        usize::try_from(splitmix(&mut self.random) % below as u64).unwrap()
    }

    fn now(&self) -> Now {
        Now { instant: self.start + self.elapsed, unix: 1_000_000 }
    }

    fn append(&mut self) {
        let stream = ["a", "b", "late"][self.random(3)];
        let count = 1 + self.random(9);
        let keys: Vec<_> =
            (0..count).map(|_| Some(self.random(6)).filter(|k| *k < 5).map(|k| k as u8)).collect();
        self.log.append(stream, &keys);
    }

    fn tell_topology(&mut self) {
        let topics = self.sink.tracked.lock().unwrap().clone();
        self.engine.topology(&self.cluster.topology(&topics));
    }

    fn pump(&mut self) {
        for _ in 0..10_000 {
            if self.engine.pump(self.now()) != Wake::Again {
                return;
            }
        }
        panic!("the engine never comes to rest");
    }

    /// One window in flight gets its answer.
    fn answer(&mut self, faults: bool) {
        let waiting = self.sink.sent.lock().unwrap().len();
        if waiting == 0 {
            return;
        }
        let index = self.random(waiting);
        let window = self.sink.sent.lock().unwrap().remove(index);
        let outcome = if self.cluster.missing.contains(&window.topic) {
            Outcome::Deferred { code: 3, message: "missing".into() }
        } else if faults && self.random(8) == 0 {
            let code = [10, 87][self.random(2)];
            Outcome::Refused { code, message: "no".into(), record: None }
        } else {
            self.cluster.append(&window);
            Outcome::Acked { offset: 0, doubtful: false, may_be_doubled: false }
        };
        let _ = self.engine.settled(window.id, outcome, self.now());
    }

    /// SIGKILL: what was in flight was appended or not, and nobody heard.
    fn kill(&mut self) {
        let positions = self.engine.positions(SPOOL);
        let in_flight = std::mem::take(&mut *self.sink.sent.lock().unwrap());
        for window in in_flight {
            if !self.cluster.missing.contains(&window.topic) && self.random(2) == 0 {
                self.unheard += u64::from(window.batch.count());
                self.cluster.append(&window);
            }
        }
        let seed = splitmix(&mut self.random);
        self.engine = engine(&self.log, &self.sink, positions, seed);
        self.tell_topology();
    }

    fn lose_a_block(&mut self) {
        let blocks = self.log.0.lock().unwrap().len();
        if blocks > 0 {
            let index = self.random(blocks);
            let dropped = self.random(2) == 0;
            let range = self.log.lose(index, dropped).unwrap();
            self.lost.extend((range.first.0..range.end.0).map(Seq));
        }
    }

    fn step(&mut self, kills: bool, losses: bool) {
        match self.random(20) {
            0..=6 => self.append(),
            7..=14 => self.answer(true),
            15 => self.tell_topology(),
            16 => self.elapsed += Duration::from_secs(4),
            17 if kills => self.kill(),
            18 if losses => self.lose_a_block(),
            _ => self.pump(),
        }
        self.check_account();
    }

    fn check_account(&self) {
        let positions = self.engine.positions(SPOOL);
        assert!(positions.totals.sum() < self.log.end().0, "{positions:?}");
        assert!(self.engine.view().parked <= self.log.end().0);
    }

    /// Faults end: everything drains.
    fn drain(&mut self) {
        self.cluster.missing.clear();
        for round in 0.. {
            self.tell_topology();
            self.elapsed += Duration::from_secs(130);
            self.pump();
            while !self.sink.sent.lock().unwrap().is_empty() {
                self.answer(false);
                self.pump();
            }
            if self.engine.settled_below() == self.log.end() && self.engine.sides.is_empty() {
                return;
            }
            assert!(round < 1000, "does not drain: {:?}", self.engine.positions(SPOOL));
        }
    }

    fn check(&self, kills: bool) {
        let mut times_seen: BTreeMap<Seq, u64> = BTreeMap::new();
        for ((topic, partition), log) in &self.cluster.logs {
            log.iter().for_each(|(h, _)| *times_seen.entry(h.seq).or_default() += 1);
            if !kills {
                let counters: Vec<_> = log.iter().map(|(h, _)| h.counter.value).collect();
                assert_eq!(counters, (0..log.len() as u64).collect::<Vec<_>>(), "{topic}/{partition}");
            }
            check_order_of_keys(log);
        }
        let end = self.log.end();
        let missing: Vec<_> =
            (1..end.0).map(Seq).filter(|s| !times_seen.contains_key(s) && !self.lost.contains(s)).collect();
        assert_eq!(missing, [], "lost");
        let doubled: u64 = times_seen.values().map(|n| n - 1).sum();
        assert!(doubled <= self.unheard, "{doubled} doubled, {} were in flight at kills", self.unheard);
        let totals = self.engine.positions(SPOOL).totals;
        assert_eq!(totals.sum(), end.0 - 1, "{totals:?}");
        assert_eq!(self.lost.is_empty(), totals.delivered == end.0 - 1 || totals.dropped + totals.lost == 0);
    }
}

/// First appearances of one key's events come in the order accepted, whatever was sent again.
fn check_order_of_keys(log: &[Record]) {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<&[u8], Seq> = BTreeMap::new();
    for (header, key) in log {
        let Some(key) = key else { continue };
        if seen.insert(header.seq) {
            let before = newest.insert(key, header.seq);
            assert!(before.is_none_or(|b| b < header.seq), "key {key:?} is out of order at {}", header.seq);
        }
    }
}

fn engine(log: &TestLog, sink: &TestSink, positions: Positions, seed: u64) -> Engine<TestLog, TestSink> {
    sink.tracked.lock().unwrap().clear();
    let router = Box::new(|stream: &StreamName| TopicName::new(stream.as_str()).ok());
    let mut engine = Engine::new(log.clone(), sink.clone(), settings(), router, positions, seed);
    engine.link(true);
    engine
}

fn run(seed: u64, steps: usize, kills: bool, losses: bool) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step(kills, losses);
    }
    world.drain();
    world.check(kills);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn while_the_process_lives_every_event_arrives_once_and_in_order(seed: u64) {
        run(seed, 300, false, false);
    }

    #[test]
    fn after_kills_nothing_is_missing_and_only_what_was_in_flight_is_doubled(seed: u64) {
        run(seed, 300, true, false);
    }

    #[test]
    fn what_can_not_be_read_is_counted_and_the_rest_arrives(seed: u64) {
        run(seed, 300, true, true);
    }
}

#[test]
fn a_missing_topic_holds_back_only_itself() {
    let mut world = World::new(7);
    for i in 0..200 {
        world.log.append(if i % 2 == 0 { "late" } else { "a" }, &[None; 5]);
    }
    for _ in 0..500 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    let delivered: usize = world.cluster.logs.values().map(Vec::len).sum();
    assert_eq!(delivered, 500, "everything of the other topic arrives");
    let view = world.engine.view();
    assert_eq!(view.parked, 500);
    assert_eq!(view.waiting, [("late".to_owned(), "missing".to_owned())]);
    let positions = world.engine.positions(SPOOL);
    assert_eq!(positions.position, Seq(1001), "the main reader is not held back");
    assert_eq!(positions.needed_from(), Seq(1), "and nothing of the missing topic may be deleted");
    world.drain();
    world.check(false);
}

#[test]
fn memory_does_not_depend_on_the_backlog() {
    let mut world = World::new(7);
    for _ in 0..1000 {
        world.log.append("a", &[None; 9]);
    }
    world.pump();
    world.tell_topology();
    world.pump();
    assert!(world.engine.main.tracker.len() <= 12 + 16, "{}", world.engine.main.tracker.len());
}

#[test]
fn what_is_dropped_of_a_topic_that_waits_counts_as_dropped_and_not_as_lost() {
    let mut world = World::new(7);
    for i in 0..40 {
        world.log.append(if i % 2 == 0 { "late" } else { "a" }, &[None; 5]);
    }
    for _ in 0..200 {
        world.pump();
        world.tell_topology();
        world.answer(false);
    }
    for index in 0..10 {
        world.log.lose(index, true);
    }
    world.kill();
    world.drain();
    let totals = world.engine.positions(SPOOL).totals;
    assert_eq!((totals.delivered, totals.dropped, totals.lost), (175, 25, 0));
}
