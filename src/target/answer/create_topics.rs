//! CreateTopics.

use kafka_protocol::messages::CreateTopicsResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;

use super::text;
use crate::target::cluster::Cluster;
use crate::target::code::{self, Code};
use crate::target::options::TargetError;
use crate::target::request::{CreateTopics, NewTopic};

pub(super) fn answer(cluster: &Cluster, version: i16, create: &CreateTopics) -> CreateTopicsResponse {
    let rows = create.topics.iter().map(|topic| {
        let code = make(cluster, topic, create.validate_only).err().unwrap_or(code::NONE);
        let row = CreatableTopicResult::default().with_name(text(&topic.name).into()).with_error_code(code);
        match version {
            5.. => row.with_num_partitions(partitions(cluster, topic)).with_replication_factor(1),
            _ => row,
        }
    });
    CreateTopicsResponse::default().with_topics(rows.collect())
}

fn partitions(cluster: &Cluster, topic: &NewTopic) -> i32 {
    match (topic.partitions, i32::try_from(topic.assigned)) {
        (-1, Ok(assigned)) if assigned > 0 => assigned,
        (-1, _) => cluster.options.auto_create.unwrap_or(1),
        (partitions, _) => partitions,
    }
}

fn make(cluster: &Cluster, topic: &NewTopic, validate_only: bool) -> Result<(), Code> {
    let brokers = i16::try_from(cluster.nodes.len()).unwrap_or(i16::MAX);
    if topic.replication != -1 && !(1..=brokers).contains(&topic.replication) {
        return Err(code::INVALID_REPLICATION_FACTOR);
    }
    let partitions = partitions(cluster, topic);
    cluster.topics.check_new(&topic.name, partitions)?;
    if validate_only {
        return Ok(());
    }
    cluster.topics.create(&topic.name, partitions, &cluster.options).map(|_| ()).map_err(|e| match e {
        TargetError::Topic { code, .. } => code,
        _ => code::STORAGE_ERROR,
    })
}
