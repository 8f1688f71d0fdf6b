//! A moment on the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::UnixMillis;

/// Reads RFC 3339, milliseconds since 1970, or a duration, which means that long ago.
///
/// # Errors
/// What would have been right.
pub(super) fn parse(text: &str) -> Result<UnixMillis, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    parse_at(text.trim(), UnixMillis::try_from(now).unwrap_or(UnixMillis::MAX))
}

fn parse_at(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now.saturating_sub(UnixMillis::try_from(ago.as_millis()).unwrap_or(UnixMillis::MAX)));
    }
    let timestamp: Result<jiff::Timestamp, _> = text.parse();
    timestamp.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        "write a time with its zone such as 2026-01-31T12:00:00Z, milliseconds since 1970, or how long ago such as 2h"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_with_its_zone_or_milliseconds_or_how_long_ago() {
        assert_eq!(parse_at("1970-01-01T01:00:01+01:00", 0), Ok(1000));
        assert_eq!(parse_at("2023-11-14T22:13:20.123Z", 0), Ok(1_700_000_000_123));
        assert_eq!(parse_at("1700000000123", 5), Ok(1_700_000_000_123));
        assert_eq!(parse_at("-5", 5), Ok(-5));
        assert_eq!(parse_at("2h", 7_200_001), Ok(1));
        assert_eq!(parse_at("1h 30m", 5_400_000), Ok(0));
        for wrong in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "2x"] {
            assert!(parse_at(wrong, 0).unwrap_err().contains("2h"), "{wrong}");
        }
    }
}
