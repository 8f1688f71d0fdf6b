//! Produce: each partition's batch is checked, appended or refused by itself.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};

use super::frame::{EncodeError, frame};
use super::{Answer, text};
use crate::target::batch::{self, BatchHeader};
use crate::target::cluster::Cluster;
use crate::target::code::{self, Code};
use crate::target::gate::Link;
use crate::target::log::{Append, Log};
use crate::target::options::Storage;
use crate::target::plan::{Death, Plan, ProduceFault};
use crate::target::request::{Header, PartitionData, Produce};

/// The target died in the middle of a request.
struct Died;

/// What one partition's answer says.
struct Outcome {
    code: Code,
    message: Option<String>,
    base_offset: i64,
    /// A duplicate's answer carries a time even where batches keep their own, as a real broker's does.
    log_append_time: i64,
}

impl Outcome {
    fn refused(code: Code, message: &str) -> Self {
        Self { code, message: Some(message.to_owned()), base_offset: -1, log_append_time: -1 }
    }
}

pub(super) async fn answer(
    cluster: &Cluster,
    node: i32,
    header: &Header,
    produce: &Produce,
) -> Result<Answer, EncodeError> {
    cluster.count(|c| c.produce_requests += 1);
    let mut unsynced = Vec::new();
    let Ok(mut response) = append_all(cluster, node, header.version, produce, &mut unsynced) else {
        cluster.take_down(Link::Dead);
        return Ok(Answer::Close);
    };
    if !sync(unsynced).await {
        return Ok(Answer::Close);
    }
    if cluster.plan(Plan::strike_answer) {
        cluster.count(|c| c.unanswered += 1);
        return Ok(Answer::Close);
    }
    if produce.acks == 0 {
        return Ok(Answer::None);
    }
    let mute = cluster.plan(Plan::strike_throttle);
    response.throttle_time_ms = i32::try_from(mute.as_millis()).unwrap_or(i32::MAX);
    // A client that is told to wait gets its answer now and its next request is read later (KIP-219).
    Ok(Answer::Send { frame: frame(header, &response)?, mute })
}

fn append_all(
    cluster: &Cluster,
    node: i32,
    version: i16,
    produce: &Produce,
    unsynced: &mut Vec<Arc<File>>,
) -> Result<ProduceResponse, Died> {
    let mut responses = Vec::with_capacity(produce.topics.len());
    for (topic, partitions) in &produce.topics {
        let mut rows = Vec::with_capacity(partitions.len());
        for data in partitions {
            let outcome = match refusal(produce) {
                Some(refused) => refused,
                None => append_one(cluster, node, topic, data, unsynced)?,
            };
            if outcome.code != code::NONE {
                cluster.count(|c| c.refused += 1);
            }
            rows.push(row(data.index, outcome, version));
        }
        responses.push(
            TopicProduceResponse::default().with_name(text(topic).into()).with_partition_responses(rows),
        );
    }
    Ok(ProduceResponse::default().with_responses(responses))
}

fn refusal(produce: &Produce) -> Option<Outcome> {
    if produce.transactional {
        return Some(Outcome::refused(code::TRANSACTIONAL_ID_DENIED, "transactions are not served here"));
    }
    let unknown = !(-1..=1).contains(&produce.acks);
    unknown.then(|| Outcome::refused(code::INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1"))
}

fn row(index: i32, outcome: Outcome, version: i16) -> PartitionProduceResponse {
    let row = PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(outcome.code)
        .with_base_offset(outcome.base_offset)
        .with_log_append_time_ms(outcome.log_append_time)
        .with_log_start_offset(if version >= 5 && outcome.code == code::NONE { 0 } else { -1 });
    if version >= 8 { row.with_error_message(outcome.message.map(|m| text(&m))) } else { row }
}

fn append_one(
    cluster: &Cluster,
    node: i32,
    topic: &str,
    data: &PartitionData,
    unsynced: &mut Vec<Arc<File>>,
) -> Result<Outcome, Died> {
    let partition = match cluster.topics.led_by(node, topic, data.index) {
        Ok(partition) => partition,
        Err(code) => return Ok(Outcome::refused(code, "not a partition this broker leads")),
    };
    let header = match batch::check(&data.records, cluster.options.max_message_bytes) {
        Ok(header) => header,
        Err((code, cause)) => return Ok(Outcome::refused(code, cause)),
    };
    let (header, records) = stamped(cluster, topic, header, &data.records);
    let fault = cluster.plan(|plan| plan.strike_produce(topic, data.index));
    let mut log = partition.log();
    if cluster.is_dead() {
        return Err(Died);
    }
    match fault {
        Some(ProduceFault::Refuse(code)) => return Ok(Outcome::refused(code, "a planned fault")),
        Some(ProduceFault::Die(death)) => return Err(die(&mut log, &header, &records, death)),
        Some(ProduceFault::AppendAndRefuse(_)) | None => {}
    }
    let mut outcome = append(cluster, &mut log, &header, &records);
    unsynced.extend(file_to_sync(cluster, &log));
    if let Some(ProduceFault::AppendAndRefuse(code)) = fault {
        outcome = Outcome { code, ..outcome };
    }
    Ok(outcome)
}

/// A batch as the topic keeps it.
fn stamped(cluster: &Cluster, topic: &str, header: BatchHeader, records: &Bytes) -> (BatchHeader, Bytes) {
    if !cluster.topics.get(topic).is_some_and(|topic| topic.stamps_records()) {
        return (header, records.clone());
    }
    let records = batch::with_append_time(records, cluster.unix_now());
    (BatchHeader::read(&records).unwrap_or(header), records)
}

fn append(cluster: &Cluster, log: &mut Log, header: &BatchHeader, records: &Bytes) -> Outcome {
    let done = |base_offset, log_append_time| Outcome {
        code: code::NONE,
        message: None,
        base_offset,
        log_append_time,
    };
    match log.append(header, records) {
        Ok(Append::Done(offset)) => {
            cluster.appends.send_modify(|n| *n += 1);
            cluster.count(|c| {
                c.batches += 1;
                c.records += u64::from(header.count.unsigned_abs());
            });
            done(offset, -1)
        }
        Ok(Append::Duplicate(offset)) => {
            cluster.count(|c| c.duplicates += 1);
            done(offset, header.max_timestamp.max(1))
        }
        Ok(Append::Refused(code)) => Outcome::refused(code, "the sequence number does not follow"),
        Err(error) => Outcome::refused(code::STORAGE_ERROR, &error.to_string()),
    }
}

/// Leaves the log as a death at that moment would.
fn die(log: &mut Log, header: &BatchHeader, records: &Bytes, death: Death) -> Died {
    let left = match death {
        Death::BeforeAppend => Ok(()),
        Death::HalfAppended => log.append_half(records),
        Death::BeforeAnswer => log.append(header, records).map(|_| ()),
    };
    if let Err(error) = left {
        tracing::warn!(%error, "the target dies as planned, but could not leave what it should");
    }
    Died
}

fn file_to_sync(cluster: &Cluster, log: &Log) -> Option<Arc<File>> {
    match cluster.options.storage {
        Storage::Directory { sync: true, .. } => log.store().file(),
        _ => None,
    }
}

/// DURABILITY: with `sync`, nothing is answered before this returned true.
async fn sync(files: Vec<Arc<File>>) -> bool {
    if files.is_empty() {
        return true;
    }
    let synced = tokio::task::spawn_blocking(move || files.iter().try_for_each(|f| f.sync_data())).await;
    matches!(synced, Ok(Ok(())))
}
