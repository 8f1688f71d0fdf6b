//! Taking and putting fixed-width little-endian fields.

/// The rest of some bytes; every taker is `None` past their end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn text(&mut self, len: u8) -> Option<&'a str> {
        let (head, tail) = self.0.split_at_checked(usize::from(len))?;
        self.0 = tail;
        std::str::from_utf8(head).ok()
    }
}

/// Length of a name as its one byte on disk. Names have at most 249 characters of ASCII.
pub(super) fn name_len(name: &str) -> u8 {
    u8::try_from(name.len()).unwrap_or(u8::MAX)
}
