//! Our own Kafka client against a real Kafka: every codec, and every way a broker goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use spoolway::config::model::{Destination, HostPort, KafkaCompression, TimestampPolicy};
use spoolway::ids::{DestinationName, TopicName};
use spoolway::kafka::batch::Identity;
use spoolway::kafka::{
    Consumer, ConsumerOptions, Journaled, LinkState, Observer, Outcome, Producer, RecordsBuilder, SharedPace,
    Stamp, Topology, Window,
};
use spoolway::metrics::Metrics;

use crate::broker::Broker;
use crate::topic::Topic;

const ALL: [KafkaCompression; 5] = [
    KafkaCompression::None,
    KafkaCompression::Gzip,
    KafkaCompression::Snappy,
    KafkaCompression::Lz4,
    KafkaCompression::Zstd,
];

#[derive(Default)]
struct Outcomes {
    settled: Mutex<BTreeMap<u64, Outcome>>,
    links: Mutex<Vec<(Instant, LinkState)>>,
    news: Condvar,
    link_news: Condvar,
}

impl Observer for Outcomes {
    fn settled(&self, window: u64, outcome: Outcome) {
        assert!(self.settled.lock().expect("no panic").insert(window, outcome).is_none(), "settled twice");
        self.news.notify_all();
    }

    fn topology(&self, _: Arc<Topology>) {}

    fn link(&self, state: LinkState) {
        self.links.lock().expect("no panic").push((Instant::now(), state));
        self.link_news.notify_all();
    }
}

impl Outcomes {
    /// Waits until this many windows are settled.
    fn wait(&self, count: usize) {
        let settled = self.settled.lock().expect("no panic");
        let limit = Duration::from_secs(90);
        let (settled, late) =
            self.news.wait_timeout_while(settled, limit, |s| s.len() < count).expect("no panic");
        let last = self.links.lock().expect("no panic").last().cloned();
        assert!(!late.timed_out(), "{} of {count} settled; {last:?}", settled.len());
    }

    /// Waits until the link is told to be up. The connection that asks about the cluster may come back after
    /// the one that sends, so after the last window, too.
    fn wait_for_up(&self) {
        let is_down = |links: &mut Vec<(Instant, LinkState)>| links.last().is_none_or(|(_, l)| !l.up);
        let links = self.links.lock().expect("no panic");
        let limit = Duration::from_secs(30);
        let (links, late) = self.link_news.wait_timeout_while(links, limit, is_down).expect("no panic");
        assert!(!late.timed_out(), "{:?}", links.last());
    }
}

struct Client {
    producer: Producer,
    outcomes: Arc<Outcomes>,
    runtime: tokio::runtime::Runtime,
    bootstrap: HostPort,
}

impl Client {
    fn start(broker: &Broker) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let bootstrap = HostPort { host: "127.0.0.1".into(), port: broker.port };
        let name = DestinationName::new("home").expect("a name");
        let mut destination = Destination::new(name, vec![bootstrap.clone()]);
        // Records keep the times that they are given.
        destination.timestamp = TimestampPolicy::Event;
        let outcomes = Arc::new(Outcomes::default());
        let observer: Arc<dyn Observer> = Arc::clone(&outcomes) as _;
        let pace = SharedPace::new(None).join(false);
        let producer = Producer::start(&destination, &Metrics::new(), observer, pace, runtime.handle());
        Self { producer, outcomes, runtime, bootstrap }
    }

    fn send(&self, id: u64, topic: &str, partition: i32, batch: spoolway::kafka::Batch) {
        let topic = TopicName::new(topic).expect("a name");
        self.producer.send(Window { id, topic, partition, batch, journaled: None });
    }

    /// Values of a partition in order, read with our own consumer.
    fn read(&self, topic: &str, partition: i32) -> Vec<String> {
        let mut consumer = Consumer::new(&ConsumerOptions::new(vec![self.bootstrap.clone()]));
        let mut values = Vec::new();
        self.runtime.block_on(async {
            let from = consumer.earliest(topic, partition).await.expect("an offset");
            let end = consumer.latest(topic, partition).await.expect("an offset");
            let read = consumer.scan(topic, partition, (from, end), |r| {
                values.push(String::from_utf8_lossy(r.record.value.unwrap_or_default()).into_owned());
            });
            assert_eq!(read.await.expect("records"), end);
        });
        values
    }
}

