//! Which topic has a name, where brokers do not agree on that.
//!
//! A topic that is deleted and made anew has another id. A broker that lags behind goes on to tell the id of the one before, perhaps with
//! fewer partitions, and what is in doubt in the newer one would count as gone with it. So an id that was left is not believed,
//! unless nobody says anything else for long: controllers that were restored from a backup know no newer one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// No id, as brokers tell it that know of none.
pub(super) const NONE: [u8; 16] = [0; 16];
/// For so long an id that was left is told on end before it is believed again.
const STAYS: Duration = Duration::from_secs(600);
/// Brokers are asked at least every five minutes while they are reached: a longer silence ends what was told on end.
const GAP: Duration = Duration::from_secs(330);
/// Ids that are remembered of a name.
const MOST: usize = 16;

/// The ids that a topic's name has stood for.
#[derive(Debug, Clone, Default)]
pub(super) struct Name {
    known: [u8; 16],
    /// The newest last.
    left: VecDeque<[u8; 16]>,
    /// One that was left is told.
    old: Option<Old>,
}

/// An id that was left, and is told again.
#[derive(Debug, Clone, Copy)]
struct Old {
    id: [u8; 16],
    since: Instant,
    /// When it was told last.
    last: Instant,
}

impl Old {
    /// What was told before a silence says nothing of what would have been told meanwhile.
    fn goes_on(&self, id: [u8; 16], now: Instant) -> bool {
        self.id == id && now.saturating_duration_since(self.last) <= GAP
    }
}

impl Name {
    /// Whether an id is taken for that of the topic.
    pub(super) fn believes(&self, id: [u8; 16], now: Instant) -> bool {
        let for_long = |old: Old| now.saturating_duration_since(old.since) >= STAYS;
        id == self.known
            || !self.left.contains(&id)
            || self.old.is_some_and(|old| old.goes_on(id, now) && for_long(old))
    }

    /// A broker tells an id. Whether it is taken for that of the topic.
    pub(super) fn hear(&mut self, id: [u8; 16], now: Instant) -> bool {
        if id == NONE {
            return true;
        }
        if !self.believes(id, now) {
            let since = self.old.filter(|old| old.goes_on(id, now)).map_or(now, |old| old.since);
            self.old = Some(Old { id, since, last: now });
            return false;
        }
        self.old = None;
        let before = std::mem::replace(&mut self.known, id);
        if before != id && before != NONE {
            self.left.retain(|left| *left != id && *left != before);
            self.left.push_back(before);
            if self.left.len() > MOST {
                self.left.pop_front();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_was_left_is_believed_only_when_it_is_told_for_ten_minutes_on_end() {
        let (mut name, began) = (Name::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        for id in [1, 2, 3] {
            assert!(name.hear([id; 16], at(0)), "a new one is believed at once");
        }
        for (second, id, believed) in [
            (10, 1, false),
            (400, 1, false),
            (500, 3, true), // which ends it
            (600, 1, false),
            (900, 2, false), // as does this
            (1100, 1, false),
            (1400, 1, false),
            (1699, 1, false),
            (1700, 1, true),
            (1701, 3, false),
            (1702, 1, true),
            (1703, 4, true),
        ] {
            assert_eq!(name.believes([id; 16], at(second)), believed, "{id} after {second} s");
            assert_eq!(name.hear([id; 16], at(second)), believed, "{id} after {second} s");
        }
        assert!(name.hear(NONE, at(1704)) && name.hear([4; 16], at(1705)), "an old broker tells none");
    }

    /// Two answers with an outage between them were believed.
    #[test]
    fn an_id_that_was_left_is_not_told_on_end_where_nobody_was_heard_in_between() {
        let (mut name, began) = (Name::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(name.hear([1; 16], at(0)) && name.hear([2; 16], at(0)));
        for second in [10, 610, 1000, 1330, 1599] {
            assert!(!name.hear([1; 16], at(second)), "after {second} s");
        }
        assert!(name.hear([1; 16], at(1600)), "ten minutes after the last silence");
    }

    #[test]
    fn few_ids_are_remembered() {
        let (mut name, now) = (Name::default(), Instant::now());
        for id in 1..=u8::MAX {
            assert!(name.hear([id; 16], now));
        }
        assert_eq!(name.left.len(), MOST);
        assert!(!name.hear([u8::MAX - 1; 16], now));
    }
}
