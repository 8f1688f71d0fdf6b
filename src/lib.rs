//! Spoolway: a zero-loss Kafka relay for edge hosts.
//!
//! The rooms, in the order an event passes them:
//!
//! ```text
//! source ──► shape ──► spool (lane) ──► deliver ──► kafka
//! ```
//! Rooms to the left never import rooms to the right. What everybody needs stands at the root: [`ids`],
//! [`event`], [`intake`], [`config`]'s model, [`metrics`], [`secret`], [`guard`], [`status`].

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "numbers of tests are small"
    )
)]

pub mod admin;
pub mod agent;
pub mod cli;
pub mod config;
pub mod deliver;
pub mod demo;
pub mod disk;
pub mod event;
#[cfg(any(test, feature = "simulation"))]
pub mod fuzz;
pub mod guard;
pub mod ids;
pub mod intake;
pub mod kafka;
mod kept;
pub mod logs;
pub mod metrics;
pub mod panics;
mod pem;
pub mod reconcile;
pub mod sabotage;
pub mod secret;
pub mod shape;
pub mod source;
pub mod spool;
pub mod state;
pub mod status;
pub mod target;
pub mod verify;
