//! The answer for people.

use std::fmt::Write;

use super::table::Column::{Left, Right};
use super::table::{Table, printable};
use super::view::{Account, Destination, Lane, Part, Ready, Source, Status};
use super::words::{ago, number, size, span};
use crate::event::UnixMillis;

const TITLE: anstyle::Style = anstyle::Style::new().bold();
const GOOD: anstyle::Style = anstyle::AnsiColor::Green.on_default();
const BAD: anstyle::Style = anstyle::AnsiColor::Red.on_default();

/// All of it; colours are taken out where they don't belong when it is printed.
pub(super) fn render(status: &Status, ready: &Ready, now: UnixMillis) -> String {
    let mut text = head(status, ready);
    section(&mut text, "Sources", &sources(&status.sources, now));
    section(&mut text, "Lanes", &lanes(&status.lanes));
    section(&mut text, "Destinations", &destinations(&status.destinations, now));
    section(&mut text, "Accounts", &accounts(&status.accounts));
    text
}

fn head(status: &Status, ready: &Ready) -> String {
    let id = printable(&status.relay.id);
    let up = span(std::time::Duration::from_secs(status.uptime_seconds).as_secs_f64());
    let mut text = format!(
        "{TITLE}{id}{TITLE:#}  spoolway {}, up {up}, incarnation {}\n",
        printable(&status.version),
        printable(&status.relay.incarnation)
    );
    for (what, part) in [("accepting", &ready.accept), ("delivering", &ready.deliver)] {
        let _infallible = writeln!(text, "  {what}: {}", readiness(part));
    }
    for note in &ready.notes {
        let _infallible = writeln!(text, "  note: {}", printable(note));
    }
    text
}

fn readiness(part: &Part) -> String {
    if part.ready {
        return format!("{GOOD}ready{GOOD:#}");
    }
    format!("{BAD}not ready{BAD:#}: {}", printable(&part.reasons.join("; ")))
}

fn section(text: &mut String, title: &str, table: &Table) {
    let _infallible = write!(text, "\n{TITLE}{title}{TITLE:#}\n{}", table.render());
}

fn sources(sources: &[Source], now: UnixMillis) -> Table {
    let mut table = Table::new(&[
        Left("name"),
        Left("type"),
        Left("address"),
        Right("connections"),
        Right("accepted"),
        Right("rejected"),
        Left("last event"),
    ]);
    for source in sources {
        table.row(vec![
            source.name.clone(),
            source.kind.clone(),
            source.address.clone().unwrap_or_else(|| "-".into()),
            number(source.connections),
            number(source.accepted),
            number(source.rejected),
            source.last_event_at.map_or_else(|| "never".into(), |at| ago(at, now)),
        ]);
    }
    table
}

fn lanes(lanes: &[Lane]) -> Table {
    let mut table = Table::new(&[
        Left("name"),
        Left("state"),
        Right("first"),
        Right("durable"),
        Right("on disk"),
        Right("limit"),
        Right("segments"),
        Right("lost to damage"),
    ]);
    for lane in lanes {
        let state = match (&lane.failing, lane.full) {
            (Some(_), _) => "failing",
            (None, true) => "full",
            (None, false) if lane.draining => "draining",
            (None, false) => "ok",
        };
        table.row_with(
            vec![
                lane.name.clone(),
                state.into(),
                number(lane.first_seq),
                number(lane.durable_seq),
                size(lane.bytes),
                size(lane.limit_bytes),
                number(lane.segments),
                number(lane.quarantined_events),
            ],
            lane.failing.clone().into_iter().collect(),
        );
    }
    table
}

fn destinations(destinations: &[Destination], now: UnixMillis) -> Table {
    let mut table = Table::new(&[
        Left("name"),
        Left("lane"),
        Left("state"),
        Right("lag"),
        Right("oldest"),
        Right("delivered up to"),
        Right("in flight"),
        Right("parked"),
    ]);
    for destination in destinations {
        let oldest = if destination.lag_events == 0 { "-".into() } else { span(destination.lag_seconds) };
        table.row_with(
            vec![
                destination.name.clone(),
                destination.lane.clone(),
                if destination.up { "up" } else { "down" }.into(),
                number(destination.lag_events),
                oldest,
                number(destination.delivered_seq),
                number(destination.in_flight),
                number(destination.parked),
            ],
            troubles(destination, now),
        );
    }
    table
}

fn troubles(destination: &Destination, now: UnixMillis) -> Vec<String> {
    let mut lines: Vec<String> =
        destination.waiting.iter().map(|w| format!("topic {} waits: {}", w.topic, w.reason)).collect();
    lines.extend(destination.notes.iter().cloned());
    if destination.throttled_seconds >= 1.0 {
        let time = span(destination.throttled_seconds);
        lines.push(format!("held back by quotas of the cluster, for {time} since the start"));
    }
    if let Some(error) = &destination.last_error {
        let code = error.code.map(|code| format!("code {code}"));
        let code = code.filter(|code| !error.message.contains(code));
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let when = ago(error.at, now);
        lines.push(format!("last error, {when}, {} in a row: {}{code}", number(error.count), error.message));
        if !error.hint.is_empty() {
            lines.push(format!("  {}", error.hint));
        }
    }
    lines
}

fn accounts(accounts: &[Account]) -> Table {
    let mut table = Table::new(&[
        Left("lane"),
        Left("destination"),
        Right("since"),
        Right("accepted"),
        Right("= delivered"),
        Right("+ dead-lettered"),
        Right("+ filtered"),
        Right("+ dropped"),
        Right("+ lost"),
        Right("+ pending"),
    ]);
    for account in accounts {
        let off = i128::from(account.accepted) - i128::from(account.sum());
        let under = if off == 0 {
            vec![]
        } else {
            vec![format!("does not add up: off by {off}; please report this")]
        };
        table.row_with(
            vec![
                account.lane.clone(),
                account.destination.clone(),
                number(account.since_seq),
                number(account.accepted),
                number(account.delivered),
                number(account.dead_lettered),
                number(account.filtered),
                number(account.dropped),
                number(account.lost_to_damage),
                number(account.pending),
            ],
            under,
        );
    }
    table
}
