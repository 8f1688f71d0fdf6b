//! Random moments, the same again when asked for.

use std::time::Duration;

/// Spread in time without a pattern; the seed is printed, so that a run can be repeated.
pub struct Random(u64);

impl Random {
    /// Begins with `SPOOLWAY_SEED`, or with a seed that no other run has.
    pub fn new(name: &str) -> Self {
        let seed = std::env::var("SPOOLWAY_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003 + name.len() as u64);
        println!("{name}: SPOOLWAY_SEED={seed}");
        Self(seed)
    }

    /// The next number of `range`.
    pub fn number(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }

    /// A time of so many milliseconds.
    pub fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }
}
