//! A cluster that appends what it is told to, knows producers as brokers do, and forgets them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::super::Sink;
use super::log::value;
use crate::ids::{Seq, TopicName};
use crate::kafka::batch::Identity;
use crate::kafka::{BatchReader, Outcome, PartitionInfo, RecordHeader, TopicState, Topology, Window, header};

#[derive(Clone, Default)]
pub(super) struct TestSink {
    pub(super) sent: Arc<Mutex<Vec<Window>>>,
    pub(super) tracked: Arc<Mutex<BTreeSet<TopicName>>>,
}

impl Sink for TestSink {
    fn send(&self, window: Window) {
        self.sent.lock().unwrap().push(window);
    }
    fn track(&self, topic: TopicName) {
        self.tracked.lock().unwrap().insert(topic);
    }
}

pub(super) type Record = (RecordHeader, Option<Vec<u8>>);

/// What a broker remembers of a producer in a partition: the identity of the last batch, and its count.
pub(super) type Memory = BTreeMap<(TopicName, i32, i64), (Identity, u32)>;

/// A batch: its place, its identity, its count.
pub(super) type Appended = (TopicName, i32, (i64, i16, i32), u32);

/// A cluster that appends what it is told to, unless it knows it.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) logs: BTreeMap<(TopicName, i32), Vec<Record>>,
    pub(super) missing: BTreeSet<TopicName>,
    /// Partitions without a leader.
    pub(super) leaderless: BTreeSet<(TopicName, i32)>,
    /// Partitions whose leader takes events and does not answer, or takes none.
    pub(super) frozen: BTreeSet<(TopicName, i32)>,
    /// Partitions with fewer replicas in sync than they have to have.
    pub(super) thin: BTreeSet<(TopicName, i32)>,
    /// How many partitions each topic has, beyond three; or, below 0, less than that.
    pub(super) grown: BTreeMap<TopicName, i32>,
    /// Every event whose number this divides is refused; 0: none is.
    pub(super) poison: u64,
    /// Topics that refuse every event, as a compacted one does those without a key.
    pub(super) refusing: BTreeSet<TopicName>,
    /// A window with more bytes is refused if it can be split; 0: none is.
    pub(super) max_bytes: usize,
    /// The largest window that was appended, in bytes before compression.
    pub(super) largest: usize,
    /// How many were refused for their size.
    pub(super) too_large: u64,
    /// Of every topic.
    pub(super) id: u8,
    /// Of the cluster; `None`: it does not say.
    pub(super) cluster_id: Option<String>,
    pub(super) memory: Memory,
    /// The identity of every batch that was ever appended, and its count.
    pub(super) appended: BTreeSet<Appended>,
    /// How many producer ids it has given.
    pub(super) producers: i64,
}

impl Cluster {
    /// Another process is given a producer id.
    pub(super) fn producer(&mut self) -> i64 {
        self.producers += 1;
        self.producers
    }

    /// What a broker does, and what a producer makes of it that looks for what is in doubt.
    pub(super) fn produce(&mut self, window: &Window, in_doubt: bool) -> Outcome {
        let acked = Outcome::Acked { offset: 0, doubtful: in_doubt, may_be_doubled: false };
        let forgotten =
            |fenced| Outcome::Forgotten { batch: window.batch.clone(), may_be_doubled: false, fenced };
        if let Some(journaled) = window.journaled.as_ref().filter(|j| j.unreadable) {
            let Identity { producer_id, epoch, base_sequence } = journaled.identity;
            let identity = (producer_id, epoch, base_sequence);
            let name = (window.topic.clone(), window.partition, identity, window.batch.count());
            return if self.appended.contains(&name) { acked } else { Outcome::NotFound };
        }
        let (places, seqs): (Vec<u32>, Vec<Seq>) = self.poisoned(window).into_iter().unzip();
        let too_large =
            self.max_bytes > 0 && window.batch.encoded_len() > self.max_bytes && window.batch.count() > 1;
        let in_doubt_before = in_doubt || window.journaled.as_ref().is_some_and(|j| j.doubtful);
        if (too_large || !seqs.is_empty()) && in_doubt_before {
            // A refusal proves nothing of an earlier send: it is looked for, and goes out anew.
            return forgotten(false);
        }
        if too_large {
            self.too_large += 1;
            return Outcome::Refused { code: 10, message: "too large".into(), records: Vec::new() };
        }
        if let Some(seq) = seqs.first() {
            let records = if seq.0 % 2 == 0 { places } else { Vec::new() };
            return Outcome::Refused { code: 87, message: "poison".into(), records };
        }
        let Some(journaled) = &window.journaled else {
            self.append(window);
            return acked;
        };
        let Identity { producer_id, epoch, base_sequence } = journaled.identity;
        let place = (window.topic.clone(), window.partition);
        let name = (place.0.clone(), place.1, (producer_id, epoch, base_sequence), window.batch.count());
        if (in_doubt || journaled.doubtful) && self.appended.contains(&name) {
            return acked;
        }
        let known = self.memory.get(&(place.0.clone(), place.1, producer_id));
        let accepts = known.is_none_or(|(last, count)| {
            let next = last.base_sequence + i32::try_from(*count).unwrap();
            (epoch > last.epoch && base_sequence == 0) || (epoch == last.epoch && base_sequence == next)
        });
        if known == Some(&(journaled.identity, window.batch.count())) {
            return acked;
        }
        if !accepts {
            return forgotten(known.is_some_and(|(last, _)| epoch < last.epoch));
        }
        self.memory.insert((place.0, place.1, producer_id), (journaled.identity, window.batch.count()));
        self.appended.insert(name);
        self.append(window);
        acked
    }

