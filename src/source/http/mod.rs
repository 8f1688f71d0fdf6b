//! HTTP ingest: `POST /v1/events/{stream}`.
//!
//! # What it promises
//! - All or nothing: a request's events are one [`EventBatch`](crate::event::EventBatch). Every complete
//!   answer of 4xx or 5xx means that nothing of the request is kept; 200 comes after the fsync.
//! - Where the outcome is unknown, or the sender is gone, there is no answer and the connection closes.
//!   A sender that goes away while its request waits for room withdraws it.
//! - Bytes are kept as sent: lines without their `\n`, elements of a JSON array as they stand in the body.
//!
//! # How
//! hyper reads one request after the other; `Head` says what is asked, `Reception` receives the body within
//! size, time and memory, `Events` makes the batch, the [`Intake`](crate::intake::Intake) takes it, `answer`
//! writes what came of it. `drive` ends connections that are idle or slow: hyper's own header timer counts
//! from the end of the request before, which would end idle connections.
//!
//! # On failure
//! A [`Refusal`](answer::Refusal) is a status, a stable word and a sentence, as JSON. What is left of a refused body is read
//! and thrown away for a moment, so that the sender gets to see the answer instead of a reset.

mod answer;
mod body;
mod decode;
mod drive;
mod events;
mod head;
mod service;

#[cfg(test)]
mod tests;

pub(super) use decode::decoders;
pub(super) use drive::drive;
pub(super) use service::Service;
