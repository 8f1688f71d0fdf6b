//! Which events of a spool are meant.

use clap::Args;

use super::time;
use crate::cli::Failure;
use crate::config::Pattern;
use crate::event::UnixMillis;
use crate::ids::{Seq, StreamName};

/// Options that choose events.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Selection {
    /// Only streams of this name or glob, as routes take them; may be given several times.
    #[arg(long = "stream", value_name = "NAME", value_parser = Pattern::parse)]
    streams: Vec<Pattern>,
    /// First event number.
    #[arg(long = "from-seq", visible_alias = "from", value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Last event number.
    #[arg(long = "to-seq", visible_alias = "to", value_name = "SEQ")]
    to: Option<u64>,
    /// Only events of this time or later: 2026-01-31T12:00:00Z, milliseconds since 1970, or "2h" (ago).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<UnixMillis>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<UnixMillis>,
}

impl Selection {
    /// What can match nothing is a mistake.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(to) = self.to.filter(|to| *to < self.from) {
            return Err(Failure::usage(format!(
                "--to-seq {to} is below --from-seq {}: no event is in between",
                self.from
            )));
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && until <= since
        {
            return Err(Failure::usage("--until is not after --since: no event is in between"));
        }
        Ok(())
    }

    /// The first number.
    pub(super) fn from(&self) -> Seq {
        Seq(self.from)
    }

    /// The last number.
    pub(super) fn to(&self) -> Seq {
        self.to.map_or(Seq(u64::MAX), Seq)
    }

    /// Whether events of a stream are meant.
    pub(super) fn takes_stream(&self, stream: &StreamName) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|p| p.takes(stream))
    }

    /// Whether events of a time are meant.
    pub(super) fn takes_time(&self, time: UnixMillis) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}
