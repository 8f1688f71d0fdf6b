//! Which lane kept which streams' events, and from which number on: what order needs when a stream moves.
//!
//! Events of a stream in its new lane go to a destination only when those that it has left in other lanes are settled
//! there. Which those are is derived from what stands here, and from nothing that a process remembers.
//!
//! [`History`] is the content, [`HomesFile`] the file. It is written when the configuration gives a stream another lane,
//! before anything is taken under it, and forgotten era by era as what stood in them is settled.
//!
//! # On failure
//! Without the file, any event on disk may be older than any new one in another lane: new events wait for all of them.
//! Nothing is lost, but what is already on disk of a stream in two lanes may go in either order.

mod file;
mod history;

pub use file::{HomesError, HomesFile};
pub use history::{BeginError, History, TooManyMoves};
