//! The requests that have been written and wait for their answers, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CallError;

pub(super) type Answer = oneshot::Sender<Result<Bytes, CallError>>;

/// Shared by the tasks of a connection. Its lock is held for moments only, never across a wait.
#[derive(Debug)]
pub(super) struct Pending {
    timeout: Duration,
    state: Mutex<State>,
    /// Told when a request has been written, so that the reader knows what to wait for.
    pub(super) written: Notify,
    closed: CancellationToken,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    heard: Instant,
    quiet_until: Instant,
    reason: Option<Arc<str>>,
}

#[derive(Debug)]
struct Waiting {
    correlation: i32,
    flexible: bool,
    /// When its last byte was written; `None` while it is being written.
    written: Option<Instant>,
    answer: Answer,
}

/// An answer that has no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unexpected {
    #[error("the broker answered what was not asked")]
    Unasked,
    #[error("the broker answered out of order")]
    Order,
    #[error("the broker's answer is cut short")]
    Short,
}

impl Pending {
    pub(super) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        let state = State { waiting: VecDeque::new(), heard: now, quiet_until: now, reason: None };
        Self { timeout, state: Mutex::new(state), written: Notify::new(), closed: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be written. `false` when the connection is dead: it must not be.
    pub(super) fn begin(&self, correlation: i32, flexible: bool, answer: Answer) -> bool {
        let mut state = self.state();
        if state.reason.is_some() {
            return false;
        }
        // INVARIANT: from here on the request may reach the broker; it leaves this queue only with an answer
        // or as unanswered.
        state.waiting.push_back(Waiting { correlation, flexible, written: None, answer });
        true
    }

    /// The newest request's last byte is written.
    pub(super) fn wrote(&self) {
        if let Some(newest) = self.state().waiting.back_mut() {
            newest.written = Some(Instant::now());
        }
        self.written.notify_one();
    }

    /// A frame has come: correlation id and all that follows.
    pub(super) fn arrived(&self, mut frame: Bytes) -> Result<(), Unexpected> {
        let correlation = frame.split_off_checked(4).ok_or(Unexpected::Short)?;
        let oldest = {
            let mut state = self.state();
            state.heard = Instant::now();
            state.waiting.pop_front().ok_or(Unexpected::Unasked)?
        };
        let unanswered = |why: Unexpected| {
            let reason: Arc<str> = why.to_string().into();
            (why, Err(CallError::Unanswered(reason)))
        };
        let (verdict, answer) = if correlation[..] != oldest.correlation.to_be_bytes() {
            let (why, answer) = unanswered(Unexpected::Order);
            (Err(why), answer)
        } else if oldest.flexible && !skip_empty_tags(&mut frame) {
            let (why, answer) = unanswered(Unexpected::Short);
            (Err(why), answer)
        } else {
            (Ok(()), Ok(frame))
        };
        // Whoever asked may have lost interest; that is no concern of the connection.
        let _ = oldest.answer.send(answer);
        verdict
    }

    /// When the oldest request's time is up; `None` while nothing is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        Some(state.silence_began()?.max(state.quiet_until) + self.timeout)
    }

    pub(super) fn silent_since(&self) -> Option<Instant> {
        let state = self.state();
        Some(state.silence_began()?.max(state.quiet_until))
    }

    pub(super) fn throttle(&self, silence: Duration) {
        let mut state = self.state();
        state.quiet_until = state.quiet_until.max(Instant::now() + silence);
    }

    /// Ends the connection for the reason given; only the first reason counts.
    pub(super) fn fail(&self, reason: &str) {
        let (reason, waiting) = {
            let mut state = self.state();
            let reason = Arc::clone(state.reason.get_or_insert_with(|| reason.into()));
            (reason, std::mem::take(&mut state.waiting))
        };
        self.closed.cancel();
        for one in waiting {
            let _ = one.answer.send(Err(CallError::Unanswered(Arc::clone(&reason))));
        }
    }

    pub(super) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Says why the connection died where the caller saw only that it did.
    pub(super) fn with_reason(&self, error: CallError) -> CallError {
        match (error, self.state().reason.clone()) {
            (CallError::NotSent(_), Some(reason)) => CallError::NotSent(reason),
            (error, _) => error,
        }
    }
}

impl State {
    fn silence_began(&self) -> Option<Instant> {
        Some(self.waiting.front()?.written?.max(self.heard))
    }
}

/// Takes the tagged fields off an answer's header. No broker sends any, and none are known.
fn skip_empty_tags(frame: &mut Bytes) -> bool {
    match frame.split_first() {
        Some((0, _)) => {
            *frame = frame.slice(1..);
            true
        }
        _ => false,
    }
}

/// `split_to` that does not panic.
trait SplitChecked {
    fn split_off_checked(&mut self, at: usize) -> Option<Bytes>;
}

impl SplitChecked for Bytes {
    fn split_off_checked(&mut self, at: usize) -> Option<Bytes> {
        (at <= self.len()).then(|| self.split_to(at))
    }
}
