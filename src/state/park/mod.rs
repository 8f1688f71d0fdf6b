//! Events taken out of a lane because their topic will not have them for now, so that they do not pin its segments: the
//! park of a (lane, destination).
//!
//! What a topic waits for is copied, block by block with its numbers, into files of its own. Each file says of a range of
//! numbers: every event of the topic in it stands here. So readers find the same blocks at the same numbers as before,
//! whether the lane still has them or not, and the log may forget what is *covered*.
//!
//! ```text
//! <data_dir>/parked/<lane>/<destination>/<topic>/<from>-<upto>.parked
//! ```
//!
//! # Promises
//! - A file has its name only when it is whole and durable; what [`Park::keep`] returned `Ok` for is covered, also after a
//!   power cut.
//! - A file goes only when nobody needs what it covers any more ([`Park::forget`]).
//! - It never grows beyond its quota, and memory does not grow with it: numbers and sizes of files are all that is kept.
//!
//! # On failure
//! These files are log, not something beside it: once the lane has forgotten what they cover, they are the only copy. Damage
//! costs the blocks it touches and no other; they are told, and counted as lost. While their directory is elsewhere, or its disk
//! gives nothing, all of them wait, without limit: see [`reach`].

mod carry;
mod codec;
mod look;
mod reach;
mod reader;
mod store;
#[cfg(test)]
mod tests;

pub use carry::{copy, remove, rename};
pub use codec::Parked;
pub use look::{ParkedFile, Seen, files};
pub use reader::{Found, ParkReader};
pub use store::{Park, ParkError, Whose, directory};
