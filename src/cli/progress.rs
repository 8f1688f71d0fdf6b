//! How far long work has come: on a terminal, on one line of standard error that is gone at the end; elsewhere
//! nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(200);

/// One line that is written again and again.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    /// `None`: nobody watches.
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Of `what`, in which there are `total` steps.
    #[must_use]
    pub fn new(what: String, total: u64) -> Self {
        let next = std::io::stderr().is_terminal().then(|| Instant::now() + EVERY);
        Self { what, total, next, shown: false }
    }

    /// `done` steps are done.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + EVERY);
        self.shown = true;
        let percent = u128::from(done.min(self.total)) * 100 / u128::from(self.total.max(1));
        write(&format!("\r\x1b[K{}: {percent} %", self.what));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Progress that cannot be shown is no reason to stop.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
