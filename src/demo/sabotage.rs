//! The control: an agent that is wrong on purpose, and must be caught.
//!
//! It has the real sources and the real producer. Between them it is a liar: it answers "accepted" from
//! memory, without a spool, and takes an event for delivered when it hands it to the producer, not when the
//! cluster acknowledges it. `spoolway run` has no way here; the demo starts it through a hidden command, and
//! it refuses any configuration that is not a demo's.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{DemoError, agent};
use crate::config::model::{Config, KafkaCompression, TopicTemplate};
use crate::config::{self, Environment};
use crate::event::EventBatch;
use crate::ids::{Seq, StreamName, TopicName};
use crate::intake::{AcceptError, Appended, Intake, Patience};
use crate::kafka::{
    LinkState, Observer, Outcome, Producer, RecordsBuilder, SharedPace, Stamp, TopicState, Topology, Window,
    partition_for_key,
};
use crate::metrics::Metrics;
use crate::source::Sources;

/// Most that it keeps in memory; beyond, it forgets the oldest.
const MAX_BYTES: usize = 256 << 20;
/// A window is closed when it has this much.
const WINDOW_BYTES: usize = 500 << 10;

/// Runs the sabotaged agent until it is killed.
///
/// # Errors
/// [`DemoError::Part`] when the configuration is not a demo's or can't be used.
pub fn run_sabotaged(files: &[PathBuf]) -> Result<(), DemoError> {
    let lookup = |name: &str| std::env::var(name).ok();
    let loaded = config::load(files, &Environment::Lookup(&lookup))
        .map_err(|report| DemoError::Part(report.render()))?;
    let config = loaded.config;
    if config.relay.id != agent::RELAY {
        return Err(DemoError::Part("this loses events on purpose and serves `spoolway demo` alone".into()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(DemoError::process("starting the async threads"))?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Result<(), DemoError> {
    let (metrics, stop) = (Metrics::new(), CancellationToken::new());
    let memory = Arc::new(Memory::default());
    let sources = Sources::start(&config.sources, &config.spool, &memory, &metrics, &stop);
    let _sources = sources.map_err(|e| DemoError::Part(e.to_string()))?;
    let (Some(destination), Some(topic)) = (config.destinations.first(), topic(config)) else {
        return Err(DemoError::Part("a demo's configuration has one destination and one topic".into()));
    };
    let observer = Arc::new(Ears::default());
    let ears: Arc<dyn Observer> = Arc::clone(&observer) as Arc<dyn Observer>;
    let pace = SharedPace::new(destination.max_rate).join(false);
    let producer = Producer::start(destination, &metrics, ears, pace, &Handle::current());
    producer.track(topic.clone());
    forward(&memory, &observer, &producer, &topic).await
}

fn topic(config: &Config) -> Option<TopicName> {
    config.routes.first().and_then(|route| match &route.topic {
        TopicTemplate::Fixed(name) => Some(name.clone()),
        TopicTemplate::Stream(_) => None,
    })
}

/// A spool that is none.
#[derive(Debug, Default)]
struct Memory {
    held: Mutex<Held>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Held {
    batches: VecDeque<EventBatch>,
    bytes: usize,
    last: Seq,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    fn keep(&self, batch: EventBatch) -> (Seq, Seq) {
        let mut held = lock(&self.held);
        let first = held.last.next();
        held.last = held.last.plus(batch.count().into());
        held.bytes += batch.as_bytes().len();
        held.batches.push_back(batch);
        while held.bytes > MAX_BYTES {
            let Some(oldest) = held.batches.pop_front() else { break };
            held.bytes -= oldest.as_bytes().len();
        }
        (first, held.last)
    }

    fn take(&self) -> Option<EventBatch> {
        let mut held = lock(&self.held);
        let batch = held.batches.pop_front()?;
        held.bytes -= batch.as_bytes().len();
        Some(batch)
    }
}

impl Intake for Memory {
    /// SABOTAGE: "accepted" without anything durable.
    async fn accept(
        &self,
        _stream: StreamName,
        batch: EventBatch,
        _patience: Patience,
    ) -> Result<Appended, AcceptError> {
        let (first, last) = self.keep(batch);
        self.came.notify_one();
        Ok(Appended { lane: Config::main_lane(), first, last })
    }

    async fn delivered(&self, _appended: &Appended) {}
}

/// Hears from the producer only what keeps one window a partition in flight.
#[derive(Debug, Default)]
struct Ears {
    partitions: watch::Sender<u32>,
    settled: Mutex<Vec<u64>>,
    heard: Notify,
}

impl Observer for Ears {
    /// SABOTAGE: whatever the outcome, the events are gone.
    fn settled(&self, window: u64, _outcome: Outcome) {
        lock(&self.settled).push(window);
        self.heard.notify_one();
    }

    fn topology(&self, topology: Arc<Topology>) {
        for state in topology.topics.values() {
            if let TopicState::Present { partitions, .. } = state {
                self.partitions.send_replace(u32::try_from(partitions.len()).unwrap_or(u32::MAX));
            }
        }
    }

    fn link(&self, _state: LinkState) {}
}

/// Windows in the making and in flight, one of each a partition; a window's id is its partition.
struct Lanes {
    making: Vec<RecordsBuilder>,
    busy: Vec<bool>,
}

async fn forward(
    memory: &Memory,
    ears: &Ears,
    producer: &Producer,
    topic: &TopicName,
) -> Result<(), DemoError> {
    let mut known = ears.partitions.subscribe();
    let count = *known.wait_for(|n| *n > 0).await.map_err(|e| DemoError::Part(e.to_string()))?;
    let mut lanes = Lanes::new(count);
    loop {
        for window in std::mem::take(&mut *lock(&ears.settled)) {
            lanes.free(window);
        }
        while lanes.have_room() {
            let Some(batch) = memory.take() else { break };
            lanes.fill(&batch, count);
        }
        lanes.send(producer, topic);
        tokio::select! {
            () = memory.came.notified() => {}
            () = ears.heard.notified() => {}
        }
    }
}

impl Lanes {
    fn new(count: u32) -> Self {
        let making = (0..count).map(|_| RecordsBuilder::new(Stamp::Send)).collect::<Vec<_>>();
        Self { busy: vec![false; making.len()], making }
    }

    fn free(&mut self, window: u64) {
        let at = usize::try_from(window).unwrap_or(usize::MAX);
        if let Some(busy) = self.busy.get_mut(at) {
            *busy = false;
        }
    }

    fn have_room(&self) -> bool {
        self.making.iter().all(|window| window.bytes() < WINDOW_BYTES)
    }

    fn fill(&mut self, batch: &EventBatch, count: u32) {
        for event in batch.iter().flatten() {
            let at = partition_for_key(event.key.unwrap_or_default(), count);
            if let Some(window) = usize::try_from(at).ok().and_then(|at| self.making.get_mut(at)) {
                window.push(event.key, event.value, [], 0);
            }
        }
    }

    fn send(&mut self, producer: &Producer, topic: &TopicName) {
        for ((window, busy), partition) in self.making.iter_mut().zip(&mut self.busy).zip(0i32..) {
            if *busy || window.is_empty() {
                continue;
            }
            let batch = window.seal(KafkaCompression::Lz4);
            window.restart(Stamp::Send);
            *busy = true;
            let id = u64::try_from(partition).unwrap_or_default();
            producer.send(Window { id, topic: topic.clone(), partition, batch, journaled: None });
        }
    }
}
