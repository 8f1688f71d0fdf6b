//! Where the events of a stream go.

use crate::ids::{Seq, TopicName};
use crate::state::routes::Share;

/// By the routes as they are; and where these take the stream nowhere any more, by those under which its events were
/// accepted, so that a change of routes gives nothing up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// By the routes as they are.
    pub now: Option<TopicName>,
    /// By earlier ones, the newest first: events below each number.
    pub before: Vec<(Seq, TopicName)>,
    /// Which events are this destination's, and which of them were another's before.
    pub share: Share,
}

impl Ways {
    /// Those of a stream that goes nowhere.
    pub const NOWHERE: Self = Self {
        now: None,
        before: Vec::new(),
        share: Share { own: None, given: Vec::new(), gave: Vec::new() },
    };

    /// Nowhere but there.
    #[cfg(test)]
    #[must_use]
    pub fn to(topic: Option<TopicName>) -> Self {
        Self { now: topic, ..Self::default() }
    }

    /// The topic of an event, if it is this destination's.
    #[must_use]
    pub fn of(&self, seq: Seq) -> Option<&TopicName> {
        self.anyway(seq).filter(|_| self.share.has(seq))
    }

    /// The topic of an event that is known to be this destination's.
    #[must_use]
    pub fn anyway(&self, seq: Seq) -> Option<&TopicName> {
        let before = || self.before.iter().find(|(until, _)| seq < *until).map(|(_, topic)| topic);
        self.now.as_ref().or_else(before)
    }

    /// Whether some event of the stream may go to a topic. In one process all go to one: to the newest.
    #[must_use]
    pub fn lead_to(&self, topic: &TopicName) -> bool {
        self.anyway(Seq(0)) == Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_before_a_route_was_taken_away_goes_the_way_it_had_then() {
        let topic = |name| TopicName::new(name).unwrap();
        let before = vec![(Seq(20), topic("b")), (Seq(10), topic("a"))];
        let mut ways = Ways { before, ..Ways::default() };
        assert_eq!(ways.of(Seq(5)), Some(&topic("b")), "the newest that knows of it");
        assert_eq!(ways.of(Seq(19)), Some(&topic("b")));
        assert_eq!(ways.of(Seq(20)), None);
        ways.now = Some(topic("c"));
        assert_eq!(
            ways.of(Seq(5)),
            Some(&topic("c")),
            "as long as it goes there at all, it goes as it does now"
        );
        assert!(ways.lead_to(&topic("c")) && !ways.lead_to(&topic("a")));
    }
}
