//! How long to wait before trying again: exponential, jittered, never above 10 s.

use std::time::Duration;

/// First delay, before jitter.
pub const FIRST: Duration = Duration::from_millis(50);
/// No delay is longer.
pub const LONGEST: Duration = Duration::from_secs(10);

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
        let step = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.random = mix(self.random);
        let half = step / 2;
        // 16 random bits are jitter enough: the product stays far below the overflow of u32 arithmetic.
        let jitter = u32::try_from(self.random >> 48).unwrap_or_default();
        half + (half * jitter) / u32::from(u16::MAX)
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
    fn two_seeds_do_not_march_in_step() {
        let (mut a, mut b) = (Backoff::new(1), Backoff::new(2));
        assert!((0..8).any(|_| a.fail() != b.fail()));
    }
}
