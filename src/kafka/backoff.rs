//! How long to wait before trying again: exponential, jittered, never above 10 s; a minute where only a person can help.

use std::time::Duration;

/// First delay, before jitter.
pub const FIRST: Duration = Duration::from_millis(50);
/// No delay is longer.
pub const LONGEST: Duration = Duration::from_secs(10);

/// First delay where a person must act first, such as after wrong credentials.
pub const FIRST_LASTING: Duration = Duration::from_secs(1);
/// The longest such delay: brokers count, log and delay failed authentications, and some lock accounts.
pub const LONGEST_LASTING: Duration = Duration::from_secs(60);

/// Delays that double from [`FIRST`] to [`LONGEST`], each drawn from the upper half of its step so that
/// many relays do not come back in the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// A fresh one; `seed` sets the jitter.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// The delay after one more failure.
    pub fn fail(&mut self) -> Duration {
        self.next(FIRST, LONGEST)
    }

    /// The delay after one more failure that will last until a person has acted.
    pub fn fail_lasting(&mut self) -> Duration {
        self.next(FIRST_LASTING, LONGEST_LASTING)
    }

    fn next(&mut self, first: Duration, longest: Duration) -> Duration {
        let step = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.random = mix(self.random);
        let half = step / 2;
        // 16 random bits are jitter enough: the product stays far below the overflow of u32 arithmetic.
        let jitter = u32::try_from(self.random >> 48).unwrap_or_default();
        half + (half * jitter) / u32::from(u16::MAX)
    }

    /// A moment up to `most`, so that many relays that have lost something at once do not all come back at once.
    pub fn spread(&mut self, most: Duration) -> Duration {
        self.random = mix(self.random);
        let share = u32::try_from(self.random >> 48).unwrap_or_default();
        (most * share) / u32::from(u16::MAX)
    }

    /// Nothing will pass before a person has acted: the next delays are the longest.
    pub fn slow_down(&mut self) {
        self.failures = self.failures.max(8);
    }

    /// It worked: the next failure waits [`FIRST`] again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// splitmix64: enough to spread delays, and a test can repeat it.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_grow_within_half_a_step_and_stay_below_ten_seconds(seed: u64) {
            let mut backoff = Backoff::new(seed);
            let mut step = FIRST;
            for _ in 0..60 {
                let delay = backoff.fail();
                prop_assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
                step = (step * 2).min(LONGEST);
            }
            backoff.reset();
            prop_assert!(backoff.fail() <= FIRST);
        }
    }

    #[test]
    fn what_lasts_is_tried_again_within_a_second_at_first_and_a_minute_at_last() {
        let mut backoff = Backoff::new(7);
        assert!(backoff.fail_lasting() <= FIRST_LASTING);
        let delays: Vec<Duration> = (0..20).map(|_| backoff.fail_lasting()).collect();
        assert!(
            delays.last().is_some_and(|d| *d > LONGEST_LASTING / 2 && *d <= LONGEST_LASTING),
            "{delays:?}"
        );
    }

    #[test]
    fn two_seeds_do_not_march_in_step() {
        let (mut a, mut b) = (Backoff::new(1), Backoff::new(2));
        assert!((0..8).any(|_| a.fail() != b.fail()));
    }
}
