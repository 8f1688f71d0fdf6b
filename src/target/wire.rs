//! Reading Kafka's primitive types from a request, bounded.
//!
//! INVARIANT: nothing is allocated by a number that was read. A length must fit what is left of the frame,
//! and all arrays of one request together have at most [`MAX_ELEMENTS`] elements. The codec crate reserves
//! room for whatever count it is told, which ends the process, so no request is decoded with it.

use bytes::{Buf, Bytes};

/// Array elements in one request, all arrays together: a metadata request for every topic of a big cluster
/// fits, and a hostile frame can't make many times its own size of structs.
pub(super) const MAX_ELEMENTS: usize = 100_000;

/// Why a request can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum WireError {
    /// A field or length runs past the end of the frame.
    #[error("the request is cut short at byte {0}")]
    CutShort(usize),
    /// More elements than any real request has.
    #[error("the request has more than {MAX_ELEMENTS} array elements")]
    TooManyElements,
    /// A null where the protocol has none, or a negative length other than -1.
    #[error("a length of {0} makes no sense here")]
    Length(i64),
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// The API or version is not one that is served.
    #[error("API {key} version {version} is not served here")]
    Unsupported {
        /// The API's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// Bytes after the last field.
    #[error("{0} bytes are left over after the request")]
    LeftOver(usize),
}

/// Reads the fields of one request in order.
#[derive(Debug)]
pub(super) struct Reader {
    bytes: Bytes,
    total: usize,
    elements: usize,
    /// Whether strings, arrays and structs are in the compact form of flexible versions (KIP-482).
    pub(super) flexible: bool,
}

macro_rules! fixed {
    ($($name:ident: $type:ty, $try_get:ident;)*) => { $(
        pub(super) fn $name(&mut self) -> Result<$type, WireError> {
            let at = self.position();
            self.bytes.$try_get().map_err(|_| WireError::CutShort(at))
        }
    )* };
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { total: bytes.len(), bytes, elements: MAX_ELEMENTS, flexible: false }
    }

    fixed! {
        u8: u8, try_get_u8;
        i8: i8, try_get_i8;
        i16: i16, try_get_i16;
        i32: i32, try_get_i32;
        i64: i64, try_get_i64;
    }

    fn position(&self) -> usize {
        self.total - self.bytes.len()
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }

    pub(super) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        let mut id = [0; 16];
        id.copy_from_slice(&self.take(16)?);
        Ok(id)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        if len > self.bytes.len() {
            return Err(WireError::CutShort(self.position()));
        }
        Ok(self.bytes.split_to(len))
    }

    fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::Length(value.cast_signed()));
            }
        }
        Err(WireError::Length(value.cast_signed()))
    }

    /// A length in the form of the version: `None` is null. `fixed` reads the non-compact one.
    fn length(&mut self, fixed: fn(&mut Self) -> Result<i32, WireError>) -> Result<Option<usize>, WireError> {
        let length = if self.flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(fixed(self)?) };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| WireError::Length(length)),
        }
    }

    fn short_length(&mut self) -> Result<i32, WireError> {
        self.i16().map(i32::from)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, WireError> {
        let Some(len) = self.length(Self::short_length)? else { return Ok(None) };
        let bytes = self.take(len)?;
        std::str::from_utf8(&bytes).map(|s| Some(s.to_owned())).map_err(|_| WireError::Utf8)
    }

    pub(super) fn string(&mut self) -> Result<String, WireError> {
        self.nullable_string()?.ok_or(WireError::Length(-1))
    }

    /// Bytes that stay a slice of the frame: record batches are not copied.
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(len) = self.length(Self::i32)? else { return Ok(None) };
        self.take(len).map(Some)
    }

    /// An array whose elements `read` takes one by one; `None` is a null array.
    pub(super) fn nullable_array<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = self.length(Self::i32)? else { return Ok(None) };
        if count > self.bytes.len() {
            return Err(WireError::CutShort(self.position()));
        }
        self.elements = self.elements.checked_sub(count).ok_or(WireError::TooManyElements)?;
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(Some(items))
    }

    /// An array where null means none.
    pub(super) fn array<T>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        Ok(self.nullable_array(read)?.unwrap_or_default())
    }

    /// Skips the tagged fields that end every struct of a flexible version.
    pub(super) fn tags(&mut self) -> Result<(), WireError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = self.uvarint()?;
            self.take(usize::try_from(len).map_err(|_| WireError::Length(len.into()))?)?;
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(WireError::LeftOver(self.bytes.len())) }
    }
}
