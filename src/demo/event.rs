//! The demo's events: JSON of about 200 bytes, by which each is known again.

use std::fmt::Write;

/// The stream events are sent under; the topic has the same name.
pub(super) const STREAM: &str = "demo";

#[derive(serde::Deserialize)]
struct Body {
    sender: u32,
    n: u32,
}

const NOTE: &str = "something happened on an edge host, and whoever it was told us so that we would not forget \
                    it: zero loss, in order, through every cut and every crash there is";

/// Appends one event as a line.
pub(super) fn write_line(out: &mut String, sender: u32, n: u32) {
    // Writing to a string does not fail.
    let _ = writeln!(out, r#"{{"sender":{sender},"n":{n},"note":"{NOTE}"}}"#);
}

/// Sender and number, if `value` is one of the demo's events.
pub(super) fn read(value: &[u8]) -> Option<(u32, u32)> {
    serde_json::from_slice::<Body>(value).ok().map(|body| (body.sender, body.n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_known_again_and_has_200_bytes() {
        let mut line = String::new();
        write_line(&mut line, 3, 123_456);
        assert_eq!(read(line.trim_end().as_bytes()), Some((3, 123_456)));
        assert!((190..=215).contains(&line.len()), "{}", line.len());
        assert_eq!(read(b"something else"), None);
    }
}
