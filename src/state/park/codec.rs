//! Bytes of parked events.
//!
//! ```text
//! file   = header · record*
//! header = magic "SWPK" · crc u32 · length u32 · version u16 (1) · 0 u16 · spool u64 · from u64 · upto u64 · events u64 ·
//!          lane · destination · topic (texts: length u8, bytes)
//! record = magic "SWPB" · crc u32 · payload crc u32 · stored u32 · unpacked u32 · count u32 · spool u64 · first u64 ·
//!          time i64 · run u64 · segment u64 · stream (length u8, bytes) · payload (`stored` bytes)
//! ```
//! Little-endian. The crc (CRC-32/ISO-HDLC) covers what lies between it and the end of the header, or of the record's stream. A
//! payload is the block's events as they stand in the spool; if `stored` is less than `unpacked`, an LZ4 block of them.
//! Decoding bounds everything it reads.

use bytes::Bytes;

use crate::event::UnixMillis;
use crate::ids::{
    DestinationName, LaneName, RunId, SegmentId, Seq, SeqRange, SpoolId, StreamName, TopicName,
};

/// Begins every record; what is searched for behind damaged bytes.
pub(super) const MAGIC: &[u8; 4] = b"SWPB";
/// Bytes of a record before its stream.
pub(super) const FIXED: usize = 64;
/// Bytes of a record before its payload, at most.
pub(super) const MAX_HEAD: usize = FIXED + 1 + u8::MAX as usize;
/// Bytes of a file's header, at most.
pub(super) const MAX_HEADER: usize = 1024;
/// No payload is larger; as in the spool.
const MAX_PAYLOAD: u32 = 256 << 20;
const FILE_MAGIC: &[u8; 4] = b"SWPK";
const VERSION: u16 = 1;

/// A block that was taken out of its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Numbers of its events.
    pub range: SeqRange,
    /// Their stream.
    pub stream: StreamName,
    /// When they were accepted.
    pub time: UnixMillis,
    /// The opening of the lane that wrote it.
    pub run: RunId,
    /// The segment it was in.
    pub segment: SegmentId,
    /// The encoded events (see [`crate::event`]).
    pub payload: Bytes,
}

/// What a file is about.
pub(super) struct About<'a> {
    pub(super) spool: SpoolId,
    pub(super) lane: &'a LaneName,
    pub(super) destination: &'a DestinationName,
    pub(super) topic: &'a TopicName,
    pub(super) covers: SeqRange,
    pub(super) events: u64,
}

/// Appends a file's header.
pub(super) fn put_header(out: &mut Vec<u8>, about: &About<'_>) {
    let start = out.len();
    out.extend(FILE_MAGIC);
    out.extend([0; 8]);
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 2]);
    for number in [about.spool.0, about.covers.first.0, about.covers.end.0, about.events] {
        out.extend(number.to_le_bytes());
    }
    let names = [about.lane.as_str(), about.destination.as_str(), about.topic.as_str()];
    names.iter().for_each(|name| put_text(out, name));
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    set(out, start + 8, length);
    seal(out, start);
}

