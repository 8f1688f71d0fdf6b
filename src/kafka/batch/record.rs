//! One record, read without copying.

use super::reader::BatchError;
use super::varint;
use crate::event::UnixMillis;

/// A record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its time stamp, milliseconds since 1970.
    pub time: UnixMillis,
    /// Its key; `None` and empty are different.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: HeadersRef<'a>,
}

/// The headers of a [`RecordRef`], already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadersRef<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> HeadersRef<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Name and value of each, in order, duplicates included.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| take_header(&mut rest).ok())
    }

    /// Value of the last header of this name, as Kafka's `Headers.lastHeader`.
    #[must_use]
    pub fn last(self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().filter(|(n, _)| *n == name).last().map(|(_, value)| value)
    }
}

/// Iterates over the records of a batch; after an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    pub(super) rest: &'a [u8],
    pub(super) left: u32,
    pub(super) base_offset: i64,
    pub(super) base_time: UnixMillis,
    /// Set with log-append time: the one time of all records.
    pub(super) append_time: Option<UnixMillis>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = std::mem::take(&mut self.rest);
            return (!rest.is_empty()).then_some(Err(BatchError::Trailing));
        }
        self.left -= 1;
        let record = self.take_record();
        if record.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn take_record(&mut self) -> Result<RecordRef<'a>, BatchError> {
        let len = varint::take(&mut self.rest)?;
        let mut body = varint::take_bytes(&mut self.rest, len)?;
        varint::take_bytes(&mut body, 1)?;
        let time_delta = varint::take(&mut body)?;
        let offset_delta = varint::take(&mut body)?;
        let key = varint::take_nullable(&mut body)?;
        let value = varint::take_nullable(&mut body)?;
        let headers = take_headers(&mut body)?;
        if !body.is_empty() {
            return Err(BatchError::Trailing);
        }
        let time = self.append_time.unwrap_or_else(|| self.base_time.wrapping_add(time_delta));
        Ok(RecordRef { offset: self.base_offset.wrapping_add(offset_delta), time, key, value, headers })
    }
}

fn take_headers<'a>(body: &mut &'a [u8]) -> Result<HeadersRef<'a>, BatchError> {
    // A hostile count ends with the bytes: each header takes at least two, and nothing is allocated.
    let count = usize::try_from(varint::take(body)?).map_err(|_| BatchError::Truncated)?;
    let start = *body;
    for _ in 0..count {
        take_header(body)?;
    }
    let used = start.len() - body.len();
    Ok(HeadersRef { count, bytes: start.get(..used).unwrap_or_default() })
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, Option<&'a [u8]>), BatchError> {
    let name = varint::take_nullable(rest)?.ok_or(BatchError::HeaderName)?;
    let name = std::str::from_utf8(name).map_err(|_| BatchError::HeaderName)?;
    Ok((name, varint::take_nullable(rest)?))
}
