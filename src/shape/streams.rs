//! Which stream names are in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::StreamName;

/// The stream names in use, at most `limit` of them made up by senders.
///
/// A name counts from the first attempt to append under it, so that many first attempts at once can't
/// pass the limit; it is given back when all attempts were refused, so that refused batches use nothing up.
#[derive(Debug)]
pub(super) struct Streams {
    limit: usize,
    /// How many of the names are not made up.
    known: usize,
    names: Mutex<HashMap<StreamName, Use>>,
}

/// How a name is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The spool may hold events of it.
    Kept,
    /// This many first attempts are under way.
    Tried(usize),
}

/// The right to append under a name. Dropped without [`Admission::refused`], the name stays in use: the
/// append may have begun.
#[derive(Debug)]
pub(super) struct Admission {
    streams: Arc<Streams>,
    /// `None` when the name was in use already.
    tried: Option<StreamName>,
}

impl Streams {
    pub(super) fn new(limit: usize, kept: impl IntoIterator<Item = StreamName>) -> Self {
        let names: HashMap<_, _> = kept.into_iter().map(|name| (name, Use::Kept)).collect();
        Self { limit, known: names.len(), names: Mutex::new(names) }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the name is in use for good, so that nothing needs to be checked again.
    pub(super) fn keeps(&self, name: &StreamName) -> bool {
        self.lock().get(name) == Some(&Use::Kept)
    }

    /// Lets one append try under the name; `None` when all names are taken.
    pub(super) fn admit(self: &Arc<Self>, name: &StreamName) -> Option<Admission> {
        let mut names = self.lock();
        let full = names.len().saturating_sub(self.known) >= self.limit;
        let tried = match names.get_mut(name) {
            Some(Use::Kept) => None,
            Some(Use::Tried(count)) => {
                *count = count.saturating_add(1);
                Some(name.clone())
            }
            None if full => return None,
            None => {
                names.insert(name.clone(), Use::Tried(1));
                Some(name.clone())
            }
        };
        Some(Admission { streams: Arc::clone(self), tried })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, Use>> {
        // Every change is a single insert or remove: a panic elsewhere leaves the map whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Nothing was appended: the name is given back if nobody else uses it.
    pub(super) fn refused(mut self) {
        let Some(name) = self.tried.take() else { return };
        let mut names = self.streams.lock();
        match names.get_mut(&name) {
            Some(Use::Tried(count)) if *count > 1 => *count -= 1,
            Some(Use::Tried(_)) => drop(names.remove(&name)),
            Some(Use::Kept) | None => {}
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(name) = self.tried.take() {
            self.streams.lock().insert(name, Use::Kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn names_in_use_are_bounded_and_a_refused_one_is_given_back() {
        let streams = Arc::new(Streams::new(1, [name("disk")]));
        let first = streams.admit(&name("a")).unwrap();
        assert!(streams.admit(&name("b")).is_none());
        first.refused();
        drop(streams.admit(&name("b")).unwrap());
        assert!(streams.keeps(&name("b")));
        assert!(streams.admit(&name("a")).is_none());
        assert!(streams.admit(&name("disk")).is_some());
    }

    #[test]
    fn a_refused_attempt_takes_no_name_from_another_under_way() {
        let streams = Arc::new(Streams::new(1, []));
        let (first, second) = (streams.admit(&name("a")).unwrap(), streams.admit(&name("a")).unwrap());
        first.refused();
        assert!(streams.admit(&name("b")).is_none(), "a is still being tried");
        drop(second);
        assert!(streams.keeps(&name("a")));
    }

    #[test]
    fn a_refusal_after_another_attempt_was_kept_leaves_the_name_in_use() {
        let streams = Arc::new(Streams::new(1, []));
        let (first, second) = (streams.admit(&name("a")).unwrap(), streams.admit(&name("a")).unwrap());
        drop(second);
        first.refused();
        assert!(streams.keeps(&name("a")));
    }
}
