//! Where every reader of a (lane, destination) stands, with the totals that belong to it.
//!
//! [`Positions`] is the content, [`Store`] the file. One file a (lane, destination), written by one thread.

mod bits;
mod codec;
#[cfg(test)]
mod damage;
mod record;
mod store;

pub use bits::Bits;
pub use codec::DecodeError;
pub use record::{Counter, Partial, Positions, Side, Tally, TopicCounters, Totals};
pub use store::{Restored, Store, StoreError, Unusable, directory};
