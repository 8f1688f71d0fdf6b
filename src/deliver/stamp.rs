//! Which time stamp a record gets: its event's, or that of sending.
//!
//! A broker deletes records by their time stamps and forgets producers by them (`producer.id.expiration.ms`,
//! 1 day by default), and refuses stamps too far ahead. So with [`TimestampPolicy::Auto`] an event that is
//! older than `timestamp_max_age`, or ahead of the clock, is sent under the time of sending, and its own
//! time travels in the header `spoolway-time`. Where a topic is known to keep or take less ([`TimeLimits`]), half of that
//! takes the place of `timestamp_max_age`.
//!
//! The records of one window are all stamped the same way ([`Stamp`]): a batch under the time of sending has
//! no time deltas, so that it can be stamped anew at every send.

use std::time::Duration;

use crate::config::model::TimestampPolicy;
use crate::event::UnixMillis;
use crate::kafka::{Stamp, TimeLimits};

/// So far ahead of `now` an event is not yet "ahead of the clock", in milliseconds. `now` is read once a round,
/// so events accepted during the round are later than it; brokers allow an hour
/// (`message.timestamp.after.max.ms`).
const ROUND_SLACK: i64 = 10_000;

/// The bounds of [`TimestampPolicy::Auto`] for one topic, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    max_age: i64,
    max_ahead: i64,
}

impl Bounds {
    /// `timestamp_max_age` and what the topic takes.
    #[must_use]
    pub fn new(max_age: Duration, topic: &TimeLimits) -> Self {
        Self { max_age: topic.max_age(max_age), max_ahead: topic.max_ahead(ROUND_SLACK) }
    }
}

/// The stamping an event needs.
#[must_use]
pub fn needed(policy: TimestampPolicy, bounds: Bounds, time: UnixMillis, now: UnixMillis) -> Stamp {
    match policy {
        TimestampPolicy::Event => Stamp::Event,
        TimestampPolicy::Send => Stamp::Send,
        TimestampPolicy::Auto => {
            let too_old = now.saturating_sub(time) > bounds.max_age;
            if too_old || time > now.saturating_add(bounds.max_ahead) { Stamp::Send } else { Stamp::Event }
        }
    }
}

/// Whether an event that needs `event` may join a window stamped by `window`. A window under the time of
/// sending takes every event.
#[must_use]
pub fn may_join(window: Stamp, event: Stamp) -> bool {
    window == event || window == Stamp::Send
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn auto_keeps_the_time_of_recent_events_only() {
        let bounds = Bounds::new(Duration::from_hours(12), &TimeLimits::default());
        let auto = |time| needed(TimestampPolicy::Auto, bounds, time, 100 * HOUR);
        assert_eq!(auto(100 * HOUR), Stamp::Event);
        assert_eq!(auto(88 * HOUR), Stamp::Event);
        assert_eq!(auto(88 * HOUR - 1), Stamp::Send);
        assert_eq!(auto(100 * HOUR + ROUND_SLACK), Stamp::Event, "accepted while the round went on");
        assert_eq!(auto(100 * HOUR + ROUND_SLACK + 1), Stamp::Send, "ahead of the clock");
        assert_eq!(auto(i64::MIN), Stamp::Send);
    }

    #[test]
    fn a_topic_that_keeps_or_takes_less_has_younger_events_stamped_anew() {
        let limits = TimeLimits { retention: Some(4 * HOUR), before: None, after: Some(8_000) };
        let bounds = Bounds::new(Duration::from_hours(12), &limits);
        let auto = |time| needed(TimestampPolicy::Auto, bounds, time, 100 * HOUR);
        assert_eq!((auto(98 * HOUR), auto(98 * HOUR - 1)), (Stamp::Event, Stamp::Send));
        assert_eq!((auto(100 * HOUR + 4_000), auto(100 * HOUR + 4_001)), (Stamp::Event, Stamp::Send));
    }

    #[test]
    fn a_window_under_the_time_of_sending_takes_every_event() {
        assert!(may_join(Stamp::Send, Stamp::Event));
        assert!(!may_join(Stamp::Event, Stamp::Send));
    }
}
