//! When to ask which time stamps topics take: a pure schedule.
//!
//! Every topic is asked about as soon as it is there, and its windows wait for that; then now and then, and when it has
//! refused a time stamp. What can't be told is asked again seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::TopicName;

/// What is known is asked again after this.
const PERIOD: Duration = Duration::from_secs(300);
/// What is not permitted or not known, after this: brokers write refusals to their logs.
const SELDOM: Duration = Duration::from_secs(3600);
/// However often a topic refuses time stamps.
const GAP: Duration = Duration::from_secs(10);
/// So many times nothing comes of asking before windows wait for it no longer.
const TRIES: u32 = 3;
/// Between them.
const AGAIN: Duration = Duration::from_millis(500);
/// Topics in one request.
pub(super) const AT_A_TIME: usize = 100;

/// The schedule of a destination.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// Whether time stamps depend on it.
    wanted: bool,
    topics: BTreeMap<TopicName, Asked>,
    /// A request is on its way.
    pub(super) asking: bool,
    /// That topics can't be asked about was said.
    pub(super) said: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    due: Instant,
    earliest: Instant,
    failures: u32,
}

impl Inquiry {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, topics: BTreeMap::new(), asking: false, said: false }
    }

    /// A topic is there; `may`: its configuration may be read. Whether its windows wait for the answer.
    pub(super) fn meet(&mut self, topic: &TopicName, may: bool, now: Instant) -> bool {
        if !self.wanted {
            return false;
        }
        let first = Asked { due: if may { now } else { now + SELDOM }, earliest: now, failures: 0 };
        let known = self.topics.contains_key(topic);
        self.topics.entry(topic.clone()).or_insert(first);
        may && !known
    }

    /// A topic is gone: another of its name is asked about anew.
    pub(super) fn forget(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
    }

    /// The topics to ask about now.
    pub(super) fn due(&self, now: Instant) -> Vec<TopicName> {
        let due = self.topics.iter().filter(|(_, asked)| asked.due <= now);
        due.map(|(topic, _)| topic.clone()).take(AT_A_TIME).collect()
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.topics.values().map(|asked| asked.due).min().filter(|_| !self.asking)
    }

    /// A topic has refused a time stamp.
    pub(super) fn want_by_name(&mut self, topic: &str, now: Instant) {
        if let Some(asked) = self.topics.get_mut(topic) {
            asked.due = asked.due.min(asked.earliest.max(now));
        }
    }

    /// An answer has come. `told`: it was of use.
    pub(super) fn answered(&mut self, topic: &TopicName, told: bool, now: Instant) {
        if let Some(asked) = self.topics.get_mut(topic) {
            let wait = if told { PERIOD } else { SELDOM };
            *asked = Asked { due: now + wait, earliest: now + GAP, failures: 0 };
        }
    }

    /// None has come. Whether it is waited for no longer.
    pub(super) fn failed(&mut self, topic: &TopicName, now: Instant) -> bool {
        let Some(asked) = self.topics.get_mut(topic) else { return false };
        asked.failures += 1;
        let over = asked.failures >= TRIES;
        asked.due = now + if over { PERIOD } else { AGAIN };
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_asked_about_at_once_then_seldom_and_sooner_when_it_refuses() {
        let (t, now) = (TopicName::new("t").unwrap(), Instant::now());
        let mut inquiry = Inquiry::new(true);
        assert!(inquiry.meet(&t, true, now) && !inquiry.meet(&t, true, now));
        assert_eq!(inquiry.due(now), std::slice::from_ref(&t));
        inquiry.answered(&t, true, now);
        assert_eq!(inquiry.next(), Some(now + PERIOD));
        inquiry.want_by_name("t", now);
        assert_eq!(inquiry.next(), Some(now + GAP), "however often it refuses");
        inquiry.answered(&t, false, now + GAP);
        assert_eq!(inquiry.next(), Some(now + GAP + SELDOM));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_answered_is_not_waited_for_and_asked_again_later() {
        let (t, now) = (TopicName::new("t").unwrap(), Instant::now());
        let mut inquiry = Inquiry::new(true);
        inquiry.meet(&t, true, now);
        assert!(!inquiry.failed(&t, now) && !inquiry.failed(&t, now));
        assert_eq!(inquiry.next(), Some(now + AGAIN));
        assert!(inquiry.failed(&t, now));
        assert_eq!(inquiry.next(), Some(now + PERIOD));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_read_or_does_not_matter_is_not_waited_for() {
        let (t, now) = (TopicName::new("t").unwrap(), Instant::now());
        let mut inquiry = Inquiry::new(true);
        assert!(!inquiry.meet(&t, false, now));
        assert_eq!(inquiry.next(), Some(now + SELDOM));
        let mut inquiry = Inquiry::new(false);
        assert!(!inquiry.meet(&t, true, now));
        assert_eq!(inquiry.next(), None);
    }
}
