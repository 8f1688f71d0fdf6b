//! What happened when, told as it happens.

use std::time::Instant;

use anstyle::{AnsiColor, Style};

const TIME: Style = AnsiColor::Cyan.on_default();
/// For what is right.
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// For headings.
pub(super) const HEAD: Style = Style::new().bold();

/// A moment of the story.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Moment {
    /// Seconds since the demo began.
    pub at: f64,
    /// What happened.
    pub what: String,
}

/// Tells the story line by line, and keeps it.
pub(super) struct Story<'s> {
    start: Instant,
    say: &'s mut (dyn FnMut(&str) + Send),
    moments: Vec<Moment>,
}

impl<'s> Story<'s> {
    pub(super) fn new(say: &'s mut (dyn FnMut(&str) + Send)) -> Self {
        Self { start: Instant::now(), say, moments: Vec::new() }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Something has happened now.
    pub(super) fn tell(&mut self, what: &str) {
        let at = (self.seconds() * 10.0).round() / 10.0;
        (self.say)(&format!("  {TIME}{at:>5.1} s{TIME:#}  {what}"));
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        self.moments.push(Moment { at, what });
    }

    /// A line without a time.
    pub(super) fn line(&mut self, text: &str) {
        (self.say)(text);
    }

    pub(super) fn moments(self) -> Vec<Moment> {
        self.moments
    }
}
