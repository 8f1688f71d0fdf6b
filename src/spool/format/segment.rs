//! The header of a segment, kept twice.

use crate::event::UnixMillis;
use crate::ids::{RunId, SegmentId, Seq, SpoolId};

use super::fields::{Fields, name_len};

/// First bytes of a segment, and of the second copy of its header.
pub const SEGMENT_MAGIC: [u8; 8] = *b"SPOOLWY1";
/// Where the second copy of the header begins: in another sector and another page than the first.
pub const SEGMENT_COPY: u64 = 4096;
/// Where the first block begins.
pub const DATA_START: u64 = 8192;
/// Bytes of a header before the lane's name.
const FIXED: usize = 104;
const MAX_LEN: usize = 360;
/// Incompat bits of a segment that this version knows.
const KNOWN_INCOMPAT: u32 = 0;

/// How a segment came to its end, as judged by whoever opened the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is no predecessor.
    None,
    /// It was closed in order: rotated or sealed.
    Closed,
    /// Its process died; nothing durable is missing.
    Torn,
    /// Durable events at its end, or inside of it, are damaged or missing.
    Rotten,
    /// A write or sync failed; it ends at its last durable point.
    Failed,
    /// Of a later version.
    Unknown(u8),
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Verdict::None => 0,
            Verdict::Closed => 1,
            Verdict::Torn => 2,
            Verdict::Rotten => 3,
            Verdict::Failed => 4,
            Verdict::Unknown(code) => code,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Verdict::None,
            1 => Verdict::Closed,
            2 => Verdict::Torn,
            3 => Verdict::Rotten,
            4 => Verdict::Failed,
            code => Verdict::Unknown(code),
        }
    }
}

/// What a segment says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predecessor {
    /// Which one; 0 if none.
    pub segment: SegmentId,
    /// Where it ends, in bytes. What stands behind never counts.
    pub end_offset: u64,
    /// The number after its last event.
    pub end: Seq,
    /// How it came to its end.
    pub verdict: Verdict,
}

impl Predecessor {
    /// What the first segment of a lane says.
    pub const NONE: Predecessor =
        Predecessor { segment: SegmentId(0), end_offset: 0, end: Seq::FIRST, verdict: Verdict::None };
}

/// Header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Bits of features without which the segment cannot be read.
    pub incompat: u32,
    /// Whose data directory.
    pub spool: SpoolId,
    /// Which opening of the lane.
    pub run: RunId,
    /// Which segment.
    pub segment: SegmentId,
    /// Number of the first event that may stand in it.
    pub base: Seq,
    /// When it was begun.
    pub created: UnixMillis,
    /// The one before it.
    pub predecessor: Predecessor,
    /// The lane's name.
    pub lane: String,
}

impl SegmentHeader {
    /// Whether this version can read the segment's blocks.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.incompat & !KNOWN_INCOMPAT == 0
    }

    /// The bytes of one copy.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let len = (FIXED + self.lane.len()).next_multiple_of(8);
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&[self.predecessor.verdict.code(), name_len(&self.lane)]);
        out.extend_from_slice(&self.incompat.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.spool.0.to_le_bytes());
        out.extend_from_slice(&self.run.0.to_le_bytes());
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.base.0.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.predecessor.segment.0.to_le_bytes());
        out.extend_from_slice(&self.predecessor.end_offset.to_le_bytes());
        out.extend_from_slice(&self.predecessor.end.0.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(self.lane.as_bytes());
        out.resize(len, 0);
        let crc = crc32fast::hash(out.get(12..).unwrap_or_default()).to_le_bytes();
        if let Some(field) = out.get_mut(8..12) {
            field.copy_from_slice(&crc);
        }
        out
    }

    /// Both copies and the zeros around them: the first [`DATA_START`] bytes of a segment.
    #[must_use]
    pub fn encode_area(&self) -> Vec<u8> {
        let copy = self.encode();
        let mut area = copy.clone();
        area.resize(usize::try_from(SEGMENT_COPY).unwrap_or(0), 0);
        area.extend_from_slice(&copy);
        area.resize(usize::try_from(DATA_START).unwrap_or(0), 0);
        area
    }

    /// Reads one copy from its first bytes. `None` unless its checksum holds.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.strip_prefix(&SEGMENT_MAGIC)?);
        let crc = fields.u32()?;
        let len = usize::from(Fields(fields.0).u16()?);
        if !(FIXED..=MAX_LEN).contains(&len) || crc != crc32fast::hash(bytes.get(12..len)?) {
            return None;
        }
        fields.u16()?;
        let verdict = Verdict::of(fields.u8()?);
        let lane_len = fields.u8()?;
        let incompat = fields.u32()?;
        fields.u32()?;
        let mut header = SegmentHeader {
            incompat,
            spool: SpoolId(fields.u64()?),
            run: RunId(fields.u64()?),
            segment: SegmentId(fields.u64()?),
            base: Seq(fields.u64()?),
            created: fields.i64()?,
            predecessor: Predecessor {
                segment: SegmentId(fields.u64()?),
                end_offset: fields.u64()?,
                end: Seq(fields.u64()?),
                verdict,
            },
            lane: String::new(),
        };
        fields.array::<16>()?;
        fields.text(lane_len)?.clone_into(&mut header.lane);
        Some(header)
    }

    /// Reads the first whole copy in the first [`DATA_START`] bytes of a segment.
    #[must_use]
    pub fn decode_area(area: &[u8]) -> Option<Self> {
        let copy = area.get(usize::try_from(SEGMENT_COPY).ok()?..).unwrap_or_default();
        Self::decode(area).or_else(|| Self::decode(copy))
    }
}
