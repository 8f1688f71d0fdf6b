//! What `spoolway spool inspect` prints for people.

use std::fmt::Write as _;

use super::Found;
use crate::disk::RealFs;
use crate::ids::{DestinationName, Incarnation, Seq, SeqRange};
use crate::spool::inspect::LaneSnapshot;
use crate::spool::{Hole, Segment};
use crate::state::positions::{Restored, needs, usable};

pub(super) fn of(life: Incarnation, found: &[Found]) -> String {
    let mut text = format!("incarnation {life}\n");
    found.iter().for_each(|f| put_lane(&mut text, f));
    text
}

// Writing to a String does not fail.
fn put_lane(text: &mut String, found: &Found) {
    let Found { lane, findings, readers, parked, passed_over, put_aside } = found;
    let events: u64 = findings.streams.values().sum();
    let _ = writeln!(text, "\nlane {}: {events} events, {}", lane.name(), numbers(lane.first(), lane.end()));
    for (stream, count) in &findings.streams {
        let _ = writeln!(text, "  stream {stream}: {count} events");
    }
    readers.iter().for_each(|reader| put_destination(text, reader, found.range()));
    text.push_str(&parked.text());
    for segment in lane.segments() {
        let events = findings.segments.get(&segment.id).copied().unwrap_or(0);
        put_segment(text, lane, segment, events);
    }
    for hole in &findings.holes {
        let _ = writeln!(text, "  {}", hole_text(hole));
    }
    text.push_str(&passed_over.text());
    text.push_str(&put_aside.text());
}

fn put_destination(
    text: &mut String,
    (name, restored): &(DestinationName, Restored),
    (first, end): (Seq, Seq),
) {
    let (from, pending) = needs(restored, (first, end));
    let _ = match restored {
        Restored::Positions(_) if pending == 0 => {
            writeln!(text, "  destination {name}: needs nothing, has all below {from}")
        }
        Restored::Positions(_) => {
            writeln!(text, "  destination {name}: still needs {pending} events, from {from} on")
        }
        Restored::Nothing => writeln!(text, "  destination {name}: has no position yet, needs everything"),
        Restored::Unusable(why) => {
            writeln!(
                text,
                "  destination {name}: its positions can't be used ({why}), so everything is sent again"
            )
        }
    };
    for side in usable(restored).map(|p| &p.sides[..]).unwrap_or_default() {
        let _ = writeln!(
            text,
            "    topic {}: stuck at {}, {} events wait",
            side.topic,
            side.needed_from(),
            side.waiting_in_all()
        );
    }
}

fn put_segment(text: &mut String, lane: &LaneSnapshot<RealFs>, segment: &Segment, events: u64) {
    let _ = writeln!(
        text,
        "  segment {}: {}, {events} events, {} bytes, {}",
        segment.id,
        numbers(segment.base, segment.end),
        segment.bytes,
        if segment.readable { lane.state(segment) } else { "of a newer version, not read" }
    );
}

fn numbers(first: Seq, end: Seq) -> String {
    let range = SeqRange::new(first, end);
    if range.is_empty() { format!("none yet, next is {end}") } else { format!("numbers {range}") }
}

/// A hole for people.
pub(in crate::cli::spool) fn hole_text(hole: &Hole) -> String {
    let cause = serde_json::to_value(hole.cause).unwrap_or_default();
    format!("{}: {} ({} events)", cause.as_str().unwrap_or("lost"), hole.range, hole.range.len())
}
