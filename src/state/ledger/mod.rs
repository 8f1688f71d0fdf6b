//! The delivery ledger: one row for each finished segment of a (lane, destination), saying which events
//! it held, what became of them, their hash and when they were settled.
//!
//! It promises little, on purpose. The log is the only truth: a ledger that is lost, damaged or cut off is
//! set aside and begun anew, and nothing else notices. What it does promise:
//! - a row that is listed is a row that was noted down (every value carries a version and a CRC-32 over key
//!   and value; a row that fails it is left out and counted in [`Page::unreadable`]);
//! - after [`Ledger::flush`] answered `Ok`, every row noted down before survives a power cut;
//! - it never holds up delivery: [`Ledger::record`] hands the row to a queue; what the disk will not have is
//!   kept in memory up to a bound, then given up, oldest first, and counted in [`Page::missed`];
//! - it is bounded: at most [`MAX_ROWS`] rows, the oldest go first.
//!
//! [`SledLedger`] keeps it in `sled`, with what `docs/decisions/` says about it: opened on first need in a
//! thread of its own, every call under `catch_unwind`.

mod aside;
mod codec;
mod hash;
mod keeper;
mod row;
mod sled_ledger;
mod store;
#[cfg(test)]
mod syncs;
#[cfg(test)]
mod tests;

pub use hash::EventSum;
pub use row::{Key, Page, Query, Row};
pub use sled_ledger::SledLedger;

/// Rows beyond this many are removed, oldest first: at 64 MiB a segment, the trace of 640 GiB. It costs
/// about 4 MB of memory, a hundred thousand would cost 30 (measured, see docs/decisions).
pub const MAX_ROWS: usize = 10_000;

/// Most rows of one [`Page`].
pub const MAX_PAGE: usize = 1000;

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The ledger's thread did not answer in time.
    #[error("the ledger is busy and did not answer within {0:?}: try again")]
    Busy(std::time::Duration),
    /// The ledger was closed, or was given up after too many failures in one run.
    #[error("the ledger is closed: {0}")]
    Closed(String),
    /// The disk would not have it for now (full, read-only); rows wait in memory.
    #[error(
        "{path}: {cause}; rows wait in memory until the disk takes them: see to its free space and mount"
    )]
    Disk {
        /// The ledger's directory.
        path: std::path::PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// Where finished segments are noted down.
pub trait Ledger: Send + Sync + 'static {
    /// Notes down a finished segment; a second row with the same key takes the first one's place. Hands
    /// the row to a bounded queue (rows are rare: one a segment), so it does no I/O of its own.
    ///
    /// # Errors
    /// [`LedgerError::Closed`] when the ledger takes no rows any more.
    fn record(&self, row: Row) -> Result<(), LedgerError>;

    /// Reads rows in the order of their keys. Blocking: call it from a plain thread.
    ///
    /// # Errors
    /// When the rows can't be read for now.
    fn page(&self, query: &Query) -> Result<Page, LedgerError>;

    /// Returns when every row noted down before is on stable storage. Blocking.
    ///
    /// # Errors
    /// When it could not be made so.
    fn flush(&self) -> Result<(), LedgerError>;
}
