//! The proof: what the ledger says was accepted, against what the topic holds.
//!
//! Pure. It trusts nothing of the agent: events are known by what stands in them, in the order of the
//! partitions' offsets. Only to *explain* a double does it look at the producer id of its batch: a relay
//! that is killed may send again the last window it sent to each partition, and nothing else. A double
//! within one life, or of an older window, is never right.

use std::collections::HashMap;

use super::ledger::Entry;

/// One record as it was read back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) partition: i32,
    pub(super) producer: i64,
    /// Base offset of its batch.
    pub(super) batch: i64,
    pub(super) sender: u32,
    pub(super) n: u32,
}

/// The sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// Events that were acknowledged to their sender, as the ledger says.
    pub accepted: u64,
    /// Of these, how many the topic holds.
    pub delivered: u64,
    /// Of these, how many it does not hold.
    pub missing: u64,
    /// Copies beyond the first.
    pub doubled: u64,
    /// Of these, copies that were not in flight when the agent was killed: never right.
    pub doubled_wrongly: u64,
    /// Events whose first copy stands behind a later one of the same sender.
    pub reordered: u64,
    /// Events that the topic holds although no acknowledgement of them came back.
    pub unacknowledged: u64,
}

impl Sums {
    /// Whether the relay kept its promises.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.missing == 0 && self.reordered == 0 && self.doubled_wrongly == 0 && self.accepted > 0
    }
}

/// Where the first copy of an event stands.
#[derive(Debug, Clone, Copy)]
struct First {
    partition: i32,
    producer: i64,
    batch: i64,
    copies: u32,
    copied_by_another: bool,
}

/// Takes in the topic, partition by partition in the order of offsets.
#[derive(Debug, Default)]
pub(super) struct Proof {
    events: HashMap<(u32, u32), First>,
    newest: HashMap<u32, u32>,
    last_batch: HashMap<(i32, i64), i64>,
    reordered: u64,
}

impl Proof {
    pub(super) fn see(&mut self, found: Found) {
        self.last_batch.insert((found.partition, found.producer), found.batch);
        match self.events.entry((found.sender, found.n)) {
            std::collections::hash_map::Entry::Occupied(mut event) => {
                let first = event.get_mut();
                first.copied_by_another |= first.producer != found.producer;
                first.copies += 1;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(First {
                    partition: found.partition,
                    producer: found.producer,
                    batch: found.batch,
                    copies: 1,
                    copied_by_another: false,
                });
                let newest = self.newest.entry(found.sender).or_default();
                self.reordered += u64::from(found.n < *newest);
                *newest = (*newest).max(found.n);
            }
        }
    }

    /// Compares with the ledger.
    pub(super) fn sums(&self, ledger: &[Entry]) -> Sums {
        let acknowledged = |e: &Entry| (e.first..=e.last).map(|n| (e.sender, n)).collect::<Vec<_>>();
        let mut sums = Sums { reordered: self.reordered, ..Sums::default() };
        for event in ledger.iter().flat_map(acknowledged) {
            sums.accepted += 1;
            sums.delivered += u64::from(self.events.contains_key(&event));
        }
        sums.missing = sums.accepted - sums.delivered;
        sums.unacknowledged = (self.events.len() as u64).saturating_sub(sums.delivered);
        for first in self.events.values().filter(|f| f.copies > 1) {
            let copies = u64::from(first.copies - 1);
            sums.doubled += copies;
            sums.doubled_wrongly += if self.was_in_flight(first) { 0 } else { copies };
        }
        sums
    }

    fn was_in_flight(&self, first: &First) -> bool {
        let last = self.last_batch.get(&(first.partition, first.producer));
        first.copied_by_another && last == Some(&first.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(producer: i64, batch: i64, n: u32) -> Found {
        Found { partition: 0, producer, batch, sender: 1, n }
    }

    fn judge(topic: &[Found], acknowledged: u32) -> Sums {
        let mut proof = Proof::default();
        topic.iter().for_each(|f| proof.see(*f));
        let ledger = [Entry { sender: 1, first: 0, last: acknowledged - 1 }];
        proof.sums(&ledger)
    }

    #[test]
    fn everything_once_and_in_order_is_proven() {
        let topic: Vec<_> = (0..10).map(|n| found(1, 0, n)).collect();
        let sums = judge(&topic, 10);
        assert_eq!(sums, Sums { accepted: 10, delivered: 10, ..Sums::default() });
        assert!(sums.is_proven());
    }

    #[test]
    fn nothing_proves_nothing() {
        assert!(!Proof::default().sums(&[]).is_proven());
    }

    #[test]
    fn an_accepted_event_that_is_not_there_is_missing() {
        let sums = judge(&[found(1, 0, 0), found(1, 0, 2)], 3);
        assert_eq!((sums.missing, sums.is_proven()), (1, false));
    }

    #[test]
    fn an_unacknowledged_event_is_no_fault() {
        let sums = judge(&[found(1, 0, 0), found(1, 0, 1)], 1);
        assert_eq!((sums.unacknowledged, sums.is_proven()), (1, true));
    }

    #[test]
    fn the_last_window_of_a_killed_agent_may_come_twice() {
        let topic = [found(1, 0, 0), found(1, 1, 1), found(2, 2, 1), found(2, 3, 2)];
        let sums = judge(&topic, 3);
        assert_eq!((sums.doubled, sums.doubled_wrongly, sums.reordered), (1, 0, 0));
        assert!(sums.is_proven());
    }

    #[test]
    fn an_older_window_or_a_double_within_one_life_is_wrong() {
        let older = [found(1, 0, 0), found(1, 1, 1), found(2, 2, 0), found(2, 3, 1)];
        assert_eq!(judge(&older, 2).doubled_wrongly, 1);
        let same_life = [found(1, 0, 0), found(1, 1, 0)];
        assert_eq!(judge(&same_life, 1).doubled_wrongly, 1);
        assert!(!judge(&same_life, 1).is_proven());
    }

    #[test]
    fn an_overtaken_event_is_reordered() {
        let sums = judge(&[found(1, 0, 1), found(1, 0, 0)], 2);
        assert_eq!((sums.reordered, sums.is_proven()), (1, false));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_away_is_found_missing(
            gone in proptest::collection::hash_set(0u32..200, 0..50),
        ) {
            let topic: Vec<_> = (0..200).filter(|n| !gone.contains(n)).map(|n| found(1, 0, n)).collect();
            let sums = judge(&topic, 200);
            prop_assert_eq!(sums.missing, gone.len() as u64);
            prop_assert_eq!(sums.is_proven(), gone.is_empty());
        }
    }
}
