//! The handle and its mailbox.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::pace::Pace;
use super::task::Task;
use crate::config::model::Destination;
use crate::ids::TopicName;
use crate::kafka::window::{Observer, Window};
use crate::metrics::Metrics;

/// What the task is told.
#[derive(Debug)]
pub(super) enum Command {
    Send(Window),
    Track(TopicName),
    Renew,
    /// Gives back windows that are in doubt, or else those that were never sent; tells how many events that are.
    Recall {
        in_doubt: bool,
        told: SyncSender<u64>,
    },
}

/// Takes commands without ever blocking. Bounded by its users: a window a partition, a topic a stream.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    commands: Mutex<Vec<Command>>,
    pub(super) filled: Notify,
}

impl Mailbox {
    fn put(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.filled.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends windows to one destination. Cheap to clone; it ends when it is closed or its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Producer {
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _last: Arc<DropGuard>,
}

impl Producer {
    /// Starts a producer with a fresh producer id. Never fails: a destination that can't be reached is
    /// reported through [`Observer::link`] and tried for ever.
    #[must_use]
    pub fn start(
        destination: &Destination,
        metrics: &Metrics,
        observer: Arc<dyn Observer>,
        pace: Pace,
        runtime: &Handle,
    ) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let task = Task::new(destination, (metrics, pace), observer, Arc::clone(&mailbox), stop.clone());
        tasks.spawn_on(task.run(), runtime);
        tasks.close();
        let last = Arc::new(stop.clone().drop_guard());
        Self { mailbox, stop, tasks, _last: last }
    }

    /// Keeps the topic's metadata fresh from now on; [`Observer::topology`] is called when something changed.
    /// [`send`](Self::send) does so too.
    pub fn track(&self, topic: TopicName) {
        self.mailbox.put(Command::Track(topic));
    }

    /// Takes a window; [`Observer::settled`] tells its outcome. Never blocks. Windows of one partition are
    /// sent one after the other in the order given; the caller bounds how many it has unsettled.
    pub fn send(&self, window: Window) {
        self.mailbox.put(Command::Send(window));
    }

    /// Asks for another producer id; [`Observer::producer_id`] tells it.
    pub fn renew(&self) {
        self.mailbox.put(Command::Renew);
    }

    /// Gives windows back, as [`Outcome::Returned`](crate::kafka::Outcome::Returned): those that are in doubt, which a person
    /// has given up, or else those of which not a byte has left this host. What is on its way at the moment is given back when it
    /// turns out to be unanswered. Says how many events that are, once the task has come round.
    pub fn recall(&self, in_doubt: bool) -> Receiver<u64> {
        let (told, events) = mpsc::sync_channel(1);
        self.mailbox.put(Command::Recall { in_doubt, told });
        events
    }

    /// Whether its task has ended though nobody closed it: a panic. Nothing is sent any more.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.tasks.is_empty() && !self.stop.is_cancelled()
    }

    /// Ends, and completes when nothing will be reported any more. Unsettled windows stay unsettled; those on
    /// their way may still arrive.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
