//! Segments that were put aside, as the tools tell them.

use serde_json::{Value, json};

use crate::cli::Failure;
use crate::disk::RealFs;
use crate::ids::SeqRange;
use crate::spool::inspect::LaneSnapshot;
use crate::spool::put_aside::{Contents, PutAside};

/// Those of one lane.
pub(super) struct Rows(Vec<PutAside>);

impl Rows {
    pub(super) fn of(lane: &LaneSnapshot<RealFs>, thorough: bool) -> Result<Self, Failure> {
        let found = lane.put_aside(thorough);
        found.map(Self).map_err(|e| Failure::running(format!("lane {}: {e}", lane.name())))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let line = |PutAside { file, bytes, contents }: &PutAside| {
            let what = contents.map_or_else(
                || "what was in it can't be told any more".to_owned(),
                |Contents { first, end, is_all, events, lost }| {
                    let more = if is_all { "" } else { "; it may have had more" };
                    format!(
                        "of {} {events} are whole in it and {lost} damaged or missing{more}",
                        SeqRange::new(first, end)
                    )
                },
            );
            format!(
                "  put aside: {} ({bytes} bytes), of which events were lost; everything else of it is delivered\n    {what}\n",
                file.display()
            )
        };
        self.0.iter().map(line).collect()
    }

    pub(super) fn json(&self) -> Value {
        let row = |PutAside { file, bytes, contents }: &PutAside| {
            json!({
                "file": file, "bytes": bytes, "first_seq": contents.map(|c| c.first),
                "last_seq": contents.map(|c| c.end.prev()), "events": contents.map(|c| c.events),
                "lost": contents.map(|c| c.lost), "end_known": contents.is_some_and(|c| c.is_all),
            })
        };
        self.0.iter().map(row).collect()
    }
}
