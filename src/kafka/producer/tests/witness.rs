//! Records what the producer tells, and what it needs to be started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::model::{Destination, HostPort, KafkaCompression};
use crate::ids::{DestinationName, TopicName};
use crate::kafka::batch::{RecordsBuilder, Stamp};
use crate::kafka::topology::Topology;
use crate::kafka::window::{LinkState, Observer, Outcome, Window};
use crate::kafka::{Producer, SharedPace};
use crate::metrics::Metrics;

#[derive(Default)]
pub(super) struct Witness {
    pub(super) outcomes: Mutex<BTreeMap<u64, Outcome>>,
    pub(super) order: Mutex<Vec<u64>>,
    pub(super) links: Mutex<Vec<LinkState>>,
    pub(super) producer_ids: Mutex<Vec<i64>>,
    pub(super) topologies: Mutex<Vec<Arc<Topology>>>,
    news: Notify,
}

impl Observer for Witness {
    fn settled(&self, window: u64, outcome: Outcome) {
        assert!(self.outcomes.lock().unwrap().insert(window, outcome).is_none(), "{window} settled twice");
        self.order.lock().unwrap().push(window);
        self.news.notify_waiters();
    }

    fn producer_id(&self, producer_id: i64, _: i16) {
        self.producer_ids.lock().unwrap().push(producer_id);
        self.news.notify_waiters();
    }

    fn topology(&self, topology: Arc<Topology>) {
        self.topologies.lock().unwrap().push(topology);
        self.news.notify_waiters();
    }

    fn link(&self, state: LinkState) {
        self.links.lock().unwrap().push(state);
        self.news.notify_waiters();
    }
}

impl Witness {
    /// Waits until something is so; fails after two minutes.
    pub(super) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if so(self) {
                    return;
                }
                news.await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(120), wait).await;
        assert!(done.is_ok(), "{what}: {:?} {:?}", self.outcomes.lock().unwrap(), self.links.lock().unwrap());
    }

    pub(super) async fn settled(&self, count: usize) {
        self.until("settled", |w| w.outcomes.lock().unwrap().len() >= count).await;
    }

    pub(super) fn outcome(&self, window: u64) -> Outcome {
        self.outcomes.lock().unwrap()[&window].clone()
    }

    pub(super) fn is_up(&self) -> bool {
        self.links.lock().unwrap().last().is_some_and(|l| l.up)
    }
}

pub(super) fn start(bootstrap: HostPort) -> (Producer, Arc<Witness>) {
    start_mapped(bootstrap, vec![])
}

pub(super) fn start_mapped(
    bootstrap: HostPort,
    address_map: Vec<(HostPort, HostPort)>,
) -> (Producer, Arc<Witness>) {
    let name = DestinationName::new("home").unwrap();
    start_as(&Destination { address_map, ..Destination::new(name, vec![bootstrap]) })
}

pub(super) fn start_as(destination: &Destination) -> (Producer, Arc<Witness>) {
    start_measured(destination, &Metrics::new())
}

pub(super) fn start_measured(destination: &Destination, metrics: &Metrics) -> (Producer, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let observer: Arc<dyn Observer> = Arc::clone(&witness) as _;
    let runtime = tokio::runtime::Handle::current();
    let pace = SharedPace::new(destination.max_rate).join(false);
    (Producer::start(destination, metrics, observer, pace, &runtime), witness)
}

/// A window of three records that name it.
pub(super) fn window(id: u64, topic: &str, partition: i32) -> Window {
    let mut builder = RecordsBuilder::new(Stamp::Send);
    for part in 0..3 {
        builder.push(None, Some(format!("{id}.{part}").as_bytes()), [], 0);
    }
    let batch = builder.seal(KafkaCompression::None);
    Window { id, topic: TopicName::new(topic).unwrap(), partition, batch, journaled: None }
}

/// What the log must hold when these windows are in it once each, in order.
pub(super) fn expected(ids: impl IntoIterator<Item = u64>) -> Vec<String> {
    ids.into_iter().flat_map(|id| (0..3).map(move |part| format!("{id}.{part}"))).collect()
}

pub(super) fn acked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Acked { may_be_doubled: false, .. })
}
