//! Takes Kafka's primitive types off the front of an answer.

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A field runs past the end, or a count names more than the bytes that are left could hold.
    #[error("the answer is cut short or has an impossible length")]
    Truncated,
    /// Text that is not UTF-8.
    #[error("the answer has text that is not UTF-8")]
    Text,
    /// Null where there must be something.
    #[error("the answer has a null where a value must stand")]
    Null,
    /// The broker offers no version of the request that we speak.
    #[error(
        "the broker offers {api} in versions {min} to {max}, which this version of spoolway does not speak"
    )]
    Version {
        /// Name of the request.
        api: &'static str,
        /// Lowest version offered.
        min: i16,
        /// Highest version offered.
        max: i16,
    },
    /// The broker does not offer the request at all.
    #[error("the broker does not offer {api}")]
    NotOffered {
        /// Name of the request.
        api: &'static str,
    },
    /// The answer as a whole is an error.
    #[error("the broker answered with error {0}")]
    Code(i16),
}

/// The bytes of an answer that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// `BOOLEAN`
    pub fn bool(&mut self) -> Result<bool, WireError> {
        let [byte] = self.fixed::<1>()?;
        Ok(byte != 0)
    }

    /// `INT8`
    pub fn i8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    /// `INT16`
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// `INT32`
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// `INT64`
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// `UUID`
    pub fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.fixed()
    }

    /// `UNSIGNED_VARINT`: at most five bytes, 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(WireError::Truncated);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Truncated)
    }

    /// `NULLABLE_STRING`, or the compact one.
    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<&'a str>, WireError> {
        let len = if compact { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        let Some(bytes) = self.sized(len)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| WireError::Text)
    }

    /// `STRING`, or the compact one.
    pub fn string(&mut self, compact: bool) -> Result<&'a str, WireError> {
        self.nullable_string(compact)?.ok_or(WireError::Null)
    }

    /// `NULLABLE_BYTES` (records of a Fetch answer): only the old, four-byte length.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let len = i64::from(self.i32()?);
        self.sized(len)
    }

    fn sized(&mut self, len: i64) -> Result<Option<&'a [u8]>, WireError> {
        if len == -1 {
            return Ok(None);
        }
        self.take(usize::try_from(len).map_err(|_| WireError::Truncated)?).map(Some)
    }

    /// Count of an `ARRAY` (or compact one) whose elements take at least `least` bytes each; 0 for null.
    pub fn array(&mut self, compact: bool, least: usize) -> Result<usize, WireError> {
        let count = if compact { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        if count == -1 {
            return Ok(0);
        }
        let count = usize::try_from(count).map_err(|_| WireError::Truncated)?;
        if count.saturating_mul(least.max(1)) > self.rest.len() {
            return Err(WireError::Truncated);
        }
        Ok(count)
    }

    /// Passes over an `ARRAY` of `INT32`.
    pub fn skip_i32s(&mut self, compact: bool) -> Result<(), WireError> {
        let count = self.array(compact, 4)?;
        self.take(count * 4).map(drop)
    }

    /// Passes over tagged fields, which stand at the end of every struct of a flexible version.
    pub fn skip_tags(&mut self, flexible: bool) -> Result<(), WireError> {
        if !flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = usize::try_from(self.uvarint()?).map_err(|_| WireError::Truncated)?;
            self.take(len)?;
        }
        Ok(())
    }
}
