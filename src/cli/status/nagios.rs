//! One line and an exit code, after the rules of the Monitoring Plugins (Nagios, Icinga, Naemon, Checkmk).

use std::fmt::Display;
use std::time::Duration;

use super::table::printable;
use super::view::{Destination, Lane, Status};
use super::words::span;
use crate::cli::Failure;
use crate::cli::client::ClientError;

/// When a lag is worth a warning, and when it is critical.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) warn: Duration,
    pub(super) critical: Duration,
}

/// Line and exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: u8,
    pub(super) line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok,
    Warning,
    Critical,
}

impl Verdict {
    /// It is not known whom to ask.
    pub(super) fn unknown(failure: &Failure) -> Self {
        let message = match failure.message() {
            "" => "the configuration can't be read: run `spoolway check`",
            message => message,
        };
        Self { code: 3, line: format!("SPOOLWAY UNKNOWN - {}", one_line(&message)) }
    }

    /// The agent does not answer.
    pub(super) fn silent(error: &ClientError) -> Self {
        Self { code: 2, line: format!("SPOOLWAY CRITICAL - {}", one_line(error)) }
    }
}

/// Judges what the agent says: a lane that takes nothing and a lag over the limit are critical, a
/// destination that is away without a lag yet and events lost to damage are a warning.
pub(super) fn judge(status: &Status, limits: Limits) -> Verdict {
    let findings = status
        .lanes
        .iter()
        .flat_map(lane)
        .chain(status.destinations.iter().flat_map(|d| destination(d, limits)));
    let mut findings: Vec<(Grade, String)> = findings.collect();
    findings.sort_by_key(|(grade, _)| std::cmp::Reverse(*grade));
    let worst = findings.first().map_or(Grade::Ok, |(grade, _)| *grade);
    let said = if findings.is_empty() {
        let most = status.destinations.iter().map(Destination::lag).fold(0.0, f64::max);
        format!("{} destinations, most lag {}", status.destinations.len(), span(most))
    } else {
        findings.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
    };
    let (code, word) = match worst {
        Grade::Ok => (0, "OK"),
        Grade::Warning => (1, "WARNING"),
        Grade::Critical => (2, "CRITICAL"),
    };
    Verdict { code, line: format!("SPOOLWAY {word} - {} | {}", one_line(&said), figures(status, limits)) }
}

fn lane(lane: &Lane) -> Vec<(Grade, String)> {
    let mut found = Vec::new();
    if let Some(cause) = &lane.failing {
        found.push((Grade::Critical, format!("lane {} can't write: {cause}", lane.name)));
    }
    if lane.full {
        found.push((Grade::Critical, format!("lane {} is full", lane.name)));
    }
    if lane.quarantined_events > 0 {
        let lost = format!("lane {} lost {} events to damage", lane.name, lane.quarantined_events);
        found.push((Grade::Warning, lost));
    }
    found
}

fn destination(destination: &Destination, limits: Limits) -> Option<(Grade, String)> {
    let lag = destination.lag();
    let grade = if lag >= limits.critical.as_secs_f64() {
        Grade::Critical
    } else if lag >= limits.warn.as_secs_f64() || !destination.up {
        Grade::Warning
    } else {
        return None;
    };
    let state = if destination.up { "" } else { "is down and " };
    let cause = destination.last_error.as_ref().map(|e| format!(" ({})", e.message)).unwrap_or_default();
    let (name, lane) = (&destination.name, &destination.lane);
    Some((grade, format!("destination {name} (lane {lane}) {state}lags {}{cause}", span(lag))))
}

/// Performance data: `'label'=value[unit];warn;crit;min;max`.
fn figures(status: &Status, limits: Limits) -> String {
    let (warn, critical) = (limits.warn.as_secs_f64(), limits.critical.as_secs_f64());
    let of_destinations = status.destinations.iter().map(|d| {
        let pair = format!("{}/{}", d.lane, d.name);
        format!("'{pair} lag'={:.3}s;{warn};{critical};0 '{pair} events'={};;;0", d.lag(), d.lag_events)
    });
    let of_lanes =
        status.lanes.iter().map(|l| format!("'{} spool'={}B;;;0;{}", l.name, l.bytes, l.limit_bytes));
    of_destinations.chain(of_lanes).collect::<Vec<_>>().join(" ")
}

/// A `|` would begin the performance data, a line end the long text.
fn one_line(text: &impl Display) -> String {
    printable(&text.to_string()).replace('|', "/")
}