    /// The events of a window that will never be taken, with their places.
    fn poisoned(&self, window: &Window) -> Vec<(u32, Seq)> {
        let seqs = records(window).into_iter().map(|(header, _)| header.seq);
        let refuses = self.refusing.contains(&window.topic);
        let is_poison = |seq: &Seq| refuses || (self.poison > 0 && seq.0.is_multiple_of(self.poison));
        (0..).zip(seqs).filter(|(_, seq)| is_poison(seq)).collect()
    }

    pub(super) fn append(&mut self, window: &Window) {
        self.largest = self.largest.max(window.batch.uncompressed());
        let log = self.logs.entry((window.topic.clone(), window.partition)).or_default();
        log.extend(records(window));
    }

    fn count(&self, name: &TopicName) -> i32 {
        3 + self.grown.get(name).copied().unwrap_or_default()
    }

    /// Whether a topic has no such partition any more.
    pub(super) fn is_gone(&self, (name, partition): &(TopicName, i32)) -> bool {
        *partition >= self.count(name)
    }

    /// A topic is deleted, and made anew with so many partitions.
    pub(super) fn make_anew(&mut self, name: &TopicName, count: i32) {
        self.grown.insert(name.clone(), count - 3);
        self.memory.retain(|(topic, ..), _| topic != name);
        self.leaderless.retain(|(topic, _)| topic != name);
        self.frozen.retain(|(topic, _)| topic != name);
        self.id ^= 1;
    }

    pub(super) fn topology(&self, topics: &BTreeSet<TopicName>) -> Arc<Topology> {
        let state = |name: &TopicName| {
            if self.missing.contains(name) {
                return TopicState::Missing { code: 3, message: "missing".into() };
            }
            let leader = |p| Some(1).filter(|_| !self.leaderless.contains(&(name.clone(), p)));
            let partitions = (0..self.count(name)).map(|p| PartitionInfo { leader: leader(p) }).collect();
            TopicState::Present { id: [self.id; 16], partitions }
        };
        let topics = topics.iter().map(|t| (t.clone(), state(t))).collect();
        Arc::new(Topology { topics, cluster_id: self.cluster_id.clone(), ..Topology::default() })
    }
}

/// The records of a window.
fn records(window: &Window) -> Vec<Record> {
    let mut bytes = Vec::new();
    let identity = Identity { producer_id: 1, epoch: 0, base_sequence: 0 };
    window.batch.encode(identity, 1_000_000, &mut bytes);
    let mut log = Vec::new();
    for batch in BatchReader::new(&bytes, 1 << 20) {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            let ours = record.headers.iter().find(|(name, _)| *name == header::NAME).unwrap();
            let header = RecordHeader::decode(ours.1.unwrap()).unwrap();
            assert_eq!(record.value, Some(value(header.run, header.seq).as_bytes()));
            log.push((header, record.key.map(<[u8]>::to_vec)));
        }
    }
    log
}
