//! What the producer tells, kept for the thread that replays.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ids::TopicName;
use crate::kafka::window::LinkState;
use crate::kafka::{Observer, Outcome, TimeLimits, Times, TopicState, Topology};

/// See the module. Bounded by the windows in flight.
#[derive(Default)]
pub(super) struct Outbox {
    news: Mutex<News>,
    bell: Condvar,
}

#[derive(Default)]
struct News {
    outcomes: Vec<(u64, Outcome)>,
    topology: Option<Arc<Topology>>,
    trouble: Option<String>,
}

impl Outbox {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, put: impl FnOnce(&mut News)) {
        put(&mut self.news());
        self.bell.notify_all();
    }

    pub(super) fn take(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.news().outcomes)
    }

    /// What the cluster said last of a topic, once it has said all.
    pub(super) fn topic(&self, name: &TopicName) -> Option<(TopicState, TimeLimits)> {
        let news = self.news();
        let topology = news.topology.as_ref()?;
        let state = topology.topics.get(name)?.clone();
        match topology.terms.get(name).map(|terms| terms.times) {
            Some(Times::Awaited) => None,
            Some(Times::Known(limits)) => Some((state, limits)),
            Some(Times::Unknown) | None => Some((state, TimeLimits::default())),
        }
    }

    /// The last thing that went wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        self.news().trouble.clone()
    }

    /// Waits until an outcome is there, or for a while.
    pub(super) fn wait(&self, limit: Duration) {
        let news = self.news();
        if news.outcomes.is_empty() {
            // Whatever woke it, the caller looks again.
            drop(self.bell.wait_timeout(news, limit).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Observer for Outbox {
    fn settled(&self, window: u64, outcome: Outcome) {
        self.tell(|news| news.outcomes.push((window, outcome)));
    }

    fn topology(&self, topology: Arc<Topology>) {
        self.tell(|news| news.topology = Some(topology));
    }

    fn link(&self, state: LinkState) {
        let trouble = state.error.map(|error| format!("{}; {}", error.message, error.hint));
        self.tell(|news| {
            if state.up || trouble.is_some() {
                news.trouble = trouble;
            }
        });
    }
}
