//! A small Kafka in the process: a real protocol server to deliver to where there is none, and to break on
//! purpose. `spoolway demo` runs on it, tests inject faults through [`Faults`], and a listener source can
//! grow on its decoders.
//!
//! What it promises:
//! - Record batches are kept byte for byte, with offsets of the log's own (`log`), and judged as a real
//!   broker judges them: checksum, form, size (`batch`), duplicates, gaps and epochs (`producers`), also
//!   after a restart. Answers are encoded by the codec crate, so other clients (rskafka, librdkafka, the
//!   Java client) can be pointed at it.
//! - Faults are deterministic: each strikes a counted number of times or until it is taken back, and
//!   everything it causes can be awaited ([`Target::counts`], [`Target::died`]) instead of slept for.
//! - Everything from outside is bounded: connections, frames, counts within a frame (`wire`), bytes of an
//!   answer, bytes of a log, time without progress.
//!
//! How: one task a connection, which reads, decides and answers one request after the other. Requests come
//! in through bounded decoders of our own (`request`), since the codec crate ends the process on a hostile
//! count; the crate is the oracle of their tests. Appends are plain writes under the partition's lock.
//!
//! On failure: a request that can't be understood closes its connection; a log that can't be written refuses
//! the batch with error 56. There is one copy of everything and nothing is replicated: `acks` of 1 and -1
//! are the same, the high watermark is the end. There are no transactions, groups, quotas, or access rules: any credentials
//! will do, and what is set of a topic's configuration is told and not obeyed, but for `message.timestamp.type`.

mod answer;
mod api;
mod batch;
mod brokers;
mod cluster;
mod code;
mod connection;
mod faults;
mod gate;
mod listener;
mod log;
mod options;
mod plan;
mod producers;
mod request;
mod store;

#[cfg(test)]
mod tests;
mod topics;
mod wire;

pub use batch::BatchHeader;
pub use brokers::Target;
pub use cluster::Counts;
pub use code::Code;
pub use faults::Faults;
pub use listener::Reservation;
pub use options::{Storage, TargetError, TargetOptions};
pub use plan::Death;

/// What fuzzers ask of the decoders: any bytes as a request, and as a batch that is to be appended, its checksum put right.
///
/// # Panics
/// When a batch is taken that is longer than what came.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn read_hostile(bytes: &[u8]) {
    let _ = std::hint::black_box(request::read(bytes::Bytes::copy_from_slice(bytes)));
    let mut bytes = bytes.to_vec();
    let crc = bytes.get(21..).map(|covered| crc_fast::crc32_iscsi(covered).to_be_bytes());
    if let (Some(crc), Some(place)) = (crc, bytes.get_mut(17..21)) {
        place.copy_from_slice(&crc);
    }
    if let Ok(header) = batch::check(&bytes, 1 << 20) {
        assert!(header.size <= bytes.len(), "a batch of {} in {} bytes is taken", header.size, bytes.len());
    }
}
