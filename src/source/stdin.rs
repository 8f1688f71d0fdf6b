//! Standard input: a plain thread reads it, since a read of a terminal or pipe can't be called off, and
//! hands chunks through a bounded queue to a [`Pump`](super::pump::Pump).
//!
//! On a stop, what the thread has already taken out of the pipe is still offered to the intake; a line that
//! was not ended by then is not an event.

use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Chunks read and not yet taken; with [`CHUNK`] it bounds the memory.
const QUEUE: usize = 4;
const CHUNK: usize = 64 * 1024;

/// Starts the thread that reads `input`; it ends with the input, or when it next reads after the stop.
pub(super) fn start(input: impl Read + Send + 'static, stop: &CancellationToken) -> io::Result<Feed> {
    let (send, chunks) = mpsc::channel(QUEUE);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || read(input, &send))?;
    let stop = Box::pin(stop.clone().cancelled_owned());
    Ok(Feed { chunks, current: Bytes::new(), stop, stopped: false })
}

fn read(mut input: impl Read, chunks: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => Ok(Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

/// The async end of the thread.
#[derive(Debug)]
pub(super) struct Feed {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    stopped: bool,
}

impl AsyncRead for Feed {
    /// After a stop, gives what is queued and then [`io::ErrorKind::ConnectionAborted`]: the end of what
    /// was read is not the end of the input.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.stopped && self.stop.as_mut().poll(cx).is_ready() {
            self.stopped = true;
            self.chunks.close();
        }
        if self.current.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.current = chunk?,
                None if self.stopped => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.current.len().min(buffer.remaining());
        buffer.put_slice(self.current.get(..len).unwrap_or_default());
        self.current.advance(len);
        Poll::Ready(Ok(()))
    }
}
