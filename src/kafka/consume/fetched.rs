//! What a Fetch brought.

use std::ops::Range;

use bytes::Bytes;

use crate::kafka::batch::{BatchError, BatchReader, Identity, RecordRef};

/// Most that one batch may decompress to.
const MAX_BATCH: usize = 256 * 1024 * 1024;

/// A record and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct FetchedRecord<'a> {
    /// The record.
    pub record: RecordRef<'a>,
    /// Producer id, epoch and base sequence of its batch.
    pub identity: Identity,
    /// Offset of the first record of its batch: tells batches apart.
    pub batch: i64,
}

/// The answer to one Fetch: record batches, still compressed.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub(super) answer: Bytes,
    pub(super) records: Range<usize>,
    pub(super) from: i64,
    pub(super) high_watermark: i64,
}

impl Fetched {
    /// What a broker might have given.
    #[cfg(test)]
    pub(crate) fn of(answer: Bytes, from: i64, high_watermark: i64) -> Self {
        Self { records: 0..answer.len(), answer, from, high_watermark }
    }

    /// Everything before this offset is replicated and will stay.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Bytes of its batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// The batches, as the broker keeps them. The first may begin before the offset asked for.
    #[must_use]
    pub fn batches(&self) -> BatchReader<'_> {
        BatchReader::new(self.answer.get(self.records.clone()).unwrap_or_default(), MAX_BATCH)
    }

    /// The same, of which none decompresses to more than `most` bytes: a larger one is an error.
    #[must_use]
    pub fn batches_within(&self, most: usize) -> BatchReader<'_> {
        BatchReader::new(self.answer.get(self.records.clone()).unwrap_or_default(), most.min(MAX_BATCH))
    }

    /// Shows each record from the offset asked for on; returns the offset to fetch next, which is the one
    /// asked for when there was nothing.
    ///
    /// # Errors
    /// [`BatchError`] when the log holds a damaged batch.
    pub fn for_each(&self, mut visit: impl FnMut(FetchedRecord<'_>)) -> Result<i64, BatchError> {
        let mut next = self.from;
        for batch in self.batches() {
            let batch = batch?;
            let header = batch.header;
            for record in batch.records().filter(|_| !header.is_control()) {
                let record = record?;
                if record.offset >= self.from {
                    visit(FetchedRecord { record, identity: header.identity, batch: header.base_offset });
                }
            }
            next = next.max(header.next_offset());
        }
        Ok(next)
    }
}
