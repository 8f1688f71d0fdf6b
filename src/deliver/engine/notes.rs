//! What works, and costs something that a person should know.

use super::super::log::Log;
use super::super::topic::Topic;
use super::super::tracker::{Fate, Tracker};
use super::{Engine, Now, Sink};
use crate::config::model::TimestampPolicy;

/// So many topics are named.
const NAMED: usize = 5;

impl<L: Log, S: Sink> Engine<L, S> {
    /// Where events keep their own times, whether the oldest that waits for a topic is older by now than that keeps.
    pub(super) fn note_overdue(&mut self, now: Now) {
        if self.settings.timestamp != TimestampPolicy::Event {
            return;
        }
        let fronts = self.trackers().filter_map(Tracker::front).filter_map(|entry| match &entry.fate {
            Fate::Topic { topic, .. } => Some((topic.clone(), entry.time)),
            _ => None,
        });
        let unread =
            self.sides.iter().filter(|(_, side)| side.end.is_none() && side.waiting > 0 && side.since > 0);
        let oldest: Vec<_> = fronts.chain(unread.map(|(name, side)| (name.clone(), side.since))).collect();
        for topic in self.topics.values_mut() {
            let limits = topic.limits();
            let mut own = oldest.iter().filter(|(name, _)| *name == topic.name);
            topic.would_expire = own.any(|(_, time)| limits.expires(*time, now.unix));
        }
    }

    /// One sentence each; the same as long as the same holds.
    pub(super) fn notes(&self) -> Vec<String> {
        let unread = |t: &&Topic| self.settings.journal && t.terms.may_read == Some(false);
        let unread = named(self.topics.values().filter(unread)).map(|topics| {
            let cost = if self.settings.holds_in_doubt {
                "is held until it can be (in_doubt = \"hold\")"
            } else {
                "is sent again: it may be there twice then, which is counted (spoolway_events_possibly_doubled_total)"
            };
            format!(
                "reading is not permitted on {topics}: what was in flight when the agent or a broker dies can be told from what \
                 has arrived by the broker's memory alone; where that is gone it can't be looked for, and {cost}; allow READ to \
                 this principal"
            )
        });
        let unnamed = self.producer.is_some_and(|(id, _)| id < 0).then(|| {
            let cost = if self.settings.journal {
                "what is in flight when an answer is lost is looked for in its topic, and sent again if it is not found within \
                 seconds"
            } else {
                "what is in flight when an answer is lost is sent again"
            };
            format!(
                "the cluster gives no producer id (idempotent writing is not permitted, or not offered), so brokers take no care that nothing is there twice: {cost}; it may be there \
                 twice then, which is counted (spoolway_events_possibly_doubled_total); allow IDEMPOTENT_WRITE on the cluster to \
                 this principal"
            )
        });
        let expiring = named(self.topics.values().filter(|t| t.expires)).map(|topics| {
            format!(
                "events with times older than retention.ms are sent to {topics}: Kafka deletes them soon after they come; \
                 timestamp = \"auto\" would send them under the time of sending"
            )
        });
        let waiting = self.topics.values().filter(|t| t.would_expire && !t.expires);
        let waiting = named(waiting).map(|topics| {
            format!(
                "events that wait for {topics} are older than retention.ms by now: as timestamp = \"event\" keeps their times, Kafka \
                 deletes them soon after they come; \"auto\" would send them under the time of sending"
            )
        });
        let clock = self.clock_is_wrong.then(|| {
            "this host's clock says a time before this program was made: events wait until it is set, for two minutes after the start \
             at most"
                .to_owned()
        });
        clock.into_iter().chain(unread).chain(unnamed).chain(expiring).chain(waiting).collect()
    }
}

/// `topics a, b and 7 others`; `None` of none.
fn named<'a>(topics: impl Iterator<Item = &'a Topic>) -> Option<String> {
    let mut names: Vec<&str> = topics.map(|topic| topic.name.as_str()).collect();
    names.sort_unstable();
    let others = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let what = if names.len() == 1 { "topic" } else { "topics" };
    let more = if others > 0 { format!(" and {others} others") } else { String::new() };
    (!names.is_empty()).then(|| format!("{what} {}{more}", names.join(", ")))
}
