//! The two tasks of a connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::pending::{Answer, Pending};
use super::session::Session;
use super::{CallError, Options, WRITE_QUEUE};
use crate::kafka::access::SaslError;
use crate::kafka::access::sasl::Wire;
use crate::kafka::wire::Request;

/// Why a connection has ended on which nothing came.
pub(super) const LATE: &str = "the broker has not answered in time";

/// A request on its way to the writer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Request,
    pub(super) answer: Answer,
}

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Order {
    /// To send this.
    Send(Outgoing),
    /// To authenticate, in this version of SaslAuthenticate, and to tell how it went.
    Authenticate(i16, oneshot::Sender<Result<(), SaslError>>),
}

/// Most that is read at once.
const READ_SIZE: usize = 64 * 1024;

/// Starts both tasks, which end when `pending` is closed.
pub(super) fn spawn<S>(stream: S, pending: &Arc<Pending>, options: &Options) -> mpsc::Sender<Order>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let (sender, queue) = mpsc::channel(WRITE_QUEUE);
    let reader = Reader {
        stream: read,
        pending: Arc::clone(pending),
        max_answer: options.max_answer,
        buffer: BytesMut::new(),
    };
    let writer = Writer {
        stream: write,
        pending: Arc::clone(pending),
        piece_timeout: options.request_timeout,
        sent: options.sent.clone(),
        correlation: 0,
    };
    let session = Session::new(options);
    tokio::spawn(reader.run());
    tokio::spawn(writer.run(queue, session));
    sender
}

struct Writer<S> {
    stream: WriteHalf<S>,
    pending: Arc<Pending>,
    piece_timeout: Duration,
    sent: Option<prometheus_client::metrics::counter::Counter>,
    correlation: i32,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Writer<S> {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>, mut session: Session) {
        let closed = self.pending.closed();
        loop {
            let order = tokio::select! {
                biased;
                () = closed.cancelled() => return,
                order = queue.recv() => order,
            };
            let done = match order {
                None => return,
                Some(Order::Send(outgoing)) => self.send(outgoing, &mut session).await,
                Some(Order::Authenticate(version, told)) => {
                    // Whoever asked for it may have given up.
                    let _ = told.send(session.begin(version, &mut self).await);
                    Ok(())
                }
            };
            if let Err(reason) = done {
                return self.pending.fail(&reason);
            }
        }
    }

    async fn send(&mut self, outgoing: Outgoing, session: &mut Session) -> Result<(), String> {
        // INVARIANT: before the request is begun, so that a session that can't be renewed leaves it unsent. And not
        // dropped when the connection ends: a broker closes it with its "no", which is worth more than the closing.
        session.renew(self).await?;
        let closed = self.pending.closed();
        tokio::select! {
            biased;
            () = closed.cancelled() => Ok(()),
            begun = self.begin(outgoing) => begun.map(drop),
        }
    }

    /// `false` when the connection is dead.
    async fn begin(&mut self, Outgoing { request, answer }: Outgoing) -> Result<bool, String> {
        self.correlation = self.correlation.wrapping_add(1);
        if !self.pending.begin(self.correlation, request.flexible_answer, answer) {
            return Ok(false);
        }
        self.write(request.into_frame(self.correlation)).await?;
        self.pending.wrote();
        Ok(true)
    }

    async fn write(&mut self, mut frame: BytesMut) -> Result<(), String> {
        while frame.has_remaining() {
            let wrote = timeout(self.piece_timeout, self.stream.write_buf(&mut frame)).await;
            let wrote = match wrote {
                Err(_) => Err(format!("the broker has taken no byte for {:?}", self.piece_timeout))?,
                Ok(result) => result.map_err(|e| format!("writing failed: {e}"))?,
            };
            if wrote == 0 {
                return Err("the broker has closed the connection".to_owned());
            }
            if let Some(sent) = &self.sent {
                sent.inc_by(wrote as u64);
            }
        }
        // TLS holds back a few pieces.
        match timeout(self.piece_timeout, self.stream.flush()).await {
            Err(_) => Err(format!("the broker has taken no byte for {:?}", self.piece_timeout)),
            Ok(flushed) => flushed.map_err(|e| format!("writing failed: {e}")),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Wire for Writer<S> {
    async fn ask(&mut self, request: Request) -> Result<Bytes, CallError> {
        let (answer, answered) = oneshot::channel();
        let unanswered = |reason: &str| CallError::Unanswered(reason.into());
        match self.begin(Outgoing { request, answer }).await {
            Ok(true) => answered.await.unwrap_or_else(|_| Err(unanswered("the connection is closed"))),
            Ok(false) => Err(CallError::NotSent("the connection is closed".into())),
            Err(reason) => Err(unanswered(&reason)),
        }
    }
}

struct Reader<S> {
    stream: ReadHalf<S>,
    pending: Arc<Pending>,
    max_answer: usize,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Reader<S> {
    async fn run(mut self) {
        let closed = self.pending.closed();
        let pending = Arc::clone(&self.pending);
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            reason = self.read_on() => pending.fail(&reason),
        }
    }

    /// Reads until something is wrong, and says what.
    async fn read_on(&mut self) -> String {
        loop {
            match self.frame() {
                Err(reason) => return reason,
                Ok(Some(frame)) => {
                    if let Err(unexpected) = self.pending.arrived(frame) {
                        return unexpected.to_string();
                    }
                }
                Ok(None) => {
                    if let Err(reason) = self.read_more().await {
                        return reason;
                    }
                }
            }
        }
    }

    /// Takes a whole frame out of the buffer, if there is one.
    fn frame(&mut self) -> Result<Option<Bytes>, String> {
        let Some((len, _)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let len = i32::from_be_bytes(*len);
        let fits = usize::try_from(len).ok().filter(|len| *len <= self.max_answer);
        let Some(len) = fits else {
            return Err(format!(
                "the broker announced an answer of {len} bytes, {} are allowed",
                self.max_answer
            ));
        };
        if self.buffer.len() < 4 + len {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Waits for bytes, or for the time of the oldest request to be up.
    async fn read_more(&mut self) -> Result<(), String> {
        // INVARIANT: memory grows with what has come, never by the length that a frame announces.
        self.buffer.reserve(READ_SIZE.min(self.max_answer));
        let deadline = self.pending.deadline();
        let expired = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.stream.read_buf(&mut self.buffer) => match read {
                Ok(0) => Err("the broker has closed the connection".to_owned()),
                Ok(_) => Ok(()),
                Err(e) => Err(format!("reading failed: {e}")),
            },
            () = self.pending.written.notified() => Ok(()),
            () = expired => self.expired(),
        }
    }

    /// The deadline may have moved while we slept (a throttle).
    fn expired(&self) -> Result<(), String> {
        match self.pending.deadline() {
            Some(at) if at <= tokio::time::Instant::now() => Err(LATE.to_owned()),
            _ => Ok(()),
        }
    }
}
