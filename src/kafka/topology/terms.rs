//! What a topic takes, and what of it is permitted to us.

use std::time::Duration;

/// What is known of a topic besides where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether it may be read; `None` where the broker does not say.
    pub may_read: Option<bool>,
    /// Whether it may be written to; `None` where the broker does not say.
    pub may_write: Option<bool>,
    /// Which time stamps it takes.
    pub times: Times,
}

/// Whether it is known which time stamps a topic takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// Nobody has asked, or the answer was no help.
    #[default]
    Unknown,
    /// It was asked for the first time, and the answer is on its way: what is sent before may be too old.
    Awaited,
    /// These.
    Known(TimeLimits),
}

/// Bounds on records' time stamps, in milliseconds; `None` where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// Records older than this are deleted (`retention.ms`).
    pub retention: Option<i64>,
    /// Records older than this are refused (`message.timestamp.before.max.ms`).
    pub before: Option<i64>,
    /// Records further ahead than this are refused (`message.timestamp.after.max.ms`).
    pub after: Option<i64>,
}

impl TimeLimits {
    /// The settings of a topic that they are read from.
    pub const KEYS: [&'static str; 6] = [
        "retention.ms",
        "cleanup.policy",
        "message.timestamp.type",
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
        // Before Kafka 3.6, in both directions; up to 3.9 beside the two above.
        "message.timestamp.difference.max.ms",
    ];

    /// Reads them. A key that is missing sets no bound.
    #[must_use]
    pub fn read(values: &[(String, Option<String>)]) -> Self {
        let get = |key: &str| values.iter().find(|(k, _)| k == key).and_then(|(_, v)| v.as_deref());
        // The broker's own clock stamps the records: ours decide nothing.
        if get("message.timestamp.type") == Some("LogAppendTime") {
            return Self::default();
        }
        let millis =
            |key| get(key).and_then(|v| v.parse::<i64>().ok()).filter(|ms| (0..i64::MAX).contains(ms));
        let is_deleted = get("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
        let both = millis("message.timestamp.difference.max.ms");
        let least = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        Self {
            retention: millis("retention.ms").filter(|_| is_deleted),
            before: least(millis("message.timestamp.before.max.ms"), both),
            after: least(millis("message.timestamp.after.max.ms"), both),
        }
    }

    /// The age up to which an event may keep its time, in milliseconds: half of what the topic allows, so that it is not
    /// refused because it waits for a while, and is kept for a while once it is there; `most` at most.
    #[must_use]
    pub fn max_age(&self, most: Duration) -> i64 {
        let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
        let halves = [self.retention, self.before].into_iter().flatten().map(|ms| ms / 2);
        halves.fold(most, i64::min)
    }

    /// So far ahead of the clock an event may keep its time, in milliseconds: `most` at most.
    #[must_use]
    pub fn max_ahead(&self, most: i64) -> i64 {
        self.after.map_or(most, |after| most.min(after / 2))
    }

    /// Whether the topic deletes a record of this time when it comes.
    #[must_use]
    pub fn expires(&self, time: i64, now: i64) -> bool {
        self.retention.is_some_and(|retention| now.saturating_sub(time) >= retention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn read(values: &[(&str, &str)]) -> TimeLimits {
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned())));
        TimeLimits::read(&values.collect::<Vec<_>>())
    }

    fn half_a_day() -> Duration {
        Duration::from_hours(12)
    }

    #[test]
    fn an_event_keeps_its_time_for_half_of_what_the_topic_allows() {
        let day = read(&[("retention.ms", "3600000"), ("cleanup.policy", "delete")]);
        assert_eq!(day.max_age(half_a_day()), HOUR / 2);
        assert!(day.expires(0, HOUR) && !day.expires(1, HOUR));
        let week = read(&[("retention.ms", "604800000")]);
        assert_eq!(week.max_age(half_a_day()), 12 * HOUR, "timestamp_max_age is the most");
        let refusing = read(&[("retention.ms", "-1"), ("message.timestamp.before.max.ms", "7200000")]);
        assert_eq!((refusing.max_age(half_a_day()), refusing.expires(0, i64::MAX)), (HOUR, false));
        let old = read(&[("message.timestamp.difference.max.ms", "8000")]);
        assert_eq!((old.max_age(half_a_day()), old.max_ahead(10_000)), (4_000, 4_000));
    }

    #[test]
    fn what_sets_no_bound_leaves_the_default() {
        let no_bound = "9223372036854775807";
        let none = [
            read(&[]),
            read(&[("retention.ms", "soon"), ("message.timestamp.before.max.ms", no_bound)]),
            read(&[("retention.ms", "1000"), ("cleanup.policy", "compact")]),
            read(&[("retention.ms", "1000"), ("message.timestamp.type", "LogAppendTime")]),
        ];
        for limits in none {
            assert_eq!(limits, TimeLimits::default());
            assert_eq!((limits.max_age(half_a_day()), limits.max_ahead(10_000)), (12 * HOUR, 10_000));
        }
    }
}
