//! What is parked, for the commands that look into a data directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Looked;
use crate::cli::Failure;
use crate::disk::{DiskError, RealFs};
use crate::ids::{DestinationName, LaneName, Seq, SeqRange, TopicName};
use crate::state::park::{self, Parked, ParkedFile, Seen};

/// What is parked of a lane for one topic of a destination.
#[derive(Debug, Default)]
struct Row {
    files: u64,
    bytes: u64,
    events: u64,
    lost: u64,
    /// The lowest number its files speak of, and the one behind the highest.
    range: Option<SeqRange>,
    /// Paths of files whose header is damaged.
    damaged: Vec<String>,
}

/// What is parked of a lane.
#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<(DestinationName, TopicName), Row>);

fn failure(error: &DiskError) -> Failure {
    Failure::running(format!("{error}; run this as the user the agent runs as, or check the disk's health"))
}

impl Rows {
    /// Reads the headers of all files.
    pub(super) fn by_headers(looked: &Looked, lane: &LaneName) -> Result<Self, Failure> {
        let seen = |file: &ParkedFile| {
            let made = file.made_with(&RealFs, looked.spool)?;
            Ok(Some(Seen {
                events: made.unwrap_or_default(),
                header_damaged: made.is_none(),
                ..Seen::default()
            }))
        };
        Self::take(looked, lane, seen)
    }

    /// Reads and checks every byte.
    pub(super) fn thorough(looked: &Looked, lane: &LaneName) -> Result<Self, Failure> {
        Self::take(looked, lane, |file| file.read(&RealFs, looked.spool, |_| {}))
    }

    fn take(
        looked: &Looked,
        lane: &LaneName,
        mut see: impl FnMut(&ParkedFile) -> Result<Option<Seen>, DiskError>,
    ) -> Result<Self, Failure> {
        let mut rows = Self::default();
        for file in park::files(&RealFs, &looked.dir, lane).map_err(|e| failure(&e))? {
            let Some(seen) = see(&file).map_err(|e| failure(&e))? else { continue };
            let row = rows.0.entry((file.destination, file.topic)).or_default();
            row.files += 1;
            row.bytes += file.bytes;
            row.events += seen.events;
            row.lost += seen.lost;
            let range = row.range.unwrap_or(file.covers);
            row.range =
                Some(SeqRange::new(range.first.min(file.covers.first), range.end.max(file.covers.end)));
            if seen.header_damaged {
                row.damaged.push(file.path.display().to_string());
            }
        }
        Ok(rows)
    }

    /// Events lost to damage.
    pub(super) fn lost(&self) -> u64 {
        self.0.values().map(|row| row.lost).sum()
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.0.iter().map(|((destination, topic), row)| {
            let (first, end) = row.range.map_or((Seq::NONE, Seq::NONE), |r| (r.first, r.end));
            json!({
                "destination": destination, "topic": topic, "files": row.files, "bytes": row.bytes, "events": row.events,
                "lost": row.lost, "first_seq": first, "end_seq": end, "damaged_headers": row.damaged,
            })
        });
        rows.collect()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for ((destination, topic), row) in &self.0 {
            let _ = write!(
                text,
                "  parked for {destination}, topic {topic}: {} events in {} files",
                row.events, row.files
            );
            let _ = match row.lost {
                0 => writeln!(text),
                lost => writeln!(text, ", {lost} lost to damage"),
            };
            for path in &row.damaged {
                let _ = writeln!(
                    text,
                    "    {path}: its header is damaged, so how many events it had is not known"
                );
            }
        }
        text
    }
}

/// Shows every parked block with numbers below `end`, each once though several destinations wait for it. How many events are lost.
pub(super) fn each(
    looked: &Looked,
    lane: &LaneName,
    end: Seq,
    mut visit: impl FnMut(Parked) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let (mut shown, mut lost) = (std::collections::BTreeSet::new(), 0);
    let mut files = park::files(&RealFs, &looked.dir, lane).map_err(|e| failure(&e))?;
    files.sort_by(|a, b| {
        (a.covers.first, &a.destination, &a.topic).cmp(&(b.covers.first, &b.destination, &b.topic))
    });
    for file in files.iter().filter(|file| file.covers.first < end) {
        let mut blocks = Vec::new();
        let seen = file.read(&RealFs, looked.spool, |block| blocks.push(block)).map_err(|e| failure(&e))?;
        lost += seen.map_or(0, |seen| seen.lost);
        for block in blocks {
            if block.range.first < end && shown.insert((block.range.first, block.run.0)) {
                visit(block)?;
            }
        }
    }
    Ok(lost)
}
