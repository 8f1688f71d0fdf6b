//! Logging: set-up and rate limits.
//!
//! Log lines go to standard error, one line an event of operation, as text or JSON. [`Limit`] keeps what
//! repeats (a flapping link, a stuck topic) from flooding them: it says how many lines it held back, so
//! nothing is hidden.

mod limit;
mod line;
mod setup;
#[cfg(test)]
pub(crate) mod testing;

pub use limit::Limit;
pub use setup::{Format, Level, init};
