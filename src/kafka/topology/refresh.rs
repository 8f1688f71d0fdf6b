//! When to ask for metadata again: a pure schedule.

use std::time::Duration;

use tokio::time::Instant;

/// With nothing to wait for.
const PERIOD: Duration = Duration::from_secs(300);
/// However many ask for it.
const GAP: Duration = Duration::from_millis(100);
/// While windows wait for a leader.
const URGENT: Duration = Duration::from_millis(500);
/// While a tracked topic is missing or a partition without a leader: from here …
const UNSETTLED_FIRST: Duration = Duration::from_secs(1);
/// … to here, half as long again each time.
const UNSETTLED_LAST: Duration = Duration::from_secs(10);

/// How well the tracked topics stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// All is well.
    Settled,
    /// A tracked topic is missing, or a partition has no leader.
    Unsettled,
    /// The same, and windows wait for it which are not deferred yet.
    Awaited,
}

/// The schedule. Requests of many are one request.
#[derive(Debug, Clone)]
pub(crate) struct Refresh {
    due: Instant,
    earliest: Instant,
    pace: Duration,
}

impl Refresh {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now, earliest: now, pace: UNSETTLED_FIRST }
    }

    /// When to ask next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Somebody has reason to think that what is known is old.
    pub(crate) fn want(&mut self, now: Instant) {
        self.due = self.due.min(self.earliest.max(now));
    }

    /// Something new is asked about: begin with short steps again.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.pace = UNSETTLED_FIRST;
        self.want(now);
    }

    /// An answer has come; nothing more is to be asked before `quiet`.
    pub(crate) fn answered(&mut self, now: Instant, quiet: Duration, health: Health) {
        self.earliest = now + quiet.max(GAP);
        let wait = match health {
            Health::Settled => {
                self.pace = UNSETTLED_FIRST;
                PERIOD
            }
            Health::Unsettled => {
                let pace = self.pace;
                self.pace = (pace + pace / 2).min(UNSETTLED_LAST);
                pace
            }
            Health::Awaited => URGENT,
        };
        self.due = now + wait.max(quiet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_wishes_are_one_request_and_no_more_than_ten_a_second() {
        let now = Instant::now();
        let mut refresh = Refresh::new(now);
        refresh.answered(now, Duration::ZERO, Health::Settled);
        assert_eq!(refresh.due(), now + PERIOD);
        refresh.want(now);
        refresh.want(now + Duration::from_millis(50));
        assert_eq!(refresh.due(), now + GAP);
        refresh.want(now + Duration::from_secs(9));
        assert_eq!(refresh.due(), now + GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_topic_is_asked_for_ever_more_seldom_but_every_ten_seconds() {
        let mut now = Instant::now();
        let mut refresh = Refresh::new(now);
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            refresh.answered(now, Duration::ZERO, Health::Unsettled);
            let wait = refresh.due() - now;
            assert!(wait >= last && wait <= UNSETTLED_LAST);
            (last, now) = (wait, refresh.due());
        }
        assert_eq!(last, UNSETTLED_LAST);
        refresh.restart(now);
        refresh.answered(now, Duration::ZERO, Health::Unsettled);
        assert_eq!(refresh.due() - now, UNSETTLED_FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_answer_delays_the_next_request() {
        let now = Instant::now();
        let mut refresh = Refresh::new(now);
        refresh.answered(now, Duration::from_secs(3), Health::Awaited);
        refresh.want(now);
        assert_eq!(refresh.due(), now + Duration::from_secs(3));
    }
}
