//! What a delivery tells the metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::board::Counted;
use super::engine::Delivered;
use super::worker::Names;
use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::metrics::{self, Metrics};
use crate::state::letters::{Letter, Reason};

/// Handles to its metrics.
#[derive(Debug)]
pub struct Counts {
    pub(super) metrics: Arc<Metrics>,
    names: metrics::LaneDestination,
    delivered: HashMap<TopicName, Counter>,
    seconds: Histogram,
    restamped: Counter,
    expired: Counter,
    pub(super) possibly_doubled: Counter,
    /// Of all lanes that go to this destination.
    pub(super) throttled: Counter<f64, AtomicU64>,
    pub(super) dropped: Counter,
}

impl Counts {
    /// Handles for one lane and destination.
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, names: &Names) -> Self {
        let (lane, destination) = (names.lane.to_string(), names.destination.to_string());
        for (_, reason) in Reason::ALL {
            // Alarms ask how much it has grown: from nothing it has not.
            let (lane, destination, reason) = (lane.clone(), destination.clone(), reason.to_owned());
            let labels = metrics::LaneDestinationReason { lane, destination, reason };
            drop(metrics.dead_lettered.get_or_create(&labels));
        }
        let by_destination = metrics::Destination { destination: destination.clone() };
        let pair = metrics::LaneDestination { lane: lane.clone(), destination: destination.clone() };
        let full = metrics::LaneDestinationReason { lane, destination, reason: "spool_full".into() };
        Self {
            delivered: HashMap::new(),
            seconds: metrics.delivery_seconds.get_or_create(&pair).clone(),
            possibly_doubled: metrics.possibly_doubled.get_or_create(&pair).clone(),
            expired: metrics.expired.get_or_create(&pair).clone(),
            throttled: metrics.throttled.get_or_create(&by_destination).clone(),
            restamped: metrics.restamped.get_or_create(&by_destination).clone(),
            dropped: metrics.dropped.get_or_create(&full).clone(),
            metrics: Arc::clone(metrics),
            names: pair,
        }
    }

    /// As `/status` shows it.
    pub(super) fn posted(&self) -> Counted {
        Counted { possibly_doubled: self.possibly_doubled.get(), throttled_seconds: self.throttled.get() }
    }

    /// Events have become dead letters.
    pub(super) fn dead_lettered(&self, letters: &[Letter]) {
        for letter in letters {
            let metrics::LaneDestination { lane, destination } = self.names.clone();
            let reason = letter.reason.name().to_owned();
            let labels = metrics::LaneDestinationReason { lane, destination, reason };
            self.metrics.dead_lettered.get_or_create(&labels).inc();
        }
    }

    /// A window was delivered.
    pub(super) fn delivered(&mut self, delivered: &Delivered, now: UnixMillis) {
        if !self.delivered.contains_key(&delivered.topic) {
            let labels = metrics::LaneDestinationTopic {
                lane: self.names.lane.clone(),
                destination: self.names.destination.clone(),
                topic: delivered.topic.to_string(),
            };
            let counter = self.metrics.delivered.get_or_create(&labels).clone();
            self.delivered.insert(delivered.topic.clone(), counter);
        }
        if let Some(counter) = self.delivered.get(&delivered.topic) {
            counter.inc_by(u64::from(delivered.count));
        }
        self.restamped.inc_by(u64::from(delivered.restamped));
        self.expired.inc_by(u64::from(delivered.expired));
        self.possibly_doubled.inc_by(if delivered.doubtful { u64::from(delivered.count) } else { 0 });
        for (accepted, count) in &delivered.accepted {
            let millis = u64::try_from(now.saturating_sub(*accepted)).unwrap_or(0);
            let seconds = Duration::from_millis(millis).as_secs_f64();
            (0..*count).for_each(|_| self.seconds.observe(seconds));
        }
    }
}
