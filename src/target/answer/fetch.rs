//! Fetch: whole batches from an offset on, waiting a while if there are too few bytes.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};

use super::text;
use crate::target::cluster::Cluster;
use crate::target::code::{self, Code};
use crate::target::request::{Fetch, FetchPartition};

/// No answer is larger than this and one batch.
const MAX_BYTES: usize = 16 << 20;
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn answer(cluster: &Cluster, node: i32, fetch: &Fetch) -> FetchResponse {
    cluster.count(|c| c.fetches += 1);
    if fetch.session_id != 0 {
        return FetchResponse::default().with_error_code(code::FETCH_SESSION_NOT_FOUND);
    }
    let mut appends = cluster.appends.subscribe();
    let wait = Duration::from_millis(u64::try_from(fetch.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let enough = usize::try_from(fetch.min_bytes).unwrap_or(0);
    loop {
        appends.borrow_and_update();
        let found = Found::look(cluster, node, fetch);
        if found.failed || found.bytes >= enough {
            return found.response;
        }
        cluster.count(|c| c.waiting_fetches += 1);
        match tokio::time::timeout_at(deadline, appends.changed()).await {
            Ok(Ok(())) => {}
            _ => return found.response,
        }
    }
}

struct Found {
    response: FetchResponse,
    bytes: usize,
    failed: bool,
}

impl Found {
    fn look(cluster: &Cluster, node: i32, fetch: &Fetch) -> Self {
        let limit = usize::try_from(fetch.max_bytes).unwrap_or(0).min(MAX_BYTES);
        let mut found = Self { response: FetchResponse::default(), bytes: 0, failed: false };
        for (topic, partitions) in &fetch.topics {
            let rows = partitions.iter().map(|p| found.partition(cluster, node, topic, p, limit)).collect();
            let topic =
                FetchableTopicResponse::default().with_topic(text(topic).into()).with_partitions(rows);
            found.response.responses.push(topic);
        }
        found
    }

    fn partition(
        &mut self,
        cluster: &Cluster,
        node: i32,
        topic: &str,
        asked: &FetchPartition,
        limit: usize,
    ) -> PartitionData {
        let left = limit.saturating_sub(self.bytes);
        // Only the first batches of an answer may be larger than what is left (KIP-74).
        let may_read = self.bytes == 0 || left > 0;
        match read(cluster, node, topic, asked, left, may_read) {
            Ok((end, records)) => {
                self.bytes += records.len();
                row(asked.index, code::NONE, end, records)
            }
            Err(code) => {
                self.failed = true;
                row(asked.index, code, -1, Bytes::new())
            }
        }
    }
}

fn read(
    cluster: &Cluster,
    node: i32,
    topic: &str,
    asked: &FetchPartition,
    left: usize,
    may_read: bool,
) -> Result<(i64, Bytes), Code> {
    let partition = cluster.topics.led_by(node, topic, asked.index)?;
    let log = partition.log();
    let max_bytes = usize::try_from(asked.max_bytes).unwrap_or(0).min(left);
    if !may_read && (0..=log.end()).contains(&asked.offset) {
        return Ok((log.end(), Bytes::new()));
    }
    let records = log.read(asked.offset, max_bytes).map_err(|_| code::STORAGE_ERROR)?;
    Ok((log.end(), records.ok_or(code::OFFSET_OUT_OF_RANGE)?))
}

fn row(index: i32, code: Code, end: i64, records: Bytes) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_high_watermark(end)
        .with_last_stable_offset(end)
        .with_log_start_offset(if end < 0 { -1 } else { 0 })
        .with_aborted_transactions(Some(Vec::new()))
        .with_preferred_read_replica((-1).into())
        .with_records(Some(records))
}
