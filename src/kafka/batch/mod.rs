//! Record batches of Kafka's format v2 (`org.apache.kafka.common.record.DefaultRecordBatch`), both ways.
//!
//! ```text
//! offset  size  field
//!      0     8  base offset             0: what a producer must send
//!      8     4  length of what follows
//!     12     4  partition leader epoch  -1
//!     16     1  magic                   2
//!     17     4  CRC-32C of everything from offset 21 on
//!     21     2  attributes              bits 0-2 codec, 3 log-append time, 4 transactional, 5 control
//!     23     4  last offset delta       count - 1
//!     27     8  base time stamp
//!     35     8  largest time stamp
//!     43     8  producer id             ┐
//!     51     2  producer epoch          │ left open by [`RecordsBuilder::seal`], filled in for each send
//!     53     4  base sequence           ┘
//!     57     4  count
//!     61        records, compressed together
//!
//! record  = length · attributes 0 u8 · time delta · offset delta · key · value · count × (name · value)
//! ```
//! Numbers in a record are zigzag varints; a key, value or header value of length -1 is null.
//!
//! [`RecordsBuilder`] writes records, [`Batch`] is them sealed, [`BatchReader`] reads batches back from
//! bytes it does not trust.

mod builder;
mod reader;
mod record;
mod sealed;
mod varint;

pub use builder::RecordsBuilder;
pub use reader::{BatchError, BatchHeader, BatchReader, RecordBatch};
pub use record::{HeadersRef, RecordRef, Records};
pub use sealed::{Batch, Identity, Stamp};

/// Length of the header of a batch.
pub const HEADER_LEN: usize = 61;

/// Offset of the first byte that the checksum covers.
const CRC_FROM: usize = 21;

#[cfg(test)]
mod tests;
