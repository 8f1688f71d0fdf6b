//! From requests to blocks, in one buffer that is used again and again.

use crate::event::{EventError, first_event_len};
use crate::ids::{LaneName, RunId, SegmentId, Seq, SpoolId, StreamName};

use super::format::{BlockHeader, FLAG_LZ4, Kind, MAX_HEADER, padded};
use super::host::Stamp;

/// Bytes of events in one block. Two below 64 KiB, so that the compressor's small table does.
const BLOCK_RAW: usize = (64 << 10) - 2;
/// Below this nothing is won by compression.
const MIN_COMPRESS: usize = 64;

/// What all blocks of a commit have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) spool: SpoolId,
    pub(super) lane: LaneName,
    pub(super) run: RunId,
    pub(super) segment: SegmentId,
    pub(super) synced_through: Seq,
    pub(super) stamp: Stamp,
}

/// Collects events into blocks and blocks into a buffer.
pub(super) struct Encoder {
    /// Encoded blocks: the first `len` bytes. Kept at full length so that nothing is zeroed twice.
    out: Vec<u8>,
    len: usize,
    /// Events of the block that is being filled.
    raw: Vec<u8>,
    count: u32,
    first: Seq,
    stream: Option<StreamName>,
    compress: bool,
    small: lz4_flex::block::CompressTable,
    large: Option<lz4_flex::block::CompressTable>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("len", &self.len).field("count", &self.count).finish_non_exhaustive()
    }
}

impl Encoder {
    pub(super) fn new(compress: bool) -> Self {
        Self {
            out: Vec::new(),
            len: 0,
            raw: Vec::with_capacity(BLOCK_RAW),
            count: 0,
            first: Seq::FIRST,
            stream: None,
            compress,
            small: lz4_flex::block::CompressTable::small(),
            large: None,
        }
    }

    /// The most that `raw` bytes of events of one request can take on disk.
    pub(super) fn at_most(raw: usize) -> u64 {
        (raw + (2 * raw / BLOCK_RAW + 3) * (MAX_HEADER + 8)) as u64
    }

