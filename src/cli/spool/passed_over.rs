//! Segments that are not read, or not to their end, as the tools tell them.

use serde_json::{Value, json};

use crate::disk::RealFs;
use crate::spool::inspect::LaneSnapshot;
use crate::spool::passed_over::PassedOver;

/// Those of one lane.
pub(super) struct Rows(Vec<PassedOver>);

impl Rows {
    pub(super) fn of(lane: &LaneSnapshot<RealFs>) -> Self {
        Self(lane.passed_over())
    }

    /// Whether events may be lost by one of them.
    pub(super) fn is_damage(&self) -> bool {
        self.0.iter().any(|passed| passed.why.is_damage())
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(|passed| format!("  passed over: {passed}\n")).collect()
    }

    pub(super) fn json(&self) -> Value {
        let row = |p: &PassedOver| json!({ "file": p.file, "why": p.why, "damage": p.why.is_damage() });
        self.0.iter().map(row).collect()
    }
}

/// Tells those of a lane beside what is printed; whether events may be lost by them, for commands that are asked for events: which
/// numbers are in them nobody knows, so they may be of those that were asked for.
pub(super) fn tell(lane: &LaneSnapshot<RealFs>) -> bool {
    let rows = Rows::of(lane);
    if !rows.0.is_empty() {
        anstream::eprint!("lane {}:\n{}", lane.name(), rows.text());
    }
    rows.is_damage()
}
