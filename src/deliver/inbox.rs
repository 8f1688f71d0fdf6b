//! Where the delivery thread hears of everything that happens elsewhere.
//!
//! Bounded by nature: outcomes are at most as many as windows in flight, what was seen where windows were looked for as many as looks that ended since it was
//! last emptied (four at a time, each again after a pause), letters to send again as many as there are, people who give up what is in doubt
//! as many as the admin server has connections; of the rest only the last word is kept.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kafka::{LinkState, Observer, Outcome, RecordHeader, Topology};

/// What has happened since the last look.
#[derive(Debug, Default)]
pub struct Mail {
    /// Outcomes of windows, in the order they came.
    pub outcomes: Vec<(u64, Outcome)>,
    /// The cluster's topics, if they changed.
    pub topology: Option<Arc<Topology>>,
    /// This process's producer id and epoch, if the cluster gave one.
    pub producer: Option<(i64, i16)>,
    /// The link's state, if it changed.
    pub link: Option<LinkState>,
    /// More of the log is durable.
    pub durable: bool,
    /// The journal has been written, or could not be.
    pub written: bool,
    /// What was seen of an earlier process where its windows were looked for.
    pub seen: Vec<RecordHeader>,
    /// Dead letters to send again, by their numbers.
    pub replay: Vec<u64>,
    /// Give up what can't be read any more, and tell these how many events that were.
    pub abandon: Vec<SyncSender<u64>>,
    /// Deliver what is in windows and end, by then at the latest.
    pub close: Option<Instant>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
            && self.topology.is_none()
            && self.producer.is_none()
            && self.link.is_none()
            && !self.durable
            && !self.written
            && self.seen.is_empty()
            && self.replay.is_empty()
            && self.abandon.is_empty()
            && self.close.is_none()
    }
}

/// The mailbox of one delivery thread.
#[derive(Debug, Default)]
pub struct Inbox {
    mail: Mutex<Mail>,
    bell: Condvar,
}

impl Inbox {
    /// Takes what is there, without waiting.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is there, `longest` at most, and takes it.
    pub fn wait(&self, longest: Duration) -> Mail {
        let mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_timeout_while(mail, longest, |mail| mail.is_empty());
        let (mut mail, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *mail)
    }

    fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    /// More of the log is durable.
    pub fn durable(&self) {
        self.put(|mail| mail.durable = true);
    }

    /// A group of windows stands in the journal, or can't.
    pub fn written(&self) {
        self.put(|mail| mail.written = true);
    }

    /// Sends dead letters again.
    pub fn replay(&self, letters: Vec<u64>) {
        self.put(|mail| mail.replay.extend(letters));
    }

    /// Gives up windows that are held since their events can't be read any more. Says how many events that are, once the
    /// thread has come round.
    pub fn abandon(&self) -> Receiver<u64> {
        let (told, events) = mpsc::sync_channel(1);
        self.put(|mail| mail.abandon.push(told));
        events
    }

    /// Ends the thread, by `deadline` at the latest.
    pub fn close(&self, deadline: Instant) {
        self.put(|mail| mail.close = Some(deadline));
    }
}

impl Observer for Inbox {
    fn settled(&self, window: u64, outcome: Outcome) {
        self.put(|mail| mail.outcomes.push((window, outcome)));
    }

    fn saw(&self, event: RecordHeader) {
        self.put(|mail| mail.seen.push(event));
    }

    fn topology(&self, topology: Arc<Topology>) {
        self.put(|mail| mail.topology = Some(topology));
    }

    fn producer_id(&self, producer_id: i64, epoch: i16) {
        self.put(|mail| mail.producer = Some((producer_id, epoch)));
    }

    fn link(&self, state: LinkState) {
        self.put(|mail| mail.link = Some(state));
    }
}
