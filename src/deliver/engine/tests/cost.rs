//! What a window costs in topics of few and of many partitions, by the processor's time of this thread.

#![expect(clippy::print_stdout, reason = "figures, with --nocapture")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::super::clock::thread_time;
use super::super::super::log::{BlockInfo, Read};
use super::super::super::ways::Ways;
use super::super::{Engine, Limits, Now, Settings, Wake};
use super::cluster::TestSink;
use super::log::TestLog;
use super::world::{SPOOL, settings};
use crate::event::{Event, EventBatch};
use crate::ids::{RunId, SegmentId, Seq, SeqRange, StreamName, TopicName};
use crate::kafka::{Outcome, PartitionInfo, TopicState, Topology, partition_for_key};
use crate::state::positions::Positions;

/// Events a window.
const PER_WINDOW: usize = 4;
/// Outcomes that are heard at a time.
const AT_A_TIME: usize = 8;

struct Site {
    engine: Engine<TestLog, TestSink>,
    log: TestLog,
    sink: TestSink,
    partitions: u32,
    silent: BTreeSet<i32>,
    /// A key of each partition.
    keys: Vec<Vec<u8>>,
    at: Instant,
    next: Seq,
    used: Duration,
    windows: u32,
}

impl Site {
    fn new(partitions: u32) -> Self {
        let (log, sink) = (TestLog::default(), TestSink::default());
        let limits = Limits {
            buffer: 8 << 20,
            side_buffer: 4 << 20,
            apart: 8 << 20,
            entries: 16,
            ..Limits::default()
        };
        let settings = Settings { journal: true, batch_size: 16 << 10, limits, ..settings() };
        let router = Box::new(|stream: &StreamName| Ways::to(TopicName::new(stream.as_str()).ok()));
        let positions = Positions { routes: 1, ..Positions::fresh(SPOOL, Seq::FIRST) };
        let mut engine = Engine::new(log.clone(), sink.clone(), settings, router, positions, 1);
        engine.link(true);
        engine.producer_id(7, 0);
        let leader = PartitionInfo { leader: Some(1) };
        let led = vec![leader; partitions as usize];
        let topics = [(TopicName::new("t").unwrap(), TopicState::Present { id: [1; 16], partitions: led })];
        engine.topology(&Arc::new(Topology { topics: topics.into(), ..Topology::default() }));
        let mut keys = vec![Vec::new(); partitions as usize];
        for n in 0..100 * partitions {
            let key = n.to_be_bytes().to_vec();
            let at = partition_for_key(&key, partitions) as usize;
            keys[at] = key;
        }
        assert!(keys.iter().all(|key| !key.is_empty()));
        let (at, next) = (Instant::now(), Seq::FIRST);
        let (silent, used) = (BTreeSet::new(), Duration::ZERO);
        Self { engine, log, sink, partitions, silent, keys, at, next, used, windows: 0 }
    }

    /// A block with some events for each partition.
    fn append(&mut self) {
        let mut batch = EventBatch::new();
        for key in &self.keys {
            for _ in 0..PER_WINDOW {
                batch.push(&Event { key: Some(key), ..Event::of_value(b"something of a usual length") });
            }
        }
        let count = self.keys.len() * PER_WINDOW;
        let range = SeqRange::new(self.next, self.next.plus(count as u64));
        self.next = range.end;
        let (stream, segment) = (StreamName::new("t").unwrap(), Some(SegmentId(1)));
        let info = BlockInfo { range, stream, time: 1_000_000, run: RunId(9), segment };
        self.log.0.lock().unwrap().push(Read::Block(info, batch.as_bytes().to_vec().into()));
    }

    fn now(&self) -> Now {
        Now { instant: self.at, unix: 1_000_000 }
    }

    fn round(&mut self) {
        loop {
            let (now, began) = (self.now(), thread_time());
            let wake = self.engine.pump(now);
            self.used += thread_time().saturating_sub(began);
            assert!(!self.engine.wants_durable_positions());
            self.engine.depart();
            let mut sent = self.sink.sent.lock().unwrap();
            let answered = sent.extract_if(.., |window| !self.silent.contains(&window.partition));
            let answered: Vec<_> = answered.take(AT_A_TIME).map(|window| window.id).collect();
            drop(sent);
            if answered.is_empty() && wake != Wake::Again {
                return;
            }
            self.windows += answered.len() as u32;
            let began = thread_time();
            for id in answered {
                let outcome = Outcome::Acked { offset: 0, doubtful: false, may_be_doubled: false };
                self.engine.settled(id, outcome, now).unwrap();
            }
            self.used += thread_time().saturating_sub(began);
        }
    }

    /// Processor time a window.
    fn cost(mut self, windows: u32) -> Duration {
        (self.used, self.windows) = (Duration::ZERO, 0);
        while self.windows < windows {
            self.append();
            self.at += Duration::from_millis(10);
            self.round();
        }
        self.used / self.windows
    }

    /// A quarter of the partitions gives no answers, and is apart.
    fn with_silent(mut self) -> Self {
        self.silent = (0..self.partitions.cast_signed()).step_by(4).collect();
        for _ in 0..40 {
            self.append();
            self.at += Duration::from_millis(500);
            self.round();
        }
        let apart: usize = self.engine.sides.values().map(|side| side.apart.len()).sum();
        assert_eq!(apart, self.silent.len().min(128));
        self
    }
}

/// Whether it costs no more than so many times as much in a topic of many partitions as in one of few. Others on the same cores make
/// a measurement worse, and never better: so the best of each are compared, and more are made until that is clear.
fn costs_no_more(what: &str, most: f64, cost: impl Fn(u32) -> Duration) {
    let (mut few, mut many) = (Duration::MAX, Duration::MAX);
    for round in 1..=10 {
        (few, many) = (few.min(cost(20)), many.min(cost(500)));
        println!("{what}: a window costs {few:?} in a topic of 20 partitions, {many:?} in one of 500");
        if round > 1 && many.as_secs_f64() < most * few.as_secs_f64() {
            return;
        }
    }
    panic!("{what}: {few:?} in a topic of 20 partitions, {many:?} in one of 500");
}

/// It cost more than twice as much: with every answer all windows were looked at.
#[test]
fn a_window_costs_as_much_in_a_topic_of_many_partitions_as_in_one_of_few() {
    costs_no_more("all answer", 2.0, |partitions| Site::new(partitions).cost(4000));
}

/// It cost 37 times as much: with every answer all windows of the topic were looked at for each of the partitions, and each event's key for
/// each of them. What is left grows with how many are apart, of which there may be 128.
#[test]
fn a_window_costs_no_hundred_times_as_much_where_a_hundred_partitions_are_apart() {
    costs_no_more("a quarter is silent", 15.0, |partitions| Site::new(partitions).with_silent().cost(1500));
}
