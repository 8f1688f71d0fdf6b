//! One connection to one broker: requests go out one after the other, answers come back in the same order.
//!
//! What it promises:
//! - every request given to [`Connection::call`] ends with an answer, or with a [`CallError`] that says
//!   whether a byte of it may have been sent;
//! - nothing waits for ever: connecting, the handshake and every piece of a frame that is written have time
//!   limits, and an answer must come within `request_timeout` of the last sign of life: the request's last
//!   byte written, the answer before it, or the end of a throttle;
//! - what comes in is bounded: a frame beyond `max_answer` or out of order ends the connection.
//!
//! How: two tasks, one that writes and one that reads, share the [`Pending`] queue. On any failure the
//! connection is dead for good, all that waits is told, and the owner opens another.
//!
//! With SASL, the writer authenticates before anything else is sent, and again before the session ends: it sends
//! nothing meanwhile, so a renewal stands between two requests and puts none in doubt ([`session`]).
//!
//! A slow link is not a hung broker: frames are written in pieces, each with its own time limit, and the
//! kernel is told to hold back what it can't send yet (`TCP_NOTSENT_LOWAT`), so that a frame counts as
//! written when the network has taken nearly all of it.

mod connect;
mod dial;
mod error;
mod pending;
mod session;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use connect::connect;
#[cfg(test)]
pub(crate) use connect::simulated;
pub(crate) use dial::{Deadline, dial};
pub use error::ConnectError;
use pending::Pending;
use tasks::{LATE, Order, Outgoing};

use super::access::{Access, SaslError};
use super::wire::{ApiVersions, Request, Versions, WireError, api_versions_request};

/// How many requests may wait for the writer. The owner sends at most five at a time.
const WRITE_QUEUE: usize = 16;

/// What all connections of a client have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// Named in every request.
    pub client_id: String,
    /// For name lookup, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// The longest silence while an answer is due.
    pub request_timeout: Duration,
    /// Largest frame to take.
    pub max_answer: usize,
    /// Proxy, TLS and SASL.
    pub access: Access,
    /// Counts bytes written.
    pub sent: Option<prometheus_client::metrics::counter::Counter>,
}

/// Why a request got no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Not a byte of it was written.
    #[error("not sent: {0}")]
    NotSent(Arc<str>),
    /// It was written, at least in part: the broker may have acted on it.
    #[error("sent, but not answered: {0}")]
    Unanswered(Arc<str>),
}

/// A connection after the handshake. Cheap to clone; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: mpsc::Sender<Order>,
    pending: Arc<Pending>,
    versions: Versions,
    client_id: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pending.fail("the connection was closed");
    }
}

impl Connection {
    /// Begins to speak Kafka on a stream: finds out the versions, and authenticates where that is configured.
    ///
    /// # Errors
    /// [`ConnectError`] when the broker does not answer within the time of a request, or not in a way that
    /// we understand.
    pub async fn start<S>(stream: S, options: &Options) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let pending = Arc::new(Pending::new(options.request_timeout));
        let writer = tasks::spawn(stream, &pending, options);
        let guard = FailOnDrop(Some(Arc::clone(&pending)));
        let versions = handshake(&writer, options).await?.choose().map_err(ConnectError::Protocol)?;
        if options.access.sasl().is_some() {
            authenticate(&writer, &versions).await?;
        }
        guard.disarm();
        let client_id = options.client_id.clone();
        Ok(Self { shared: Arc::new(Shared { writer, pending, versions, client_id }) })
    }

    /// Sends a request and waits for its answer, without its header.
    ///
    /// # Errors
    /// [`CallError`] says whether it may have been sent. Dropping the future does not take it back.
    pub async fn call(&self, request: Request) -> Result<Bytes, CallError> {
        call(&self.shared.writer, request).await.map_err(|e| self.shared.pending.with_reason(e))
    }

    /// The versions to use.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.shared.versions
    }

    /// What to name in requests.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// The broker announced that it will answer nothing for this long: silence until then is not held
    /// against it.
    pub fn throttle(&self, silence: Duration) {
        self.shared.pending.throttle(silence);
    }

    /// Ends it: all that waits is told.
    pub fn close(&self, reason: &str) {
        self.shared.pending.fail(reason);
    }

    /// Whether it is dead.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.pending.closed().is_cancelled()
    }

    /// Completes when it is dead.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.shared.pending.closed()
    }

    /// Since when an answer is due without a sign of life; `None` when nothing is due.
    #[must_use]
    pub fn silent_since(&self) -> Option<Instant> {
        self.shared.pending.silent_since()
    }
}

struct FailOnDrop(Option<Arc<Pending>>);

impl FailOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if let Some(pending) = &self.0 {
            pending.fail("the handshake did not succeed");
        }
    }
}

async fn call(writer: &mpsc::Sender<Order>, request: Request) -> Result<Bytes, CallError> {
    let (answer, answered) = oneshot::channel();
    let not_sent = || CallError::NotSent("the connection is closed".into());
    writer.send(Order::Send(Outgoing { request, answer })).await.map_err(|_| not_sent())?;
    // The writer drops what it has not begun to write when the connection dies.
    answered.await.unwrap_or_else(|_| Err(not_sent()))
}

async fn handshake(writer: &mpsc::Sender<Order>, options: &Options) -> Result<ApiVersions, ConnectError> {
    for version in [2, 0] {
        let answer = call(writer, api_versions_request(&options.client_id, version)).await;
        let answer = answer.map_err(|e| no_broker(&e, ""))?;
        if let Some(offered) = ApiVersions::decode(&answer).map_err(ConnectError::Protocol)? {
            return Ok(offered);
        }
    }
    Err(ConnectError::Protocol(WireError::NotOffered { api: "ApiVersions 0" }))
}

async fn authenticate(writer: &mpsc::Sender<Order>, versions: &Versions) -> Result<(), ConnectError> {
    let version = versions.sasl_authenticate.clone().map_err(ConnectError::Protocol)?;
    let (done, known) = oneshot::channel();
    let ended = || ConnectError::Handshake("the connection ended during authentication".to_owned());
    writer.send(Order::Authenticate(version, done)).await.map_err(|_| ended())?;
    match known.await {
        Ok(Ok(())) => Ok(()),
        // A broker that says nothing more is no matter of credentials.
        Ok(Err(SaslError::Call(error))) => Err(no_broker(&error, "during authentication: ")),
        Ok(Err(error)) => Err(ConnectError::Sasl(error)),
        Err(_) => Err(ended()),
    }
}

/// Silence is what a broker that hangs answers; one that is spoken to in the wrong way ends the connection.
fn no_broker(error: &CallError, when: &str) -> ConnectError {
    match error {
        CallError::Unanswered(reason) if **reason == *LATE => ConnectError::Silent,
        error => ConnectError::Handshake(format!("{when}{error}")),
    }
}

#[cfg(test)]
mod tests;
