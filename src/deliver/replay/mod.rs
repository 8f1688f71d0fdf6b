//! Sends kept events again, on purpose: outside of any delivery, whose positions, journal and counters know
//! nothing of it.
//!
//! What it promises: every event put in is in the topic when [`Replay::finish`] has answered `Ok`, once for this
//! replay (an idempotent producer, `acks=all`, one batch in flight for each partition) and in the order put in for each
//! partition. Each record has the header of the event that it is, under a counter of its own that begins at 0.
//!
//! On failure: it ends, and [`Replay::unsettled_from`] says from where on nothing is known to be there.

mod error;
mod line;
mod outbox;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub use self::error::ReplayError;
use self::line::Line;
use self::outbox::Outbox;
use super::engine::{RECORD_OVERHEAD, event_size, keyed_partition, record};
pub use super::log::BlockInfo;
use super::stamp::{self, Bounds};
use super::sticky::{Candidate, Sticky};
use super::worker::unix_now;
use crate::config::model::Destination;
use crate::event::EventRef;
use crate::ids::{Incarnation, Seq, TopicName};
use crate::kafka::{Counter, Observer, Outcome, Producer, SharedPace, TimeLimits, TopicState, Window};
use crate::metrics::Metrics;

/// A cluster that answers nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A topic that is not there is given up after this time.
const MISSING: Duration = Duration::from_secs(10);
/// What could not be sent for now is sent again after this time.
const RETRY: Duration = Duration::from_millis(500);

/// See the module.
pub struct Replay {
    destination: Destination,
    /// Under which incarnation; `None`: without the header.
    life: Option<Incarnation>,
    producer: Producer,
    outbox: Arc<Outbox>,
    topics: HashMap<TopicName, Topic>,
    in_flight: HashMap<u64, (TopicName, i32)>,
    next_window: u64,
    seed: u64,
    sums: Sums,
    /// It ends when this is set.
    stop: Option<Arc<AtomicBool>>,
}

/// What has been acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// Events that the destination holds.
    pub acknowledged: u64,
    /// Of these, events that this replay may have doubled: their broker forgot them while they were in doubt.
    pub possibly_doubled: u64,
}

struct Topic {
    partitions: u32,
    /// Which time stamps it takes.
    limits: TimeLimits,
    lines: BTreeMap<i32, Line>,
    sticky: Sticky,
}

