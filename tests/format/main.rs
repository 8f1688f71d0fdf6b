//! The spool's format, read twice: by the program, and by `tests/reader`, which was written from `spool-format.md`
//! alone. Both must say the same of golden spools of every version, of live ones, and of damaged ones.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod controls;
mod golden;
mod live;
mod parked;
mod readers;
mod takeover;
