//! The one way into the spool.

use std::future::Future;
use std::sync::Arc;

use crate::config::RouteTable;
use crate::config::model::Spool;
use crate::event::{EventBatch, EventError, EventRef, first_event_len};
use crate::ids::StreamName;
use crate::intake::{AcceptError, Appended, Intake, Patience, Refused};

use super::streams::Streams;

/// Where the door hands events to.
pub trait Lanes: Send + Sync + 'static {
    /// Appends all events of `batch`, or none; resolves when they are durable. As
    /// [`Intake::accept`].
    fn append(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> impl Future<Output = Result<Appended, AcceptError>> + Send;

    /// Resolves when every destination that gets the events has them.
    fn delivered(&self, appended: &Appended) -> impl Future<Output = ()> + Send;
}

/// What the door lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an event's value, key and headers.
    pub max_event_size: usize,
    /// Stream names in use.
    pub max_streams: usize,
}

impl From<&Spool> for Limits {
    fn from(spool: &Spool) -> Self {
        Self { max_event_size: spool.max_event_size, max_streams: spool.max_streams }
    }
}

/// The [`Intake`] of all sources.
#[derive(Debug)]
pub struct Door<L> {
    lanes: L,
    routes: Arc<RouteTable>,
    max_event_size: usize,
    streams: Arc<Streams>,
}

impl<L: Lanes> Door<L> {
    /// A door before `lanes`. `streams` are the names that the configuration gives: no sender can crowd them out, and they take
    /// no room from those that senders make up.
    pub fn new(
        lanes: L,
        routes: Arc<RouteTable>,
        limits: Limits,
        streams: impl IntoIterator<Item = StreamName>,
    ) -> Self {
        // A name no route takes is not kept in the set: being in it stands for having passed the routes.
        let routed: Vec<_> = streams.into_iter().filter(|s| routes.check(s) == Ok(true)).collect();
        let streams = Arc::new(Streams::new(limits.max_streams, routed));
        Self { lanes, routes, max_event_size: limits.max_event_size, streams }
    }

    /// What is behind the door.
    pub fn lanes(&self) -> &L {
        &self.lanes
    }

    fn check_route(&self, stream: &StreamName) -> Result<(), Refused> {
        if self.streams.keeps(stream) {
            return Ok(());
        }
        match self.routes.check(stream) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Refused::NoRoute { stream: stream.clone(), nearest: self.routes.nearest(stream) })
            }
            Err(cause) => Err(Refused::StreamName { name: stream.to_string(), cause }),
        }
    }
}

impl<L: Lanes> Intake for Door<L> {
    async fn accept(
        &self,
        stream: StreamName,
        batch: EventBatch,
        patience: Patience,
    ) -> Result<Appended, AcceptError> {
        self.check_route(&stream)?;
        check_sizes(batch.as_bytes(), self.max_event_size)?;
        let admission = self
            .streams
            .admit(&stream)
            .ok_or_else(|| Refused::TooManyStreams { limit: self.streams.limit() })?;
        let answer = self.lanes.append(stream, batch, patience).await;
        if matches!(answer, Err(AcceptError::Refused(_))) {
            admission.refused();
        }
        answer
    }

    async fn delivered(&self, appended: &Appended) {
        self.lanes.delivered(appended).await;
    }
}

/// Refuses the first event over the limit. An event is never larger than its encoding, so nothing is
/// decoded but what may be too large.
fn check_sizes(bytes: &[u8], limit: usize) -> Result<(), Refused> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let mut rest = bytes;
    let mut index = 0u32;
    while !rest.is_empty() {
        let len = first_event_len(rest).map_err(|e| unreadable(&e))?;
        let (event, after) =
            rest.split_at_checked(len).ok_or(EventError::Truncated).map_err(|e| unreadable(&e))?;
        if len > limit {
            check_event(event, index, limit)?;
        }
        rest = after;
        index = index.saturating_add(1);
    }
    Ok(())
}

fn check_event(event: &[u8], index: u32, limit: usize) -> Result<(), Refused> {
    for event in crate::event::EventIter::new(event) {
        let size = size_of_event(&event.map_err(|e| unreadable(&e))?);
        if size > limit {
            return Err(Refused::TooLarge { index, size, limit });
        }
    }
    Ok(())
}

fn size_of_event(event: &EventRef<'_>) -> usize {
    let headers: usize = event.headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum();
    event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len) + headers
}

/// A batch is encoded by this program just before, so this is a defect of ours; nothing of it is kept.
fn unreadable(error: &EventError) -> Refused {
    Refused::Failing(format!("a source handed on events that can't be read: {error}"))
}

#[cfg(test)]
mod tests;
