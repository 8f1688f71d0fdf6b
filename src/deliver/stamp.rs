//! Which time stamp a record gets: its event's, or that of sending.
//!
//! A broker deletes records by their time stamps and forgets producers by them (`producer.id.expiration.ms`,
//! 1 day by default), and refuses stamps too far ahead. So with [`TimestampPolicy::Auto`] an event that is
//! older than `timestamp_max_age`, or ahead of the clock, is sent under the time of sending, and its own
//! time travels in the header `spoolway-time`.
//!
//! The records of one window are all stamped the same way ([`Stamp`]): a batch under the time of sending has
//! no time deltas, so that it can be stamped anew at every send.

use std::time::Duration;

use crate::config::model::TimestampPolicy;
use crate::event::UnixMillis;
use crate::kafka::Stamp;

/// So far ahead of `now` an event is not yet "ahead of the clock", in milliseconds. `now` is read once a round,
/// so events accepted during the round are later than it; brokers allow an hour
/// (`message.timestamp.after.max.ms`).
const ROUND_SLACK: i64 = 10_000;

/// The stamping an event needs.
#[must_use]
pub fn needed(policy: TimestampPolicy, max_age: Duration, time: UnixMillis, now: UnixMillis) -> Stamp {
    match policy {
        TimestampPolicy::Event => Stamp::Event,
        TimestampPolicy::Send => Stamp::Send,
        TimestampPolicy::Auto => {
            let max_age = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
            let too_old = now.saturating_sub(time) > max_age;
            if too_old || time > now.saturating_add(ROUND_SLACK) { Stamp::Send } else { Stamp::Event }
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
        let auto = |time| needed(TimestampPolicy::Auto, Duration::from_secs(12 * 3600), time, 100 * HOUR);
        assert_eq!(auto(100 * HOUR), Stamp::Event);
        assert_eq!(auto(88 * HOUR), Stamp::Event);
        assert_eq!(auto(88 * HOUR - 1), Stamp::Send);
        assert_eq!(auto(100 * HOUR + ROUND_SLACK), Stamp::Event, "accepted while the round went on");
        assert_eq!(auto(100 * HOUR + ROUND_SLACK + 1), Stamp::Send, "ahead of the clock");
        assert_eq!(auto(i64::MIN), Stamp::Send);
    }

    #[test]
    fn a_window_under_the_time_of_sending_takes_every_event() {
        assert!(may_join(Stamp::Send, Stamp::Event));
        assert!(!may_join(Stamp::Event, Stamp::Send));
    }
}
