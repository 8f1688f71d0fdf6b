//! Events, and the one encoding they keep from the source to the Kafka batch.
//!
//! An [`EventBatch`] is a run of encoded events of one stream. The same bytes stand in a spool block's
//! payload, so an event is encoded once, where it enters, and decoded once, where its Kafka record is
//! written. `spool-format.md` specifies the encoding ("Event").
//!
//! ```text
//! event   = length varint · flags u8 · [time] · [key] · [headers] · value (the rest of `length` bytes)
//! time    = zigzag varint, milliseconds since 1970        if flags & HAS_TIME
//! key     = length varint · bytes                          if flags & HAS_KEY
//! headers = count varint · count × (name length varint · name · value length + 1 varint (0 = null) · value)
//!                                                          if flags & HAS_HEADERS
//! ```
//! `length` counts everything after itself. With [`NULL_VALUE`] the value is null (a Kafka tombstone) and
//! no byte follows. Unknown flag bits make an event unreadable, so a new one needs a new incompat bit.
//!
//! Hostile input: decoding never allocates by a count it reads and never panics; [`EventError`] says what
//! was wrong where.

use bytes::{BufMut, Bytes, BytesMut};

/// The event carries a time of its own; without it, it has the time of its block.
pub const HAS_TIME: u8 = 1;
/// The event has a key (which may be empty: Kafka tells an empty key from none).
pub const HAS_KEY: u8 = 1 << 1;
/// The event has headers.
pub const HAS_HEADERS: u8 = 1 << 2;
/// The event's value is null.
pub const NULL_VALUE: u8 = 1 << 3;
const KNOWN_FLAGS: u8 = HAS_TIME | HAS_KEY | HAS_HEADERS | NULL_VALUE;

/// What is wrong with the bytes of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A length or number runs past the end of the bytes, or a varint is longer than its type.
    #[error("the event is cut short or has an impossible length")]
    Truncated,
    /// A flag bit that this version does not know.
    #[error("the event has flags {0:#04x}, of which some are unknown to this version")]
    UnknownFlags(u8),
    /// A header's name is not UTF-8, which Kafka requires.
    #[error("a header's name is not UTF-8")]
    HeaderName,
}

/// Milliseconds since 1970-01-01 UTC; may be negative.
pub type UnixMillis = i64;

/// One event as a source has it, before it is encoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Event<'a> {
    /// Kafka record key. `None` and empty are different.
    pub key: Option<&'a [u8]>,
    /// Kafka record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order, duplicates kept; a value may be null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// When it happened, if the sender says so.
    pub time: Option<UnixMillis>,
}

impl<'a> Event<'a> {
    /// An event that is nothing but a value.
    #[must_use]
    pub fn of_value(value: &'a [u8]) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// What counts against `max_event_size`: bytes of value, key, header names and header values.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }
}

/// Encoded events of one request or read, all of one stream, in order.
#[derive(Debug, Clone, Default)]
pub struct EventBatch {
    bytes: Encoded,
    count: u32,
}

#[derive(Debug, Clone)]
enum Encoded {
    Growing(BytesMut),
    /// Clones are the same memory.
    Shared(Bytes),
}

impl Default for Encoded {
    fn default() -> Self {
        Self::Growing(BytesMut::new())
    }
}

impl Encoded {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Encodes an event at the end; bytes that others share are copied first.
    fn push(&mut self, event: &Event<'_>) {
        match self {
            Self::Growing(bytes) => {
                put_varint(bytes, encoded_len(event) as u64);
                encode(bytes, event);
            }
            Self::Shared(bytes) => {
                let own = std::mem::take(bytes).try_into_mut();
                *self = Self::Growing(own.unwrap_or_else(|shared| BytesMut::from(shared.as_ref())));
                self.push(event);
            }
        }
    }
}

impl EventBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `bytes` encoded bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Encoded::Growing(BytesMut::with_capacity(bytes)), count: 0 }
    }

    /// The same batch, whose clones share its memory: for who may have to offer it again.
    #[must_use]
    pub fn shared(self) -> Self {
        let bytes = match self.bytes {
            Encoded::Growing(bytes) => bytes.freeze(),
            Encoded::Shared(bytes) => bytes,
        };
        Self { bytes: Encoded::Shared(bytes), count: self.count }
    }

    /// Encodes one event at the end.
    pub fn push(&mut self, event: &Event<'_>) {
        self.bytes.push(event);
        self.count = self.count.saturating_add(1);
    }

    /// How many events are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no event is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded bytes, event after event.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Reads the events back.
    #[must_use]
    pub fn iter(&self) -> EventIter<'_> {
        EventIter::new(self.as_bytes())
    }
}

