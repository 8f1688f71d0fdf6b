//! What waits to be appended: a queue that senders fill and the writer thread empties at a stroke.
//!
//! Its bound is the byte budget that a sender takes before it pushes (see `lane.rs`); the lock is held for a push
//! or a swap, never across a sync.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::event::EventBatch;
use crate::ids::{Seq, StreamName};

/// What the writer says of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its events have these numbers and are as durable as `sync` promises.
    Appended { first: Seq, last: Seq },
    /// Nothing of it was appended; here it is back. The gate says why.
    NotBegun(StreamName, EventBatch),
    /// The append was begun and failed.
    Unknown(String),
}

/// One batch that waits.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) stream: StreamName,
    pub(super) batch: EventBatch,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) at: Instant,
    /// Its part of the byte budget, given back with the answer.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Request {
    /// Nothing of it was begun: its sender gets it back, and looks at the gate again.
    pub(super) fn give_back(self) {
        drop(self.permit);
        // Whoever asked may be gone.
        let _ = self.answer.send(Answer::NotBegun(self.stream, self.batch));
    }
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    bytes: usize,
    closed: bool,
    /// Somebody wants the writer to look around.
    nudged: bool,
    writer_waits: bool,
}

/// The queue of one lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

/// Why [`Queue::take`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// There are requests.
    Requests,
    /// The time is over, or somebody nudged.
    Nothing,
    /// No request will come any more.
    Closed,
}

impl Queue {
    /// Adds a request; gives it back when the queue is closed.
    pub(super) fn push(&self, request: Request) -> Result<(), Request> {
        let mut state = self.lock();
        if state.closed {
            return Err(request);
        }
        state.bytes += request.batch.as_bytes().len();
        state.requests.push(request);
        if state.writer_waits {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Makes [`Queue::take`] come back.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_one();
    }

    /// No more pushes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Moves everything that waits into `into`. Waits at most `patience` for something, and then, so that more
    /// share one sync, until the first of it is `delay` old or there are `enough` bytes.
    pub(super) fn take(
        &self,
        into: &mut Vec<Request>,
        patience: Option<Duration>,
        delay: Duration,
        enough: usize,
    ) -> Took {
        let until = patience.map(|p| Instant::now() + p);
        let mut state = self.lock();
        while state.requests.is_empty() && !state.closed && !state.nudged {
            let left = until.map(|u| u.saturating_duration_since(Instant::now()));
            if left.is_some_and(|l| l.is_zero()) {
                return Took::Nothing;
            }
            state = self.wait(state, left);
        }
        if !delay.is_zero() {
            while let Some(first) = state.requests.first()
                && !state.closed
                && state.bytes < enough
            {
                let left = delay.saturating_sub(first.at.elapsed());
                if left.is_zero() {
                    break;
                }
                state = self.wait(state, Some(left));
            }
        }
        state.nudged = false;
        state.bytes = 0;
        std::mem::swap(&mut state.requests, into);
        match (into.is_empty(), state.closed) {
            (false, _) => Took::Requests,
            (true, true) => Took::Closed,
            (true, false) => Took::Nothing,
        }
    }

    /// What waits at this moment, which the writer will not see.
    pub(super) fn drain(&self) -> Vec<Request> {
        let mut state = self.lock();
        state.bytes = 0;
        std::mem::take(&mut state.requests)
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, left: Option<Duration>) -> MutexGuard<'a, State> {
        state.writer_waits = true;
        let mut state = match left {
            Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.writer_waits = false;
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::event::Event;

    const LONG: Duration = Duration::from_secs(3600);

    /// A request of 100 bytes and some, sent at this moment.
    fn sent(at: Instant) -> Request {
        let mut batch = EventBatch::new();
        batch.push(&Event::of_value(&[b'.'; 100]));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Request { stream: StreamName::new("s").unwrap(), batch, answer: oneshot::channel().0, at, permit }
    }

    fn bytes() -> usize {
        sent(Instant::now()).batch.as_bytes().len()
    }

    fn taken(queue: &Queue, delay: Duration, enough: usize) -> (Took, usize) {
        let mut into = Vec::new();
        (queue.take(&mut into, None, delay, enough), into.len())
    }

    #[test]
    fn what_waits_is_held_back_until_it_is_enough_or_the_first_of_it_is_old_enough() {
        let queue = Queue::default();
        (0..2).for_each(|_| queue.push(sent(Instant::now())).unwrap());
        assert_eq!(taken(&queue, LONG, 2 * bytes()), (Took::Requests, 2), "it is enough");
        let delay = Duration::from_secs(30);
        queue.push(sent(Instant::now().checked_sub(delay).unwrap())).unwrap();
        queue.push(sent(Instant::now())).unwrap();
        assert_eq!(taken(&queue, delay, 100 * bytes()), (Took::Requests, 2), "the first is old enough");
        // What was taken does not count towards what is enough.
        let (began, delay) = (Instant::now(), Duration::from_millis(50));
        queue.push(sent(began)).unwrap();
        assert_eq!(taken(&queue, delay, 2 * bytes()), (Took::Requests, 1));
        assert!(began.elapsed() >= delay, "one is not enough");
    }

    #[test]
    fn whoever_waits_comes_back_when_the_time_is_over_or_somebody_nudges() {
        let queue = Queue::default();
        queue.nudge();
        assert_eq!(taken(&queue, LONG, 1), (Took::Nothing, 0));
        let patience = Duration::from_millis(50);
        let began = Instant::now();
        assert_eq!(queue.take(&mut Vec::new(), Some(patience), LONG, 1), Took::Nothing);
        assert!(began.elapsed() >= patience, "a nudge counts once");
    }

    #[test]
    fn a_closed_queue_takes_nothing_more_and_gives_what_it_has_at_once() {
        let queue = Queue::default();
        queue.push(sent(Instant::now())).unwrap();
        queue.close();
        assert!(queue.push(sent(Instant::now())).is_err());
        assert_eq!(taken(&queue, LONG, usize::MAX), (Took::Requests, 1));
        assert_eq!(taken(&queue, LONG, usize::MAX), (Took::Closed, 0));
    }
}
