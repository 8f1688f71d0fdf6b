//! rskafka, which shares no code with ours, takes the target for a Kafka.

use std::sync::Arc;
use std::time::Duration;

use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

use super::client::{self, TOPIC, batch};
use crate::target::{Target, TargetOptions};

async fn connect(target: &Target) -> Client {
    ClientBuilder::new(vec![target.bootstrap()]).build().await.unwrap()
}

async fn partition(client: &Client, topic: &str, index: i32) -> Arc<PartitionClient> {
    Arc::new(client.partition_client(topic, index, UnknownTopicHandling::Error).await.unwrap())
}

fn record(value: &str) -> Record {
    Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: [("h".to_owned(), b"1".to_vec())].into(),
        timestamp: Default::default(),
    }
}

async fn values(partition: &PartitionClient, from: i64, max: i32) -> Vec<(i64, String)> {
    let (records, _) = partition.fetch_records(from, 1..max, 1000).await.unwrap();
    let text = |v: Option<Vec<u8>>| String::from_utf8(v.unwrap()).unwrap();
    records.into_iter().map(|r| (r.offset, text(r.record.value))).collect()
}

#[tokio::test]
async fn it_creates_a_topic_writes_and_reads_back() {
    let target = Target::start(TargetOptions::default()).await.unwrap();
    let client = connect(&target).await;
    client.controller_client().unwrap().create_topic("made", 3, 1, 1000).await.unwrap();
    assert_eq!(client.list_topics().await.unwrap()[0].partitions.len(), 3);
    let partition = partition(&client, "made", 2).await;
    let offsets =
        partition.produce(vec![record("a"), record("b")], Compression::NoCompression).await.unwrap();
    assert_eq!(offsets, [0, 1]);
    partition.produce(vec![record("c")], Compression::NoCompression).await.unwrap();
    assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 3);
    assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    let all = values(&partition, 0, 1 << 20).await;
    assert_eq!(all, [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    assert_eq!(values(&partition, 1, 1 << 20).await.first(), Some(&(1, "b".into())));
    assert_eq!(values(&partition, 0, 2).await.len(), 2, "one whole batch, however small the limit");
}

#[tokio::test]
async fn it_reads_idempotent_batches_from_the_leader_of_each_partition() {
    let topics = vec![(TOPIC.to_owned(), 2)];
    let target =
        Target::start(TargetOptions { brokers: 2, topics, ..TargetOptions::default() }).await.unwrap();
    for index in [0, 1] {
        let mut writer = client::Client::connect_to(&target, index).await;
        let row = writer.produce(index as i32, batch((5, 0, 0), &["x", "y"])).await;
        assert_eq!(row.error_code, 0);
    }
    let client = connect(&target).await;
    for index in [0, 1] {
        let partition = partition(&client, TOPIC, index).await;
        assert_eq!(values(&partition, 0, 1 << 20).await, [(0, "x".into()), (1, "y".into())]);
    }
}

#[tokio::test]
async fn a_waiting_fetch_wakes_up_with_the_append() {
    let target = Target::start(super::produce::one_topic()).await.unwrap();
    let reader = partition(&connect(&target).await, TOPIC, 0).await;
    let waiting =
        tokio::spawn(async move { reader.fetch_records(0, 1..1000, 20_000).await.unwrap().0.len() });
    target.counts().wait_for(|c| c.waiting_fetches == 1).await.unwrap();
    let mut writer = client::Client::connect(&target).await;
    assert_eq!(writer.put(client::plain(&["late"])).await, (0, 0));
    let woken = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(woken.expect("the fetch slept on").unwrap(), 1);
}
