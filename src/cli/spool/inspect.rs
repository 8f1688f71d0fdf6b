//! `spoolway spool inspect`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::Directory;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::disk::RealFs;
use crate::ids::{SeqRange, SpoolId};
use crate::spool::inspect::{Findings, LaneSnapshot};
use crate::spool::{Hole, Segment};

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    directory: Directory,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let (snapshot, lanes) = args.directory.snapshot()?;
    let mut found = Vec::new();
    for lane in lanes {
        let findings = lane.look_over(false).map_err(Failure::running)?;
        found.push((lane, findings));
    }
    if args.json {
        output::line(&as_json(snapshot.spool, &found).to_string())?;
    } else {
        output::print(&as_text(snapshot.spool, &found))?;
    }
    Ok(Exit::Done)
}

type Found = [(LaneSnapshot<RealFs>, Findings)];

fn as_json(spool: SpoolId, found: &Found) -> serde_json::Value {
    let lanes = found.iter().map(|(lane, findings)| {
        let segments: Vec<_> = lane.segments().map(|segment| segment_json(lane, segment, findings)).collect();
        json!({
            "name": lane.name(), "first_seq": lane.first(), "end_seq": lane.end(),
            "dropped_below": lane.dropped_below(), "released_below": lane.released_below(),
            "streams": findings.streams, "segments": segments,
            "holes": findings.holes.iter().map(hole_json).collect::<Vec<_>>(),
        })
    });
    json!({ "incarnation": spool, "lanes": lanes.collect::<Vec<_>>() })
}

fn segment_json(lane: &LaneSnapshot<RealFs>, segment: &Segment, findings: &Findings) -> serde_json::Value {
    json!({
        "id": segment.id, "file": segment.path, "bytes": segment.bytes, "end_offset": segment.end_offset,
        "base_seq": segment.base, "end_seq": segment.end, "begun_at": segment.created,
        "state": lane.state(segment), "readable": segment.readable,
        "events": findings.segments.get(&segment.id).copied().unwrap_or(0),
    })
}

/// A hole as every command prints it.
pub(super) fn hole_json(hole: &Hole) -> serde_json::Value {
    json!({
        "first_seq": hole.range.first, "last_seq": hole.range.end.prev(), "events": hole.range.len(),
        "cause": hole.cause,
    })
}

fn as_text(spool: SpoolId, found: &Found) -> String {
    let mut text = format!("incarnation {spool}\n");
    // Writing to a String does not fail.
    for (lane, findings) in found {
        let events: u64 = findings.streams.values().sum();
        let _ = writeln!(
            text,
            "\nlane {}: {events} events, numbers {}",
            lane.name(),
            SeqRange::new(lane.first(), lane.end())
        );
        for (stream, count) in &findings.streams {
            let _ = writeln!(text, "  stream {stream}: {count} events");
        }
        for segment in lane.segments() {
            let events = findings.segments.get(&segment.id).copied().unwrap_or(0);
            let _ = writeln!(
                text,
                "  segment {}: {}, {events} events, {} bytes, {}",
                segment.id,
                SeqRange::new(segment.base, segment.end),
                segment.bytes,
                lane.state(segment)
            );
        }
        for hole in &findings.holes {
            let _ = writeln!(text, "  {}", hole_text(hole));
        }
    }
    text
}

/// A hole for people.
pub(super) fn hole_text(hole: &Hole) -> String {
    let cause = serde_json::to_value(hole.cause).unwrap_or_default();
    format!("{}: {} ({} events)", cause.as_str().unwrap_or("lost"), hole.range, hole.range.len())
}
