//! Fetch, versions 4 to 11, for one partition, without sessions.

use std::ops::Range;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition as Row, FetchTopic};
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// Asks for records from `offset` on, `max_bytes` at most (but one whole batch), waiting `wait_ms` for some.
#[must_use]
pub fn fetch_request(
    client_id: &str,
    version: i16,
    (topic, partition): (&str, i32),
    offset: i64,
    max_bytes: i32,
    wait_ms: i32,
) -> Request {
    let row = Row::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(max_bytes);
    let name = StrBytes::from_string(topic.to_owned());
    let topic = FetchTopic::default().with_topic(name.into()).with_partitions(vec![row]);
    let message = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_isolation_level(0)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    Request::new(client_id, version, &message)
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAnswer {
    /// Wait this long before the next request on the connection.
    pub throttle_ms: i32,
    /// The partition asked for; `None` when the answer has none.
    pub partition: Option<FetchPartition>,
}

/// A partition of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// 0, or what went wrong.
    pub code: i16,
    /// Everything before it is replicated.
    pub high_watermark: i64,
    /// Where in the answer its record batches stand.
    pub records: Range<usize>,
}

impl FetchAnswer {
    /// Reads an answer of `version` (4 to 11).
    ///
    /// # Errors
    /// [`WireError`]; an error of the whole answer is [`WireError::Code`].
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        let throttle_ms = c.i32()?;
        if version >= 7 {
            let code = c.i16()?;
            c.i32()?;
            if code != 0 {
                return Err(WireError::Code(code));
            }
        }
        let mut partition = None;
        for _ in 0..c.array(false, 6)? {
            c.string(false)?;
            for _ in 0..c.array(false, 30)? {
                partition = Some(row(&mut c, bytes.len(), version)?);
            }
        }
        Ok(Self { throttle_ms, partition })
    }
}

fn row(c: &mut Cursor<'_>, total: usize, version: i16) -> Result<FetchPartition, WireError> {
    c.i32()?;
    let (code, high_watermark) = (c.i16()?, c.i64()?);
    c.i64()?;
    if version >= 5 {
        c.i64()?;
    }
    for _aborted in 0..c.array(false, 16)? {
        c.i64()?;
        c.i64()?;
    }
    if version >= 11 {
        c.i32()?;
    }
    let len = c.nullable_bytes()?.unwrap_or_default().len();
    let end = total - c.left();
    Ok(FetchPartition { code, high_watermark, records: end - len..end })
}
