//! What can be made to go wrong, on purpose and at a known moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::cluster::{Cluster, Node};
use super::code::Code;
use super::gate::{Gate, Link};
use super::listener;
use super::options::TargetError;
use super::plan::{Death, ProduceFault};

/// A child that this process has forked and that has not yet become another program holds every open file of ours,
/// the listener that was just closed among them. Nothing tells when that ends, so the port is asked for again.
const PORT_TRIES: u32 = 400;
const PORT_PAUSE: Duration = Duration::from_millis(5);

async fn listen_again(node: &Node) -> Result<(), TargetError> {
    for _ in 1..PORT_TRIES {
        match listener::listen(node) {
            Err(TargetError::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(PORT_PAUSE).await;
            }
            done => return done,
        }
    }
    listener::listen(node)
}

/// The fault switches of a [`Target`](super::Target); cheap to clone. A fault stays until it is taken back
/// or has struck as often as it was told to.
#[derive(Debug, Clone)]
pub struct Faults {
    cluster: Arc<Cluster>,
}

impl Faults {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    fn gate(&self, change: impl FnOnce(&mut Gate)) {
        self.cluster.gate.send_modify(change);
    }

    /// Closes every open connection; new ones are welcome.
    pub fn drop_connections(&self) {
        self.gate(|gate| gate.generation += 1);
    }

    /// Cuts the link: closes every connection and refuses new ones. Returns when both is done.
    pub async fn cut(&self) {
        self.cluster.take_down(Link::Cut);
        self.all_closed().await;
    }

    pub(super) async fn all_closed(&self) {
        let mut counts = self.cluster.counts.subscribe();
        let _ = counts.wait_for(|c| c.connections == 0 && c.listening == 0).await;
    }

    /// Ends a cut: listens again on the same ports.
    ///
    /// # Errors
    /// [`TargetError::Listen`].
    pub async fn restore(&self) -> Result<(), TargetError> {
        self.all_closed().await;
        self.gate(|gate| gate.link = Link::Up);
        for node in &self.cluster.nodes {
            if let Err(error) = listen_again(node).await {
                self.cluster.take_down(Link::Dead);
                return Err(error);
            }
        }
        let all = self.cluster.nodes.len();
        let _ = self.cluster.counts.subscribe().wait_for(|c| c.listening == all).await;
        Ok(())
    }

    /// From now on nothing is accepted, read, worked on or answered, while the kernel goes on taking
    /// connections and bytes: a stopped process, or a link that swallows what it is given.
    pub fn stall(&self) {
        self.gate(|gate| gate.stalled = true);
    }

    /// From now on one broker takes connections and what comes by them, and does and says nothing.
    pub fn stall_broker(&self, broker: i32) {
        self.gate(|gate| gate.stalled_broker = Some(broker));
    }

    /// Ends [`stall`](Self::stall) and [`stall_broker`](Self::stall_broker): what was sent meanwhile is worked on, even of clients
    /// that gave up.
    pub fn resume(&self) {
        self.gate(|gate| (gate.stalled, gate.stalled_broker) = (false, None));
    }

    /// From now on produce requests are worked on, but not answered; other requests are.
    pub fn hold_answers(&self) {
        self.gate(|gate| gate.holding = true);
    }

    /// Sends the answers that were held, and holds no more.
    pub fn release_answers(&self) {
        self.gate(|gate| gate.holding = false);
    }

    /// Sends every answer this much later; zero ends it.
    pub fn delay_answers(&self, by: Duration) {
        self.gate(|gate| gate.delay = by);
    }

    /// After each of the next `times` produce requests is appended, closes its connection instead of
    /// answering.
    pub fn lose_answers(&self, times: u32) {
        self.cluster.plan(|plan| plan.lose_answers(times));
    }

    /// The next `times` produce answers say `throttle_time_ms`, and their connections are not read for that
    /// long.
    pub fn throttle(&self, by: Duration, times: u32) {
        self.cluster.plan(|plan| plan.throttle(by, times));
    }

    /// The next `times` batches for the partition are not appended and get `code`.
    pub fn refuse_produce(&self, topic: &str, partition: i32, code: Code, times: u32) {
        self.plan(topic, partition, ProduceFault::Refuse(code), times);
    }

    /// The next `times` batches for the partition are appended and get `code` all the same.
    pub fn append_and_refuse(&self, topic: &str, partition: i32, code: Code, times: u32) {
        self.plan(topic, partition, ProduceFault::AppendAndRefuse(code), times);
    }

    /// Takes back what is planned for produce requests.
    pub fn clear_planned(&self) {
        self.cluster.plan(super::plan::Plan::clear_produce);
    }

    fn plan(&self, topic: &str, partition: i32, fault: ProduceFault, times: u32) {
        self.cluster.plan(|plan| plan.add(Some((topic.to_owned(), partition)), fault, times));
    }

    /// The brokers die in the append of the next batch, whatever its partition. Await
    /// [`Target::died`](super::Target::died).
    pub fn die_in_append(&self, death: Death) {
        self.cluster.plan(|plan| plan.add(None, ProduceFault::Die(death), 1));
    }

    /// The next `times` requests for a producer id get `code`.
    pub fn refuse_producer_ids(&self, code: Code, times: u32) {
        self.cluster.plan(|plan| plan.refuse_producer_ids(code, times));
    }

    /// The next `times` calls of one kind (Kafka's number for it) get `code` wherever an answer has room for one, and nothing
    /// of them is done.
    pub fn refuse_calls(&self, call: ApiKey, code: Code, times: u32) {
        self.cluster.plan(|plan| plan.refuse_calls(call, code, times));
    }

    /// The next `times` requests of any kind are answered with `body` behind a right correlation id (and a
    /// header of version 0): what a hostile or broken broker might send.
    pub fn answer_raw(&self, body: &[u8], times: u32) {
        self.cluster.plan(|plan| plan.answer_raw(&Bytes::copy_from_slice(body), times));
    }

    /// Forgets every producer of every partition, as expiry does.
    pub fn clear_producer_state(&self) {
        for topic in self.cluster.topics.all() {
            topic.partitions.iter().for_each(|p| p.log().producers().clear());
        }
    }

    /// The controllers are restored from a backup: the partition is led by another broker, under an earlier epoch.
    #[cfg(test)]
    pub(crate) fn restore_leader(&self, topic: &str, partition: i32, to: i32, epoch: i32) {
        self.cluster.topics.partition(topic, partition).unwrap().lead_again(to, epoch);
    }

    /// Gives the partition to another broker, or to none.
    ///
    /// # Errors
    /// [`TargetError::NoPartition`].
    pub fn move_leader(&self, topic: &str, partition: i32, to: Option<i32>) -> Result<(), TargetError> {
        let none = || TargetError::NoPartition { topic: topic.to_owned(), partition };
        self.cluster.topics.partition(topic, partition).ok_or_else(none)?.lead(to);
        Ok(())
    }
}
