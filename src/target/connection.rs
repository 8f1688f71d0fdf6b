//! One connection: a frame in, an answer out, in order, one at a time.
//!
//! Bounded: a frame is at most `max_frame_bytes` and its buffer grows with the bytes that came, not with the
//! length that was claimed; the next request is not read before the last is answered. A request that can't
//! be understood closes the connection, as on a real broker.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{self, Answer, EncodeError};
use super::cluster::Cluster;
use super::gate::until;
use super::request::{self, Request};
use super::wire::WireError;

/// Why a connection ended before its client ended it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("nothing came or went for {0:?}")]
    Idle(Duration),
    #[error("a frame claims {claimed} bytes, at most {limit} are taken")]
    FrameSize { claimed: u32, limit: usize },
    #[error(transparent)]
    Request(#[from] WireError),
    #[error(transparent)]
    Answer(#[from] EncodeError),
}

/// Serves until the client leaves, a fault closes the connection, or something is wrong with it.
/// `generation` is the gate's from before the connection was accepted.
pub(super) async fn serve<S>(cluster: &Cluster, node: i32, stream: S, generation: u64)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = Connection { cluster, node, stream, buffer: BytesMut::new() };
    let dropped = until(&cluster.gate, |gate| gate.generation != generation);
    tokio::select! {
        biased;
        () = dropped => {}
        result = connection.run() => if let Err(error) = result {
            tracing::debug!(node, %error, "target: connection closed");
        }
    }
}

struct Connection<'a, S> {
    cluster: &'a Cluster,
    node: i32,
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(mut self) -> Result<(), ConnectionError> {
        let idle = self.cluster.options.idle_timeout;
        loop {
            self.unstalled().await;
            let read = tokio::time::timeout(idle, self.frame());
            let Some(frame) = read.await.map_err(|_| ConnectionError::Idle(idle))?? else { return Ok(()) };
            self.unstalled().await;
            let (of_produce, answer) = self.answer(frame).await?;
            match answer {
                Answer::None => {}
                Answer::Close => return Ok(()),
                Answer::Send { frame, mute } => {
                    if of_produce {
                        self.released().await;
                    }
                    self.send(&frame, mute).await?;
                }
            }
        }
    }

    async fn unstalled(&self) {
        until(&self.cluster.gate, |gate| !gate.stalled && gate.stalled_broker != Some(self.node)).await;
    }

    /// The next frame without its length; `None` when the client has closed.
    async fn frame(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        if !self.fill(4).await? {
            return Ok(None);
        }
        let claimed = self.buffer.get_u32();
        let limit = self.cluster.options.max_frame_bytes;
        let size = usize::try_from(claimed).ok().filter(|size| *size <= limit);
        let size = size.ok_or(ConnectionError::FrameSize { claimed, limit })?;
        if !self.fill(size).await? {
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    async fn fill(&mut self, size: usize) -> io::Result<bool> {
        while self.buffer.len() < size {
            let missing = size - self.buffer.len();
            self.buffer.reserve(missing.min(self.buffer.len().max(16 << 10)));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The answer, and whether it is one to a Produce request.
    async fn answer(&self, frame: Bytes) -> Result<(bool, Answer), ConnectionError> {
        let (header, request) = request::read(frame)?;
        self.cluster.count(|c| c.requests += 1);
        tracing::trace!(node = self.node, api = ?header.served.key, version = header.version,
            client = header.client_id.as_deref(), "target: request");
        let answer = answer::answer(self.cluster, self.node, &header, &request).await?;
        Ok((matches!(request, Request::Produce(_)), answer))
    }

    async fn released(&self) {
        if self.cluster.gate.borrow().holding {
            self.cluster.count(|c| c.unanswered += 1);
            until(&self.cluster.gate, |gate| !gate.holding).await;
        }
    }

    async fn send(&mut self, frame: &[u8], mute: Duration) -> Result<(), ConnectionError> {
        self.unstalled().await;
        let delay = self.cluster.gate.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let idle = self.cluster.options.idle_timeout;
        let write = tokio::time::timeout(idle, self.stream.write_all(frame));
        write.await.map_err(|_| ConnectionError::Idle(idle))??;
        if !mute.is_zero() {
            tokio::time::sleep(mute).await;
        }
        Ok(())
    }
}
