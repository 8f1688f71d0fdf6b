//! What all connections of a target share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::gate::{Gate, Link};
use super::options::{TargetError, TargetOptions};
use super::plan::Plan;
use super::topics::{Topics, lock};
use crate::config::model::HostPort;
use crate::event::UnixMillis;
use crate::kafka::clock::unix_now;

/// What a target has seen and done so far; watch it instead of sleeping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Requests read.
    pub requests: u64,
    /// Produce requests read.
    pub produce_requests: u64,
    /// Batches appended.
    pub batches: u64,
    /// Records appended.
    pub records: u64,
    /// Batches that were known already.
    pub duplicates: u64,
    /// Batches refused, by a rule or by a fault.
    pub refused: u64,
    /// Produce requests whose answer is held or lost.
    pub unanswered: u64,
    /// Fetch requests read.
    pub fetches: u64,
    /// Fetches that began to wait for records.
    pub waiting_fetches: u64,
    /// Brokers listening now.
    pub listening: usize,
}

/// One broker: where it listens and whether it does.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) address: SocketAddr,
    pub(super) advertised: HostPort,
    pub(super) listener: watch::Sender<Option<Arc<TcpListener>>>,
    pub(super) slots: Arc<Semaphore>,
}

/// Everything behind the listeners.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) id: String,
    pub(super) options: TargetOptions,
    pub(super) nodes: Vec<Node>,
    pub(super) topics: Topics,
    pub(super) gate: watch::Sender<Gate>,
    pub(super) counts: watch::Sender<Counts>,
    /// Moves whenever something can be fetched that could not before.
    pub(super) appends: watch::Sender<u64>,
    next_producer: AtomicI64,
    plan: Mutex<Plan>,
    /// When it was made, by the runtime's clock and by the wall's: clients' clocks may be set, and its own is not.
    began: (Instant, UnixMillis),
}

/// A restarted broker takes a fresh block of producer ids, as a real one.
const PRODUCER_ID_BLOCK: i64 = 1000;

impl Cluster {
    /// The time by the brokers' own clock.
    pub(super) fn unix_now(&self) -> UnixMillis {
        let (began, unix) = self.began;
        unix.saturating_add(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    pub(super) fn new(options: TargetOptions, nodes: Vec<Node>) -> Result<Self, TargetError> {
        let id = getrandom::u64().map_err(|e| TargetError::Random(std::io::Error::other(e.to_string())))?;
        let cluster = Self {
            id: format!("target-{id:016x}"),
            nodes,
            topics: Topics::default(),
            gate: Gate::down(),
            counts: watch::Sender::default(),
            appends: watch::Sender::new(0),
            next_producer: AtomicI64::new(PRODUCER_ID_BLOCK),
            plan: Mutex::default(),
            began: (Instant::now(), unix_now()),
            options,
        };
        for (name, partitions) in &cluster.options.topics {
            cluster.topics.create(name, *partitions, &cluster.options)?;
        }
        Ok(cluster)
    }

    pub(super) fn plan<T>(&self, with: impl FnOnce(&mut Plan) -> T) -> T {
        with(&mut lock(&self.plan))
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.gate.borrow().link == Link::Dead
    }

    pub(super) fn next_producer_id(&self) -> i64 {
        self.next_producer.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes every listener and connection, with the link left as `link`.
    pub(super) fn take_down(&self, link: Link) {
        for node in &self.nodes {
            node.listener.send_replace(None);
        }
        self.gate.send_modify(|gate| {
            gate.link = link;
            gate.generation += 1;
        });
    }

    /// What a broker does when it starts: see [`Log::recover`](super::log::Log::recover).
    pub(super) fn recover(&self) -> Result<u64, TargetError> {
        let next = self.next_producer.load(Ordering::Relaxed);
        let block = (next / PRODUCER_ID_BLOCK + 1) * PRODUCER_ID_BLOCK;
        self.next_producer.store(block, Ordering::Relaxed);
        let mut torn = 0;
        for topic in self.topics.all() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let path = format!("{}-{index}.log", topic.name).into();
                torn += partition.log().recover().map_err(|source| TargetError::Log { path, source })?;
            }
        }
        Ok(torn)
    }
}