    /// The finished blocks.
    pub(super) fn bytes(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    /// The most that the block being filled will take.
    pub(super) fn waiting(&self) -> u64 {
        if self.count == 0 { 0 } else { (self.raw.len() + MAX_HEADER + 8) as u64 }
    }

    /// Forgets everything, also the block that is being filled.
    pub(super) fn reset(&mut self) {
        self.clear();
        self.raw.clear();
        self.count = 0;
        self.stream = None;
    }

    /// Forgets the finished blocks; gives back memory that one large event took.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        if self.out.len() > 4 << 20 {
            self.out = Vec::new();
        }
        if self.raw.capacity() > 4 << 20 {
            self.raw = Vec::with_capacity(BLOCK_RAW);
        }
    }

    /// Bytes that are not a block: the area of a segment's header.
    pub(super) fn push_lead(&mut self, lead: &[u8]) {
        let end = self.grow(lead.len());
        if let Some(room) = self.out.get_mut(self.len..end) {
            room.copy_from_slice(lead);
        }
        self.len = end;
    }

    /// Adds a whole request, numbered from `first`.
    pub(super) fn push(
        &mut self,
        common: &Common,
        stream: &StreamName,
        first: Seq,
        mut bytes: &[u8],
        mut count: u32,
    ) -> Result<(), EventError> {
        let follows = self.first.plus(u64::from(self.count)) == first;
        if !follows || self.stream.as_ref() != Some(stream) {
            self.finish_block(common);
            self.stream = Some(stream.clone());
            self.first = first;
        }
        if bytes.len() <= BLOCK_RAW {
            if self.raw.len() + bytes.len() > BLOCK_RAW {
                self.finish_block(common);
            }
            self.raw.extend_from_slice(bytes);
            self.count += count;
            return Ok(());
        }
        while count > 0 {
            let len = first_event_len(bytes)?;
            let (event, rest) = bytes.split_at_checked(len).ok_or(EventError::Truncated)?;
            if !self.raw.is_empty() && self.raw.len() + len > BLOCK_RAW {
                self.finish_block(common);
            }
            self.raw.extend_from_slice(event);
            self.count += 1;
            count -= 1;
            bytes = rest;
        }
        Ok(())
    }

    /// An empty block: mark or seal. `next` is the number of the next event to come.
    pub(super) fn push_empty(&mut self, common: &Common, kind: Kind, next: Seq) {
        self.finish_block(common);
        let header = header(common, kind, next, "");
        self.write_block(&header, 0);
    }

    /// Ends the block that is being filled.
    pub(super) fn finish_block(&mut self, common: &Common) {
        let Some(stream) = self.stream.clone().filter(|_| self.count > 0) else { return };
        let mut block = header(common, Kind::Events, self.first, stream.as_str());
        block.count = self.count;
        block.raw_len = u32::try_from(self.raw.len()).unwrap_or(u32::MAX);
        let stored = self.store_payload(block.len());
        block.payload_len = u32::try_from(stored.len).unwrap_or(u32::MAX);
        block.flags = if stored.compressed { FLAG_LZ4 } else { 0 };
        let start = self.len + block.len();
        let payload = self.out.get(start..start + stored.len).unwrap_or_default();
        block.payload_crc = crc32fast::hash(payload);
        self.write_block(&block, stored.len);
        self.first = block.end();
        self.count = 0;
        self.raw.clear();
    }

    /// Puts the payload where it belongs, behind a header of `header_len` bytes that is not yet written.
    fn store_payload(&mut self, header_len: usize) -> Stored {
        let bound = lz4_flex::block::get_maximum_output_size(self.raw.len());
        let start = self.len + header_len;
        let end = self.grow(header_len + bound + 8);
        let room = self.out.get_mut(start..end).unwrap_or_default();
        if self.compress && self.raw.len() >= MIN_COMPRESS {
            let table = if self.raw.len() <= BLOCK_RAW {
                &mut self.small
            } else {
                self.large.get_or_insert_with(lz4_flex::block::CompressTable::large)
            };
            let packed = lz4_flex::block::compress_into_with_table(&self.raw, room, table);
            if let Ok(len) = packed
                && len < self.raw.len()
            {
                return Stored { len, compressed: true };
            }
        }
        if let Some(room) = room.get_mut(..self.raw.len()) {
            room.copy_from_slice(&self.raw);
        }
        Stored { len: self.raw.len(), compressed: false }
    }

    /// Writes the header and the padding around a payload of `stored` bytes that is in place.
    fn write_block(&mut self, header: &BlockHeader<'_>, stored: usize) {
        let used = header.len() + stored;
        let total = usize::try_from(padded(used as u64)).unwrap_or(used);
        let end = self.grow(total);
        if let Some(padding) = self.out.get_mut(self.len + used..end) {
            padding.fill(0);
        }
        header.encode(self.out.get_mut(self.len..end).unwrap_or_default());
        self.len = end;
    }

    /// Makes room for `more` bytes; returns where they end.
    fn grow(&mut self, more: usize) -> usize {
        let end = self.len + more;
        if self.out.len() < end {
            self.out.resize(end.next_multiple_of(128 << 10), 0);
        }
        end
    }
}

struct Stored {
    len: usize,
    compressed: bool,
}

fn header<'a>(common: &'a Common, kind: Kind, first: Seq, stream: &'a str) -> BlockHeader<'a> {
    BlockHeader {
        kind,
        flags: 0,
        payload_crc: 0,
        payload_len: 0,
        raw_len: 0,
        count: 0,
        spool: common.spool,
        run: common.run,
        segment: common.segment,
        first,
        synced_through: common.synced_through,
        time: common.stamp.time,
        boot: common.stamp.boot,
        monotonic: common.stamp.monotonic,
        key_id: 0,
        lane: common.lane.as_str(),
        stream,
    }
}

#[cfg(test)]
mod tests;
