//! `max_rate`: bytes of requests with events, all brokers of a destination together.
//!
//! A bucket that may be overdrawn: a request goes out whole, and the next one waits for as long as this one's bytes take at
//! the rate. So over any time, no more is sent than the rate allows and one request; and what waits, waits where it
//! waits anyhow: nothing is buffered for it.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes a second; `None` is no limit.
    limit: Option<u64>,
    free_at: Instant,
}

impl Rate {
    pub(super) const fn new(limit: Option<u64>, now: Instant) -> Self {
        Self { limit, free_at: now }
    }

    /// Until when nothing is to be sent.
    pub(super) fn blocked(&self, now: Instant) -> Option<Instant> {
        (self.free_at > now).then_some(self.free_at)
    }

    /// Most that one request should have, so that those that wait take turns: a second's worth.
    pub(super) fn most(&self, most: usize) -> usize {
        self.limit.map_or(most, |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(most))
    }

    /// A request is sent.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        let Some(limit) = self.limit else { return };
        let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(limit.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now) + time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_more_is_sent_than_the_rate_allows_and_one_request(
            limit in 1024u64..10_000_000,
            requests in prop::collection::vec((1usize..1_000_000, 0u64..2_000), 1..50),
        ) {
            let start = Instant::now();
            let (mut rate, mut now) = (Rate::new(Some(limit), start), start);
            let (mut sent, mut largest) = (0u64, 0);
            for (bytes, idle) in requests {
                now += Duration::from_millis(idle);
                now = rate.blocked(now).unwrap_or(now);
                rate.spend(bytes, now);
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
        let mut free = Rate::new(None, now);
        free.spend(usize::MAX, now);
        assert_eq!((free.blocked(now), free.most(7)), (None, 7));
        let mut limited = Rate::new(Some(1000), now);
        let later = now + Duration::from_secs(3600);
        limited.spend(500, later);
        assert_eq!(limited.blocked(later), Some(later + Duration::from_millis(500)));
        assert_eq!(limited.most(5000), 1000);
    }
}
