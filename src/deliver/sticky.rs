//! Where events without a key go: one partition a window, then another (KIP-480, KIP-794).
//!
//! Events that are read again, because a window was taken back or a process was killed, go where nothing later than they has
//! gone, so that those without a key keep their order in a partition too, as long as one that can keep it takes events.

/// Chooses partitions for events without a key.
#[derive(Debug, Clone)]
pub struct Sticky {
    current: Option<i32>,
    random: u64,
}

/// What the choice is made from: one a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub partition: i32,
    /// Whether it takes events, as far as is known: it has a leader, which did not refuse the last window and does not keep
    /// one waiting.
    pub available: bool,
    /// Whether what is to be sent would come behind something later there.
    pub out_of_order: bool,
    /// Bytes that wait for it or are in flight to it.
    pub load: usize,
}

impl Sticky {
    /// A chooser whose choices follow from `seed` and the candidates.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { current: None, random: seed | 1 }
    }

    /// The partition events go to now, if one is chosen.
    #[must_use]
    pub fn current(&self) -> Option<i32> {
        self.current
    }

    /// The window was closed: the next event chooses anew.
    pub fn forget(&mut self) {
        self.current = None;
    }

    /// Chooses among the least loaded partitions: of those that take events (of all, if none does) those that keep the order,
    /// if there are any.
    pub fn choose(&mut self, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<i32> {
        let rank = |c: &Candidate| (c.available, !c.out_of_order);
        let best = candidates.clone().map(|c| rank(&c)).max()?;
        let eligible = candidates.filter(|c| rank(c) == best);
        let least = eligible.clone().map(|c| c.load).min()?;
        let best = eligible.filter(|c| c.load == least);
        let count = best.clone().count();
        let pick = usize::try_from(self.next_random() % (count.max(1) as u64)).unwrap_or(0);
        self.current = best.map(|c| c.partition).nth(pick);
        self.current
    }

    /// xorshift64: spreads load, protects nothing.
    fn next_random(&mut self) -> u64 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x;
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(loads: &[(bool, usize)]) -> Vec<Candidate> {
        let candidate =
            |(partition, &(available, load))| Candidate { partition, available, out_of_order: false, load };
        (0..).zip(loads).map(candidate).collect()
    }

    #[test]
    fn the_order_is_kept_where_a_partition_that_takes_events_can_keep_it() {
        let choose = |list: [(bool, bool, usize); 3]| {
            let candidate = |(partition, (available, out_of_order, load))| Candidate {
                partition,
                available,
                out_of_order,
                load,
            };
            Sticky::new(1).choose((0..).zip(list).map(candidate))
        };
        assert_eq!(choose([(true, true, 0), (true, false, 9), (true, true, 0)]), Some(1));
        assert_eq!(choose([(true, true, 5), (false, false, 0), (true, true, 3)]), Some(2));
        assert_eq!(choose([(false, true, 0), (false, false, 9), (false, true, 0)]), Some(1));
    }

    #[test]
    fn the_least_loaded_partition_with_a_leader_is_chosen() {
        let list = candidates(&[(true, 9), (false, 0), (true, 3)]);
        assert_eq!(Sticky::new(1).choose(list.into_iter()), Some(2));
    }

    #[test]
    fn without_any_leader_some_partition_is_chosen() {
        assert!(Sticky::new(1).choose(candidates(&[(false, 0), (false, 0)]).into_iter()).is_some());
        assert_eq!(Sticky::new(1).choose(std::iter::empty()), None);
    }

    #[test]
    fn equal_partitions_are_all_used() {
        let list = candidates(&[(true, 0); 6]);
        let mut sticky = Sticky::new(42);
        let used: std::collections::HashSet<_> =
            (0..200).map(|_| sticky.choose(list.clone().into_iter())).collect();
        assert_eq!(used.len(), 6);
    }
}
