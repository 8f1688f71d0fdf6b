//! The file `FORMAT` of a data directory.

use crate::ids::SpoolId;

/// What a data directory says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The directory's identity.
    pub spool: SpoolId,
    /// Features that a version which does not know them may ignore.
    pub compat: u64,
    /// Features that a version which does not know them may read but must not write.
    pub read_only: u64,
    /// Features that a version which does not know them must not touch.
    pub incompat: u64,
}

/// Compat bit: the directory has had a file `incarnation`; if there is none, it was lost.
pub const HAS_INCARNATION: u64 = 1;
/// Feature bits this version knows.
const KNOWN_READ_ONLY: u64 = 0;
const KNOWN_INCOMPAT: u64 = 0;

/// Why a `FORMAT` file could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// It is not what any version writes: damaged.
    #[error("its checksum or layout is wrong")]
    Damaged,
}

impl Root {
    /// A new directory's.
    #[must_use]
    pub fn new(spool: SpoolId) -> Self {
        Self { spool, compat: 0, read_only: 0, incompat: 0 }
    }

    /// Incompat bits that this version does not know.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.incompat & !KNOWN_INCOMPAT
    }

    /// Bits that forbid this version to write.
    #[must_use]
    pub fn unwritable(&self) -> u64 {
        self.unreadable() | (self.read_only & !KNOWN_READ_ONLY)
    }

    /// The file's text.
    #[must_use]
    pub fn encode(&self) -> String {
        let Root { spool, compat, read_only, incompat } = self;
        let text = format!(
            "spoolway data directory\nspool {spool}\ncompat {compat:016x}\nread-only {read_only:016x}\n\
             incompat {incompat:016x}\n"
        );
        let crc = crc32fast::hash(text.as_bytes());
        format!("{text}crc {crc:08x}\n")
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`RootError::Damaged`] when the checksum does not hold or a line is missing. Lines between `incompat` and
    /// `crc` are of later versions and ignored.
    pub fn decode(text: &[u8]) -> Result<Self, RootError> {
        Self::parse(text).ok_or(RootError::Damaged)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (covered, crc) = text.rsplit_once("crc ")?;
        let crc = u32::from_str_radix(crc.strip_suffix('\n')?, 16).ok()?;
        if crc != crc32fast::hash(covered.as_bytes()) {
            return None;
        }
        let mut lines = covered.lines();
        (lines.next()? == "spoolway data directory").then_some(())?;
        let mut field = |name: &str| {
            let value = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            u64::from_str_radix(value, 16).ok()
        };
        let spool = SpoolId(field("spool")?);
        Some(Self {
            spool,
            compat: field("compat")?,
            read_only: field("read-only")?,
            incompat: field("incompat")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_format_is_noticed() {
        let root = Root { spool: SpoolId(0x0123_4567_89ab_cdef), compat: 1, read_only: 2, incompat: 4 };
        let text = root.encode();
        assert_eq!(Root::decode(text.as_bytes()), Ok(root));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Root::decode(&bytes);
            assert!(read.is_err() || read == Ok(root), "bit {bit}");
        }
        for cut in 0..text.len() {
            assert!(Root::decode(&text.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn unknown_bits_forbid_what_they_must() {
        let root = Root::new(SpoolId(1));
        assert_eq!((root.unreadable(), root.unwritable()), (0, 0));
        let newer = Root { read_only: 8, ..root };
        assert_eq!((newer.unreadable(), newer.unwritable()), (0, 8));
        let newer = Root { incompat: 8, compat: 3, ..root };
        assert_eq!((newer.unreadable(), newer.unwritable()), (8, 8));
        let newer = Root { incompat: 8, read_only: 24, ..root };
        assert_eq!((newer.unreadable(), newer.unwritable()), (8, 24));
    }
}
