//! ListOffsets: the start, the end, or the first batch at or after a time.

use kafka_protocol::messages::ListOffsetsResponse;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};

use super::text;
use crate::target::cluster::Cluster;
use crate::target::code;
use crate::target::request::{ListOffsets, OffsetOf};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

pub(super) fn answer(cluster: &Cluster, node: i32, list: &ListOffsets) -> ListOffsetsResponse {
    let topics = list.topics.iter().map(|(topic, partitions)| {
        let rows = partitions.iter().map(|p| row(cluster, node, topic, p)).collect();
        ListOffsetsTopicResponse::default().with_name(text(topic).into()).with_partitions(rows)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn row(cluster: &Cluster, node: i32, topic: &str, asked: &OffsetOf) -> ListOffsetsPartitionResponse {
    let row = ListOffsetsPartitionResponse::default().with_partition_index(asked.index);
    let partition = match cluster.topics.led_by(node, topic, asked.index) {
        Ok(partition) => partition,
        Err(code) => return row.with_error_code(code).with_offset(-1).with_timestamp(-1),
    };
    let log = partition.log();
    let (offset, timestamp) = match asked.timestamp {
        LATEST => (log.end(), -1),
        EARLIEST => (0, -1),
        time => log.first_at_or_after(time).unwrap_or((-1, -1)),
    };
    row.with_error_code(code::NONE).with_offset(offset).with_timestamp(timestamp)
}
