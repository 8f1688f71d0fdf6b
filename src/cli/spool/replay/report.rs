//! What a replay has sent, or would send.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::status::words::{number, size};
use crate::deliver::replay::Sums;
use crate::event::EventRef;
use crate::ids::{LaneName, Seq, StreamName, TopicName};

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    executed: bool,
    rows: BTreeMap<(LaneName, StreamName, TopicName), Row>,
    lost: u64,
    /// What the destination has acknowledged.
    pub(super) sent: Option<Sums>,
}

#[derive(Debug)]
struct Row {
    events: u64,
    bytes: u64,
    first: Seq,
    last: Seq,
}

impl Report {
    pub(super) fn new(executed: bool) -> Self {
        Self { executed, rows: BTreeMap::new(), lost: 0, sent: None }
    }

    /// An event that was asked for.
    pub(super) fn take(
        &mut self,
        lane: &LaneName,
        stream: &StreamName,
        topic: &TopicName,
        seq: Seq,
        event: &EventRef<'_>,
    ) {
        let key = (lane.clone(), stream.clone(), topic.clone());
        let row = self.rows.entry(key).or_insert(Row { events: 0, bytes: 0, first: seq, last: seq });
        row.events += 1;
        row.bytes += (event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len)) as u64;
        row.last = seq;
    }

    /// Events that can't be sent, because they are damaged.
    pub(super) fn lose(&mut self, events: u64) {
        self.lost += events;
    }

    /// Events that are lost to damage.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    fn events(&self) -> u64 {
        self.rows.values().map(|row| row.events).sum()
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|((lane, stream, topic), row)| {
            json!({
                "lane": lane, "stream": stream, "topic": topic, "events": row.events, "bytes": row.bytes,
                "first_seq": row.first, "last_seq": row.last,
            })
        });
        let sums = self.sent.unwrap_or_default();
        json!({
            "executed": self.executed, "events": self.events(), "lost": self.lost,
            "acknowledged": sums.acknowledged, "possibly_doubled": sums.possibly_doubled,
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for ((lane, stream, topic), row) in &self.rows {
            let _ = writeln!(
                text,
                "lane {lane}, stream {stream} to topic {topic}: {} events, {}..={}, {}",
                number(row.events),
                row.first,
                row.last,
                size(row.bytes)
            );
        }
        if self.lost > 0 {
            let _ = writeln!(text, "{} events are lost to damage and can't be sent", number(self.lost));
        }
        let _ = match self.sent {
            Some(Sums { acknowledged, possibly_doubled: 0 }) => {
                writeln!(text, "{} events sent and acknowledged.", number(acknowledged))
            }
            Some(Sums { acknowledged, possibly_doubled }) => writeln!(
                text,
                "{} events sent and acknowledged, {} of them may be there twice: a broker forgot them in mid-way.",
                number(acknowledged),
                number(possibly_doubled)
            ),
            None if self.events() == 0 => writeln!(text, "No event was found to send."),
            None => {
                writeln!(text, "Nothing was sent. To send these {} events: --execute", number(self.events()))
            }
        };
        text
    }
}
