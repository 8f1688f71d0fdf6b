//! Where the events go, and what can be broken there: the embedded target, or a real cluster behind a link
//! of ours.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use rskafka::client::ClientBuilder;
use tokio::time::timeout;

use super::DemoError;
use super::event;
use super::proof::{Found, Proof};
use super::proxy::Proxy;
use crate::config::model::HostPort;
use crate::kafka::Access;
use crate::kafka::connection::{Options, connect};
use crate::kafka::consume::{Consumer, ConsumerOptions};
use crate::kafka::wire::{MetadataAnswer, metadata_request};
use crate::target::{Death, Storage, Target, TargetOptions};

/// Partitions of the demo's topic.
pub(super) const PARTITIONS: i32 = 4;
/// How long an event of the script may take: a relay may wait up to 10 s before it connects again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an administrative request to a real cluster may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(20);

/// A destination of the demo, with one topic.
#[derive(Debug)]
pub(super) struct Site {
    kind: Kind,
    topic: String,
}

#[derive(Debug)]
enum Kind {
    Embedded(Target),
    Cluster { bootstrap: Vec<HostPort>, proxy: Proxy },
}

impl Site {
    /// The embedded target, with its logs in `folder`.
    pub(super) async fn embedded(folder: PathBuf) -> Result<Self, DemoError> {
        let topic = event::STREAM.to_owned();
        let options = TargetOptions {
            topics: vec![(topic.clone(), PARTITIONS)],
            storage: Storage::Directory { path: folder, sync: false },
            ..TargetOptions::default()
        };
        Ok(Self { kind: Kind::Embedded(Target::start(options).await?), topic })
    }

    /// A topic of its own on a real cluster.
    pub(super) async fn cluster(bootstrap: &[HostPort]) -> Result<Self, DemoError> {
        let failed = |what, cause: &dyn std::fmt::Display| cluster_error(bootstrap, what, cause);
        // First, because it says at once when nobody is there; rskafka tries for ever.
        let brokers = brokers(bootstrap).await?;
        let random = getrandom::u64().map_err(|e| failed("drawing a topic name", &e))?;
        let topic = format!("spoolway-demo-{random:016x}");
        administer(bootstrap, "creating a topic", |client| {
            let topic = topic.clone();
            async move { client.controller_client()?.create_topic(topic, PARTITIONS, -1, 10_000).await }
        })
        .await?;
        let proxy = Proxy::start(&brokers).await.map_err(DemoError::process("listening for the cut link"))?;
        Ok(Self { kind: Kind::Cluster { bootstrap: bootstrap.to_vec(), proxy }, topic })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// What the agent is told.
    pub(super) fn bootstrap(&self) -> Vec<HostPort> {
        match &self.kind {
            Kind::Embedded(_) => self.readers_bootstrap(),
            Kind::Cluster { proxy, .. } => proxy.pairs().iter().map(|(_, ours)| ours.clone()).collect(),
        }
    }

    /// What the agent is told besides, so that it never goes around the cut link.
    pub(super) fn address_map(&self) -> Vec<(HostPort, HostPort)> {
        match &self.kind {
            Kind::Embedded(_) => Vec::new(),
            Kind::Cluster { proxy, .. } => proxy.pairs().to_vec(),
        }
    }

    /// The straight way, for reading back.
    fn readers_bootstrap(&self) -> Vec<HostPort> {
        match &self.kind {
            Kind::Embedded(target) => {
                let host = |a: &std::net::SocketAddr| HostPort { host: a.ip().to_string(), port: a.port() };
                target.brokers().iter().map(host).collect()
            }
            Kind::Cluster { bootstrap, .. } => bootstrap.clone(),
        }
    }

    pub(super) async fn cut(&self) {
        match &self.kind {
            Kind::Embedded(target) => target.faults().cut().await,
            Kind::Cluster { proxy, .. } => proxy.cut(),
        }
    }

    pub(super) async fn restore(&self) -> Result<(), DemoError> {
        match &self.kind {
            Kind::Embedded(target) => target.faults().restore().await?,
            Kind::Cluster { proxy, .. } => proxy.restore(),
        }
        Ok(())
    }

    /// From now on nothing that is appended is answered; returns when that has happened to something.
    pub(super) async fn hold_until_in_flight(&self) {
        match &self.kind {
            Kind::Embedded(target) => {
                let mut counts = target.counts();
                let (before, batches) = (counts.borrow().unanswered, counts.borrow().batches);
                target.faults().hold_answers();
                let appended = counts.wait_for(|c| c.unanswered > before && c.batches > batches);
                let _ = timeout(PATIENCE, appended).await;
            }
            Kind::Cluster { proxy, .. } => {
                let before = proxy.held();
                proxy.hold_answers();
                let _ = timeout(PATIENCE, proxy.holds_more_than(before)).await;
            }
        }
    }

    pub(super) fn release(&self) {
        match &self.kind {
            Kind::Embedded(target) => target.faults().release_answers(),
            Kind::Cluster { proxy, .. } => proxy.release_answers(),
        }
    }

    /// Kills the target with half a batch written; on a real cluster, cuts the link with half of a request
    /// sent. Whether it happened in time.
    pub(super) async fn die_in_append(&self) -> bool {
        match &self.kind {
            Kind::Embedded(target) => {
                target.faults().die_in_append(Death::HalfAppended);
                timeout(PATIENCE, target.died()).await.is_ok()
            }
            Kind::Cluster { proxy, .. } => timeout(PATIENCE, proxy.tear()).await.is_ok(),
        }
    }

    /// Starts it again; how many bytes of a torn append were cut off.
    pub(super) async fn start_again(&self) -> Result<u64, DemoError> {
        match &self.kind {
            Kind::Embedded(target) => Ok(target.start_again().await?),
            Kind::Cluster { proxy, .. } => {
                proxy.restore();
                Ok(0)
            }
        }
    }

    fn consumer(&self) -> Consumer {
        Consumer::new(&ConsumerOptions::new(self.readers_bootstrap()))
    }

    /// How many records the topic holds.
    pub(super) async fn records(&self) -> Result<u64, DemoError> {
        let mut consumer = self.consumer();
        let mut records = 0;
        for partition in 0..PARTITIONS {
            let end = consumer.latest(&self.topic, partition).await?;
            records += u64::try_from(end).unwrap_or_default();
        }
        Ok(records)
    }

    /// Waits until the topic holds more than `before`, for a minute at most; returns how many it holds then.
    pub(super) async fn grows_over(&self, before: u64) -> Result<u64, DemoError> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let now = self.records().await?;
            if now > before || tokio::time::Instant::now() > deadline {
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads the whole topic.
    pub(super) async fn read_back(&self) -> Result<Proof, DemoError> {
        let (mut proof, mut consumer) = (Proof::default(), self.consumer());
        for partition in 0..PARTITIONS {
            let range = (
                consumer.earliest(&self.topic, partition).await?,
                consumer.latest(&self.topic, partition).await?,
            );
            let visit = |record: crate::kafka::consume::FetchedRecord<'_>| {
                let event = record.record.value.and_then(event::read);
                if let Some((sender, n)) = event {
                    proof.see(Found { sender, n });
                }
            };
            consumer.scan(&self.topic, partition, range, visit).await?;
        }
        Ok(proof)
    }

    /// Removes the topic from a real cluster.
    pub(super) async fn close(self) -> Result<(), DemoError> {
        let Kind::Cluster { bootstrap, .. } = &self.kind else { return Ok(()) };
        administer(bootstrap, "deleting the demo's topic", |client| {
            let topic = self.topic.clone();
            async move { client.controller_client()?.delete_topic(topic, 10_000).await }
        })
        .await
    }
}

fn cluster_error(bootstrap: &[HostPort], what: &'static str, cause: &dyn std::fmt::Display) -> DemoError {
    let bootstrap = bootstrap.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",");
    DemoError::Cluster { what, bootstrap, cause: cause.to_string() }
}

