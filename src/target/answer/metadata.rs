//! Metadata: who the brokers are, which topics there are and who leads their partitions.

use std::sync::Arc;

use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use super::text;
use crate::target::cluster::{Cluster, Node};
use crate::target::code::{self, Code};
use crate::target::options::TargetError;
use crate::target::request::{Metadata, TopicAsked};
use crate::target::topics::{Partition, Topic};

/// "Not asked for", in the fields of authorized operations.
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn answer(cluster: &Cluster, version: i16, asked: &Metadata) -> MetadataResponse {
    let topics = match &asked.topics {
        None => cluster.topics.all().iter().map(|t| known(t, version)).collect(),
        Some(names) => names.iter().map(|name| one(cluster, version, name, asked.auto_create)).collect(),
    };
    let mut answer = MetadataResponse::default().with_topics(topics);
    answer.brokers = cluster.nodes.iter().map(broker).collect();
    answer.controller_id = if version >= 1 { 0.into() } else { (-1).into() };
    answer.cluster_id = (version >= 2).then(|| text(&cluster.id));
    answer.cluster_authorized_operations = NO_OPERATIONS;
    answer
}

fn broker(node: &Node) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(node.id.into())
        .with_host(text(&node.advertised.host))
        .with_port(node.advertised.port.into())
}

fn one(cluster: &Cluster, version: i16, asked: &TopicAsked, auto_create: bool) -> MetadataResponseTopic {
    match asked {
        TopicAsked::Id(id) => match cluster.topics.by_id(*id) {
            Some(topic) => known(&topic, version),
            None => {
                let topic = MetadataResponseTopic::default().with_error_code(code::UNKNOWN_TOPIC_ID);
                with_id(topic, *id).with_topic_authorized_operations(NO_OPERATIONS)
            }
        },
        TopicAsked::Name(name) => match find_or_create(cluster, name, auto_create) {
            Ok(topic) => known(&topic, version),
            Err(code) => named(name).with_error_code(code),
        },
    }
}

fn find_or_create(cluster: &Cluster, name: &str, auto_create: bool) -> Result<Arc<Topic>, Code> {
    if let Some(topic) = cluster.topics.get(name) {
        return Ok(topic);
    }
    let partitions = cluster.options.auto_create.filter(|_| auto_create);
    let Some(partitions) = partitions else { return Err(code::UNKNOWN_TOPIC_OR_PARTITION) };
    cluster.topics.create(name, partitions, &cluster.options).map_err(|e| match e {
        TargetError::Topic { code, .. } => code,
        _ => code::STORAGE_ERROR,
    })
}

fn named(name: &str) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(text(name).into()))
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn with_id(mut topic: MetadataResponseTopic, id: [u8; 16]) -> MetadataResponseTopic {
    // The codec's id type converts from 16 bytes and only fails for other lengths.
    topic.topic_id = id.to_vec().try_into().unwrap_or_default();
    topic
}

fn known(topic: &Topic, version: i16) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(p, index)| partition(p, index, version));
    let answer = named(&topic.name).with_partitions(partitions.collect());
    if version >= 10 { with_id(answer, topic.id) } else { answer }
}

fn partition(partition: &Partition, index: i32, version: i16) -> MetadataResponsePartition {
    let now = partition.leadership();
    let replicas: Vec<_> = now.leader.into_iter().map(Into::into).collect();
    MetadataResponsePartition::default()
        .with_error_code(if now.leader.is_some() { code::NONE } else { code::LEADER_NOT_AVAILABLE })
        .with_partition_index(index)
        .with_leader_id(now.leader.unwrap_or(-1).into())
        .with_leader_epoch(if version >= 7 { now.epoch } else { -1 })
        .with_replica_nodes(replicas.clone())
        .with_isr_nodes(replicas)
}
