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
    by: Mutex<BTreeMap<DestinationName, Seq>>,
}

impl Needs {
    /// What all destinations of the lane need, before any of them has begun.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = (DestinationName, Seq)>) -> Self {
        Self { by: Mutex::new(all.into_iter().collect()) }
    }

    /// `destination` needs everything from `from` on. Returns what all of them need.
    pub fn update(&self, destination: &DestinationName, from: Seq) -> Option<Seq> {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.insert(destination.clone(), from);
        by.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_destination_decides() {
        let (a, b) = (DestinationName::new("a").unwrap(), DestinationName::new("b").unwrap());
        let needs = Needs::new([(a.clone(), Seq(1)), (b.clone(), Seq(3))]);
        assert_eq!(needs.update(&b, Seq(9)), Some(Seq(1)), "one that has not begun holds back the others");
        assert_eq!(needs.update(&a, Seq(20)), Some(Seq(9)));
    }
}
