//! What a source says of itself: its metrics and its row in `/status`.
//!
//! INVARIANT: the number of label sets is bounded: beyond `max_streams` names, accepted events are counted
//! under `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;

use crate::event::UnixMillis;
use crate::ids::StreamName;
use crate::intake::AcceptError;
use crate::metrics::{Metrics, SourceReason, SourceStream};
use crate::status;

/// Name under which further streams are counted together.
const OTHER: &str = "other";
const NEVER: i64 = i64::MIN;

/// Counts of one source.
#[derive(Debug)]
pub(super) struct Tally {
    name: String,
    kind: &'static str,
    address: Option<String>,
    metrics: Arc<Metrics>,
    max_streams: usize,
    streams: RwLock<HashMap<StreamName, Counter>>,
    connections: AtomicU64,
    last_event_at: AtomicI64,
    accepted: AtomicU64,
    rejected: AtomicU64,
    held_back: AtomicBool,
}

impl Tally {
    pub(super) fn new(
        name: &str,
        kind: &'static str,
        address: Option<String>,
        max_streams: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            kind,
            address,
            metrics,
            max_streams,
            streams: RwLock::default(),
            connections: AtomicU64::new(0),
            last_event_at: AtomicI64::new(NEVER),
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The stream and its counter if events of it were accepted before; costs no allocation.
    pub(super) fn known(&self, name: &str) -> Option<(StreamName, Counter)> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get_key_value(name).map(|(stream, counter)| (stream.clone(), counter.clone()))
    }

    /// The counter of `stream`. Call it for streams whose events were accepted, since it remembers them.
    pub(super) fn counter(&self, stream: &StreamName) -> Counter {
        if let Some((_, counter)) = self.known(stream.as_str()) {
            return counter;
        }
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let room = streams.len() < self.max_streams;
        let label = if room { stream.as_str() } else { OTHER };
        let labels = SourceStream { source: self.name.clone(), stream: label.to_owned() };
        let counter = self.metrics.accepted.get_or_create(&labels).clone();
        if room {
            streams.insert(stream.clone(), counter.clone());
        }
        counter
    }

    /// `count` events were accepted now.
    pub(super) fn accepted(&self, counter: &Counter, count: u32) {
        counter.inc_by(u64::from(count));
        self.accepted.fetch_add(u64::from(count), Ordering::Relaxed);
        self.last_event_at.store(now(), Ordering::Relaxed);
    }

    /// `count` events, or one request whose events are not known, were refused.
    pub(super) fn rejected(&self, reason: &str, count: u64) {
        let labels = SourceReason { source: self.name.clone(), reason: reason.to_owned() };
        self.metrics.rejected.get_or_create(&labels).inc_by(count);
        self.rejected.fetch_add(count, Ordering::Relaxed);
    }

    /// Senders are held back from now on; said once, however many they are.
    pub(super) fn held_back(&self, error: &AcceptError) {
        if !self.held_back.swap(true, Ordering::Relaxed) {
            tracing::warn!(source = self.name, %error, "the spool takes nothing for now; senders are held back");
        }
    }

    /// Events were accepted after senders had been held back.
    pub(super) fn goes_on(&self) {
        if self.held_back.swap(false, Ordering::Relaxed) {
            tracing::info!(source = self.name, "the spool takes events again");
        }
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    pub(super) fn row(&self) -> status::Source {
        let last = self.last_event_at.load(Ordering::Relaxed);
        status::Source {
            name: self.name.clone(),
            kind: self.kind,
            connections: self.connections.load(Ordering::Relaxed),
            last_event_at: (last != NEVER).then_some(last),
            accepted: self.accepted.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            address: self.address.clone(),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connected(Arc<Tally>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_beyond_the_limit_are_counted_as_other() {
        let metrics = Metrics::new();
        let tally = Tally::new("s", "http", None, 2, Arc::clone(&metrics));
        for name in ["a", "b", "c", "d", "a"] {
            let counter = tally.counter(&StreamName::new(name).unwrap());
            tally.accepted(&counter, 1);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains("accepted_total{source=\"s\",stream=\"a\"} 2"), "{text}");
        assert!(text.contains("accepted_total{source=\"s\",stream=\"other\"} 2"), "{text}");
        assert!(!text.contains("stream=\"c\""), "{text}");
        assert_eq!(tally.row().accepted, 5);
        assert!(tally.known("c").is_none());
    }

    #[test]
    fn a_connection_is_counted_while_it_lives() {
        let tally = Tally::new("s", "tcp", None, 1, Metrics::new());
        let guard = tally.connected();
        assert_eq!(tally.row().connections, 1);
        drop(guard);
        assert_eq!(tally.row().connections, 0);
        assert_eq!(tally.row().last_event_at, None);
    }
}
