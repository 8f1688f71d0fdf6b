//! Segments that are not read, or not to their end, as `inspect` and `verify` tell them.

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
