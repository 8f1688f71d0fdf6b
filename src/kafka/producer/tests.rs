//! The producer against a scripted broker on a real socket.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers in tests"
)]

mod broker;
mod faults;
mod links;
mod pace;
mod witness;
