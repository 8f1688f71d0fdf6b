//! Where every reader of a (lane, destination) stands, with the totals that belong to it.
//!
//! [`Positions`] is the content, [`Store`] the file. One file a (lane, destination), written by one thread.

mod aparts;
mod bits;
mod carry;
mod codec;
#[cfg(test)]
mod damage;
mod look;
mod record;
mod store;
mod taken;

pub use aparts::{Apart, Keys, PassedApart};
pub use bits::Bits;
pub use carry::{Carried, NewLane, carry, may_keep};
pub use codec::DecodeError;
pub use look::{highest, look, needs, usable};
pub use record::{
    Counter, Footing, Partial, Passed, PassedStream, Positions, Replaying, Side, Tally, TopicCounters, Totals,
};
pub use store::{Restored, Store, StoreError, Unusable, directory, leave_room};
pub use taken::Taken;
