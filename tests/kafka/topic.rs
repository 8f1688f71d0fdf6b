//! Topics: made, and read back by two clients that share no code with the producer under test.

use std::collections::BTreeMap;
use std::sync::Arc;

use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use tokio::runtime::Runtime;

use super::broker::Broker;
use super::java;
use crate::support::compare::{Comparison, Verdict};
use crate::support::ledger::Book;

/// A topic on a broker.
pub struct Topic<'a> {
    broker: &'a Broker,
    /// Its name.
    pub name: String,
    partitions: i32,
}

/// One record as a reader prints it. Values are escaped as `\xNN` where not printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// `name:value,name:value`, or `NO_HEADERS`.
    pub headers: String,
    /// `None` is null.
    pub key: Option<String>,
    /// `None` is null.
    pub value: Option<String>,
}

impl<'a> Topic<'a> {
    /// Makes a topic.
    pub fn create(broker: &'a Broker, name: &str, partitions: i32) -> Self {
        runtime().block_on(async {
            let client = client(broker).await;
            let controller = client.controller_client().expect("a controller");
            controller.create_topic(name, partitions, 1, 20_000).await.expect("a new topic");
        });
        Self::existing(broker, name, partitions)
    }

    /// A topic that is there, or will be.
    pub fn existing(broker: &'a Broker, name: &str, partitions: i32) -> Self {
        Self { broker, name: name.to_owned(), partitions }
    }

    /// First and end offset of each partition.
    pub fn offsets(&self) -> Vec<(i64, i64)> {
        runtime().block_on(async {
            let client = client(self.broker).await;
            let mut offsets = Vec::new();
            for number in 0..self.partitions {
                let partition = self.partition(&client, number).await;
                let first = partition.get_offset(OffsetAt::Earliest).await.expect("an offset");
                offsets.push((first, partition.get_offset(OffsetAt::Latest).await.expect("an offset")));
            }
            offsets
        })
    }

    /// How many records it holds.
    pub fn len(&self) -> u64 {
        self.offsets().iter().map(|(first, end)| end.abs_diff(*first)).sum()
    }

    /// Compares everything it holds, read by rskafka, with these ledgers.
    pub fn judge<'b>(&self, books: impl IntoIterator<Item = &'b Book>) -> Verdict {
        let mut comparison = Comparison::new(books);
        self.read_rskafka(|partition, offset, key, value| comparison.see(partition, offset, key, value));
        comparison.judge()
    }

    /// Compares everything it holds, read by Kafka's console consumer, with these ledgers.
    pub fn judge_java<'b>(&self, books: impl IntoIterator<Item = &'b Book>) -> Verdict {
        let mut rows = self.read_java_columns(false);
        rows.sort_by_key(|row| (row.partition, row.offset));
        let mut comparison = Comparison::new(books);
        for row in &rows {
            let bytes = |text: &'_ Option<String>| text.as_ref().map(|t| t.clone().into_bytes());
            let (key, value) = (bytes(&row.key), bytes(&row.value));
            comparison.see(row.partition, row.offset, key.as_deref(), value.as_deref());
        }
        comparison.judge()
    }

    async fn partition(&self, client: &Client, number: i32) -> Arc<PartitionClient> {
        let handling = UnknownTopicHandling::Retry;
        let opened = client.partition_client(&self.name, number, handling).await;
        Arc::new(opened.unwrap_or_else(|e| panic!("{} partition {number}: {e}", self.name)))
    }

    /// Reads every record with rskafka, which is built for topics without lz4 and zstd:
    /// `each(partition, offset, key, value)`.
    pub fn read_rskafka(&self, mut each: impl FnMut(i32, i64, Option<&[u8]>, Option<&[u8]>)) {
        runtime().block_on(async {
            let client = client(self.broker).await;
            for number in 0..self.partitions {
                let partition = self.partition(&client, number).await;
                let mut next = partition.get_offset(OffsetAt::Earliest).await.expect("an offset");
                let end = partition.get_offset(OffsetAt::Latest).await.expect("an offset");
                while next < end {
                    let fetched = partition.fetch_records(next, 1..4_000_000, 1_000).await;
                    for row in fetched.unwrap_or_else(|e| panic!("{}: {e}", self.name)).0 {
                        each(number, row.offset, row.record.key.as_deref(), row.record.value.as_deref());
                        next = row.offset + 1;
                    }
                }
            }
        });
    }

    /// Reads every record with Kafka's own console consumer.
    pub fn read_java(&self) -> Vec<Printed> {
        self.read_java_columns(true)
    }

    /// Reads every record with Kafka's own console consumer; `headers: false` leaves them out, which is much
    /// quicker where there are many.
    pub fn read_java_columns(&self, headers: bool) -> Vec<Printed> {
        let count = self.len();
        if count == 0 {
            return Vec::new();
        }
        let bytes = "org.apache.kafka.common.serialization.BytesDeserializer";
        let mut arguments = vec![
            "--bootstrap-server".to_owned(),
            self.broker.address(),
            "--topic".to_owned(),
            self.name.clone(),
            "--from-beginning".to_owned(),
            "--max-messages".to_owned(),
            count.to_string(),
            "--timeout-ms".to_owned(),
            "20000".to_owned(),
        ];
        let properties = [
            ("print.partition", "true"),
            ("print.offset", "true"),
            ("print.timestamp", "true"),
            ("print.headers", if headers { "true" } else { "false" }),
            ("print.key", "true"),
            ("null.literal", r"\N"),
            ("key.deserializer", bytes),
            ("value.deserializer", bytes),
            ("headers.deserializer", bytes),
        ];
        for (name, value) in properties {
            arguments.extend(["--formatter-property".to_owned(), format!("{name}={value}")]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let printed = java::tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments);
        let rows: Vec<_> = printed.lines().map(|line| parse(line, headers)).collect();
        assert_eq!(rows.len() as u64, count, "the console consumer read less than the topic holds");
        rows
    }

    /// What [`Self::read_java`] reads, by partition and offset.
    pub fn by_offset(&self) -> BTreeMap<(i32, i64), Printed> {
        self.read_java().into_iter().map(|row| ((row.partition, row.offset), row)).collect()
    }
}

