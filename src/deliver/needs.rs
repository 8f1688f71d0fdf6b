//! What of a lane is still needed by whom: segments nobody needs are deleted.
//!
//! DURABILITY: a destination says that it needs less only after its positions were synced. Then the log
//! is released, which deletes and syncs the directory. In the other order a power cut could leave a
//! position that names deleted events.
//!
//! INVARIANT: every destination of the lane is known from the start. One that is added after another has
//! begun to say what it needs would find deleted what it still needs itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::ids::{DestinationName, Seq};

/// The lowest event each destination of a lane needs.
#[derive(Debug)]
pub struct Needs {
    by: Mutex<BTreeMap<DestinationName, Need>>,
}

/// What one destination needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Everything from here on.
    pub from: Seq,
    /// Segments wait for it even when the lane is full.
    pub required: bool,
}

/// What may become of the oldest segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Nobody needs anything below this.
    pub by_all: Seq,
    /// Nobody whom segments have to wait for needs anything below this.
    pub by_required: Seq,
}

impl Needs {
    /// What all destinations of the lane need, before any of them has begun.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = (DestinationName, Need)>) -> Self {
        Self { by: Mutex::new(all.into_iter().collect()) }
    }

    /// `destination` needs everything from `from` on. Returns what all of them need.
    pub fn update(&self, destination: &DestinationName, from: Seq) -> Option<Needed> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.entry(destination.clone()).or_insert(Need { from, required: true }).from = from;
        needed(&by)
    }

    /// Whether something is kept for `destination`.
    #[must_use]
    pub fn has(&self, destination: &DestinationName) -> bool {
        self.by.lock().unwrap_or_else(PoisonError::into_inner).contains_key(destination)
    }

    /// Nothing is kept for `destination` any more. `None`: nothing was, or nobody is left.
    pub fn forget(&self, destination: &DestinationName) -> Option<Needed> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.remove(destination)?;
        needed(&by)
    }
}

fn needed(by: &BTreeMap<DestinationName, Need>) -> Option<Needed> {
    let by_all = by.values().map(|need| need.from).min()?;
    let required = by.values().filter(|need| need.required).map(|need| need.from).min();
    Some(Needed { by_all, by_required: required.unwrap_or(Seq(u64::MAX)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> DestinationName {
        DestinationName::new(name).unwrap()
    }

    fn need(from: u64, required: bool) -> Need {
        Need { from: Seq(from), required }
    }

    #[test]
    fn the_slowest_destination_decides() {
        let (a, b) = (name("a"), name("b"));
        let needs = Needs::new([(a.clone(), need(1, true)), (b.clone(), need(3, true))]);
        let all = |needed: Option<Needed>| needed.unwrap().by_all;
        assert_eq!(all(needs.update(&b, Seq(9))), Seq(1), "one that has not begun holds back the others");
        assert_eq!(all(needs.update(&a, Seq(20))), Seq(9));
        assert_eq!(all(needs.forget(&b)), Seq(20));
        assert_eq!(needs.forget(&b), None);
    }

    #[test]
    fn in_need_the_slowest_that_is_required_decides() {
        let b = name("b");
        let needs = Needs::new([(name("a"), need(1, false)), (b.clone(), need(3, true))]);
        let needed = needs.update(&b, Seq(9)).unwrap();
        assert_eq!((needed.by_all, needed.by_required), (Seq(1), Seq(9)));
        let needed = needs.forget(&b).unwrap();
        assert_eq!((needed.by_all, needed.by_required), (Seq(1), Seq(u64::MAX)));
    }
}
