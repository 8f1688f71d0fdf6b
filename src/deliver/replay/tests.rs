//! Replays to the embedded target, read back.

use super::*;
use crate::config::model::{HostPort, KafkaCompression};
use crate::event::{Event, EventBatch};
use crate::ids::{DestinationName, RunId, SeqRange, StreamName};
use crate::kafka::{Consumer, ConsumerOptions, RecordHeader, header};
use crate::target::{Target, TargetOptions};

const LIFE: Incarnation = Incarnation(0xabcd_0000_0000_0000);

struct Site {
    runtime: tokio::runtime::Runtime,
    target: Target,
    destination: Destination,
}

impl Site {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let topics = vec![("t".to_owned(), 3)];
        let target = runtime.block_on(Target::start(TargetOptions { topics, ..TargetOptions::default() }));
        let target = target.unwrap();
        let at = target.brokers()[0];
        let at = HostPort { host: at.ip().to_string(), port: at.port() };
        let mut destination = Destination::new(DestinationName::new("home").unwrap(), vec![at]);
        destination.compression = KafkaCompression::None;
        // Small, so that many batches follow one another.
        destination.batch_size = 2_000;
        Self { runtime, target, destination }
    }

    fn replay(&self, life: Option<Incarnation>) -> Replay {
        Replay::start(&self.destination, life, self.runtime.handle()).unwrap()
    }

    /// Values and headers of each partition.
    fn read(&self) -> Vec<Vec<(String, Option<RecordHeader>)>> {
        let mut all = Vec::new();
        for partition in 0..3 {
            let mut consumer = Consumer::new(&ConsumerOptions::new(self.destination.bootstrap.clone()));
            let mut found = Vec::new();
            self.runtime.block_on(async {
                let end = consumer.latest("t", partition).await.unwrap();
                let visit = |r: crate::kafka::FetchedRecord<'_>| {
                    let value = String::from_utf8(r.record.value.unwrap().to_vec()).unwrap();
                    let header = r.record.headers.last(header::NAME).flatten().and_then(RecordHeader::decode);
                    found.push((value, header));
                };
                consumer.scan("t", partition, (0, end), visit).await.unwrap();
            });
            all.push(found);
        }
        all
    }
}

fn block(first: u64, count: u64) -> (BlockInfo, EventBatch) {
    let mut batch = EventBatch::new();
    for n in first..first + count {
        let (key, value) = (format!("k{}", n % 7), format!("event {n}"));
        batch.push(&Event { key: Some(key.as_bytes()), ..Event::of_value(value.as_bytes()) });
    }
    let info = BlockInfo {
        range: SeqRange::new(Seq(first), Seq(first + count)),
        stream: StreamName::new("s").unwrap(),
        time: unix_now(),
        run: RunId(5 << 32),
        segment: None,
    };
    (info, batch)
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn put(replay: &mut Replay, first: u64, count: u64) -> Result<(), ReplayError> {
    let (info, batch) = block(first, count);
    (0..).zip(batch.iter()).try_for_each(|(i, event)| replay.put(&topic(), &info, i, &event.unwrap()))
}

/// Every event once, each partition in order, under a dense counter that begins at 0.
fn assert_exact(partitions: &[Vec<(String, Option<RecordHeader>)>], events: u64) {
    let mut seqs = Vec::new();
    for found in partitions {
        let headers: Vec<_> = found.iter().map(|(_, header)| header.unwrap()).collect();
        assert!((0..).zip(&headers).all(|(n, h)| h.counter.value == n), "{headers:?}");
        assert!(headers.is_sorted_by_key(|h| h.seq));
        for ((value, _), header) in found.iter().zip(&headers) {
            assert_eq!(value, &format!("event {}", header.seq));
            assert!(header.is_of(LIFE, RunId(5 << 32), header.seq));
        }
        seqs.extend(headers.iter().map(|h| h.seq.0));
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=events).collect::<Vec<_>>());
}

#[test]
fn every_event_is_there_once_in_order_under_its_own_header() {
    let site = Site::new();
    let mut replay = site.replay(Some(LIFE));
    put(&mut replay, 1, 300).unwrap();
    put(&mut replay, 301, 200).unwrap();
    assert!(replay.unsettled_from().is_some());
    replay.finish().unwrap();
    assert_eq!(replay.sums(), Sums { acknowledged: 500, possibly_doubled: 0 });
    assert_eq!(replay.unsettled_from(), None);
    assert_exact(&site.read(), 500);
}

#[test]
fn answers_that_are_lost_and_partitions_that_wait_double_nothing() {
    let site = Site::new();
    site.target.faults().lose_answers(4);
    // Not leader, and not enough replicas: not appended, to be sent again.
    site.target.faults().refuse_produce("t", 1, 6, 3);
    site.target.faults().refuse_produce("t", 2, 19, 2);
    let mut replay = site.replay(Some(LIFE));
    put(&mut replay, 1, 400).unwrap();
    replay.finish().unwrap();
    assert_eq!(replay.sums().acknowledged, 400);
    assert_exact(&site.read(), 400);
}

#[test]
fn without_the_header_there_is_none() {
    let site = Site::new();
    let mut replay = site.replay(None);
    put(&mut replay, 1, 20).unwrap();
    replay.finish().unwrap();
    let all: Vec<_> = site.read().concat();
    assert!(all.len() == 20 && all.iter().all(|(_, header)| header.is_none()));
}

#[test]
fn a_refusal_ends_it_and_says_from_where_on_to_go_on() {
    let site = Site::new();
    let mut replay = site.replay(Some(LIFE));
    put(&mut replay, 1, 10).unwrap();
    replay.finish().unwrap();
    // Invalid record.
    (0..3).for_each(|p| site.target.faults().refuse_produce("t", p, 87, 100));
    put(&mut replay, 11, 10).unwrap();
    let error = replay.finish().unwrap_err();
    assert!(matches!(error, ReplayError::Refused { code: 87, .. }), "{error}");
    assert!((11..14).contains(&replay.unsettled_from().unwrap().0));
    assert_eq!(replay.sums().acknowledged, 10);
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let site = Site::new();
    let mut replay = site.replay(Some(LIFE));
    let (info, batch) = block(1, 1);
    let event = batch.iter().next().unwrap().unwrap();
    let error = replay.put(&TopicName::new("ghost").unwrap(), &info, 0, &event).unwrap_err();
    assert!(matches!(&error, ReplayError::Topic { code: 3, .. }), "{error}");
    assert!(error.to_string().contains("ghost"));
}
