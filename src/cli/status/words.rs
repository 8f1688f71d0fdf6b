//! Numbers, sizes and times as people read them.

use crate::event::UnixMillis;

/// `1,234,567`
pub(in crate::cli) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 GiB`
pub(in crate::cli) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// `120 ms`, `3.2 s`, `4 min 5 s`, `2 h 3 min`, `5 d 6 h`
pub(in crate::cli) fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds <= 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX).as_secs();
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", whole % 60),
        (0, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// How long before `now` something was.
pub(in crate::cli) fn ago(at: UnixMillis, now: UnixMillis) -> String {
    let millis = u64::try_from(now.saturating_sub(at)).unwrap_or(0);
    format!("{} ago", span(std::time::Duration::from_millis(millis).as_secs_f64()))
}

/// A time in UTC, to the second.
pub(in crate::cli) fn utc(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |t| format!("{t:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, -1.0, f64::NAN, 0.12, 3.21, 245.0, 7380.0, 460_800.0].map(span),
            ["0 s", "0 s", "0 s", "120 ms", "3.2 s", "4 min 5 s", "2 h 3 min", "5 d 8 h"]
        );
        assert_eq!(ago(1_000, 3_500), "2.5 s ago");
        assert_eq!(ago(5_000, 3_500), "0 s ago");
        assert_eq!(utc(1_763_700_000_000), "2025-11-21T04:40:00Z");
        assert_eq!(size(1_610_612_736), "1.5 GiB");
    }
}