/// One administrative request through rskafka, which would try for ever by itself.
async fn administer<F>(
    bootstrap: &[HostPort],
    what: &'static str,
    ask: impl FnOnce(rskafka::client::Client) -> F,
) -> Result<(), DemoError>
where
    F: Future<Output = Result<(), rskafka::client::error::Error>>,
{
    let addresses = bootstrap.iter().map(HostPort::to_string).collect();
    let asked = async { ask(ClientBuilder::new(addresses).client_id("spoolway-demo").build().await?).await };
    match timeout(ADMIN_PATIENCE, asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(cluster_error(bootstrap, what, &error)),
        Err(_) => Err(cluster_error(bootstrap, what, &"no answer within 20 s")),
    }
}

/// The addresses the cluster's brokers advertise.
async fn brokers(bootstrap: &[HostPort]) -> Result<Vec<HostPort>, DemoError> {
    let failed = |cause: &dyn std::fmt::Display| cluster_error(bootstrap, "asking for its brokers", cause);
    let options = Options {
        client_id: "spoolway-demo".to_owned(),
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        max_answer: 16 << 20,
        access: Access::default(),
        sent: None,
    };
    let mut outcome = Err(failed(&"no address was given"));
    for address in bootstrap {
        match connect(address, &options).await {
            Ok(connection) => {
                let version = connection.versions().metadata;
                let request = metadata_request(connection.client_id(), version, []);
                let answer = connection.call(request).await.map_err(|e| failed(&e))?;
                let answer = MetadataAnswer::decode(&answer, version).map_err(|e| failed(&e))?;
                let port = |p| u16::try_from(p).unwrap_or_default();
                let rows = answer.brokers.into_iter();
                return Ok(rows.map(|b| HostPort { host: b.host, port: port(b.port) }).collect());
            }
            Err(error) => {
                let error = error.link_error(&address.to_string());
                outcome = Err(failed(&format!("{}; {}", error.message, error.hint)));
            }
        }
    }
    outcome
}
