//! One HTTP connection: hyper on it, and the clock that ends it when its peer is idle or slow.
//!
//! The clock knows three phases: *idle* (nothing of a request has come; `idle_timeout`, for the first one `header_timeout`), *head* (its
//! first byte has come; `header_timeout`), *serving* (the service has its own deadlines). One timer a connection,
//! set anew only when a phase ends earlier than it would fire: a request that comes in one piece costs none.
//!
//! Whoever has been idle or at a head for [`QUIET`] gives its place to whoever waits for one, the first to be so the first: nothing
//! of a request has been taken then, and senders have to do with connections that are closed between two requests anyway.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use super::service::Service;
use crate::intake::Intake;

/// hyper's read buffer: at least a head, and large enough that bodies come in few pieces.
const BUFFER: usize = 64 * 1024;
/// In this time a sender has something to say, or others go first.
const QUIET: Duration = Duration::from_secs(1);
/// A phase without a deadline, in milliseconds: ten years.
const NEVER: u64 = 10 * 365 * 24 * 3600 * 1000;

/// Serves a connection until its peer closes it, is too slow, or the agent stops.
pub(in crate::source) async fn drive<I: Intake>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<Service<I>>,
) {
    let clock = Arc::new(Clock::new(service.idle_timeout, service.limits.header_timeout));
    let stop = service.stop.clone();
    let source = service.tally.name().to_owned();
    let watched = TokioIo::new(Watched { io, clock: Arc::clone(&clock) });
    let max_header = service.limits.max_header_size;
    let answering = service_fn(|request| {
        let (service, clock) = (Arc::clone(&service), Arc::clone(&clock));
        async move {
            clock.serving();
            let answer = service.call(request).await;
            clock.idle();
            answer
        }
    });
    let connection = http1::Builder::new()
        .max_header_size(max_header)
        .max_buf_size(BUFFER.max(max_header))
        .header_read_timeout(None)
        .serve_connection(watched, answering);
    let mut connection = pin!(connection);
    let mut alarm = pin!(sleep_until(clock.start + QUIET));
    let mut stopped = pin!(stop.cancelled());
    let mut stopping = false;
    let give_way = Arc::clone(&service.give_way);
    // Dropped with a call that it has got, it passes that on.
    let mut wanted: Option<Pin<Box<OwnedNotified>>> = None;
    let end = poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            if clock.is_idle() {
                return Poll::Ready("stop");
            }
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            if let Err(error) = result {
                tracing::debug!(source, %error, "connection ended");
            }
            return Poll::Ready("closed");
        }
        match clock.is_quiet() {
            false => wanted = None,
            true => {
                let wanted = wanted.get_or_insert_with(|| Box::pin(Arc::clone(&give_way).notified_owned()));
                if wanted.as_mut().poll(cx).is_ready() {
                    return Poll::Ready("gave way");
                }
            }
        }
        clock.poll_over(cx, alarm.as_mut()).map(|()| "timeout")
    });
    let end = end.await;
    tracing::trace!(source, end, "connection closed");
}

/// Which deadline holds now. All of it is touched by the connection's task only; atomics make it `Sync`.
#[derive(Debug)]
struct Clock {
    start: Instant,
    idle: Duration,
    head: Duration,
    phase: AtomicU8,
    deadline: AtomicU64,
    /// From when on its place may be had, in milliseconds.
    quiet: AtomicU64,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

impl Clock {
    fn new(idle: Duration, head: Duration) -> Self {
        let clock = Self {
            start: Instant::now(),
            idle,
            head,
            phase: AtomicU8::new(IDLE),
            deadline: AtomicU64::new(NEVER),
            quiet: AtomicU64::new(NEVER),
        };
        // Whoever connects has something to say: places are few.
        clock.enter(IDLE, clock.after(head));
        clock
    }

    fn idle(&self) {
        self.enter(IDLE, self.after(self.idle));
    }

    fn serving(&self) {
        self.enter(SERVING, NEVER);
    }

    /// Bytes have come.
    fn heard(&self) {
        if self.is_idle() {
            self.enter(HEAD, self.after(self.head));
        }
    }

    fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    /// Whether whoever waits for a place may have this one.
    fn is_quiet(&self) -> bool {
        self.after(Duration::ZERO) >= self.quiet.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8, deadline: u64) {
        let quiet = if phase == SERVING { NEVER } else { self.after(QUIET) };
        self.quiet.store(quiet, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    fn after(&self, limit: Duration) -> u64 {
        u64::try_from((self.start.elapsed() + limit).as_millis()).unwrap_or(NEVER).min(NEVER)
    }

    fn deadline(&self) -> Instant {
        self.start + Duration::from_millis(self.deadline.load(Ordering::Relaxed))
    }

    /// Ready when the deadline has passed; otherwise `alarm` wakes the task in time for that, and once it is quiet.
    fn poll_over(&self, cx: &mut Context<'_>, mut alarm: Pin<&mut tokio::time::Sleep>) -> Poll<()> {
        let deadline = self.deadline();
        let quiet = self.quiet.load(Ordering::Relaxed);
        let next = match self.is_quiet() {
            true => deadline,
            false => deadline.min(self.start + Duration::from_millis(quiet)),
        };
        if next < alarm.deadline() {
            alarm.as_mut().reset(next);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            if Instant::now() >= next {
                // It has become quiet since it was looked at.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            alarm.as_mut().reset(next);
        }
        Poll::Pending
    }
}

/// A connection that tells the clock when bytes come.
struct Watched<T> {
    io: T,
    clock: Arc<Clock>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.clock.heard();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
