//! What was found out, for people.

use std::fmt::Write;

use super::{LedgerReport, Report, Verdict};
use crate::cli::status::table::Column::{Left, Right};
use crate::cli::status::table::Table;
use crate::cli::status::words::{number, utc};
use crate::verify::{Counts, Finding, PartitionReport, RelayReport, TopicReport};

/// Relays that are listed; `--json` lists all.
const RELAYS: usize = 50;
/// Segments that are listed.
const SEGMENTS: usize = 20;

pub(super) fn of(report: &Report) -> String {
    let mut text: String = report.topics.iter().map(topic).collect();
    if let Some(ledger) = &report.ledger {
        text.push_str(&against_ledger(ledger));
    }
    if report.verdict != Verdict::Nothing {
        let _infallible = writeln!(text, "{}", verdict(report));
    }
    text
}

fn topic(topic: &TopicReport) -> String {
    let records: u64 = topic.counts.records + topic.foreign + topic.unreadable + topic.other_relays;
    let mut text = format!(
        "topic {}: {} in {}\n",
        topic.topic,
        many(records, "record"),
        many(topic.partitions.len() as u64, "partition")
    );
    if records == 0 {
        return text;
    }
    text.push_str(&partitions(&topic.partitions));
    if !topic.relays.is_empty() {
        text.push_str(&relays(&topic.relays));
    }
    for note in notes(topic) {
        let _infallible = writeln!(text, "  {note}");
    }
    text
}

fn columns(first: &[crate::cli::status::table::Column]) -> Table {
    let counts = ["events", "missing", "doubled", "reordered", "expired"].map(Right);
    Table::new(&[first, &counts[..]].concat())
}

fn cells(counts: &Counts) -> impl Iterator<Item = String> {
    let Counts { events, missing, doubled, reordered, expired, .. } = *counts;
    [events, missing, doubled, reordered, expired].into_iter().map(number)
}

fn partitions(partitions: &[PartitionReport]) -> String {
    let mut table = columns(&[Right("partition"), Left("offsets"), Right("foreign")]);
    for p in partitions {
        let first = [p.partition.to_string(), format!("{}..{}", p.start, p.end), number(p.foreign)];
        table.row(first.into_iter().chain(cells(&p.counts)).collect());
    }
    table.render()
}

fn relays(relays: &[RelayReport]) -> String {
    let mut table = columns(&[Left("relay"), Right("runs"), Left("newest event")]);
    for relay in relays.iter().take(RELAYS) {
        let newest = relay.newest_event.map_or_else(String::new, utc);
        let first = [relay.incarnation.clone(), relay.runs.to_string(), newest];
        table.row(first.into_iter().chain(cells(&relay.counts)).collect());
    }
    let mut text = table.render();
    if relays.len() > RELAYS {
        let _infallible = writeln!(text, "  and {} more relays (--json lists all)", relays.len() - RELAYS);
    }
    text
}

/// What is rare and needs a sentence.
fn notes(topic: &TopicReport) -> Vec<String> {
    let Counts { renumbered, removed, expired, .. } = topic.counts;
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            notes.push(format!("{}: {what}", number(count)));
        }
    };
    note(expired, "expired: their offsets lay before the start of the log, which its retention has moved");
    note(
        removed,
        "removed from the middle of the log by compaction; whether all of them were there can't be seen",
    );
    note(
        renumbered,
        "under counter numbers that other events had: the relay's state was set back, and what is missing among \
         them can't be seen",
    );
    note(topic.unreadable, "with a `spoolway` header that can't be read: damaged, or of a newer version");
    note(topic.other_relays, "of relays that were not asked for");
    if !topic.exact {
        notes.push(
            "more was out of order than can be followed exactly: the counts are near the truth".to_owned(),
        );
    }
    notes
}

fn against_ledger(ledger: &LedgerReport) -> String {
    let LedgerReport { segments, holds, expired, missing, differs, unknown, findings } = ledger;
    let mut text = format!(
        "ledger: {}, {holds} hold, {missing} with events missing, {differs} that differ, {expired} expired, {unknown} unknown\n",
        many(*segments as u64, "finished segment"),
    );
    for claim in findings.iter().take(SEGMENTS) {
        let what = match claim.finding {
            Finding::Missing => "events are missing",
            Finding::Expired => "the rest may have been deleted by the topic's retention",
            Finding::Differs => "the events are not those that were delivered",
            Finding::Unknown => "the ledger does not say which run wrote it",
            Finding::Holds => "",
        };
        let _infallible = writeln!(
            text,
            "  lane {}, segment {}, events {}..={}: {} delivered, {} found; {what}",
            claim.lane,
            claim.segment,
            claim.first_seq,
            claim.last_seq,
            number(claim.delivered),
            number(claim.found)
        );
    }
    if findings.len() > SEGMENTS {
        let _infallible = writeln!(text, "  and {} more (--json lists them)", findings.len() - SEGMENTS);
    }
    text
}

fn verdict(report: &Report) -> String {
    let Counts { events, missing, doubled, reordered, renumbered, .. } = report.totals.counts;
    let whose = format!("{} of {}", many(events, "event"), many(report.totals.relays as u64, "relay"));
    if report.verdict == Verdict::Whole {
        return format!("Whole: {whose}, each there once and in order.");
    }
    let mut found: Vec<String> =
        [(missing, "missing"), (doubled, "doubled"), (reordered, "out of order"), (renumbered, "renumbered")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", number(count)))
            .collect();
    if let Some(ledger) = report.ledger.as_ref().filter(|l| l.missing + l.differs > 0) {
        found.push(format!(
            "{} not as the ledger says",
            many((ledger.missing + ledger.differs) as u64, "segment")
        ));
    }
    format!("DAMAGED: {}; {whose}.", found.join(", "))
}

/// Nothing of a relay was found.
pub(super) fn nothing(report: &Report) -> String {
    let names: Vec<_> = report.topics.iter().map(|t| t.topic.as_str()).collect();
    let (topics, it) = if names.len() == 1 { ("topic", "it") } else { ("topics", "them") };
    let empty = report.topics.iter().flat_map(|t| &t.partitions).all(|p| p.start == p.end);
    let gone = empty && report.topics.iter().flat_map(|t| &t.partitions).any(|p| p.end > 0);
    let why = if gone {
        "all it ever held was deleted by its retention"
    } else if empty {
        "nothing was ever written to it"
    } else if report.totals.other_relays > 0 {
        "there are only records of other relays than those asked for"
    } else if report.totals.unreadable > 0 {
        "there are `spoolway` headers, but none that can be read: is this program older than the relay?"
    } else {
        "no record has a `spoolway` header: is it the right topic, and has the destination header = false?"
    };
    format!("{topics} {}: nothing of a relay is in {it}, so nothing is proven: {why}", names.join(", "))
}

/// `1 record`, `2,000 records`
fn many(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", number(count)) }
}
