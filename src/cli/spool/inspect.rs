//! `spoolway spool inspect`.

mod text;

use clap::Args;
use serde_json::{Value, json};

use super::{Directory, Readers, parked, passed_over, put_aside, read_failure};
use crate::cli::progress::Progress;
use crate::cli::{Exit, Outcome, output};
use crate::disk::RealFs;
use crate::ids::{DestinationName, Incarnation, Seq, SpoolId};
use crate::spool::inspect::{Findings, LaneSnapshot, incarnation};
use crate::spool::{Hole, Segment};
use crate::state::positions::{Restored, needs, usable};

pub(super) use text::hole_text;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    pub(super) directory: Directory,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A lane, and what is known of it.
struct Found {
    lane: LaneSnapshot<RealFs>,
    findings: Findings,
    readers: Readers,
    parked: parked::Rows,
    passed_over: passed_over::Rows,
    put_aside: put_aside::Rows,
}

impl Found {
    /// Where a destination begins whose positions are not known, and where all end.
    fn range(&self) -> (Seq, Seq) {
        (self.lane.first().max(self.lane.begin()), self.lane.end())
    }
}

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let mut looked = args.directory.look()?;
    let mut found = Vec::new();
    for lane in std::mem::take(&mut looked.lanes) {
        let findings = look_over(&lane, false)?;
        let readers = looked.readers.remove(lane.name()).unwrap_or_default();
        let parked = parked::Rows::by_headers(&looked, lane.name())?;
        let passed_over = passed_over::Rows::of(&lane);
        let put_aside = put_aside::Rows::of(&lane, false)?;
        found.push(Found { lane, findings, readers, parked, passed_over, put_aside });
    }
    let life = incarnation(&RealFs, &args.directory.dir, looked.spool);
    if args.json {
        output::line(&as_json((looked.spool, life), &found).to_string())?;
    } else {
        output::print(&text::of(life, &found))?;
    }
    let damaged = found.iter().any(|f| f.findings.lost() > 0 || f.passed_over.is_damage());
    Ok(if damaged { Exit::Loss } else { Exit::Done })
}

/// Goes over a lane, showing on a terminal how far it has come.
pub(super) fn look_over(
    lane: &LaneSnapshot<RealFs>,
    thorough: bool,
) -> Result<Findings, crate::cli::Failure> {
    let begin = lane.begin().max(lane.first()).0;
    let mut progress = Progress::new(format!("lane {}", lane.name()), lane.end().0.saturating_sub(begin));
    let found = lane.look_over_with(thorough, |seq| progress.at(seq.0.saturating_sub(begin)));
    found.map_err(|e| read_failure(&e))
}

fn as_json((spool, life): (SpoolId, Incarnation), found: &[Found]) -> Value {
    let lanes = found.iter().map(|f| {
        let Found { lane, findings, readers, parked, passed_over, put_aside } = f;
        let segments: Vec<_> = lane.segments().map(|segment| segment_json(lane, segment, findings)).collect();
        json!({
            "name": lane.name(), "first_seq": lane.first(), "end_seq": lane.end(),
            "dropped_below": lane.dropped_below(), "released_below": lane.released_below(),
            "streams": findings.streams, "segments": segments,
            "holes": findings.holes.iter().map(hole_json).collect::<Vec<_>>(),
            "parked": parked.json(), "passed_over": passed_over.json(), "put_aside": put_aside.json(),
            "destinations": readers.iter().map(|r| destination_json(r, f.range())).collect::<Vec<_>>(),
        })
    });
    json!({ "incarnation": life, "spool": spool, "lanes": lanes.collect::<Vec<_>>() })
}

fn segment_json(lane: &LaneSnapshot<RealFs>, segment: &Segment, findings: &Findings) -> Value {
    json!({
        "id": segment.id, "file": segment.path, "bytes": segment.bytes, "end_offset": segment.end_offset,
        "base_seq": segment.base, "end_seq": segment.end, "begun_at": segment.created,
        "state": lane.state(segment), "readable": segment.readable,
        "events": findings.segments.get(&segment.id).copied().unwrap_or(0),
    })
}

/// `position` and `totals` are null where the positions can't be read: then everything is sent again.
fn destination_json((name, restored): &(DestinationName, Restored), range: (Seq, Seq)) -> Value {
    let (needed_from, pending) = needs(restored, range);
    let known = usable(restored);
    let sides = known.map(|p| &p.sides[..]).unwrap_or_default().iter();
    let sides = sides
        .map(|s| json!({ "topic": s.topic, "position_seq": s.needed_from(), "waiting": s.waiting_in_all() }));
    let totals = known.map(|p| {
        let t = p.totals;
        json!({
            "since_seq": p.since, "delivered": t.delivered, "dead_lettered": t.dead_lettered,
            "filtered": t.filtered, "dropped": t.dropped, "lost_to_damage": t.lost,
        })
    });
    let problem = match restored {
        Restored::Unusable(why) => Some(why.to_string()),
        _ => None,
    };
    json!({
        "name": name, "needed_from_seq": needed_from, "pending": pending, "position_seq": known.map(|p| p.position),
        "stuck_topics": sides.collect::<Vec<_>>(), "totals": totals, "problem": problem,
    })
}

/// A hole as every command prints it.
pub(super) fn hole_json(hole: &Hole) -> Value {
    json!({
        "first_seq": hole.range.first, "last_seq": hole.range.end.prev(), "events": hole.range.len(),
        "cause": hole.cause,
    })
}
