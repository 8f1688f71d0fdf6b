//! The log of one partition: batches as they came, with the offsets the log gave them.
//!
//! INVARIANT: what the index names is whole in the store; a half-written batch is beyond the index and is
//! cut off by [`Log::recover`]. Offsets are dense from 0; nothing is ever deleted, and an append over the
//! limit is refused instead.

use std::io;

use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchHeader, HEADER_LEN};
use super::producers::{Producers, Verdict};
use super::store::Store;

#[derive(Debug, Clone, Copy)]
struct Entry {
    base_offset: i64,
    position: u64,
    size: usize,
    max_timestamp: i64,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Append {
    /// Appended at this offset.
    Done(i64),
    /// Known from before, at this offset.
    Duplicate(i64),
    /// Refused with this code.
    Refused(super::code::Code),
}

/// One partition's batches, their index and their producers.
#[derive(Debug)]
pub(super) struct Log {
    store: Store,
    index: Vec<Entry>,
    end: i64,
    producers: Producers,
    limit: u64,
}

impl Log {
    /// An empty log that holds up to `limit` bytes.
    pub(super) fn new(store: Store, limit: u64) -> Self {
        Self { store, index: Vec::new(), end: 0, producers: Producers::default(), limit }
    }

    /// Offset after the last record: high watermark and log end, since there is one copy.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn producers(&mut self) -> &mut Producers {
        &mut self.producers
    }

    /// Appends a checked batch, unless its producer's sequence says otherwise.
    pub(super) fn append(&mut self, header: &BatchHeader, records: &[u8]) -> io::Result<Append> {
        match self.producers.judge(header) {
            Verdict::Duplicate(offset) => return Ok(Append::Duplicate(offset)),
            Verdict::Refused(code) => return Ok(Append::Refused(code)),
            Verdict::New => {}
        }
        if self.store.len() + records.len() as u64 > self.limit {
            return Err(io::Error::other("the partition's log is at its limit"));
        }
        let offset = self.end;
        let position = self.store.len();
        self.store.append(&batch::with_base_offset(records, offset))?;
        self.take_in(&BatchHeader { base_offset: offset, ..*header }, position);
        Ok(Append::Done(offset))
    }

    /// Writes the first half of a batch and nothing else: what dying in the middle of an append leaves.
    pub(super) fn append_half(&mut self, records: &[u8]) -> io::Result<()> {
        let whole = batch::with_base_offset(records, self.end);
        self.store.append(whole.get(..whole.len() / 2).unwrap_or_default())
    }

    fn take_in(&mut self, header: &BatchHeader, position: u64) {
        self.index.push(Entry {
            base_offset: header.base_offset,
            position,
            size: header.size,
            max_timestamp: header.max_timestamp,
        });
        self.end = header.next_offset();
        self.producers.remember(header);
    }

    /// What a broker does at start: reads everything again, cuts off what is not whole, and knows only the
    /// last batch of each producer. Returns how many bytes were cut off.
    pub(super) fn recover(&mut self) -> io::Result<u64> {
        self.index.clear();
        self.end = 0;
        self.producers.clear();
        let mut position = 0;
        while let Some(header) = self.whole_batch_at(position)? {
            self.take_in(&header, position);
            position += header.size as u64;
        }
        let torn = self.store.len() - position;
        self.store.truncate(position)?;
        self.producers.keep_last();
        Ok(torn)
    }

    fn whole_batch_at(&self, position: u64) -> io::Result<Option<BatchHeader>> {
        let left = self.store.len() - position;
        if left < HEADER_LEN as u64 {
            return Ok(None);
        }
        let Some(header) = BatchHeader::read(&self.store.read(position, HEADER_LEN)?) else {
            return Ok(None);
        };
        if header.base_offset != self.end || header.size as u64 > left {
            return Ok(None);
        }
        let bytes = self.store.read(position, header.size)?;
        Ok(batch::crc_matches(&header, &bytes).then_some(header))
    }

    /// Whole batches from the one that holds `offset` on: up to `max_bytes`, but always at least one
    /// (KIP-74). `None` when `offset` is out of range.
    pub(super) fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Option<Bytes>> {
        if !(0..=self.end).contains(&offset) {
            return Ok(None);
        }
        let from = self.index.partition_point(|e| e.base_offset <= offset).saturating_sub(1);
        let mut out = BytesMut::new();
        if offset == self.end {
            return Ok(Some(out.freeze()));
        }
        for entry in self.index.get(from..).unwrap_or_default() {
            if !out.is_empty() && out.len() + entry.size > max_bytes {
                break;
            }
            out.extend_from_slice(&self.store.read(entry.position, entry.size)?);
        }
        Ok(Some(out.freeze()))
    }

    /// Base offset and largest time stamp of the first batch that holds a record at or after `time`. (A real
    /// broker names the record within the batch; the target does not open batches.)
    pub(super) fn first_at_or_after(&self, time: i64) -> Option<(i64, i64)> {
        self.index.iter().find(|e| e.max_timestamp >= time).map(|e| (e.base_offset, e.max_timestamp))
    }

    /// The newest time of each batch from `offset` on.
    #[cfg(test)]
    pub(super) fn times_from(&self, offset: i64) -> Vec<i64> {
        let from = self.index.partition_point(|e| e.base_offset < offset);
        self.index.iter().skip(from).map(|e| e.max_timestamp).collect()
    }

    /// Every batch with its header.
    pub(super) fn batches(&self) -> io::Result<Vec<(BatchHeader, Bytes)>> {
        let mut all = Vec::with_capacity(self.index.len());
        for entry in &self.index {
            let bytes = self.store.read(entry.position, entry.size)?;
            all.extend(BatchHeader::read(&bytes).map(|h| (h, bytes)));
        }
        Ok(all)
    }
}