pub fn every_codec_is_read_by_java_and_by_us_with_headers_in_order() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "codecs", 5);
    let client = Client::start(broker);
    for (number, compression) in ALL.into_iter().enumerate() {
        let mut builder = RecordsBuilder::new(Stamp::Event);
        for n in 0..500 {
            let value = format!("event {n} of many that look alike");
            let headers = [("b", Some(&b"1"[..])), ("a", Some(&b"x"[..])), ("b", Some(&b"2"[..]))];
            builder.push(Some(b"key"), Some(value.as_bytes()), headers, 1_700_000_000_000 + n);
        }
        let batch = builder.seal(compression);
        let partition = i32::try_from(number).expect("small");
        client.send(number as u64, &topic.name, partition, batch);
    }
    client.outcomes.wait(5);
    // A leader that has just been made may say NOT_LEADER first, after which the outcome counts as doubtful.
    for outcome in client.outcomes.settled.lock().expect("no panic").values() {
        assert!(matches!(outcome, Outcome::Acked { offset: 0, may_be_doubled: false, .. }), "{outcome:?}");
    }
    let rows = topic.by_offset();
    assert_eq!(rows.len(), 2500);
    for ((_, offset), row) in &rows {
        assert_eq!(row.value.as_deref(), Some(&*format!("event {offset} of many that look alike")));
        assert_eq!(row.headers, "b:1,a:x,b:2");
        assert_eq!((row.key.as_deref(), row.timestamp), (Some("key"), 1_700_000_000_000 + offset));
    }
    for partition in 0..5 {
        let ours = client.read(&topic.name, partition);
        assert_eq!(ours.len(), 500);
        assert!(ours.iter().zip(rows.values()).all(|(a, b)| Some(a) == b.value.as_ref()));
    }
}

/// A window of twenty events that name partition, window and place.
fn numbered(id: u64, compression: KafkaCompression) -> spoolway::kafka::Batch {
    let mut builder = RecordsBuilder::new(Stamp::Send);
    for n in 0..20 {
        builder.push(None, Some(format!("{id:06}.{n:02}").as_bytes()), [], 0);
    }
    builder.seal(compression)
}

pub fn a_broker_killed_frozen_and_restarted_gets_every_window_once_and_in_order() {
    const PARTITIONS: u64 = 3;
    let broker = Broker::start("producer-faults");
    let topic = Topic::create(&broker, "stress", 3);
    let client = Client::start(&broker);
    let mut sent = 0u64;
    let mut load = |windows: u64| {
        for _ in 0..windows * PARTITIONS {
            let compression = ALL[usize::try_from(sent).expect("small") % ALL.len()];
            let partition = i32::try_from(sent % PARTITIONS).expect("small");
            client.send(sent, &topic.name, partition, numbered(sent, compression));
            sent += 1;
        }
        sent
    };
    let done = load(100);
    client.outcomes.wait(usize::try_from(done).expect("small"));
    for fault in 0..6 {
        load(200);
        client.outcomes.wait(usize::try_from(done).expect("small") + 50 * fault);
        match fault % 3 {
            0 => {
                broker.kill();
                broker.run();
            }
            1 => {
                broker.freeze();
                std::thread::sleep(Duration::from_secs(20));
                broker.thaw();
            }
            _ => {
                broker.stop();
                load(20);
                broker.run();
            }
        }
    }
    let sent = load(50);
    client.outcomes.wait(usize::try_from(sent).expect("small"));
    let settled = client.outcomes.settled.lock().expect("no panic");
    assert!(settled.values().all(|o| matches!(o, Outcome::Acked { may_be_doubled: false, .. })));
    let mut seen = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let values = client.read(&topic.name, i32::try_from(partition).expect("small"));
        assert!(values.is_sorted_by(|a, b| a < b), "partition {partition} is reordered or doubled");
        seen.extend(values);
    }
    assert_eq!(seen.len() as u64, sent * 20);
    client.outcomes.wait_for_up();
    let links = client.outcomes.links.lock().expect("no panic");
    assert!(links.iter().any(|(_, l)| !l.up), "nobody was told that the broker was away");
}

pub fn sequence_numbers_that_come_round_to_0_are_those_the_broker_waits_for() {
    let broker = Broker::shared();
    let topic = Topic::create(broker, "come-round", 1);
    let client = Client::start(broker);
    // To the broker a producer's first batch may have any number. Twenty records: five before the last number, fifteen from 0.
    let first = i32::MAX - 4;
    let sends = [(0, first), (1, 15), (2, 35), (3, 15), (4, 61)];
    let outcomes = sends.map(|(id, base_sequence)| {
        let journaled = Journaled {
            identity: Identity { producer_id: 4_000_000, epoch: 0, base_sequence },
            doubtful: false,
            cluster_id: String::new(),
            topic_id: [0; 16],
            acked_offset: -1,
            sent_at: 0,
            may_be_doubled: false,
            unreadable: false,
        };
        let topic = TopicName::new(&topic.name).expect("a name");
        let batch = numbered(id, KafkaCompression::None);
        client.producer.send(Window { id, topic, partition: 0, batch, journaled: Some(journaled) });
        client.outcomes.wait(usize::try_from(id).expect("small") + 1);
        client.outcomes.settled.lock().expect("no panic")[&id].clone()
    });
    let offset = |outcome: &Outcome| match outcome {
        Outcome::Acked { offset, .. } => *offset,
        _ => -1,
    };
    // The fourth has the second's numbers, and is taken for it; the last leaves six out.
    assert_eq!(outcomes.each_ref().map(offset), [0, 20, 40, 20, -1], "{outcomes:?}");
    assert!(matches!(outcomes[4], Outcome::Forgotten { may_be_doubled: false, .. }), "{outcomes:?}");
    assert_eq!(client.read(&topic.name, 0).len(), 60);
}
