//! Streams that were moved from one lane to another: what is left of them in the old one goes first.
//!
//! Each delivery of a destination answers for its own lane, when another asks: up to where everything of a topic is settled,
//! as its saved positions say. INVARIANT: an answer is never more than what had been saved as settled when it was given. A later process may
//! find less, where readers have become one since and begin further back: what it asks about is settled all the same, so it only waits for
//! that once more. It never finds more, but for what has been settled meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{LaneName, Seq, StreamName, TopicName};
use crate::sabotage::{self, Bug};
use crate::state::homes::History;

/// How far the deliveries of one destination have come, as far as one of them has asked.
#[derive(Debug)]
pub struct Progress {
    lanes: Mutex<BTreeMap<LaneName, BTreeMap<TopicName, Seq>>>,
}

impl Progress {
    /// Nobody has asked yet. `lanes` are those with a delivery to the destination; in others nothing waits for it.
    #[must_use]
    pub fn new(lanes: impl IntoIterator<Item = LaneName>) -> Self {
        Self { lanes: Mutex::new(lanes.into_iter().map(|lane| (lane, BTreeMap::new())).collect()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LaneName, BTreeMap<TopicName, Seq>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything of `topic` in `lane` below a number is known to be settled; asks, if not.
    fn is_settled(&self, lane: &LaneName, topic: &TopicName, below: Seq) -> bool {
        let mut lanes = self.lock();
        let Some(topics) = lanes.get_mut(lane) else { return true };
        match topics.get(topic) {
            Some(settled) => *settled >= below,
            None => {
                topics.insert(topic.clone(), Seq::NONE);
                false
            }
        }
    }
}

/// What a delivery has to know of the other lanes of its destination.
#[derive(Debug, Clone)]
pub struct Crossing {
    /// Its own lane.
    pub lane: LaneName,
    /// Where streams were.
    pub history: Arc<History>,
    /// Shared by the deliveries of the destination.
    pub progress: Arc<Progress>,
}

impl Crossing {
    /// Why the event with this number may not go yet, if so.
    #[must_use]
    pub fn holds(&self, stream: &StreamName, topic: &TopicName, seq: Seq) -> Option<String> {
        let waits = self.history.waits(&self.lane, seq, stream);
        let settled = |(lane, below): &(LaneName, Seq)| self.progress.is_settled(lane, topic, *below);
        let (lane, _) = waits.into_iter().find(|wait| !settled(wait))?;
        if sabotage::commits(Bug::MovedWithoutWaiting) {
            return None;
        }
        Some(format!("events of stream {stream} in lane {lane}, where it was before, go first"))
    }

    /// What to say of the topics that others ask about, if it is not what was said last.
    #[must_use]
    pub fn news(&self, settled_of: impl Fn(&TopicName) -> Seq) -> Option<BTreeMap<TopicName, Seq>> {
        let asked = self.progress.lock().get(&self.lane).cloned().unwrap_or_default();
        // Where all readers have become one, they begin before what was said. That holds all the same: what was let through stays so.
        let settled =
            asked.iter().map(|(topic, said)| (topic.clone(), settled_of(topic).max(*said))).collect();
        (settled != asked).then_some(settled)
    }

    /// Everything of these topics below these numbers is settled, and saved as such.
    pub fn answer(&self, settled: &BTreeMap<TopicName, Seq>) {
        if let Some(topics) = self.progress.lock().get_mut(&self.lane) {
            topics.extend(settled.iter().map(|(topic, below)| (topic.clone(), *below)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Stream;

    fn lane(name: &str) -> LaneName {
        LaneName::new(name).unwrap()
    }

    #[test]
    fn an_event_waits_until_the_other_lane_has_answered_for_its_topic_and_far_enough() {
        let (x, topic) = (StreamName::new("x").unwrap(), TopicName::new("t").unwrap());
        let mut history = History::unknown();
        let moved = Stream { name: "x".to_owned(), lane: lane("fast") };
        history
            .begin(&[moved], [(lane("main"), Seq(11)), (lane("fast"), Seq(1)), (lane("gone"), Seq(9))].into())
            .unwrap();
        let (history, progress) = (Arc::new(history), Arc::new(Progress::new([lane("main"), lane("fast")])));
        let crossing = |name: &str| Crossing {
            lane: lane(name),
            history: Arc::clone(&history),
            progress: Arc::clone(&progress),
        };
        let (main, fast) = (crossing("main"), crossing("fast"));
        assert_eq!(main.news(|_| Seq(10)), None, "nobody has asked");
        assert!(fast.holds(&x, &topic, Seq(1)).unwrap().contains("lane main"), "{fast:?}");
        let news = main.news(|_| Seq(10)).unwrap();
        assert_eq!(news, [(topic.clone(), Seq(10))].into());
        main.answer(&news);
        assert_eq!(main.news(|_| Seq(10)), None, "it has been said");
        assert!(fast.holds(&x, &topic, Seq(1)).is_some());
        // Its readers have become one, further back.
        assert_eq!(main.news(|_| Seq(4)), None, "what was let through was held again");
        main.answer(&[(topic.clone(), Seq(11))].into());
        assert_eq!(fast.holds(&x, &topic, Seq(1)), None, "nothing is delivered to it from lane gone");
        assert_eq!(main.holds(&x, &topic, Seq(10)), None);
    }
}
