//! Dead letters: events that a destination will never take, kept on disk with what was wrong until a person sends them
//! again or throws them away.
//!
//! # Promises
//! - [`Letters::append`] returns when its letters are durable, or none of them counts. An event is settled only after that.
//! - No letter leaves by itself. When the room they may take is used up, the topics they come from wait.
//! - Room for the next letters is reserved beforehand, so that they can be written with no byte free on the disk.
//! - A number is given to one letter only.
//!
//! # How
//! Files of records, appended to by one process each (`file`), and beside them what has become of letters (`marks`): gone,
//! or being sent again. Letters are rare, so nothing is kept in memory of them; whoever asks has the files read.
//!
//! # On failure
//! A damaged record costs the letters whose bytes are touched; they are counted ([`Found::damaged`]). Without the marks,
//! letters that had gone are there again. A disk that takes nothing makes [`Letters::append`] fail, and the events stay
//! where they are.

mod codec;
mod copied;
mod file;
mod letter;
mod marks;
mod store;
#[cfg(any(test, feature = "simulation"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use copied::Copied;
pub use letter::{Letter, Reason, Stored};
pub(in crate::state) use store::directory;
pub use store::{Found, Letters, LettersError, Settings, being_sent, look};
