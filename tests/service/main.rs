//! The agent as a service: what its manager hears, what its commands say, what it keeps to itself.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod canary;
mod commands;
mod manager;
mod private;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use support::agent::Setup;
use support::ports::free_port;

const SOON: Duration = Duration::from_secs(20);

/// A setup whose destination is never there.
fn lonely(name: &str) -> Setup {
    Setup::new(name).destination("home", free_port(), "")
}
