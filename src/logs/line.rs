//! One line an event, whatever is in it: what came from outside can forge no log line and send no command
//! to the terminal that shows it.

use std::borrow::Cow;
use std::io::{self, Write};

/// Writes each formatted event, which comes in one piece with a line end, as one line of printable text.
#[derive(Debug)]
pub(super) struct OneLine<W> {
    pub(super) to: W,
    /// Lets colours through: ours, at the price that an event may bring its own.
    pub(super) colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.to.write_all(&one_line(event, self.colours))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The event with every control character but the last line end shown instead of obeyed.
fn one_line(event: &[u8], colours: bool) -> Cow<'_, [u8]> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    if !body.iter().any(u8::is_ascii_control) {
        return Cow::Borrowed(event);
    }
    let mut line = Vec::with_capacity(event.len() + 16);
    let mut rest = body;
    while let Some((byte, after)) = rest.split_first() {
        let colour = if colours { colour_len(rest) } else { 0 };
        if colour > 0 {
            line.extend_from_slice(rest.get(..colour).unwrap_or_default());
        } else if byte.is_ascii_control() {
            line.extend(byte.escape_ascii());
        } else {
            line.push(*byte);
        }
        rest = rest.get(colour.max(1)..).unwrap_or(after);
    }
    line.extend_from_slice(event.get(body.len()..).unwrap_or_default());
    Cow::Owned(line)
}

/// Length of the colour sequence (`ESC [ … m`) that the bytes begin with, or 0.
fn colour_len(bytes: &[u8]) -> usize {
    let Some(parameters) = bytes.strip_prefix(b"\x1b[") else { return 0 };
    let end = parameters.iter().position(|b| !(b.is_ascii_digit() || *b == b';'));
    end.filter(|end| parameters.get(*end) == Some(&b'm')).map_or(0, |end| end + 3)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;

    use super::super::testing::Sink;
    use super::*;

    #[test]
    fn what_comes_from_outside_forges_no_log_line() {
        let sink = Sink::default();
        let writer = {
            let sink = sink.clone();
            move || OneLine { to: sink.clone(), colours: false }
        };
        let subscriber =
            tracing_subscriber::registry().with(fmt::layer().with_ansi(false).with_writer(writer));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(stream = %"x\n2026-01-01 INFO forged\r\x1b[2J", "refused");
            tracing::info!("next");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("x\\n2026-01-01 INFO forged\\r"), "{text}");
        assert!(!text.contains(['\r', '\x1b']), "{text:?}");
    }

    #[test]
    fn colours_pass_where_they_are_wanted_and_other_sequences_never() {
        let shown =
            |text: &str, colours| String::from_utf8(one_line(text.as_bytes(), colours).into_owned()).unwrap();
        let red = "\x1b[1;31mred\x1b[0m\n";
        assert_eq!(shown(red, true), red);
        assert_eq!(shown(red, false), "\\x1b[1;31mred\\x1b[0m\n");
        assert_eq!(shown("\x1b[2Jx\x1b]0;t\x07\x1b[", true), "\\x1b[2Jx\\x1b]0;t\\x07\\x1b[");
        assert_eq!(shown("plain \u{fc}\n", false), "plain \u{fc}\n");
    }
}
