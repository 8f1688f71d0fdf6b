//! Metadata: brokers, topics, partitions and their leaders. Versions 8 and 12.

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// Asks for brokers and for `topics` (none is allowed: brokers alone), and what is permitted there. Never creates a topic.
#[must_use]
pub fn metadata_request<'a>(
    client_id: &str,
    version: i16,
    topics: impl IntoIterator<Item = &'a str>,
) -> Request {
    let topics = topics.into_iter().map(|name| {
        let name = StrBytes::from_string(name.to_owned());
        MetadataRequestTopic::default().with_name(Some(name.into()))
    });
    let message =
        MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
    let message = message.with_include_topic_authorized_operations(true);
    Request::new(client_id, version, &message)
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// Wait this long before the next request on the connection.
    pub throttle_ms: i32,
    /// The live brokers.
    pub brokers: Vec<BrokerRow>,
    /// The cluster's identity.
    pub cluster_id: Option<String>,
    /// What was asked for.
    pub topics: Vec<TopicRow>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRow {
    /// Its id.
    pub id: i32,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port.
    pub port: i32,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRow {
    /// 0, or why there is nothing to say.
    pub code: i16,
    /// Its name.
    pub name: String,
    /// Its id; nil before version 10.
    pub id: [u8; 16],
    /// Its partitions, in any order.
    pub partitions: Vec<PartitionRow>,
    /// What is permitted there, where the broker says so.
    pub rights: Option<Rights>,
}

/// What is permitted on a topic: a bit for each operation (`org.apache.kafka.common.acl.AclOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(i32);

impl Rights {
    /// As they stand in an answer, where the lowest number says that nothing is said. Who may do nothing at all is not shown the
    /// topic, so that no bit says nothing either.
    #[must_use]
    pub fn told(bits: i32) -> Option<Self> {
        (bits != i32::MIN && bits != 0).then_some(Self(bits))
    }

    /// Whether records may be read.
    #[must_use]
    pub const fn may_read(self) -> bool {
        self.0 & (1 << 3) != 0
    }

    /// Whether records may be appended.
    #[must_use]
    pub const fn may_write(self) -> bool {
        self.0 & (1 << 4) != 0
    }

    /// Whether the topic's configuration may be read.
    #[must_use]
    pub const fn may_describe_configs(self) -> bool {
        self.0 & (1 << 10) != 0
    }
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRow {
    /// 0, or what is wrong with it.
    pub code: i16,
    /// Its number.
    pub index: i32,
    /// Its leader's id, -1 for none.
    pub leader: i32,
    /// Counts its leaders; -1 if not told.
    pub leader_epoch: i32,
}

/// Bytes of a cluster's id; Kafka's own have 22.
const MAX_CLUSTER_ID: usize = 255;

impl MetadataAnswer {
    /// Reads an answer of `version` (8 to 12).
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let flex = version >= 9;
        let mut c = Cursor::new(bytes);
        let throttle_ms = c.i32()?;
        let mut brokers = Vec::new();
        for _ in 0..c.array(flex, 11)? {
            brokers.push(broker(&mut c, flex)?);
        }
        let cluster_id = c.nullable_string(flex)?.map(str::to_owned);
        // It is kept with each window, and in the journal in one byte's length.
        if cluster_id.as_ref().is_some_and(|id| id.len() > MAX_CLUSTER_ID) {
            return Err(WireError::Truncated);
        }
        c.i32()?;
        let mut topics = Vec::new();
        for _ in 0..c.array(flex, 9)? {
            topics.push(topic(&mut c, version)?);
        }
        if version <= 10 {
            c.i32()?;
        }
        c.skip_tags(flex)?;
        Ok(Self { throttle_ms, brokers, cluster_id, topics })
    }
}

fn broker(c: &mut Cursor<'_>, flex: bool) -> Result<BrokerRow, WireError> {
    let row = BrokerRow { id: c.i32()?, host: c.string(flex)?.to_owned(), port: c.i32()? };
    c.nullable_string(flex)?;
    c.skip_tags(flex)?;
    Ok(row)
}

fn topic(c: &mut Cursor<'_>, version: i16) -> Result<TopicRow, WireError> {
    let flex = version >= 9;
    let code = c.i16()?;
    let name = c.nullable_string(flex)?.unwrap_or_default().to_owned();
    let id = if version >= 10 { c.uuid()? } else { [0; 16] };
    c.bool()?;
    let mut partitions = Vec::new();
    for _ in 0..c.array(flex, 17)? {
        partitions.push(partition(c, flex)?);
    }
    let rights = Rights::told(c.i32()?);
    c.skip_tags(flex)?;
    Ok(TopicRow { code, name, id, partitions, rights })
}

fn partition(c: &mut Cursor<'_>, flex: bool) -> Result<PartitionRow, WireError> {
    let row = PartitionRow { code: c.i16()?, index: c.i32()?, leader: c.i32()?, leader_epoch: c.i32()? };
    for _replicas_isr_offline in 0..3 {
        c.skip_i32s(flex)?;
    }
    c.skip_tags(flex)?;
    Ok(row)
}