fn encoded_len(event: &Event<'_>) -> usize {
    let mut len = 1 + event.value.map_or(0, <[u8]>::len);
    if let Some(time) = event.time {
        len += varint_len(zigzag(time));
    }
    if let Some(key) = event.key {
        len += varint_len(key.len() as u64) + key.len();
    }
    if !event.headers.is_empty() {
        len += varint_len(event.headers.len() as u64);
        for (name, value) in event.headers {
            len += varint_len(name.len() as u64) + name.len();
            len += value.map_or(1, |v| varint_len(v.len() as u64 + 1) + v.len());
        }
    }
    len
}

fn encode(out: &mut BytesMut, event: &Event<'_>) {
    let mut flags = 0;
    flags |= if event.time.is_some() { HAS_TIME } else { 0 };
    flags |= if event.key.is_some() { HAS_KEY } else { 0 };
    flags |= if event.headers.is_empty() { 0 } else { HAS_HEADERS };
    flags |= if event.value.is_none() { NULL_VALUE } else { 0 };
    out.put_u8(flags);
    if let Some(time) = event.time {
        put_varint(out, zigzag(time));
    }
    if let Some(key) = event.key {
        put_varint(out, key.len() as u64);
        out.put_slice(key);
    }
    if !event.headers.is_empty() {
        put_varint(out, event.headers.len() as u64);
        for (name, value) in event.headers {
            put_varint(out, name.len() as u64);
            out.put_slice(name.as_bytes());
            put_varint(out, value.map_or(0, |v| v.len() as u64 + 1));
            out.put_slice(value.unwrap_or_default());
        }
    }
    out.put_slice(event.value.unwrap_or_default());
}

/// One event, read from its encoded bytes without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// Kafka record key.
    pub key: Option<&'a [u8]>,
    /// Kafka record value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event's own time, if it has one.
    pub time: Option<UnixMillis>,
    /// Headers in order.
    pub headers: HeadersRef<'a>,
}

/// The headers of an [`EventRef`], already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadersRef<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> HeadersRef<'a> {
    /// How many headers there are.
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
        (0..self.count).map_while(move |_| read_header(&mut rest).ok())
    }
}

/// Iterates over encoded events; after an error it ends.
#[derive(Debug, Clone)]
pub struct EventIter<'a> {
    rest: &'a [u8],
}

impl<'a> EventIter<'a> {
    /// Events encoded one after the other in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for EventIter<'a> {
    type Item = Result<EventRef<'a>, EventError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let event = take_event(&mut self.rest);
        if event.is_err() {
            self.rest = &[];
        }
        Some(event)
    }
}

/// Length in bytes of the first encoded event of `bytes`, its length prefix included: what cuts a batch
/// into blocks without decoding it.
///
/// # Errors
/// [`EventError::Truncated`] when `bytes` holds no whole event.
pub fn first_event_len(bytes: &[u8]) -> Result<usize, EventError> {
    let mut rest = bytes;
    let len = take_len(&mut rest)?;
    if len > rest.len() {
        return Err(EventError::Truncated);
    }
    Ok(bytes.len() - rest.len() + len)
}

fn take_event<'a>(rest: &mut &'a [u8]) -> Result<EventRef<'a>, EventError> {
    let len = take_len(rest)?;
    let mut body = take(rest, len)?;
    let flags = *take(&mut body, 1)?.first().ok_or(EventError::Truncated)?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(EventError::UnknownFlags(flags));
    }
    let time = if flags & HAS_TIME != 0 { Some(unzigzag(take_varint(&mut body)?)) } else { None };
    let key = if flags & HAS_KEY != 0 {
        let len = take_len(&mut body)?;
        Some(take(&mut body, len)?)
    } else {
        None
    };
    let headers = if flags & HAS_HEADERS != 0 { take_headers(&mut body)? } else { HeadersRef::default() };
    let value = if flags & NULL_VALUE == 0 { Some(body) } else { None };
    if value.is_none() && !body.is_empty() {
        return Err(EventError::Truncated);
    }
    Ok(EventRef { key, value, time, headers })
}

fn take_headers<'a>(body: &mut &'a [u8]) -> Result<HeadersRef<'a>, EventError> {
    let count = take_len(body)?;
    let start = *body;
    for _ in 0..count {
        read_header(body)?;
    }
    let used = start.len() - body.len();
    Ok(HeadersRef { count, bytes: start.get(..used).unwrap_or_default() })
}

fn read_header<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, Option<&'a [u8]>), EventError> {
    let len = take_len(rest)?;
    let name = std::str::from_utf8(take(rest, len)?).map_err(|_| EventError::HeaderName)?;
    let value = match take_len(rest)? {
        0 => None,
        len => Some(take(rest, len - 1)?),
    };
    Ok((name, value))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], EventError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(EventError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_len(rest: &mut &[u8]) -> Result<usize, EventError> {
    usize::try_from(take_varint(rest)?).map_err(|_| EventError::Truncated)
}

/// Unsigned LEB128, at most 10 bytes.
fn take_varint(rest: &mut &[u8]) -> Result<u64, EventError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(EventError::Truncated)?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(EventError::Truncated);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(EventError::Truncated)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests;
