//! Receiving a body: within its size, its time, and the memory all senders share.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Refusal;
use super::decode::{self, Turn, Unpacking};
use super::events::Events;
use super::head::Coding;
use crate::event::EventBatch;
use crate::source::budget::Held;
use crate::source::pace::{PACE, Pace};

/// What is left of a refused body is read for this long, so that the sender sees the answer.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Why a request got no further.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sender can be told.
    Refused(Refusal),
    /// The sender is gone.
    Gone(hyper::Error),
    /// The append was begun and its outcome is not known: no answer.
    Unknown(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

/// A body that is being received.
pub(super) struct Reception<'a> {
    body: &'a mut Incoming,
    held: &'a mut Held,
    deadline: Instant,
    pace: Pace,
    limit: usize,
    received: usize,
}

impl<'a> Reception<'a> {
    pub(super) fn new(body: &'a mut Incoming, held: &'a mut Held, time: Duration, limit: usize) -> Self {
        Self { body, held, deadline: Instant::now() + time, pace: Pace::new(), limit, received: 0 }
    }

    /// The next piece, or `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let asked = Instant::now();
            let takes = self.held.stake();
            let frame = tokio::select! {
                biased;
                frame = timeout_at(self.deadline, self.body.frame()) => frame.map_err(|_| late())?,
                () = self.pace.over(&takes), if takes.is_any() => return Err(slow()),
            };
            let Some(frame) = frame.transpose().map_err(broken)? else { return Ok(None) };
            // Trailers carry nothing for us.
            let Ok(data) = frame.into_data() else { continue };
            self.pace.heard(data.len(), asked.elapsed());
            self.received += data.len();
            if self.received > self.limit {
                return Err(Refusal::body_too_large(self.limit).into());
            }
            return Ok(Some(data));
        }
    }

    /// Waits until `bytes` in all may be held.
    pub(super) async fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.held.try_cover(bytes) {
            return Ok(());
        }
        timeout_at(self.deadline, self.held.cover(bytes)).await.map_err(|_| {
            let message = "other senders' requests use up the memory for request bodies; try again";
            Refusal::unavailable("busy", message).into()
        })
    }

    /// Waits until a piece may be unpacked; whether the decoder may stay afterwards. For the first piece nobody waits that it
    /// may: what is small needs no more.
    pub(super) async fn hold_turn(&mut self, turn: Turn) -> Result<bool, Failure> {
        match turn.without {
            Some(less) if !self.held.try_cover(turn.with_decoder) => self.hold(less).await.map(|()| false),
            _ => self.hold(turn.with_decoder).await.map(|()| true),
        }
    }

    /// A body that has come, to be unpacked.
    pub(super) async fn packed(
        &mut self,
        body: Bytes,
        coding: Coding,
        decoders: &Arc<Semaphore>,
    ) -> Result<Unpacking, Failure> {
        let unpacking = Unpacking::new(body, coding, self.limit, decoders, self.held);
        in_turn(timeout_at(self.deadline, unpacking).await)
    }

    /// The next piece of what is unpacked, which [`Reception::hold_turn`] has covered.
    pub(super) async fn unpack(
        &mut self,
        unpacking: Unpacking,
        decoders: &Arc<Semaphore>,
        stays: bool,
    ) -> Result<(Unpacking, Vec<u8>), Failure> {
        let unpacked = unpacking.next(decoders, self.held, stays);
        in_turn(timeout_at(self.deadline, unpacked).await)
    }

    /// The events of a body that has ended, with the rest of it that was not fed.
    pub(super) async fn events(
        &mut self,
        events: Events,
        rest: Bytes,
        decoders: &Arc<Semaphore>,
    ) -> Result<EventBatch, Failure> {
        if !events.is_long(&rest) {
            return Ok(events.complete(&rest)?);
        }
        // A mistake of ours says nothing of the body: whoever sent it keeps it.
        let broken =
            |why| Refusal::unavailable("busy", format!("the body could not be read: {why}; try again"));
        let work = move || events.complete(&rest);
        in_turn(timeout_at(self.deadline, decode::away(decoders, self.held, work, broken)).await)
    }

    /// The whole body; copied only when it comes in several pieces. `length` is what was announced.
    pub(super) async fn whole(&mut self, length: Option<usize>) -> Result<Bytes, Failure> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        self.hold(first.len()).await?;
        if self.body.is_end_stream() {
            return Ok(first);
        }
        // Announced is not sent: room is made as bytes come, and at most doubles.
        let mut whole = BytesMut::with_capacity(length.unwrap_or(0).min(first.len() * 2).max(first.len()));
        whole.extend_from_slice(&first);
        drop(first);
        while let Some(chunk) = self.chunk().await? {
            self.hold(whole.len() + chunk.len()).await?;
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

/// Reads on for a moment and throws away; whether the end was reached.
pub(super) async fn discard(body: &mut Incoming, limit: usize) -> bool {
    let mut left = limit;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(len);
            if left == 0 {
                break;
            }
        }
    };
    timeout(DISCARD_TIME, rest).await.is_ok() && body.is_end_stream()
}

/// What came of a turn with a decoder, if it came.
fn in_turn<T>(turn: Result<Result<T, Refusal>, Elapsed>) -> Result<T, Failure> {
    let never = |_| Refusal::unavailable("busy", "other senders' bodies are being read; try again");
    turn.map_err(never).flatten().map_err(Failure::from)
}

fn late() -> Failure {
    let message = "the body did not come within body_timeout";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message).into()
}

fn slow() -> Failure {
    let message = format!(
        "the body came at less than {} KiB/s while other senders waited for the memory that it took; try again",
        PACE / 1024
    );
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_slow", message).into()
}

fn broken(error: hyper::Error) -> Failure {
    use std::error::Error;
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let gone = error.is_incomplete_message()
        || io.is_some_and(|cause| {
            !matches!(cause.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData)
        });
    if gone {
        return Failure::Gone(error);
    }
    Refusal::bad_request("malformed_body", format!("the body's framing is broken: {error}")).into()
}
