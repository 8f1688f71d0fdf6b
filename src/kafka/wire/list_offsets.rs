//! ListOffsets, versions 1 to 4, for one partition.

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// Asks for the end of the log (the high watermark).
pub const LATEST: i64 = -1;
/// Asks for the first offset still in the log.
pub const EARLIEST: i64 = -2;

/// Asks for an offset by time ([`LATEST`], [`EARLIEST`], or milliseconds since 1970).
#[must_use]
pub fn list_offsets_request(client_id: &str, version: i16, topic: &str, partition: i32, at: i64) -> Request {
    let row = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at);
    let name = StrBytes::from_string(topic.to_owned());
    let topic = ListOffsetsTopic::default().with_name(name.into()).with_partitions(vec![row]);
    let message = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    Request::new(client_id, version, &message)
}

/// The answer for the partition asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAnswer {
    /// 0, or what went wrong.
    pub code: i16,
    /// The offset; -1 when nothing is that young.
    pub offset: i64,
}

impl OffsetAnswer {
    /// Reads an answer and takes its last (only) partition.
    ///
    /// # Errors
    /// [`WireError`]; null when it names no partition.
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        if version >= 2 {
            c.i32()?;
        }
        let mut found = None;
        for _ in 0..c.array(false, 6)? {
            c.string(false)?;
            for _ in 0..c.array(false, 22)? {
                c.i32()?;
                let code = c.i16()?;
                c.i64()?;
                found = Some(Self { code, offset: c.i64()? });
                if version >= 4 {
                    c.i32()?;
                }
            }
        }
        found.ok_or(WireError::Null)
    }
}