/// Appends a record. Returns whether it can be read again: a payload beyond any bound can't.
pub(super) fn put(out: &mut Vec<u8>, spool: SpoolId, block: &Parked) -> bool {
    let Ok(unpacked) = u32::try_from(block.payload.len()) else { return false };
    let Ok(count) = u32::try_from(block.range.len()) else { return false };
    if unpacked > MAX_PAYLOAD {
        return false;
    }
    let packed = lz4_flex::block::compress(&block.payload);
    let stored = if packed.len() < block.payload.len() { packed.as_slice() } else { &block.payload };
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend(crc32fast::hash(stored).to_le_bytes());
    out.extend(u32::try_from(stored.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(unpacked.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(spool.0.to_le_bytes());
    out.extend(block.range.first.0.to_le_bytes());
    out.extend(block.time.to_le_bytes());
    out.extend(block.run.0.to_le_bytes());
    out.extend(block.segment.0.to_le_bytes());
    put_text(out, block.stream.as_str());
    seal(out, start);
    out.extend(stored);
    true
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn set(out: &mut [u8], at: usize, value: u32) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn seal(out: &mut [u8], start: usize) {
    let crc = crc32fast::hash(out.get(start + 8..).unwrap_or_default());
    set(out, start + 4, crc);
}

/// A record without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) range: SeqRange,
    pub(super) stream: StreamName,
    pub(super) time: UnixMillis,
    pub(super) run: RunId,
    pub(super) segment: SegmentId,
    /// Bytes before the payload.
    pub(super) len: usize,
    /// Bytes of the payload as it stands here.
    pub(super) stored: usize,
    unpacked: usize,
    crc: u32,
}

impl Head {
    /// The payload, if `stored` is it.
    pub(super) fn payload(&self, stored: Vec<u8>) -> Option<Bytes> {
        if stored.len() != self.stored || crc32fast::hash(&stored) != self.crc {
            return None;
        }
        if self.stored == self.unpacked {
            return Some(stored.into());
        }
        let raw = lz4_flex::block::decompress(&stored, self.unpacked).ok()?;
        (raw.len() == self.unpacked).then(|| raw.into())
    }
}

/// Length of the file header at the beginning of `bytes`, if there is a whole one of spool `spool`, and the number of events that
/// it names.
pub(super) fn header(bytes: &[u8], spool: SpoolId) -> Option<(usize, u64)> {
    let rest = &mut bytes.strip_prefix(FILE_MAGIC)?;
    let crc = u32::from_le_bytes(array(rest)?);
    let length = usize::try_from(u32::from_le_bytes(array(rest)?)).ok()?;
    let covered = bytes.get(8..length)?;
    let version = u16::from_le_bytes(array(rest)?);
    let _reserved: [u8; 2] = array(rest)?;
    let owner = u64::from_le_bytes(array(rest)?);
    let _covers: [u8; 16] = array(rest)?;
    let events = u64::from_le_bytes(array(rest)?);
    (crc32fast::hash(covered) == crc && version == VERSION && owner == spool.0).then_some((length, events))
}

/// The record at the beginning of `bytes`, if there is a whole head of one of spool `spool`.
pub(super) fn head(bytes: &[u8], spool: SpoolId) -> Option<Head> {
    let rest = &mut bytes.strip_prefix(MAGIC)?;
    let sealed = u32::from_le_bytes(array(rest)?);
    let crc = u32::from_le_bytes(array(rest)?);
    let stored = u32::from_le_bytes(array(rest)?);
    let unpacked = u32::from_le_bytes(array(rest)?);
    let count = u32::from_le_bytes(array(rest)?);
    let owner = u64::from_le_bytes(array(rest)?);
    let first = u64::from_le_bytes(array(rest)?);
    let time = i64::from_le_bytes(array(rest)?);
    let run = RunId(u64::from_le_bytes(array(rest)?));
    let segment = SegmentId(u64::from_le_bytes(array(rest)?));
    let [name] = array(rest)?;
    let len = FIXED + 1 + usize::from(name);
    if crc32fast::hash(bytes.get(8..len)?) != sealed || owner != spool.0 {
        return None;
    }
    let name = std::str::from_utf8(rest.get(..usize::from(name))?).ok()?;
    let end = first.checked_add(u64::from(count))?;
    (count > 0 && stored <= unpacked && unpacked <= MAX_PAYLOAD).then_some(())?;
    Some(Head {
        range: SeqRange::new(Seq(first), Seq(end)),
        stream: StreamName::new(name).ok()?,
        time,
        run,
        segment,
        len,
        stored: usize::try_from(stored).ok()?,
        unpacked: usize::try_from(unpacked).ok()?,
        crc,
    })
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
