//! Produce, versions 7 and 8 (both before flexible encoding).

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::ApiKey;

use super::{Cursor, Request, WireError};
use crate::event::UnixMillis;
use crate::kafka::batch::{Batch, Identity};

/// A request while it is being put together: topic by topic, partition by partition.
#[derive(Debug)]
pub struct ProduceRequest {
    frame: BytesMut,
    scratch: Vec<u8>,
    topics: u32,
    topics_at: usize,
}

impl ProduceRequest {
    /// Begins a request that is answered when all in-sync replicas have the records (`acks=-1`), or after
    /// `timeout_ms`.
    #[must_use]
    pub fn new(client_id: &str, version: i16, timeout_ms: i32, room: usize) -> Self {
        let mut frame = Request::header(client_id, ApiKey::Produce as i16, version, 1);
        frame.reserve(room);
        frame.put_i16(-1);
        frame.put_i16(-1);
        frame.put_i32(timeout_ms);
        let topics_at = frame.len();
        frame.put_u32(0);
        Self { frame, scratch: Vec::new(), topics: 0, topics_at }
    }

    /// Begins a topic of which `partitions` follow.
    pub fn topic(&mut self, name: &str, partitions: u32) {
        self.topics += 1;
        self.frame.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
        self.frame.put_slice(name.as_bytes());
        self.frame.put_u32(partitions);
    }

    /// Adds a partition's batch.
    pub fn partition(&mut self, index: i32, batch: &Batch, identity: Identity, now: UnixMillis) {
        self.frame.put_i32(index);
        self.scratch.clear();
        batch.encode(identity, now, &mut self.scratch);
        self.frame.put_u32(u32::try_from(self.scratch.len()).unwrap_or(u32::MAX));
        self.frame.put_slice(&self.scratch);
    }

    /// Ends the request.
    #[must_use]
    pub fn finish(mut self) -> Request {
        if let Some(field) = self.frame.get_mut(self.topics_at..self.topics_at + 4) {
            field.copy_from_slice(&self.topics.to_be_bytes());
        }
        Request::closed(self.frame, false)
    }
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceAnswer {
    /// Wait this long before the next request on the connection. The records are appended all the same.
    pub throttle_ms: i32,
    /// One for each batch sent.
    pub partitions: Vec<PartitionResult>,
}

/// What became of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResult {
    /// Its topic. Held once, however many partitions the answer names.
    pub topic: Arc<str>,
    /// Its partition.
    pub index: i32,
    /// 0, or what went wrong. The other fields mean nothing without this being 0.
    pub code: i16,
    /// Offset of its first record.
    pub offset: i64,
    /// Records at fault (version 8).
    pub record_errors: Vec<RecordError>,
    /// What the broker adds (version 8).
    pub message: Option<String>,
}

/// A record at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Its index in the batch.
    pub index: i32,
    /// Why.
    pub message: Option<String>,
}

impl ProduceAnswer {
    /// Reads an answer of `version` 7 or 8.
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        let mut partitions = Vec::new();
        for _ in 0..c.array(false, 6)? {
            let topic = Arc::from(c.string(false)?);
            for _ in 0..c.array(false, 30)? {
                partitions.push(result(&mut c, &topic, version)?);
            }
        }
        Ok(Self { throttle_ms: c.i32()?, partitions })
    }
}

fn result(c: &mut Cursor<'_>, topic: &Arc<str>, version: i16) -> Result<PartitionResult, WireError> {
    let (index, code, offset) = (c.i32()?, c.i16()?, c.i64()?);
    let (_log_append_time, _log_start_offset) = (c.i64()?, c.i64()?);
    let mut record_errors = Vec::new();
    let mut message = None;
    if version >= 8 {
        for _ in 0..c.array(false, 6)? {
            let index = c.i32()?;
            record_errors.push(RecordError { index, message: c.nullable_string(false)?.map(str::to_owned) });
        }
        message = c.nullable_string(false)?.map(str::to_owned);
    }
    Ok(PartitionResult { topic: Arc::clone(topic), index, code, offset, record_errors, message })
}
