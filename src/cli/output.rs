//! Standard output that survives its reader: `spoolway … | head` ends quietly.

use std::io::{ErrorKind, Write};

use super::{Exit, Failure};

/// Writes `text` to standard output as it is; colours are removed when it is not a terminal.
///
/// # Errors
/// A quiet [`Failure`] when the reader has gone away, a loud one when the output can't be written (a full
/// disk behind a redirection).
pub fn print(text: &str) -> Result<(), Failure> {
    // What removes colours removes other control characters too, and an event's value may hold them.
    let coloured = text.contains('\x1b');
    let mut out: Box<dyn Write> =
        if coloured { Box::new(anstream::stdout().lock()) } else { Box::new(std::io::stdout().lock()) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Failure::quiet(Exit::Done)),
        Err(e) => Err(Failure::running(format!("standard output can't be written: {e}"))),
    }
}

/// Writes `text` and a line end.
///
/// # Errors
/// As [`print`].
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}
