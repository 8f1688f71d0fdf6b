//! The proof: what the ledger says was accepted, against what the topic holds.
//!
//! Pure. It trusts nothing of the agent: events are known by what stands in them, in the order of the
//! partitions' offsets.

use std::collections::HashMap;

use super::ledger::Entry;

/// One record as it was read back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
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
    /// Events whose first copy stands behind a later one of the same sender.
    pub reordered: u64,
    /// Events that the topic holds although no acknowledgement of them came back.
    pub unacknowledged: u64,
}

impl Sums {
    /// Whether the relay kept its promises.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.missing == 0 && self.reordered == 0 && self.doubled == 0 && self.accepted > 0
    }
}

/// Takes in the topic, partition by partition in the order of offsets.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// How often each event was seen, by sender and number.
    events: HashMap<(u32, u32), u64>,
    newest: HashMap<u32, u32>,
    reordered: u64,
}

impl Proof {
    pub(super) fn see(&mut self, found: Found) {
        let copies = self.events.entry((found.sender, found.n)).or_default();
        *copies += 1;
        if *copies == 1 {
            let newest = self.newest.entry(found.sender).or_default();
            self.reordered += u64::from(found.n < *newest);
            *newest = (*newest).max(found.n);
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
        sums.doubled = self.events.values().map(|copies| copies - 1).sum();
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(n: u32) -> Found {
        Found { sender: 1, n }
    }

    fn judge(topic: &[Found], acknowledged: u32) -> Sums {
        let mut proof = Proof::default();
        topic.iter().for_each(|f| proof.see(*f));
        let ledger = [Entry { sender: 1, first: 0, last: acknowledged - 1 }];
        proof.sums(&ledger)
    }

    #[test]
    fn everything_once_and_in_order_is_proven() {
        let topic: Vec<_> = (0..10).map(found).collect();
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
        let sums = judge(&[found(0), found(2)], 3);
        assert_eq!((sums.missing, sums.is_proven()), (1, false));
    }

    #[test]
    fn an_unacknowledged_event_is_no_fault() {
        let sums = judge(&[found(0), found(1)], 1);
        assert_eq!((sums.unacknowledged, sums.is_proven()), (1, true));
    }

    #[test]
    fn a_second_copy_is_doubled_and_not_reordered() {
        let sums = judge(&[found(0), found(1), found(1), found(2)], 3);
        assert_eq!((sums.doubled, sums.reordered, sums.is_proven()), (1, 0, false));
    }

    #[test]
    fn an_overtaken_event_is_reordered() {
        let sums = judge(&[found(1), found(0)], 2);
        assert_eq!((sums.reordered, sums.is_proven()), (1, false));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_away_is_found_missing(
            gone in proptest::collection::hash_set(0u32..200, 0..50),
        ) {
            let topic: Vec<_> = (0..200).filter(|n| !gone.contains(n)).map(found).collect();
            let sums = judge(&topic, 200);
            prop_assert_eq!(sums.missing, gone.len() as u64);
            prop_assert_eq!(sums.is_proven(), gone.is_empty());
        }
    }
}
