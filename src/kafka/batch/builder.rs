//! Writes records.

use super::sealed::{Batch, Stamp};
use super::varint;
use crate::config::model::KafkaCompression;
use crate::event::UnixMillis;
use crate::kafka::codec::{Codec, Compressor};

/// The records of one batch, in the order pushed. Its buffers are kept from batch to batch.
#[derive(Debug)]
pub struct RecordsBuilder {
    records: Vec<u8>,
    count: u32,
    stamp: Stamp,
    base: UnixMillis,
    newest: UnixMillis,
}

impl RecordsBuilder {
    /// An empty one, whose records will be stamped as `stamp` says.
    #[must_use]
    pub fn new(stamp: Stamp) -> Self {
        Self { records: Vec::new(), count: 0, stamp, base: 0, newest: UnixMillis::MIN }
    }

    /// Forgets its records and begins anew.
    pub fn restart(&mut self, stamp: Stamp) {
        self.records.clear();
        self.count = 0;
        self.stamp = stamp;
        self.newest = UnixMillis::MIN;
    }

    /// Appends a record. `headers` are written in order, duplicates and nulls included; they are iterated
    /// twice. `time` is the record's time stamp in milliseconds; with [`Stamp::Send`] it is not used.
    #[inline]
    pub fn push<'h, H>(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, headers: H, time: UnixMillis)
    where
        H: IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
        H::IntoIter: Clone,
    {
        let delta = self.time_delta(time);
        let headers = headers.into_iter();
        let (header_count, header_size) = measure(headers.clone());
        let size = 1
            + varint::size(delta)
            + varint::size(i64::from(self.count))
            + nullable_size(key)
            + nullable_size(value)
            + varint::size_len(header_count)
            + header_size;
        let out = &mut self.records;
        out.reserve(size + 10);
        varint::put_len(out, size);
        out.push(0);
        varint::put(out, delta);
        varint::put(out, i64::from(self.count));
        put_nullable(out, key);
        put_nullable(out, value);
        varint::put_len(out, header_count);
        for (name, value) in headers {
            put_nullable(out, Some(name.as_bytes()));
            put_nullable(out, value);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Bytes of the batch so far, uncompressed, its header included: what a broker's `max.message.bytes` is
    /// compared with when nothing is compressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        super::HEADER_LEN + self.records.len()
    }

    /// How many records it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether it holds none. An empty batch must not be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Compresses the records and closes them into a batch; then begins anew with the same stamp. A batch
    /// that would not get smaller stays uncompressed.
    pub fn seal(&mut self, compression: KafkaCompression) -> Batch {
        let (codec, compressed) = Compressor::compress(Codec::from(compression), &self.records);
        let body = compressed.map_or_else(|| self.records.clone(), shrunk);
        let batch =
            Batch::new(codec, self.stamp, self.count, (self.base, self.newest), self.records.len(), body);
        self.restart(self.stamp);
        batch
    }

    fn time_delta(&mut self, time: UnixMillis) -> i64 {
        match self.stamp {
            Stamp::Send => 0,
            Stamp::Event => {
                if self.count == 0 {
                    self.base = time;
                }
                self.newest = self.newest.max(time);
                time.wrapping_sub(self.base)
            }
        }
    }
}

/// Gives back what was reserved for a worse ratio: a window may be held for long.
fn shrunk(mut body: Vec<u8>) -> Vec<u8> {
    body.shrink_to_fit();
    body
}

#[inline]
fn measure<'h>(headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>) -> (usize, usize) {
    headers.fold((0, 0), |(count, size), (name, value)| {
        (count + 1, size + nullable_size(Some(name.as_bytes())) + nullable_size(value))
    })
}

#[inline]
fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varint::size_len(b.len()) + b.len())
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}
