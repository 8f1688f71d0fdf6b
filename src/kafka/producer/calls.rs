//! Everything the task waits for: requests and connections, each a future that ends in an [`Event`].

use super::board::SlotId;
use super::link::{Flight, Way};
use super::look::{Looked, Search, look};
use crate::config::model::HostPort;
use crate::ids::TopicName;
use crate::kafka::batch::{Batch, Identity};
use crate::kafka::clock::unix_now;
use crate::kafka::connection::{CallError, ConnectError, Connection, Options, connect};
use crate::kafka::header::RecordHeader;
use crate::kafka::topology::TimeLimits;
use crate::kafka::wire::{
    ConfigsAnswer, MetadataAnswer, ProduceAnswer, ProduceRequest, ProducerIdAnswer, WireError,
    describe_configs_request, metadata_request, producer_id_request,
};

/// Something the task waited for.
#[derive(Debug)]
pub(super) enum Event {
    /// The control connection stands, or does not.
    Control(Result<Connection, ConnectError>),
    /// The control connection died.
    ControlLost,
    /// A broker's connection stands, to the cluster of this id if it says, or does not.
    Linked { way: Way, generation: u64, result: Result<(Connection, Option<String>), ConnectError> },
    /// Metadata.
    Metadata(Result<MetadataAnswer, String>),
    /// What a broker that was asked besides says, if it says anything.
    Opinion(HostPort, Option<MetadataAnswer>),
    /// Which time stamps these topics take.
    Times(Vec<TopicName>, Result<ConfigsAnswer, TimesError>),
    /// A producer id.
    ProducerId(Result<ProducerIdAnswer, String>),
    /// A window was looked for, and this seen beside it.
    Looked { slot: SlotId, looked: Looked, beside: Option<RecordHeader> },
    /// A Produce request's answer.
    Produced { flight: Flight, slots: Vec<SlotId>, result: Result<ProduceAnswer, CallError> },
}

/// Why it is not known which time stamps topics take.
#[derive(Debug)]
pub(super) enum TimesError {
    /// The broker has no such request.
    NotOffered(WireError),
    /// It has not answered.
    Failed(String),
}

/// A window on its way.
#[derive(Debug)]
pub(super) struct Cargo {
    pub(super) slot: SlotId,
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) batch: Batch,
    pub(super) identity: Identity,
}

pub(super) async fn look_for(slot: SlotId, search: Search) -> Event {
    let (looked, beside) = look(search).await;
    Event::Looked { slot, looked, beside }
}

pub(super) async fn open_control(address: HostPort, options: Options) -> Event {
    Event::Control(connect(&address, &options).await)
}

pub(super) async fn open_link(way: Way, generation: u64, address: HostPort, options: Options) -> Event {
    Event::Linked { way, generation, result: open(&address, &options).await }
}

/// INVARIANT: nothing is sent to a broker before it has said which cluster it belongs to: what was written to another one under a
/// producer id may be somebody else's here.
async fn open(address: &HostPort, options: &Options) -> Result<(Connection, Option<String>), ConnectError> {
    let connection = connect(address, options).await?;
    let version = connection.versions().metadata;
    let request = metadata_request(connection.client_id(), version, std::iter::empty());
    let answer = connection.call(request).await.map_err(|e| e.to_string());
    let answer = answer.and_then(|a| understood(MetadataAnswer::decode(&a, version), &connection));
    let cluster_id = answer.map_err(ConnectError::Mute)?.cluster_id;
    Ok((connection, cluster_id))
}

pub(super) async fn watch(connection: tokio_util::sync::CancellationToken) -> Event {
    connection.cancelled().await;
    Event::ControlLost
}

pub(super) async fn ask_metadata(connection: Connection, topics: Vec<TopicName>) -> Event {
    Event::Metadata(metadata_of(&connection, &topics).await)
}

/// Asks a broker by a connection that is for nothing else.
pub(super) async fn ask_elsewhere(address: HostPort, options: Options, topics: Vec<TopicName>) -> Event {
    let answer = match connect(&address, &options).await {
        Ok(connection) => metadata_of(&connection, &topics).await.ok(),
        Err(_) => None,
    };
    Event::Opinion(address, answer)
}

async fn metadata_of(connection: &Connection, topics: &[TopicName]) -> Result<MetadataAnswer, String> {
    let version = connection.versions().metadata;
    let names = topics.iter().map(TopicName::as_str);
    let request = metadata_request(connection.client_id(), version, names);
    let answer = connection.call(request).await.map_err(|e| e.to_string());
    answer.and_then(|a| understood(MetadataAnswer::decode(&a, version), connection))
}

pub(super) async fn ask_times(connection: Connection, topics: Vec<TopicName>) -> Event {
    let version = match connection.versions().describe_configs.clone() {
        Ok(version) => version,
        Err(error) => return Event::Times(topics, Err(TimesError::NotOffered(error))),
    };
    let names = topics.iter().map(TopicName::as_str);
    let request = describe_configs_request(connection.client_id(), version, names, &TimeLimits::KEYS);
    let answer = connection.call(request).await.map_err(|e| e.to_string());
    let answer = answer.and_then(|a| understood(ConfigsAnswer::decode(&a, version), &connection));
    Event::Times(topics, answer.map_err(TimesError::Failed))
}

pub(super) async fn ask_producer_id(connection: Connection, version: i16) -> Event {
    let request = producer_id_request(connection.client_id(), version);
    let answer = connection.call(request).await.map_err(|e| e.to_string());
    Event::ProducerId(answer.and_then(|a| understood(ProducerIdAnswer::decode(&a), &connection)))
}

fn understood<T>(decoded: Result<T, WireError>, connection: &Connection) -> Result<T, String> {
    decoded.map_err(|e| {
        let reason = e.to_string();
        connection.close(&reason);
        reason
    })
}

/// Encodes and sends windows of different partitions in one request.
pub(super) async fn produce(
    (flight, connection): (Flight, Connection),
    mut cargo: Vec<Cargo>,
    timeout_ms: i32,
) -> Event {
    cargo.sort_by(|a, b| a.topic.cmp(&b.topic));
    let version = connection.versions().produce;
    let slots = cargo.iter().map(|c| c.slot).collect();
    let request = encode(&connection, version, &cargo, timeout_ms);
    drop(cargo);
    let result = match connection.call(request).await {
        Ok(answer) => understood(ProduceAnswer::decode(&answer, version), &connection)
            .map_err(|reason| CallError::Unanswered(reason.into())),
        Err(error) => Err(error),
    };
    Event::Produced { flight, slots, result }
}

fn encode(
    connection: &Connection,
    version: i16,
    cargo: &[Cargo],
    timeout_ms: i32,
) -> crate::kafka::wire::Request {
    let room = cargo.iter().map(|c| c.batch.encoded_len() + c.topic.as_str().len() + 14).sum();
    let mut request = ProduceRequest::new(connection.client_id(), version, timeout_ms, room);
    let now = unix_now();
    for topic in cargo.chunk_by(|a, b| a.topic == b.topic) {
        if let Some(first) = topic.first() {
            request.topic(first.topic.as_str(), u32::try_from(topic.len()).unwrap_or(u32::MAX));
        }
        for one in topic {
            request.partition(one.partition, &one.batch, one.identity, now);
        }
    }
    request.finish()
}