fn parse(line: &str, headers: bool) -> Printed {
    let read = || -> Option<Printed> {
        let mut columns = line.split('\t');
        let timestamp = after_colon(columns.next()?)?;
        let partition = i32::try_from(after_colon(columns.next()?)?).ok()?;
        let offset = after_colon(columns.next()?)?;
        let headers = if headers { columns.next()?.to_owned() } else { String::new() };
        let (key, value) = (not_null(columns.next()?), not_null(columns.next()?));
        Some(Printed { partition, offset, timestamp, headers, key, value })
    };
    read().unwrap_or_else(|| panic!("not a line of the console consumer: {line}"))
}

fn after_colon(column: &str) -> Option<i64> {
    column.split_once(':')?.1.parse().ok()
}

fn not_null(column: &str) -> Option<String> {
    // `null.literal` passes through the deserializer like any value, and comes out escaped.
    (column != r"\x5CN").then(|| column.to_owned())
}

/// A client with its own limits, since rskafka's waits have none. Within them the partition clients wait for topics
/// that the broker does not know yet: a new topic is answered for before each broker's metadata has it.
async fn client(broker: &Broker) -> Client {
    let backoff = rskafka::BackoffConfig {
        init_backoff: std::time::Duration::from_millis(50),
        max_backoff: std::time::Duration::from_secs(1),
        base: 2.0,
        deadline: Some(std::time::Duration::from_secs(30)),
    };
    let built = ClientBuilder::new(vec![broker.address()]).backoff_config(backoff).build().await;
    built.unwrap_or_else(|e| panic!("no client for {}: {e}", broker.address()))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The names of all topics of a broker.
pub fn names(broker: &Broker) -> Vec<String> {
    runtime().block_on(async {
        let topics = client(broker).await.list_topics().await.expect("an answer");
        topics.into_iter().map(|topic| topic.name).collect()
    })
}

/// Appends records with rskafka, for tests of the harness itself.
pub fn produce(broker: &Broker, topic: &str, partition: i32, rows: &[(Option<&str>, Vec<u8>)]) {
    let record = |(key, value): &(Option<&str>, Vec<u8>)| rskafka::record::Record {
        key: key.map(|k| k.as_bytes().to_vec()),
        value: Some(value.clone()),
        headers: BTreeMap::from([("h".to_owned(), b"1\n\x00".to_vec())]),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_700_000_000_123).expect("a time"),
    };
    runtime().block_on(async {
        let client = client(broker).await;
        let client =
            client.partition_client(topic, partition, UnknownTopicHandling::Retry).await.expect("a topic");
        let compression = rskafka::client::partition::Compression::NoCompression;
        client.produce(rows.iter().map(record).collect(), compression).await.expect("an append");
    });
}
