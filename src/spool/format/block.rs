//! A block: header, payload, padding.

use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, SpoolId};
use crate::sabotage::{self, Bug};

use super::fields::{Fields, name_len};

/// First bytes of every block.
pub const BLOCK_MAGIC: [u8; 4] = *b"SWB1";
/// Every block begins at a multiple of this.
pub const BLOCK_ALIGN: u64 = 8;
/// Bytes of a header before the names.
pub const FIXED_HEADER: usize = 100;
/// Bytes of the largest header: two names of 249, padded.
pub const MAX_HEADER: usize = 600;
/// Where run, segment, first and `synced_through` stand, one behind the other.
const PLACE_AT: usize = 40;
/// Magic, checksum and header length: what must be read before the rest of the header can be.
pub const PREFIX: usize = 10;
/// A block of more than one event holds at most this many bytes before compression.
pub const MAX_EVENTS_RAW: usize = 64 << 10;
/// No payload is larger, stored or unpacked.
pub const MAX_PAYLOAD: u32 = 256 << 20;
/// The payload is in LZ4 block format.
pub const FLAG_LZ4: u8 = 1;
/// LZ4 cannot shrink by more than this.
const LZ4_MAX_RATIO: u32 = 255;

/// What a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encoded events.
    Events,
    /// Nothing: says by its `synced_through` that what stands before it is durable.
    Mark,
    /// Nothing: the segment was closed in order and ends here.
    Seal,
    /// Of a later version.
    Unknown(u8),
}

impl Kind {
    /// Its byte.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Kind::Events => 1,
            Kind::Mark => 2,
            Kind::Seal => 3,
            Kind::Unknown(code) => code,
        }
    }

    /// The kind of a byte.
    #[must_use]
    pub fn of(code: u8) -> Self {
        match code {
            1 => Kind::Events,
            2 => Kind::Mark,
            3 => Kind::Seal,
            code => Kind::Unknown(code),
        }
    }
}

/// A block's header. It stands alone: nothing else need be read to know whose block this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader<'a> {
    /// What it is for.
    pub kind: Kind,
    /// [`FLAG_LZ4`]; others are of later versions and make the payload unreadable.
    pub flags: u8,
    /// CRC-32 of the payload as stored.
    pub payload_crc: u32,
    /// Bytes of the payload as stored.
    pub payload_len: u32,
    /// Bytes of the payload unpacked.
    pub raw_len: u32,
    /// How many events.
    pub count: u32,
    /// Whose data directory.
    pub spool: SpoolId,
    /// Which opening of the lane.
    pub run: RunId,
    /// Which segment.
    pub segment: SegmentId,
    /// Number of its first event; of an empty block, the number of the next event to come.
    pub first: Seq,
    /// Everything up to this number was durable when the block was written.
    pub synced_through: Seq,
    /// When it was accepted.
    pub time: UnixMillis,
    /// First 64 bits of the kernel's boot id, big-endian as the id is printed; 0 if not known.
    pub boot: u64,
    /// Nanoseconds since that boot, sleep included.
    pub monotonic: u64,
    /// Key the payload is encrypted with: 0, none.
    pub key_id: u32,
    /// The lane's name.
    pub lane: &'a str,
    /// The stream's name; empty in marks and seals.
    pub stream: &'a str,
}

