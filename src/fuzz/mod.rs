//! What fuzzers run, as functions, so that every seed is also run by `cargo test`. Never in a release.
//!
//! Each takes bytes and panics when a promise is broken. The targets in `fuzz/fuzz_targets` call nothing else; what a
//! fuzzer finds goes into `fuzz/seeds/<target>` and becomes a test beside the code that was wrong.
//!
//! [`segment`], [`recovery`], [`journal`], [`letters`] and [`parked`] are not handed a file: nearly all of their inputs
//! would end at a checksum. They are handed instructions, and checksums are put right where damage is not the point.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a target stops at the first broken promise"
)]

mod decoders;
mod http;
mod journal;
mod letters;
mod parked;
mod recovery;
mod script;
mod segment;
mod slots;
#[cfg(test)]
mod tests;
mod wire;

use std::time::Duration;

use crate::config::model::{Spool, SpoolCompression, Sync, WhenFull};

pub use decoders::{block, config, event};
pub use http::{http, unpack};
pub use journal::journal;
pub use letters::letters;
pub use parked::parked;
pub use recovery::recovery;
pub use segment::segment;
pub use slots::slots;
pub use wire::{records, requests, responses};

/// Small segments, so that a few hundred bytes of input fill several.
fn settings() -> Spool {
    Spool {
        segment_size: 12 << 10,
        max_size: Some(1 << 30),
        max_event_size: 4 << 10,
        reserve: 0,
        park_size: None,
        when_full: WhenFull::Block,
        sync: Sync::Always,
        commit_delay: Duration::ZERO,
        compression: SpoolCompression::None,
        retain_delivered: Duration::ZERO,
        max_streams: 100,
    }
}
