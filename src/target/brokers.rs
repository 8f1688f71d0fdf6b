//! The target as its owner holds it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use super::batch::BatchHeader;
use super::cluster::{Cluster, Counts, Node};
use super::faults::Faults;
use super::gate::Link;
use super::listener::{self, Reservation};
use super::options::{TargetError, TargetOptions};
use crate::config::model::HostPort;

/// A running target. Dropping it closes its ports and connections.
#[derive(Debug)]
pub struct Target {
    cluster: Arc<Cluster>,
    faults: Faults,
    acceptors: Vec<AbortHandle>,
    _reservations: Vec<Reservation>,
}

impl Target {
    /// Starts on the current runtime; it listens when this returns.
    ///
    /// # Errors
    /// [`TargetError`]: a port in use, a directory that can't be written, a topic that can't be.
    pub async fn start(options: TargetOptions) -> Result<Self, TargetError> {
        let ports = options.ports.iter().copied().chain(std::iter::repeat(0));
        let reservations: Vec<_> =
            ports.take(options.brokers.max(1)).map(Reservation::take).collect::<Result<_, _>>()?;
        let nodes = reservations.iter().zip(0..).map(|(r, id)| node(&options, r.address(), id)).collect();
        let cluster = Arc::new(Cluster::new(options, nodes)?);
        let acceptors = (0..cluster.nodes.len())
            .map(|at| tokio::spawn(listener::accept_always(Arc::clone(&cluster), at)).abort_handle())
            .collect();
        let faults = Faults::new(Arc::clone(&cluster));
        let target = Self { cluster, faults, acceptors, _reservations: reservations };
        target.faults.restore().await?;
        Ok(target)
    }

    /// Address of the first broker, to bootstrap from.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers().first().map(SocketAddr::to_string).unwrap_or_default()
    }

    /// Where each broker listens, in the order of node ids.
    #[must_use]
    pub fn brokers(&self) -> Vec<SocketAddr> {
        self.cluster.nodes.iter().map(|node| node.address).collect()
    }

    /// The fault switches.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was seen and done so far, to read or to wait on.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.cluster.counts.subscribe()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`TargetError::Topic`] with Kafka's code: it exists, or its name or size is wrong.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), TargetError> {
        self.cluster.topics.create(name, partitions, &self.cluster.options).map(|_| ())
    }

    /// Sets a key of a topic's configuration, for DescribeConfigs to tell.
    pub fn configure(&self, topic: &str, key: &str, value: &str) {
        if let Some(topic) = self.cluster.topics.get(topic) {
            topic.set(key, value);
        }
    }

    /// A connection to a broker that stays within the process, so that a runtime whose clock is paused need not wait
    /// for the kernel.
    ///
    /// # Errors
    /// When nothing listens there.
    #[cfg(test)]
    pub(crate) fn dial(&self, address: &HostPort) -> std::io::Result<tokio::io::DuplexStream> {
        listener::dial(&self.cluster, address)
    }

    /// Deletes a topic and its batches; whether there was one. Made again, it has another id.
    pub fn delete_topic(&self, name: &str) -> bool {
        self.cluster.topics.remove(name)
    }

    /// Offset after the last record of a partition.
    #[must_use]
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.cluster.topics.partition(topic, partition).map(|p| p.log().end())
    }

    /// Every batch of a partition, as it lies in the log, with its header.
    ///
    /// # Errors
    /// [`TargetError::NoPartition`], or [`TargetError::Log`] when the log can't be read.
    pub fn batches(&self, topic: &str, partition: i32) -> Result<Vec<(BatchHeader, Bytes)>, TargetError> {
        let none = || TargetError::NoPartition { topic: topic.to_owned(), partition };
        let found = self.cluster.topics.partition(topic, partition).ok_or_else(none)?;
        let path = || format!("{topic}-{partition}.log").into();
        found.log().batches().map_err(|source| TargetError::Log { path: path(), source })
    }

    /// The newest time of each batch of a partition from an offset on.
    #[cfg(test)]
    pub(crate) fn times_from(&self, topic: &str, partition: i32, offset: i64) -> Vec<i64> {
        let found = self.cluster.topics.partition(topic, partition);
        found.map(|p| p.log().times_from(offset)).unwrap_or_default()
    }

    /// Kills the brokers: every listener and connection is gone when this returns, no answer leaves, and a
    /// request not yet begun has no effect. What was appended stays.
    pub async fn kill(&self) {
        self.cluster.take_down(Link::Dead);
        self.faults.all_closed().await;
    }

    /// Returns once the brokers are dead and everything is closed; see [`Faults::die_in_append`].
    pub async fn died(&self) {
        let _ = self.cluster.gate.subscribe().wait_for(|gate| gate.link == Link::Dead).await;
        self.faults.all_closed().await;
    }

    /// Starts dead brokers again on the same ports with what they had appended: a half-written batch is cut
    /// off, and only the last batch of each producer is known. Returns how many bytes were cut off.
    ///
    /// # Errors
    /// [`TargetError`]: a log that can't be read, a port that can't be had.
    pub async fn start_again(&self) -> Result<u64, TargetError> {
        self.faults.all_closed().await;
        let torn = self.cluster.recover()?;
        self.faults.restore().await?;
        Ok(torn)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.cluster.take_down(Link::Dead);
        self.acceptors.iter().for_each(AbortHandle::abort);
    }
}

fn node(options: &TargetOptions, address: SocketAddr, id: i32) -> Node {
    let at = usize::try_from(id).unwrap_or_default();
    let real = HostPort { host: address.ip().to_string(), port: address.port() };
    Node {
        id,
        address,
        advertised: options.advertise.get(at).cloned().unwrap_or(real),
        listener: watch::Sender::new(None),
        slots: Arc::new(Semaphore::new(options.max_connections.max(1))),
    }
}