impl<'a> BlockHeader<'a> {
    /// Bytes of the header: fixed part and names, padded to 8.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        (FIXED_HEADER + self.lane.len() + self.stream.len()).next_multiple_of(8)
    }

    /// Bytes from the block's start to the next one's.
    #[must_use]
    pub fn block_len(&self) -> u64 {
        padded(self.len() as u64 + u64::from(self.payload_len))
    }

    /// The number after its last event.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.first.plus(u64::from(self.count))
    }

    /// Writes the header over the first [`BlockHeader::len`] bytes of `out`; nothing if it is too short.
    pub fn encode(&self, out: &mut [u8]) {
        let Some(out) = out.get_mut(..self.len()) else { return };
        let mut fixed = [0u8; FIXED_HEADER];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(field) = fixed.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&BLOCK_MAGIC);
        put(&[0; 4]);
        put(&u16::try_from(self.len()).unwrap_or(u16::MAX).to_le_bytes());
        put(&[self.kind.code(), self.flags]);
        put(&self.payload_crc.to_le_bytes());
        put(&self.payload_len.to_le_bytes());
        put(&self.raw_len.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.key_id.to_le_bytes());
        put(&self.spool.0.to_le_bytes());
        put(&self.run.0.to_le_bytes());
        put(&self.segment.0.to_le_bytes());
        put(&self.first.0.to_le_bytes());
        put(&self.synced_through.0.to_le_bytes());
        put(&self.time.to_le_bytes());
        put(&self.boot.to_le_bytes());
        put(&self.monotonic.to_le_bytes());
        put(&[name_len(self.lane), name_len(self.stream)]);
        out.fill(0);
        if let Some((head, names)) = out.split_at_mut_checked(FIXED_HEADER) {
            head.copy_from_slice(&fixed);
            let bytes = self.lane.bytes().chain(self.stream.bytes());
            names.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        let crc = crc32fast::hash(out.get(8..).unwrap_or_default()).to_le_bytes();
        if let Some(field) = out.get_mut(4..8) {
            field.copy_from_slice(&crc);
        }
    }

    /// Gives the whole block in `bytes` another place: everything else of it stays, also what this version does
    /// not know.
    pub fn relocate(bytes: &mut [u8], run: RunId, segment: SegmentId, first: Seq, synced_through: Seq) {
        let Some(len) = Self::peek_len(bytes) else { return };
        let values = [run.0, segment.0, first.0, synced_through.0];
        for (at, value) in (PLACE_AT..).step_by(8).zip(values) {
            if let Some(field) = bytes.get_mut(at..at + 8) {
                field.copy_from_slice(&value.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(bytes.get(8..len).unwrap_or_default()).to_le_bytes();
        if let Some(field) = bytes.get_mut(4..8) {
            field.copy_from_slice(&crc);
        }
    }

    /// Length of the header that begins with these bytes, if they can begin one. Not yet to be trusted.
    #[must_use]
    pub fn peek_len(prefix: &[u8]) -> Option<usize> {
        let rest = prefix.strip_prefix(&BLOCK_MAGIC)?;
        let len = usize::from(Fields(rest.get(4..)?).u16()?);
        (FIXED_HEADER..=MAX_HEADER).contains(&len).then_some(len).filter(|len| len % 8 == 0)
    }

    /// Reads a header from the first bytes of `bytes`. `None` unless its checksum holds and its fields can be.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let len = Self::peek_len(bytes)?;
        let header = bytes.get(..len)?;
        let mut fields = Fields(header.get(4..)?);
        let crc = fields.u32()?;
        if crc != crc32fast::hash(fields.0) && !sabotage::commits(Bug::HeaderUnchecked) {
            return None;
        }
        fields.u16()?;
        let mut block = BlockHeader {
            kind: Kind::of(fields.u8()?),
            flags: fields.u8()?,
            payload_crc: fields.u32()?,
            payload_len: fields.u32()?,
            raw_len: fields.u32()?,
            count: fields.u32()?,
            key_id: fields.u32()?,
            spool: SpoolId(fields.u64()?),
            run: RunId(fields.u64()?),
            segment: SegmentId(fields.u64()?),
            first: Seq(fields.u64()?),
            synced_through: Seq(fields.u64()?),
            time: fields.i64()?,
            boot: fields.u64()?,
            monotonic: fields.u64()?,
            lane: "",
            stream: "",
        };
        let (lane, stream) = (fields.u8()?, fields.u8()?);
        fields.array::<2>()?;
        block.lane = fields.text(lane)?;
        block.stream = fields.text(stream)?;
        block.is_possible().then_some(block)
    }

    /// Bounds that hold whatever the checksum says.
    fn is_possible(&self) -> bool {
        let within = self.payload_len <= MAX_PAYLOAD && self.raw_len <= MAX_PAYLOAD;
        let grown = u64::from(self.raw_len) <= u64::from(self.payload_len) * u64::from(LZ4_MAX_RATIO) + 64;
        let sized = if self.flags & FLAG_LZ4 == 0 { self.raw_len == self.payload_len } else { grown };
        // An event has at least two bytes: its length and its flags.
        let counted = u64::from(self.count) * 2 <= u64::from(self.raw_len);
        let small = self.count <= 1 || self.raw_len as usize <= MAX_EVENTS_RAW;
        let known = self.kind != Kind::Events || (sized && counted && small && self.count > 0);
        within && known && self.first.0.checked_add(u64::from(self.count)).is_some()
    }
}

/// `len` rounded up to [`BLOCK_ALIGN`].
#[must_use]
pub fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK_ALIGN)
}
