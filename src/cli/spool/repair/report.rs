//! What a repair says at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Lane, RepairArgs, Rows};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, SeqRange};
use crate::spool::inspect::incarnation;
use crate::spool::salvage::Old;
use crate::state::positions::{Carried, Positions};

/// Ranges of lost numbers printed for people; `--json` has all.
const SHOWN: usize = 100;

pub(super) struct Report<'a> {
    pub(super) args: &'a RepairArgs,
    pub(super) old: &'a Old<RealFs>,
    pub(super) lanes: &'a [Lane],
    /// Segments of the old spool that its log passes over, by lane.
    pub(super) passed_over: &'a BTreeMap<LaneName, Rows>,
    pub(super) running: bool,
    /// Dead letters that came along.
    pub(super) letters: usize,
    /// Bytes of what stands beside the log that could not be read.
    pub(super) unread: u64,
}

impl Report<'_> {
    pub(super) fn lost(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.copy.salvaged.lost()).sum()
    }

    /// Whether events may be lost whose numbers nothing says.
    pub(super) fn is_damage(&self) -> bool {
        self.passed_over.values().any(Rows::is_damage)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "incarnation": incarnation(&RealFs, &self.args.dir, self.old.spool), "spool": self.old.spool, "into": self.args.into, "lost": self.lost(),
            "agent_running": self.running, "lanes": self.lanes.iter().map(|lane| self.lane_json(lane)).collect::<Vec<_>>(),
            "dead_letters": self.letters, "unread_beside": self.unread, "notes": self.old.notes,
        })
    }

    fn lane_json(&self, lane: &Lane) -> Value {
        let salvaged = &lane.copy.salvaged;
        json!({
            "name": lane.name, "events": salvaged.events, "found_elsewhere": salvaged.found,
            "renumbered": salvaged.renumbered, "unproven_left": salvaged.unproven,
            "undecodable": salvaged.undecodable, "unread": salvaged.unread, "lost": salvaged.lost(),
            "holes": salvaged.lost.iter().map(range_json).collect::<Vec<_>>(),
            "passed_over": self.passed_over.get(&lane.name).map_or_else(|| json!([]), Rows::json),
            "destinations": lane.destinations.iter().map(destination_json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for lane in self.lanes {
            put_lane(&mut text, lane);
            text.push_str(&self.passed_over.get(&lane.name).map(Rows::text).unwrap_or_default());
        }
        if self.is_damage() {
            text.push_str(
                "note: of the segments that are passed over all was salvaged that is whole; whether more was in them no number says\n",
            );
        }
        // Writing to a String does not fail.
        if self.letters > 0 {
            let _ = writeln!(text, "{} dead letters came along", self.letters);
        }
        if self.unread > 0 {
            let _ = writeln!(
                text,
                "note: {} bytes of dead letters, journals or parked events can't be read: what stood there is lost",
                self.unread
            );
        }
        for note in &self.old.notes {
            let _ = writeln!(text, "note: {note}");
        }
        if self.running {
            let _ = writeln!(
                text,
                "note: an agent runs on {}: what it accepts from now on is not in {}",
                self.args.dir.display(),
                self.args.into.display()
            );
        }
        let _ = writeln!(
            text,
            "{into} is a spool now, with the identity of the old one: run the agent on one of them, never on both",
            into = self.args.into.display()
        );
        text
    }
}

fn range_json(range: &SeqRange) -> Value {
    json!({ "first_seq": range.first, "last_seq": range.end.prev(), "events": range.len() })
}

fn destination_json((name, carried): &(DestinationName, Carried)) -> Value {
    let (how, positions) = match carried {
        Carried::Nothing => ("none", None),
        Carried::AsItWas(positions) => ("kept", Some(positions)),
        Carried::Anew(positions) => ("anew", Some(positions)),
    };
    json!({ "name": name, "positions": how, "needed_from_seq": positions.map(Positions::needed_from) })
}

// Writing to a String does not fail.
fn put_lane(text: &mut String, lane: &Lane) {
    let salvaged = &lane.copy.salvaged;
    let _ =
        writeln!(text, "lane {}: {} events salvaged, {} lost", lane.name, salvaged.events, salvaged.lost());
    for range in salvaged.lost.iter().take(SHOWN) {
        let _ = writeln!(text, "  lost: {range} ({} events)", range.len());
    }
    if salvaged.lost.len() > SHOWN {
        let _ = writeln!(text, "  lost: {} more ranges, see --json", salvaged.lost.len() - SHOWN);
    }
    let counts = [
        (salvaged.undecodable, "events are whole and cannot be decoded; their blocks are kept as they are"),
        (salvaged.unread, "events are of a newer version: kept as they are, and lost to this version"),
        (salvaged.found, "events were lost to the log and stand in another file: salvaged at their numbers"),
        (salvaged.renumbered, "events have new numbers, behind the log: theirs were taken or passed over"),
        (
            salvaged.unproven,
            "whole events were left: nobody was told that they are kept (--with-unproven takes them)",
        ),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "  {count} {what}");
    }
    for (name, carried) in &lane.destinations {
        let _ = match carried {
            Carried::Nothing => writeln!(text, "  destination {name}: had no positions, gets everything"),
            Carried::AsItWas(p) => writeln!(text, "  destination {name}: goes on at {}", p.needed_from()),
            Carried::Anew(p) => {
                writeln!(text, "  destination {name}: gets everything from {} on again", p.needed_from())
            }
        };
    }
}
