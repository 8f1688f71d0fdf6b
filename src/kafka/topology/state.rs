//! What is known of the destination's topics.

use std::collections::BTreeMap;

use super::terms::Terms;
use crate::ids::TopicName;

/// The tracked topics, as a broker described them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Identity of the cluster, if its brokers tell it.
    pub cluster_id: Option<String>,
    /// Every tracked topic that was asked for; one that is absent here has not been answered yet.
    pub topics: BTreeMap<TopicName, TopicState>,
    /// What is known of those that are there.
    pub terms: BTreeMap<TopicName, Terms>,
}

/// A tracked topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// It does not exist, may not be described, or is not ready.
    Missing {
        /// Kafka's error code.
        code: i16,
        /// What it means, in plain words.
        message: String,
    },
    /// It exists.
    Present {
        /// Identity of this incarnation of the topic; all zero where brokers do not tell it (Metadata < 10).
        id: [u8; 16],
        /// In order: the element's index is the partition's number. Kafka numbers partitions densely; one
        /// that an answer leaves out has no leader here.
        partitions: Vec<PartitionInfo>,
    },
}

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionInfo {
    /// Id of the broker that leads it; `None` while it has none.
    pub leader: Option<i32>,
}

impl Topology {
    /// How many partitions the topic has, if it is present.
    #[must_use]
    pub fn partition_count(&self, topic: &str) -> Option<usize> {
        match self.topics.get(topic)? {
            TopicState::Present { partitions, .. } => Some(partitions.len()),
            TopicState::Missing { .. } => None,
        }
    }
}
