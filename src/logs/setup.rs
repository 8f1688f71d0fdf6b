//! The one subscriber of the process.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use super::line::OneLine;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written: a level, or levels by module (`info,spoolway::kafka=debug`).
#[derive(Debug, Clone, PartialEq)]
pub struct Level(Targets);

/// A `--log-level` that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a log level: use error, warn, info, debug, trace or off, or a list such as \
     \"info,spoolway::kafka=debug\""
)]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `Targets` takes any word without "=" as the name of a module; a mistyped level would silently
        // turn that "module" on and everything else off.
        let parts = text.split(',').map(str::trim);
        let sound = parts.into_iter().all(|part| match part.split_once('=') {
            Some((module, level)) => !module.is_empty() && is_level(level),
            None => is_level(part),
        });
        if !sound {
            return Err(LevelError(text.to_owned()));
        }
        text.parse().map(Self).map_err(|_| LevelError(text.to_owned()))
    }
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|l| l.eq_ignore_ascii_case(word))
}

/// Sends all log lines of the process to standard error. Only the first call has an effect, so that tests
/// may call it too.
pub fn init(format: Format, level: &Level) {
    let registry = tracing_subscriber::registry().with(level.0.clone());
    // An earlier subscriber stays: it can only be one of ours.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = move || OneLine { to: std::io::stderr(), colours };
    let _already_set = match format {
        Format::Text => registry.with(fmt::layer().with_writer(writer).with_ansi(colours)).try_init(),
        Format::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_read_and_anything_else_is_refused() {
        for good in ["info", "OFF", "warn,spoolway::kafka=debug"] {
            assert!(good.parse::<Level>().is_ok(), "{good}");
        }
        for bad in ["", "inof", "spoolway=loud", "info,"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
    }
}
