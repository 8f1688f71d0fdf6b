//! What was about to be sent, written down before it is: the journal of a (lane, destination).
//!
//! A window that is in flight when the process dies is *in doubt*: the destination has it or not, and only the
//! same events under the same identity (producer id, epoch, sequence) can be sent again without doubling them. So
//! before a window is first sent, its [`Intent`] is durable here. One window at most is in flight in a partition, so
//! an intent also says what became of the one before it, and only the last of each partition can be in doubt.
//!
//! [`Journal`] is the file pair, [`fold`] what its content says of positions that are older than it.
//!
//! # Promises
//! - What [`Journal::append`] or [`Journal::begin`] returned `Ok` for is durable.
//! - Both files are written out when they are made: the journal works with no byte free on the disk.
//! - A failed sync is believed: nothing is appended to that file again; the next generation goes to the other one.
//!
//! # On failure
//! The journal can be lost like everything beside the log. Then what was in flight may be doubled, and nothing is lost. Where a part of
//! it has rotted, that is told from what a power cut tears, and said; what can be read behind it still counts.

mod codec;
mod file;
mod fold;
mod generation;
mod intent;
#[cfg(test)]
pub(super) mod tests;

pub use file::{Found, Journal, JournalError, ROOM, directory};
pub use fold::{fold, highest};
pub use intent::{Before, Intent, Share};
