//! One record batch of message format 2, as bytes: what its header says and whether a broker takes it.
//!
//! Layout (`DefaultRecordBatch`): base offset 0, length 8, leader epoch 12, magic 16, CRC 17, attributes 21,
//! last offset delta 23, first time stamp 27, largest time stamp 35, producer id 43, epoch 51, first
//! sequence 53, count 57, records 61. The CRC-32C covers byte 21 to the end, so a broker may set the base
//! offset without touching it.

use bytes::{Buf, Bytes, BytesMut};

use super::code::{self, Code};

/// Bytes before the records.
pub(super) const HEADER_LEN: usize = 61;
/// Bytes that the length field does not count: base offset and the length itself.
pub(super) const PREFIX_LEN: usize = 12;
const CRC_FROM: usize = 21;
const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The header of a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, prefix included.
    pub size: usize,
    /// Format; 2 is the only one taken.
    pub magic: i8,
    /// CRC-32C as written.
    pub crc: u32,
    /// Codec in bits 0-2, time stamp type in 3, transactional in 4, control in 5.
    pub attributes: i16,
    /// Offset of the last record, from the first.
    pub last_offset_delta: i32,
    /// Largest time stamp in milliseconds.
    pub max_timestamp: i64,
    /// Producer id; -1 without idempotence.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Number of records.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` if it is cut short or its length is impossible.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let base_offset = bytes.try_get_i64().ok()?;
        let length = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
        let _leader_epoch = bytes.try_get_i32().ok()?;
        let (magic, crc) = (bytes.try_get_i8().ok()?, bytes.try_get_u32().ok()?);
        let (attributes, last_offset_delta) = (bytes.try_get_i16().ok()?, bytes.try_get_i32().ok()?);
        let _first_timestamp = bytes.try_get_i64().ok()?;
        let (max_timestamp, producer_id) = (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?);
        let (producer_epoch, base_sequence) = (bytes.try_get_i16().ok()?, bytes.try_get_i32().ok()?);
        let count = bytes.try_get_i32().ok()?;
        let size = length.checked_add(PREFIX_LEN).filter(|s| *s >= HEADER_LEN)?;
        Some(Self {
            base_offset,
            size,
            magic,
            crc,
            attributes,
            last_offset_delta,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            count,
        })
    }

    /// Sequence number of the last record; after 2^31-1 comes 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// Offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// Whether the batch takes part in duplicate detection.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }

    fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }
}

/// Whether `batch` has the checksum its header says.
pub(super) fn crc_matches(header: &BatchHeader, batch: &[u8]) -> bool {
    let covered = batch.get(CRC_FROM..header.size).unwrap_or_default();
    u64::from(header.crc) == crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, covered)
}

/// Why a batch was refused.
pub(super) type Rejection = (Code, &'static str);

/// The checks of `LogValidator.validateBatch` and before, in the broker's order: size, checksum, form. They
/// come before the producer's sequence is looked at, so a refusal here says nothing about an earlier copy.
pub(super) fn check(records: &[u8], max_size: usize) -> Result<BatchHeader, Rejection> {
    let header = BatchHeader::read(records).ok_or((code::CORRUPT_MESSAGE, "no whole batch header"))?;
    if header.size > records.len() {
        return Err((code::CORRUPT_MESSAGE, "the batch is longer than the request says"));
    }
    if header.size > max_size {
        return Err((code::MESSAGE_TOO_LARGE, "the batch is over max.message.bytes"));
    }
    if header.magic != 2 {
        return Err((code::INVALID_RECORD, "message format 2 is the only one taken"));
    }
    if !crc_matches(&header, records) {
        return Err((code::CORRUPT_MESSAGE, "the CRC does not match"));
    }
    check_form(&header, records)?;
    Ok(header)
}

fn check_form(header: &BatchHeader, records: &[u8]) -> Result<(), Rejection> {
    let invalid = |cause| Err((code::INVALID_RECORD, cause));
    if header.size != records.len() {
        return invalid("exactly one batch a partition is allowed");
    }
    if header.base_offset != 0 {
        return invalid("the base offset must be 0");
    }
    if header.attributes & CONTROL != 0 {
        return invalid("a client may not write control batches");
    }
    if header.count < 1 || header.last_offset_delta.checked_add(1) != Some(header.count) {
        return invalid("count and last offset delta disagree");
    }
    if header.is_transactional() {
        return Err((code::TRANSACTIONAL_ID_DENIED, "transactions are not served here"));
    }
    if header.is_idempotent() && header.producer_epoch < 0 {
        return Err((code::INVALID_PRODUCER_EPOCH, "a producer id without an epoch"));
    }
    if header.is_idempotent() && header.base_sequence < 0 {
        return invalid("a producer id without a sequence number");
    }
    if header.attributes & CODEC_BITS == 0 && !count_is_true(header, records) {
        return invalid("the records do not fill the batch as its header says");
    }
    Ok(())
}

/// Walks uncompressed records by their lengths: there must be `count`, and nothing else.
fn count_is_true(header: &BatchHeader, records: &[u8]) -> bool {
    let mut rest = records.get(HEADER_LEN..).unwrap_or_default();
    for _ in 0..header.count {
        let Some(len) = take_varint(&mut rest) else { return false };
        let Some(tail) = rest.get(len..) else { return false };
        rest = tail;
    }
    rest.is_empty()
}

/// A zigzag varint that must be a length.
fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = rest.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (value & 1 == 0).then(|| usize::try_from(value >> 1).ok())?;
        }
    }
    None
}

/// The batch stamped with the time of its append, as where a topic's `message.timestamp.type` is `LogAppendTime`.
pub(super) fn with_append_time(batch: &[u8], now: i64) -> Bytes {
    let mut bytes = BytesMut::from(batch);
    let mut put = |at: usize, new: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + new.len()) {
            place.copy_from_slice(new);
        }
    };
    let attributes = BatchHeader::read(batch).map_or(0, |header| header.attributes) | LOG_APPEND_TIME;
    put(21, &attributes.to_be_bytes());
    put(35, &now.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(bytes.get(CRC_FROM..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(17..CRC_FROM) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    bytes.freeze()
}

/// The batch with the offset the log gave it.
pub(super) fn with_base_offset(batch: &[u8], offset: i64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(batch.len());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(batch.get(8..).unwrap_or_default());
    bytes.freeze()
}
