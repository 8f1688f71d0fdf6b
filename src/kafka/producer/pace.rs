//! `max_rate`: bytes of requests with events, all brokers of a destination and all lanes together.
//!
//! A bucket that may be overdrawn: a request goes out whole, and the next one waits for as long as this one's bytes take at
//! the rate. So over any time, no more is sent than the rate allows and one request; and what waits, waits where it
//! waits anyhow: nothing is buffered for it. Of the lanes that wait, one that goes first has the next request, and otherwise
//! the one that was served longest ago.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One that has waited for its turn and does not take it keeps the others waiting this long.
const GRACE: Duration = Duration::from_millis(20);

/// What the lanes of a destination have together.
#[derive(Debug, Clone)]
pub struct SharedPace(Option<Arc<Mutex<Bucket>>>);

impl SharedPace {
    /// Bytes a second; `None` is no limit.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        let bucket = limit.map(|limit| Bucket { limit, free_at: None, turns: 0, parties: BTreeMap::new() });
        Self(bucket.map(|bucket| Arc::new(Mutex::new(bucket))))
    }

    /// For one more lane, which may go before those that do not go first.
    #[must_use]
    pub fn join(&self, first: bool) -> Pace {
        let joined = self.0.as_ref().map(|shared| {
            let mut bucket = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let me = bucket.parties.last_key_value().map_or(0, |(last, _)| last + 1);
            bucket.parties.insert(me, Party { first, served: 0, waits_until: None });
            (Arc::clone(shared), me)
        });
        Pace(joined)
    }
}

/// A lane's share of the rate.
#[derive(Debug)]
pub struct Pace(Option<(Arc<Mutex<Bucket>>, u64)>);

#[derive(Debug)]
struct Bucket {
    limit: u64,
    free_at: Option<Instant>,
    turns: u64,
    parties: BTreeMap<u64, Party>,
}

#[derive(Debug, Clone, Copy)]
struct Party {
    first: bool,
    /// Its last turn.
    served: u64,
    /// It has something to send, and should do so by then.
    waits_until: Option<Instant>,
}

impl Party {
    fn goes_before(&self, other: &Self) -> bool {
        (!self.first, self.served) < (!other.first, other.served)
    }
}

impl Pace {
    /// Until when this lane, which has something to send, is not to send it.
    pub(super) fn blocked(&self, now: Instant) -> Option<Instant> {
        let (shared, me) = self.0.as_ref()?;
        let mut bucket = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let own = *bucket.parties.get(me)?;
        let before = bucket.parties.iter().filter(|(id, party)| *id != me && party.goes_before(&own));
        let until = match bucket.free_at.filter(|at| *at > now) {
            Some(at) => Some(at),
            None => before.filter_map(|(_, party)| party.waits_until).filter(|until| *until > now).max(),
        };
        if let Some(party) = bucket.parties.get_mut(me) {
            party.waits_until = until.map(|at| at + GRACE);
        }
        until
    }

    /// Most that one request should have, so that those that wait take turns: a second's worth.
    pub(super) fn most(&self, most: usize) -> usize {
        let limit = self.0.as_ref().map(|(b, _)| b.lock().unwrap_or_else(PoisonError::into_inner).limit);
        limit.map_or(most, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(most))
    }

    /// A request is sent.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        let Some((shared, me)) = self.0.as_ref() else { return };
        let mut bucket = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(bucket.limit.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        bucket.free_at = Some(bucket.free_at.map_or(now, |at| at.max(now)) + time);
        bucket.turns += 1;
        let served = bucket.turns;
        if let Some(party) = bucket.parties.get_mut(me) {
            (party.served, party.waits_until) = (served, None);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        if let Some((shared, me)) = &self.0 {
            shared.lock().unwrap_or_else(PoisonError::into_inner).parties.remove(me);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_is_sent_than_the_rate_allows_and_one_request_by_all_lanes_together(
            limit in 1024u64..10_000_000,
            lanes in 1usize..4,
            requests in prop::collection::vec((1usize..1_000_000, 0u64..2_000, 0usize..4), 1..50),
        ) {
            let shared = SharedPace::new(Some(limit));
            let mut paces: Vec<Pace> = (0..lanes).map(|lane| shared.join(lane == 0)).collect();
            let start = Instant::now();
            let (mut now, mut sent, mut largest) = (start, 0u64, 0);
            for (bytes, idle, lane) in requests {
                now += Duration::from_millis(idle);
                let pace = &mut paces[lane % lanes];
                while let Some(until) = pace.blocked(now) {
                    prop_assert!(until > now);
                    now = until;
                }
                pace.spend(bytes, now);
                sent += bytes as u64;
                largest = largest.max(bytes as u64);
                let allowed = now.duration_since(start).as_secs_f64() * limit as f64 + largest as f64;
                prop_assert!(sent as f64 <= allowed + 1.0, "{sent} of {allowed}");
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_waits_and_an_idle_time_saves_nothing_up() {
        let now = Instant::now();
        let mut free = SharedPace::new(None).join(false);
        free.spend(usize::MAX, now);
        assert_eq!((free.blocked(now), free.most(7)), (None, 7));
        let mut limited = SharedPace::new(Some(1000)).join(false);
        let later = now + Duration::from_secs(3600);
        limited.spend(500, later);
        assert_eq!(limited.blocked(later), Some(later + Duration::from_millis(500)));
        assert_eq!(limited.most(5000), 1000);
    }

    /// Lanes that always have a request of a second's worth, for so many turns; how many each had.
    fn turns(firsts: &[bool], turns: usize) -> Vec<usize> {
        let shared = SharedPace::new(Some(1000));
        let mut paces: Vec<Pace> = firsts.iter().map(|first| shared.join(*first)).collect();
        let (mut now, mut had) = (Instant::now(), vec![0; firsts.len()]);
        for _ in 0..turns {
            // All wake at the same moment, and ask in the same order.
            let until = loop {
                let blocked: Vec<_> = paces.iter().map(|pace| pace.blocked(now)).collect();
                match blocked.iter().position(Option::is_none) {
                    Some(free) => break free,
                    None => now = blocked.into_iter().flatten().min().unwrap(),
                }
            };
            paces[until].spend(1000, now);
            had[until] += 1;
        }
        had
    }

    #[test]
    fn lanes_that_wait_take_turns_and_one_that_goes_first_has_them_all() {
        assert_eq!(turns(&[false, false, false], 30), [10, 10, 10]);
        let had = turns(&[false, true, false], 30);
        assert!(had[1] >= 29, "but for the first turn, when nobody waited: {had:?}");
        assert_eq!(turns(&[true, true, false], 31).iter().take(2).filter(|n| **n >= 15).count(), 2);
    }

    #[test]
    fn one_that_goes_first_and_has_nothing_to_send_keeps_nobody_waiting() {
        let shared = SharedPace::new(Some(1000));
        let (mut first, mut other) = (shared.join(true), shared.join(false));
        let now = Instant::now();
        first.spend(1000, now);
        let second = now + Duration::from_secs(1);
        assert_eq!(other.blocked(now), Some(second));
        assert_eq!(other.blocked(second), None);
        // It has waited, and lost its connection meanwhile.
        other.spend(1000, second);
        assert!(first.blocked(second).is_some());
        let third = second + Duration::from_secs(1);
        assert_eq!(other.blocked(third), Some(third + GRACE));
        assert_eq!(other.blocked(third + GRACE), None);
        // It is gone.
        assert!(first.blocked(second).is_some());
        drop(first);
        assert_eq!(other.blocked(third), None);
    }
}
