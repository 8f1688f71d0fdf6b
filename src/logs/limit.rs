//! At most one line in an interval for what repeats.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one line a key through in each interval and counts what it holds back.
///
/// ```
/// # use std::time::Duration;
/// let limit: spoolway::logs::Limit<String> = spoolway::logs::Limit::new(Duration::from_secs(30));
/// if let Some(suppressed) = limit.pass("home") {
///     tracing::warn!(destination = "home", suppressed, "the cluster does not answer");
/// }
/// ```
///
/// Keys are bounded ([`Limit::MAX_KEYS`]): beyond that, all new ones share one place, so lines become
/// fewer, never more.
#[derive(Debug)]
pub struct Limit<K> {
    interval: Duration,
    keys: Mutex<Keys<K>>,
}

#[derive(Debug)]
struct Keys<K> {
    known: HashMap<K, Place>,
    rest: Place,
}

#[derive(Debug, Default)]
struct Place {
    last: Option<Instant>,
    suppressed: u64,
}

impl<K: Eq + Hash> Limit<K> {
    /// How many keys are told apart.
    pub const MAX_KEYS: usize = 1024;

    /// One line a key and interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, keys: Mutex::new(Keys { known: HashMap::new(), rest: Place::default() }) }
    }

    /// Whether a line of this key may be written now; if so, how many were held back since the last one.
    pub fn pass<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.pass_at(key, Instant::now())
    }

    fn pass_at<Q>(&self, key: &Q, now: Instant) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = &mut *keys;
        if !keys.known.contains_key(key) && keys.known.len() < Self::MAX_KEYS {
            keys.known.insert(key.to_owned(), Place::default());
        }
        keys.known.get_mut(key).unwrap_or(&mut keys.rest).pass(now, self.interval)
    }
}

impl Place {
    fn pass(&mut self, now: Instant, interval: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < interval) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_in_an_interval_and_the_next_says_how_many_were_held_back() {
        let limit: Limit<String> = Limit::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(limit.pass_at("home", at(0)), Some(0));
        assert_eq!(limit.pass_at("home", at(1)), None);
        assert_eq!(limit.pass_at("home", at(9)), None);
        assert_eq!(limit.pass_at("away", at(9)), Some(0));
        assert_eq!(limit.pass_at("home", at(10)), Some(2));
        assert_eq!(limit.pass_at("home", at(20)), Some(0));
    }

    #[test]
    fn keys_are_bounded_and_the_rest_share_one_place() {
        let limit: Limit<String> = Limit::new(Duration::from_secs(10));
        let now = Instant::now();
        for key in 0..Limit::<String>::MAX_KEYS {
            assert_eq!(limit.pass_at(&*key.to_string(), now), Some(0));
        }
        assert_eq!(limit.pass_at("one more", now), Some(0));
        assert_eq!(limit.pass_at("another", now), None);
        assert_eq!(limit.pass_at("0", now), None);
    }
}
