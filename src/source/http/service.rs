//! One request, from its head to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, EXPECT, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, Refusal};
use super::body::{Failure, Reception, discard};
use super::events::Events;
use super::head::{Coding, Format, Head};
use crate::config::Pattern;
use crate::config::model::{Ack, HttpLimits};
use crate::event::EventBatch;
use crate::guard::Gate;
use crate::intake::{AcceptError, Appended, Intake, Patience};
use crate::source::budget::{Budget, Held};
use crate::source::tally::Tally;

/// What all connections of an HTTP source share.
#[derive(Debug)]
pub(in crate::source) struct Service<I> {
    pub(in crate::source) intake: Arc<I>,
    pub(in crate::source) gate: Arc<Gate>,
    pub(in crate::source) tally: Arc<Tally>,
    pub(in crate::source) budget: Budget,
    pub(in crate::source) decoders: Arc<Semaphore>,
    pub(in crate::source) ack: Ack,
    pub(in crate::source) limits: HttpLimits,
    /// What senders may name; none: any stream.
    pub(in crate::source) streams: Vec<Pattern>,
    pub(in crate::source) idle_timeout: Duration,
    /// Somebody wants the place of a connection that has nothing to do.
    pub(in crate::source) give_way: Arc<Notify>,
    pub(in crate::source) max_event_size: usize,
    pub(in crate::source) stop: CancellationToken,
}

/// There is no answer: hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("no answer is given")]
pub(super) struct Unanswered;

impl<I: Intake> Service<I> {
    /// Answers a request, or says that its connection is to be closed without an answer.
    pub(super) async fn call(&self, request: Request<Incoming>) -> Result<Answer, Unanswered> {
        let (parts, mut body) = request.into_parts();
        match self.ingest(&parts, &mut body).await {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(refusal)) => {
                tracing::debug!(source = self.tally.name(), reason = refusal.word(), "request refused");
                self.tally.rejected(refusal.word(), refusal.events);
                // Whoever is not known keeps no place.
                let close = refusal.is_unauthorized() || !self.finish_reading(&parts, &mut body).await;
                Ok(refusal.into_answer(close))
            }
            Err(Failure::Gone(error)) => {
                tracing::debug!(source = self.tally.name(), %error, "sender gone before its request ended");
                self.tally.rejected("incomplete", 1);
                Err(Unanswered)
            }
            Err(Failure::Unknown(error)) => {
                tracing::error!(
                    source = self.tally.name(),
                    error,
                    "events may or may not be kept: connection closed without an answer"
                );
                Err(Unanswered)
            }
        }
    }

    /// Whether nothing of the body is left on its way.
    async fn finish_reading(&self, parts: &Parts, body: &mut Incoming) -> bool {
        // A sender that waits for "100 Continue" has sent nothing, and is not asked to.
        body.is_end_stream()
            || (!parts.headers.contains_key(EXPECT)
                && discard(body, self.limits.max_body_size.saturating_mul(4)).await)
    }

    async fn ingest(&self, parts: &Parts, body: &mut Incoming) -> Result<Answer, Failure> {
        // Before anything else: whoever is not known learns nothing of what is here.
        if !self.gate.admits(parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
            return Err(Refusal::unauthorized().into());
        }
        if parts.headers.contains_key(ORIGIN) && !self.gate.asks_for_token() {
            return Err(Refusal::web_page().into());
        }
        let head = Head::of(parts, |name| self.tally.known(name).map(|(stream, _)| stream))?;
        if !self.streams.is_empty() && !self.streams.iter().any(|pattern| pattern.takes(&head.stream)) {
            return Err(Refusal::stream_forbidden(&head.stream).into());
        }
        if head.length.is_some_and(|length| length > self.limits.max_body_size) {
            return Err(Refusal::body_too_large(self.limits.max_body_size).into());
        }
        let mut held = self.budget.holder();
        let batch = self.receive(&head, body, &mut held).await?;
        held.keep(batch.as_bytes().len());
        let count = batch.count();
        if count == 0 {
            return Ok(answer::nothing());
        }
        let patience = Patience::For(self.limits.block_timeout);
        let appended = match self.intake.accept(head.stream.clone(), batch, patience).await {
            Ok(appended) => appended,
            Err(AcceptError::Refused(refused)) => return Err(Refusal::from(refused).of(count).into()),
            Err(AcceptError::Unknown(error)) => return Err(Failure::Unknown(error)),
        };
        self.tally.accepted(&self.tally.counter(&head.stream), count);
        let delivered = self.ack == Ack::Accepted || self.delivered(&appended).await;
        Ok(answer::accepted(count, &appended, delivered))
    }

    async fn receive(
        &self,
        head: &Head,
        body: &mut Incoming,
        held: &mut Held,
    ) -> Result<EventBatch, Failure> {
        let limit = self.limits.max_body_size;
        let mut reception = Reception::new(body, held, self.limits.body_timeout, limit);
        let mut events = Events::new(head, self.max_event_size, limit);
        if head.coding != Coding::Identity {
            let packed = reception.whole(head.length).await?;
            let mut unpacking = reception.packed(packed, head.coding, &self.decoders).await?;
            while !unpacking.has_ended() {
                let stays = reception.hold_turn(unpacking.next_turn(events.held())).await?;
                let piece;
                (unpacking, piece) = reception.unpack(unpacking, &self.decoders, stays).await?;
                reception.hold(unpacking.held() + piece.len() + events.expected(&piece)).await?;
                events.feed(&piece)?;
            }
            drop(unpacking);
            reception.hold(events.expected_of_whole(&[])).await?;
            return reception.events(events, Bytes::new(), &self.decoders).await;
        }
        if head.format != Format::Lines {
            let whole = reception.whole(head.length).await?;
            reception.hold(events.expected_of_whole(&whole)).await?;
            return reception.events(events, whole, &self.decoders).await;
        }
        while let Some(chunk) = reception.chunk().await? {
            reception.hold(events.expected(&chunk)).await?;
            events.feed(&chunk)?;
        }
        Ok(events.complete(&[])?)
    }

    async fn delivered(&self, appended: &Appended) -> bool {
        tokio::select! {
            biased;
            () = self.intake.delivered(appended) => true,
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(self.limits.delivered_timeout) => false,
        }
    }
}