impl Replay {
    /// Begins to talk to the destination. `life`: the incarnation for the header, which is left out without one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn start(destination: &Destination, life: Option<Incarnation>, runtime: &Handle) -> io::Result<Self> {
        let outbox = Arc::new(Outbox::default());
        let observer: Arc<dyn Observer> = Arc::clone(&outbox) as _;
        let pace = SharedPace::new(destination.max_rate).join(false);
        let producer = Producer::start(destination, &Metrics::new(), observer, pace, runtime);
        let seed = getrandom::u64().map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Self {
            destination: destination.clone(),
            life,
            producer,
            outbox,
            topics: HashMap::new(),
            in_flight: HashMap::new(),
            next_window: 1,
            seed,
            sums: Sums::default(),
            stop: None,
        })
    }

    /// Waits for nothing any more once this is set.
    pub fn stop_when(&mut self, stop: &Arc<AtomicBool>) {
        self.stop = Some(Arc::clone(stop));
    }

    /// Takes event `index` of a block for `topic`; blocks while its partition has a full batch in flight and
    /// another one waiting.
    ///
    /// # Errors
    /// [`ReplayError`]; then this replay is over.
    pub fn put(
        &mut self,
        topic: &TopicName,
        block: &BlockInfo,
        index: u32,
        event: &EventRef<'_>,
    ) -> Result<(), ReplayError> {
        self.know(topic)?;
        let time = event.time.unwrap_or(block.time);
        let Destination { timestamp, timestamp_max_age, batch_size, .. } = self.destination;
        let limits = self.topics.get(topic).map(|t| t.limits).unwrap_or_default();
        let bounds = Bounds::new(timestamp_max_age, &limits);
        let needed = stamp::needed(timestamp, bounds, time, unix_now());
        let size = event_size(event) + RECORD_OVERHEAD;
        let mut partition = self.partition(topic, event.key);
        let fits = |line: Option<&mut Line>| line.is_none_or(|line| line.fits(needed, size, batch_size));
        if !fits(self.line(topic, partition)) {
            self.flush(topic, partition)?;
            // Without a key, the next batch is another partition's.
            self.topics.get_mut(topic).into_iter().for_each(|t| t.sticky.forget());
            partition = self.partition(topic, event.key);
            if !fits(self.line(topic, partition)) {
                self.flush(topic, partition)?;
            }
        }
        let life = self.life;
        let epoch = self.draw_epoch();
        let Some(known) = self.topics.get_mut(topic) else { return Ok(()) };
        let line = known.lines.entry(partition).or_insert_with(|| Line::new(epoch));
        let (epoch, value) = line.counter.take(|| epoch);
        let seq = block.range.first.plus(u64::from(index));
        let counter = Counter { epoch, value };
        let (records, stamp) = line.open(needed, seq);
        record(records, life, stamp, (block, index), (event, time), counter);
        Ok(())
    }

    /// Sends what is left and waits until all is acknowledged.
    ///
    /// # Errors
    /// [`ReplayError`]; then this replay is over.
    pub fn finish(&mut self) -> Result<(), ReplayError> {
        let open = self.topics.iter().flat_map(|(name, topic)| {
            let partitions = topic.lines.iter().filter(|(_, line)| line.is_open());
            partitions.map(|(partition, _)| (name.clone(), *partition)).collect::<Vec<_>>()
        });
        for (topic, partition) in open.collect::<Vec<_>>() {
            self.flush(&topic, partition)?;
        }
        self.wait(|replay| replay.in_flight.is_empty())
    }

    /// What has been acknowledged so far.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// The lowest number put in since the last [`finish`](Self::finish) that is not acknowledged.
    #[must_use]
    pub fn unsettled_from(&self) -> Option<Seq> {
        self.topics.values().flat_map(|t| t.lines.values()).filter_map(Line::unsettled_from).min()
    }

    /// Ends its connections.
    pub async fn close(&self) {
        self.producer.close().await;
    }

    fn line(&mut self, topic: &TopicName, partition: i32) -> Option<&mut Line> {
        self.topics.get_mut(topic)?.lines.get_mut(&partition)
    }

    fn partition(&mut self, topic: &TopicName, key: Option<&[u8]>) -> i32 {
        let Some(Topic { partitions, lines, sticky, .. }) = self.topics.get_mut(topic) else { return 0 };
        if let Some(keyed) = keyed_partition(self.destination.partitioner, key, *partitions) {
            return keyed;
        }
        let candidates = (0..i32::try_from(*partitions).unwrap_or(i32::MAX)).map(|partition| Candidate {
            out_of_order: false,
            partition,
            available: true,
            load: lines.get(&partition).map_or(0, Line::bytes),
        });
        sticky.current().or_else(|| sticky.choose(candidates)).unwrap_or_default()
    }

    fn draw_epoch(&mut self) -> u16 {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        u16::try_from(self.seed >> 48).unwrap_or_default()
    }

    /// Waits until the cluster has told the topic's partitions.
    fn know(&mut self, topic: &TopicName) -> Result<(), ReplayError> {
        if self.topics.contains_key(topic) {
            return Ok(());
        }
        self.producer.track(topic.clone());
        let began = Instant::now();
        let mut found = None;
        self.wait(|replay| {
            found = replay.outbox.topic(topic);
            let settled = began.elapsed() >= MISSING;
            found.as_ref().is_some_and(|(state, _)| settled || matches!(state, TopicState::Present { .. }))
        })?;
        match found {
            Some((TopicState::Present { partitions, .. }, limits)) if !partitions.is_empty() => {
                let partitions = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
                let sticky = Sticky::new(self.seed);
                self.topics
                    .insert(topic.clone(), Topic { partitions, limits, lines: BTreeMap::new(), sticky });
                Ok(())
            }
            Some((TopicState::Missing { message, code }, _)) => {
                Err(ReplayError::Topic { topic: topic.clone(), code, message })
            }
            _ => Err(ReplayError::silent(PATIENCE, self.outbox.trouble())),
        }
    }

    /// Sends the open batch of a partition once none is in flight there.
    fn flush(&mut self, topic: &TopicName, partition: i32) -> Result<(), ReplayError> {
        self.wait(|replay| replay.line(topic, partition).is_none_or(|line| line.flight.is_none()))?;
        let compression = self.destination.compression;
        if let Some(line) = self.line(topic, partition) {
            line.seal(compression);
            self.send(topic, partition);
        }
        Ok(())
    }

    fn send(&mut self, topic: &TopicName, partition: i32) {
        let id = self.next_window;
        let Some(batch) = self.line(topic, partition).and_then(Line::leave) else { return };
        self.next_window += 1;
        self.in_flight.insert(id, (topic.clone(), partition));
        self.producer.send(Window { id, topic: topic.clone(), partition, batch, journaled: None });
    }

    /// Takes outcomes in until something is so.
    fn wait(&mut self, mut so: impl FnMut(&mut Self) -> bool) -> Result<(), ReplayError> {
        let mut until = Instant::now() + PATIENCE;
        loop {
            let outcomes = self.outbox.take();
            if outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Acked { .. })) {
                until = Instant::now() + PATIENCE;
            }
            for (window, outcome) in outcomes {
                self.settle(window, outcome)?;
            }
            self.send_again();
            if so(self) {
                return Ok(());
            }
            if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(ReplayError::Stopped);
            }
            if Instant::now() >= until || self.producer.has_died() {
                return Err(ReplayError::silent(PATIENCE, self.outbox.trouble()));
            }
            self.outbox.wait(RETRY);
        }
    }

    fn settle(&mut self, window: u64, outcome: Outcome) -> Result<(), ReplayError> {
        let Some((topic, partition)) = self.in_flight.remove(&window) else { return Ok(()) };
        let Some(line) = self.line(&topic, partition) else { return Ok(()) };
        match outcome {
            Outcome::Acked { may_be_doubled, .. } => {
                let count = line.arrived();
                self.sums.acknowledged += count;
                self.sums.possibly_doubled += if may_be_doubled { count } else { 0 };
                Ok(())
            }
            Outcome::Deferred { .. } => {
                line.stay(Instant::now() + RETRY);
                Ok(())
            }
            Outcome::Refused { code, message, .. } => {
                Err(ReplayError::Refused { topic, partition, code, message })
            }
            Outcome::Stale { .. } => Err(ReplayError::Refused {
                topic,
                partition,
                code: 32,
                message:
                    "it could not be sent for so long that its time stamps are too old by now; begin again"
                        .to_owned(),
            }),
            _ => Err(ReplayError::Refused {
                topic,
                partition,
                code: 45,
                message: "the broker lost track of what was sent".to_owned(),
            }),
        }
    }

    /// What could not be sent for now, and has waited.
    fn send_again(&mut self) {
        let now = Instant::now();
        let due = self.topics.iter().flat_map(|(name, topic)| {
            let due = topic.lines.iter().filter(|(_, line)| line.is_due(now));
            due.map(|(partition, _)| (name.clone(), *partition)).collect::<Vec<_>>()
        });
        for (topic, partition) in due.collect::<Vec<_>>() {
            self.send(&topic, partition);
        }
    }
}
