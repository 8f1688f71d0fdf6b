//! The spool on the simulated disk: every crash, every error, every bit, against a witness who remembers what was
//! promised.
//!
//! A [`Site`] is a host with a disk, a lane driven by hand, and a consumer that keeps its position as delivery does.
//! The [`Witness`] knows what was sent, acknowledged and delivered, and after which call of the disk each of it
//! happened. [`verify`] starts a new site on what a crash left and demands everything that was promised.

mod controls;
mod exhaustive;
mod faults;
mod long;
mod rot;
mod site;
mod verify;
mod witness;

pub(super) use site::{Site, Step, small};
pub(super) use verify::{Depth, verify};
pub(super) use witness::Witness;

/// How many times a number is multiplied in the long version (`just soak-spool`).
pub(super) fn soaking() -> bool {
    std::env::var("SPOOLWAY_SOAK").is_ok_and(|v| v == "1")
}
