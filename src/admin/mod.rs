//! The admin HTTP server: health, readiness, metrics, status, ledger, and a page for people.
//!
//! Promises:
//! - GET and HEAD change nothing. What can be changed is a POST of JSON to a path of its own, over loopback only, from root or the
//!   agent's own user; one at a time.
//! - It answers while the rest is in trouble: a full disk, a dead cluster, a stuck task. What it asks of the
//!   agent goes through [`Facts`], whose methods do not block.
//! - What clients do is bounded: connections, header bytes, header count, time to send a request, life of a
//!   connection, time to take an answer.
//! - A web page elsewhere can't read it through the browser of somebody on this host: no CORS header is ever
//!   sent, and over loopback a request must name an address or `localhost` in `Host` (DNS rebinding).
//!   On other addresses any name is taken: whoever opens them chose to show this to that network, and the
//!   names they are known by there can't be known here.
//!
//! - Whoever comes from another host is asked for what `[admin]` says: TLS, a certificate, a token. What comes from this
//!   host itself is asked for nothing, so that `spoolway status` needs nothing.
//!
//! `metrics_listen` opens a second address that has `/metrics` and nothing else.
//!
//! On failure: an address that can't be bound is a [`BindError`] at start; afterwards nothing that a client
//! does, and no failing accept, ends the server.

mod answer;
mod command;
mod exposition;
mod facts;
mod gauges;
mod host;
mod ledger_query;
#[cfg(test)]
mod operations;
mod peer;
mod ready;
mod route;
mod server;
#[cfg(test)]
mod tests;

pub use command::{Command, CommandError, SetRoute};
pub use facts::Facts;
pub use server::{BindError, Server, StartError};
