//! Where events without a key go: one partition a window, then another (KIP-480, KIP-794).

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
    /// Whether it has a leader.
    pub available: bool,
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

    /// Chooses among the least loaded partitions that have a leader (or among all if none has one).
    pub fn choose(&mut self, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<i32> {
        let any_available = candidates.clone().any(|c| c.available);
        let eligible = candidates.filter(|c| c.available || !any_available);
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
        (0..)
            .zip(loads)
            .map(|(partition, &(available, load))| Candidate { partition, available, load })
            .collect()
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
