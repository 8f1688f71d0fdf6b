//! Where the events go, and what can be broken there: the embedded target, or a real cluster behind a link
//! of ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::DemoError;
use super::cluster::Cluster;
use super::event;
use super::link::Told;
use super::proof::{Found, Proof};
use super::proxy::Proxy;
use crate::config::model::{Destination, HostPort};
use crate::kafka::consume::{Consumer, ConsumerOptions};
use crate::target::{Death, Storage, Target, TargetOptions};

/// Partitions of the demo's topic.
pub(super) const PARTITIONS: i32 = 4;
/// How long an event of the script may take: a relay may wait up to 10 s before it connects again.
const PATIENCE: Duration = Duration::from_secs(15);

/// A destination of the demo, with one topic.
#[derive(Debug)]
pub(super) struct Site {
    kind: Kind,
    topic: String,
    /// Whether the topic is known to have been made.
    made: bool,
}

#[derive(Debug)]
enum Kind {
    Embedded(Target),
    Cluster { cluster: Box<Cluster>, proxy: Proxy },
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
        Ok(Self { kind: Kind::Embedded(Target::start(options).await?), topic, made: true })
    }

    /// A real cluster, on which [`Site::open`] makes a topic of its own.
    pub(super) async fn cluster(destination: &Destination) -> Result<Self, DemoError> {
        let cluster = Cluster::new(destination);
        let proxy = Proxy::start().await.map_err(DemoError::process("listening for the cut link"))?;
        let random = getrandom::u64()
            .map_err(|e| DemoError::process("drawing a topic name")(std::io::Error::other(e.to_string())))?;
        let topic = format!("spoolway-demo-{random:016x}");
        Ok(Self { kind: Kind::Cluster { cluster: Box::new(cluster), proxy }, topic, made: false })
    }

    /// Whether anybody answers there. Nothing is made by that.
    pub(super) async fn reach(&self) -> Result<(), DemoError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Cluster { cluster, .. } => cluster.reach().await,
        }
    }

    /// Makes the topic, where it is not there yet. With [`DemoError::Unanswered`] it may have been made, or be made later; with any
    /// other error it was not.
    pub(super) async fn open(&mut self) -> Result<(), DemoError> {
        if let Kind::Cluster { cluster, .. } = &self.kind {
            cluster.create(&self.topic, PARTITIONS).await?;
        }
        self.made = true;
        Ok(())
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Where the agent begins.
    pub(super) fn bootstrap(&self) -> Vec<HostPort> {
        match &self.kind {
            Kind::Embedded(target) => {
                let host = |a: &std::net::SocketAddr| HostPort { host: a.ip().to_string(), port: a.port() };
                target.brokers().iter().map(host).collect()
            }
            Kind::Cluster { cluster, .. } => cluster.destination().bootstrap.clone(),
        }
    }

    /// What the agent is told besides: how its owner reaches the cluster, and never to go around the link that is cut. Files that it
    /// needs go to `folder`.
    pub(super) fn told(&self, folder: &Path) -> Result<Told, DemoError> {
        let Kind::Cluster { cluster, proxy } = &self.kind else { return Ok(Told::default()) };
        let mut told = Told::of(cluster.destination(), folder)?;
        told.lines.push_str(&format!("proxy = \"http://{}\"\n", proxy.address()));
        Ok(told)
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
        Consumer::new(&match &self.kind {
            Kind::Embedded(_) => ConsumerOptions::new(self.bootstrap()),
            Kind::Cluster { cluster, .. } => cluster.consumer(),
        })
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
        let Kind::Cluster { cluster, .. } = &self.kind else { return Ok(()) };
        if cluster.delete(&self.topic).await? || self.made {
            return Ok(());
        }
        Err(DemoError::Part(
            "it is not there now, and what was asked of the cluster may still make it".to_owned(),
        ))
    }
}
