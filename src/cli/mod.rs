//! The command line: one file a command.
//!
//! What it promises: exit codes are those of the contract ([`Exit`]); what a command was asked for goes to
//! standard output and nothing else does; problems go to standard error, as one message that names the
//! thing, the cause and the remedy.
//!
//! Each command is a `…Args` (what clap reads) and a function `run(args, &General) -> Outcome`.

pub mod arguments;
pub mod check;
mod client;
pub mod cluster;
pub mod command_config;
pub mod completions;
mod connect;
pub mod demo;
pub mod destination;
pub mod dlq;
pub mod exit;
mod hardening;
pub mod healthcheck;
pub mod init;
pub mod man;
pub mod output;
pub mod pipe;
mod progress;
pub mod reconcile;
pub mod route;
pub mod run;
pub mod spool;
pub mod status;
#[cfg(test)]
mod testing;
pub mod verify;

pub use arguments::{Cli, Command, ConfigFiles, General, main};
pub use exit::{Exit, Failure, Outcome};
