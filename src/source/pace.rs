//! How slowly a sender may fill memory that others wait for.
//!
//! Whoever holds more than everybody may is read at any pace while nobody else wants what they hold, and has to keep to one as soon as
//! somebody waits for it: a few senders that stop amid large bodies would else keep all others of that size waiting for as long as a
//! body may take.

use std::time::Duration;

use tokio::time::Instant;

use super::budget::Stake;

/// Bytes a second: half a megabit.
pub(super) const PACE: u64 = 64 * 1024;
/// So far a sender may fall behind that: a body that stops is waited for this long.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// A line that takes more than everybody may hold has to end within this time, whoever waits: its bytes come out of what all sources
/// share.
const LINE_TIME: Duration = Duration::from_mins(1);

/// A sender's pace.
#[derive(Debug)]
pub(super) struct Pace {
    slack: Duration,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { slack: SLACK }
    }

    /// So many bytes came, and it was the sender who let us wait so long for them.
    pub(super) fn heard(&mut self, bytes: usize, waited: Duration) {
        let micros = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000) / PACE;
        self.slack =
            self.slack.saturating_sub(waited).saturating_add(Duration::from_micros(micros)).min(SLACK);
    }

    /// Resolves when the sender, who is waited for from now on, has fallen behind and somebody wants the memory.
    pub(super) async fn over(&self, stake: &Stake) {
        tokio::time::sleep(self.slack).await;
        stake.wanted().await;
    }
}

/// A line that has begun, and takes more than everybody may hold.
#[derive(Debug)]
pub(super) struct LongLine {
    /// Since when it is the sender alone who keeps it from ending.
    since: Instant,
    /// Since when the sender is waited for.
    waited: Instant,
    pace: Pace,
}

impl LongLine {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { since: now, waited: now, pace: Pace::new() }
    }

    /// So many bytes of it came.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.pace.heard(bytes, self.waited.elapsed());
        self.waited = Instant::now();
    }

    /// The sender was not read from until now.
    pub(super) fn wait_anew(&mut self) {
        (self.since, self.waited) = (Instant::now(), Instant::now());
    }

    /// When it has to have ended, and from when on it has fallen behind, should others wait for its memory.
    pub(super) fn over(&self) -> (Instant, Instant) {
        (self.since + LINE_TIME, self.waited + self.pace.slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::budget::Budget;
    use tokio::time::timeout;

    #[test]
    fn a_sender_falls_behind_by_waiting_and_catches_up_by_what_comes_and_never_gets_ahead() {
        let mut pace = Pace::new();
        for (bytes, waited, slack) in [
            (1, 1_000, 4_000),
            (64 * 1024, 0, 5_000),
            (16 << 20, 0, 5_000),
            (32 * 1024, 3_500, 2_000),
            (64 * 1024, 60_000, 1_000),
            (0, 1_000, 0),
            (6_554, 100, 100),
        ] {
            pace.heard(bytes, Duration::from_millis(waited));
            assert_eq!(pace.slack.as_millis(), slack, "{bytes} bytes after {waited} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_too_slow_while_nobody_waits() {
        let budget = Budget::new(1024);
        let (mut first, mut second, mut third) = (budget.holder(), budget.holder(), budget.holder());
        first.cover(17 * 1024).await;
        second.cover(17 * 1024).await;
        let (pace, stake) = (Pace::new(), second.stake());
        assert!(timeout(Duration::from_secs(3600), pace.over(&stake)).await.is_err());
        let start = Instant::now();
        let waits = tokio::spawn(async move { third.cover(17 * 1024).await });
        pace.over(&stake).await;
        assert_eq!(start.elapsed(), SLACK);
        drop(first);
        waits.await.unwrap();
        assert!(timeout(Duration::from_secs(3600), pace.over(&stake)).await.is_err(), "it has got it");
    }
}
