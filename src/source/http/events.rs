//! From body to batch: lines, JSON, or the body as it is.

use bytes::Bytes;
use hyper::StatusCode;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::Refusal;
use super::head::{Format, Head};
use crate::event::{Event, EventBatch, UnixMillis};
use crate::intake::Refused;
use crate::source::lines::{Line, Lines};

/// Longer JSON is read away from the async threads, where others would wait meanwhile: so much takes 0.1 ms as objects of 200 bytes and
/// 0.8 ms as an array of single digits, 16 MB 31 and 513 ms (28 November 2026, a busy machine).
const LONG: usize = 128 * 1024;
/// Bytes that an event of a request takes in a batch besides its key and value, at most.
const FRAMING: usize = 24;

/// A batch in the making: every event of a request has the request's key and time.
#[derive(Debug)]
pub(super) struct Events {
    batch: EventBatch,
    lines: Lines,
    format: Format,
    key: Option<Bytes>,
    time: Option<UnixMillis>,
    max_event: usize,
    max_batch: usize,
    /// A body that is no lines, as far as it was received.
    whole: Vec<u8>,
}

impl Events {
    /// Limits are `max_event_size` and `max_body_size`.
    pub(super) fn new(head: &Head, max_event: usize, max_body: usize) -> Self {
        let key = head.key.clone();
        let key_len = key.as_ref().map_or(0, Bytes::len);
        // A batch may be larger than its body: each event carries the key and a few bytes of framing.
        let max_batch = max_body.saturating_mul(2);
        let expected = head.length.unwrap_or(0).min(64 * 1024) + key_len + 16;
        Self {
            batch: EventBatch::with_capacity(expected),
            lines: Lines::new(max_event.saturating_sub(key_len)),
            format: head.format,
            key,
            time: head.time,
            max_event,
            max_batch,
            whole: Vec::new(),
        }
    }

    /// Bytes held so far.
    pub(super) fn held(&self) -> usize {
        self.batch.as_bytes().len() + self.lines.held() + self.whole.len()
    }

    /// Bytes held at most with a further piece: each of its events carries the key besides.
    pub(super) fn expected(&self, piece: &[u8]) -> usize {
        let more = match self.format {
            Format::Lines => self.encoded(piece, b'\n'),
            _ => piece.len(),
        };
        self.held() + more
    }

    /// Bytes held at most once a body that is no lines has ended, with the rest of it that is at hand.
    pub(super) fn expected_of_whole(&self, rest: &[u8]) -> usize {
        let events = self.encoded(&self.whole, b',') + self.encoded(rest, b',');
        self.held() + rest.len() + if self.format == Format::Json { events } else { rest.len() }
    }

    /// Bytes that the events of a piece take, if each `separator` ends one.
    fn encoded(&self, piece: &[u8], separator: u8) -> usize {
        let events = memchr::memchr_iter(separator, piece).count() + 1;
        let each = self.key.as_ref().map_or(0, Bytes::len) + FRAMING;
        piece.len().saturating_add(events.saturating_mul(each)).min(self.max_batch + self.max_event)
    }

    /// Takes a piece of a body.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        if self.format != Format::Lines {
            self.whole.extend_from_slice(piece);
            return Ok(());
        }
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(0));
        let fed = lines.feed(piece, |line| self.line(line));
        self.lines = lines;
        fed
    }

    /// Takes a body that is at hand as a whole, instead of [`Events::feed`].
    fn take_whole(&mut self, body: &[u8]) -> Result<(), Refusal> {
        match self.format {
            Format::Lines => self.feed(body),
            Format::Json => self.json(body),
            Format::Whole => self.push(body),
        }
    }

    /// The body has ended.
    fn finish(&mut self) -> Result<(), Refusal> {
        if self.format == Format::Lines {
            let mut lines = std::mem::replace(&mut self.lines, Lines::new(0));
            return lines.finish(|line| self.line(line));
        }
        let whole = std::mem::take(&mut self.whole);
        self.take_whole(&whole)
    }

    /// The batch of a body that has ended, with the rest of it that was not fed.
    pub(super) fn complete(mut self, rest: &[u8]) -> Result<EventBatch, Refusal> {
        if rest.is_empty() {
            self.finish()?;
        } else {
            self.take_whole(rest)?;
        }
        Ok(self.batch)
    }

    /// Whether [`Events::complete`] takes so long that nobody else should wait for it.
    pub(super) fn is_long(&self, rest: &[u8]) -> bool {
        self.format == Format::Json && self.whole.len() + rest.len() > LONG
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Refusal> {
        match line {
            Line::Whole(value) => self.push(value),
            Line::TooLong => {
                let (index, limit) = (self.batch.count(), self.max_event);
                let message = format!(
                    "event {index} has more than {limit} bytes with its key, which is the limit (spool.max_event_size)"
                );
                Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).at_event(index))
            }
        }
    }

    fn push(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let event = Event { key: self.key.as_deref(), value: Some(value), headers: &[], time: self.time };
        let (size, limit) = (event.size(), self.max_event);
        if size > limit {
            return Err(Refused::TooLarge { index: self.batch.count(), size, limit }.into());
        }
        self.batch.push(&event);
        if self.batch.as_bytes().len() > self.max_batch {
            let message = format!(
                "the events with their key take more than {} bytes, twice max_body_size; send fewer at a time",
                self.max_batch
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
        }
        Ok(())
    }

    fn json(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        let mut refusal = None;
        let mut json = serde_json::Deserializer::from_slice(body);
        let parsed = if first == Some(&b'[') {
            Elements { events: self, refusal: &mut refusal }.deserialize(&mut json)
        } else {
            <&RawValue as serde::Deserialize>::deserialize(&mut json).map(|value| {
                refusal = self.push(value.get().as_bytes()).err();
            })
        };
        match (refusal, parsed.and_then(|()| json.end())) {
            (Some(refusal), _) => Err(refusal),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(self.malformed(&error)),
        }
    }

    fn malformed(&self, error: &serde_json::Error) -> Refusal {
        let index = self.batch.count();
        Refusal::bad_request("malformed_json", format!("event {index}: {error}")).at_event(index)
    }
}

/// The elements of a JSON array, each taken as its bytes stand in the body.
struct Elements<'a> {
    events: &'a mut Events,
    refusal: &'a mut Option<Refusal>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if let Err(refusal) = self.events.push(element.get().as_bytes()) {
                *self.refusal = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}
