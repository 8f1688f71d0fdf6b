//! Reads batches from bytes that are not trusted: a Fetch answer, a Produce request.

use std::borrow::Cow;

use super::record::Records;
use super::sealed::Identity;
use super::{CRC_FROM, HEADER_LEN};
use crate::event::UnixMillis;
use crate::kafka::codec::{Codec, CodecError, decompress};

/// What is wrong with a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A length or number runs past the end.
    #[error("the batch is cut short or has an impossible length")]
    Truncated,
    /// Bytes are left over after the last record or within one.
    #[error("the batch has bytes beyond its records")]
    Trailing,
    /// Not format 2.
    #[error("the batch has format {0}, only 2 is known (Kafka 0.11 and later)")]
    Magic(i8),
    /// Its checksum does not fit.
    #[error("the batch at offset {base_offset} is damaged: its checksum does not fit")]
    Checksum {
        /// Base offset of the batch.
        base_offset: i64,
    },
    /// A codec that Kafka has not given away.
    #[error("the batch has attributes {0:#06x} with an unknown codec")]
    Codec(i16),
    /// It can't be decompressed.
    #[error("the batch can't be decompressed: {0}")]
    Compression(#[from] CodecError),
    /// A header's name is null or not UTF-8.
    #[error("a record header's name is not UTF-8")]
    HeaderName,
}

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of its first record (in a Fetch answer; what was compacted away counts).
    pub base_offset: i64,
    /// Bit field: see the module.
    pub attributes: i16,
    /// Offset of its last record, less the base offset.
    pub last_offset_delta: i32,
    /// What records' time deltas count from.
    pub base_time: UnixMillis,
    /// Largest time stamp; with log-append time that of every record.
    pub max_time: UnixMillis,
    /// Producer id, epoch and sequence; -1 each without idempotence.
    pub identity: Identity,
    /// How many records it holds.
    pub count: u32,
}

impl BatchHeader {
    /// Offset after its last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// Whether it is a transaction marker, not data.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the broker stamped it when it appended it.
    #[must_use]
    pub const fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }
}

/// A batch whose checksum was right, decompressed.
#[derive(Debug, Clone)]
pub struct RecordBatch<'a> {
    /// Its header.
    pub header: BatchHeader,
    records: Cow<'a, [u8]>,
}

impl RecordBatch<'_> {
    /// Its records.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        let header = &self.header;
        Records {
            rest: &self.records,
            left: header.count,
            base_offset: header.base_offset,
            base_time: header.base_time,
            append_time: header.is_log_append_time().then_some(header.max_time),
        }
    }
}

/// Reads batches one after the other. A last batch that is cut short ends the reading without an error: that
/// is how brokers fill a Fetch answer. After an error it ends.
#[derive(Debug, Clone)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    limit: usize,
}

impl<'a> BatchReader<'a> {
    /// Reads batches of `bytes`, decompressing each to at most `limit` bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8], limit: usize) -> Self {
        Self { rest: bytes, limit }
    }

    /// Bytes not yet read: after the end, those of a batch that is cut short.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The header of the next batch, which is passed over without being decompressed.
    ///
    /// # Errors
    /// As in iterating.
    pub fn next_header(&mut self) -> Result<Option<BatchHeader>, BatchError> {
        let header = self.split()?.map(|batch| read_header(batch).map(|(header, _)| header));
        header.transpose()
    }

    /// The next batch's bytes, or `None` when there is no whole one.
    fn split(&mut self) -> Result<Option<&'a [u8]>, BatchError> {
        let Some((_, after)) = self.rest.split_first_chunk::<8>() else { return Ok(None) };
        let Some((length, _)) = after.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| BatchError::Truncated)?;
        if length < HEADER_LEN - 12 {
            return Err(BatchError::Truncated);
        }
        let Some((batch, rest)) = self.rest.split_at_checked(12 + length) else { return Ok(None) };
        self.rest = rest;
        Ok(Some(batch))
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Result<RecordBatch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.split().and_then(|batch| batch.map(|b| read_batch(b, self.limit)).transpose());
        if read.is_err() {
            self.rest = &[];
        }
        read.transpose()
    }
}

fn read_batch(batch: &[u8], limit: usize) -> Result<RecordBatch<'_>, BatchError> {
    let (header, records) = read_header(batch)?;
    let codec = Codec::of_attributes(header.attributes).ok_or(BatchError::Codec(header.attributes))?;
    Ok(RecordBatch { header, records: decompress(codec, records, limit)? })
}

/// The header of a batch whose checksum is right, and its records as they are stored.
fn read_header(batch: &[u8]) -> Result<(BatchHeader, &[u8]), BatchError> {
    let mut fields = Fields(batch);
    let base_offset = fields.i64()?;
    fields.i32()?;
    fields.i32()?;
    let [magic] = fields.take::<1>()?.map(u8::cast_signed);
    if magic != 2 {
        return Err(BatchError::Magic(magic));
    }
    let crc = u32::from_be_bytes(fields.take()?);
    if crc != crc_fast::crc32_iscsi(batch.get(CRC_FROM..).unwrap_or_default()) {
        return Err(BatchError::Checksum { base_offset });
    }
    let header = BatchHeader {
        base_offset,
        attributes: fields.i16()?,
        last_offset_delta: fields.i32()?,
        base_time: fields.i64()?,
        max_time: fields.i64()?,
        identity: Identity { producer_id: fields.i64()?, epoch: fields.i16()?, base_sequence: fields.i32()? },
        count: u32::try_from(fields.i32()?).map_err(|_| BatchError::Truncated)?,
    };
    Ok((header, fields.0))
}

/// Fixed-width fields, taken off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(BatchError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn i16(&mut self) -> Result<i16, BatchError> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, BatchError> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, BatchError> {
        self.take().map(i64::from_be_bytes)
    }
}
