//! Records moved about by hand with rskafka, which shares no code with the relay: copied with their headers, left
//! out, put into another order.

use std::sync::Arc;

use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::runtime::Runtime;

/// A cluster, by the address of a broker.
pub struct Hands {
    runtime: Runtime,
    client: Client,
}

impl Hands {
    /// Connects.
    pub fn at(bootstrap: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let backoff = rskafka::BackoffConfig {
            max_backoff: std::time::Duration::from_secs(1),
            deadline: Some(std::time::Duration::from_secs(30)),
            ..rskafka::BackoffConfig::default()
        };
        let built = ClientBuilder::new(vec![bootstrap.to_owned()]).backoff_config(backoff).build();
        let client = runtime.block_on(built).expect("a client");
        Self { runtime, client }
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        let controller = self.client.controller_client().expect("a controller");
        self.runtime.block_on(controller.create_topic(topic, partitions, 1, 20_000)).expect("a new topic");
    }

    /// All records of a partition, in order. Codecs lz4 and zstd can't be read.
    pub fn read(&self, topic: &str, partition: i32) -> Vec<Record> {
        self.runtime.block_on(async {
            let partition = self.partition(topic, partition).await;
            let mut next = partition.get_offset(OffsetAt::Earliest).await.expect("an offset");
            let end = partition.get_offset(OffsetAt::Latest).await.expect("an offset");
            let mut records = Vec::new();
            while next < end {
                let (fetched, _) = partition.fetch_records(next, 1..4_000_000, 1000).await.expect("records");
                for row in fetched {
                    next = row.offset + 1;
                    records.push(row.record);
                }
            }
            records
        })
    }

    /// Appends records, in batches that any broker takes.
    pub fn append(&self, topic: &str, partition: i32, records: &[Record]) {
        self.runtime.block_on(async {
            let partition = self.partition(topic, partition).await;
            for batch in records.chunks(500) {
                partition.produce(batch.to_vec(), Compression::NoCompression).await.expect("an append");
            }
        });
    }

    /// Deletes what is before an offset.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        self.runtime.block_on(async {
            let partition = self.partition(topic, partition).await;
            partition.delete_records(offset, 20_000).await.expect("a deletion");
        });
    }

    async fn partition(&self, topic: &str, partition: i32) -> Arc<PartitionClient> {
        let opened = self.client.partition_client(topic, partition, UnknownTopicHandling::Retry).await;
        Arc::new(opened.unwrap_or_else(|e| panic!("{topic} partition {partition}: {e}")))
    }
}

/// A record of nobody's relay.
pub fn foreign(value: &str) -> Record {
    Record {
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: Default::default(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_700_000_000_123).expect("a time"),
    }
}
