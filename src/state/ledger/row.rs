//! Rows of the ledger, their keys, and how they are listed.

use serde::Serialize;

use crate::event::UnixMillis;
use crate::ids::{DestinationName, LaneName, RunId, SegmentId, Seq};

/// What a row is found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// The lane whose segment it is.
    pub lane: LaneName,
    /// The destination that is done with it.
    pub destination: DestinationName,
    /// The segment.
    pub segment: SegmentId,
}

/// What became of the events of one segment at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Lane, destination, segment.
    #[serde(flatten)]
    pub key: Key,
    /// The run that wrote the segment, which its events' headers name; `None` where it was not known.
    pub run: Option<RunId>,
    /// First event of the segment.
    pub first_seq: Seq,
    /// Last event of the segment.
    pub last_seq: Seq,
    /// Events of the segment; the sum of the five counts that follow.
    pub accepted: u64,
    /// Held by the destination.
    pub delivered: u64,
    /// Sent here by no route.
    pub filtered: u64,
    /// Set aside for good.
    pub dead_lettered: u64,
    /// Given up because the spool was full.
    pub dropped: u64,
    /// Lost to damaged bytes.
    pub lost_to_damage: u64,
    /// [`EventSum`](super::EventSum) of the delivered events, as 16 hex digits in JSON (a number would
    /// lose bits in most readers).
    #[serde(serialize_with = "hex")]
    pub hash: u64,
    /// When the last of them was settled.
    pub finished_at: UnixMillis,
}

fn hex<S: serde::Serializer>(hash: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{hash:016x}"))
}

/// Which rows to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only rows of this lane.
    pub lane: Option<LaneName>,
    /// Only rows of this destination.
    pub destination: Option<DestinationName>,
    /// Only rows behind this key: [`Page::next`] of the page before.
    pub after: Option<Key>,
    /// At most this many, 1 to [`MAX_PAGE`](super::MAX_PAGE).
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { lane: None, destination: None, after: None, limit: 100 }
    }
}

impl Query {
    /// Whether the filters let a row of this key through.
    #[must_use]
    pub fn takes(&self, key: &Key) -> bool {
        self.lane.as_ref().is_none_or(|l| *l == key.lane)
            && self.destination.as_ref().is_none_or(|d| *d == key.destination)
            && self.after.as_ref().is_none_or(|after| key > after)
    }
}

/// Rows in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the next page begins, if there may be one: goes into [`Query::after`].
    #[serde(serialize_with = "cursor")]
    pub next: Option<Key>,
    /// Rows met on the way that could not be read (damaged, or written by a newer version).
    pub unreadable: u64,
    /// Rows given up since the process started, because the disk would not have them.
    pub missed: u64,
}

#[expect(clippy::ref_option, reason = "the shape serde asks for")]
fn cursor<S: serde::Serializer>(next: &Option<Key>, s: S) -> Result<S::Ok, S::Error> {
    match next {
        Some(key) => s.collect_str(&format_args!("{key}")),
        None => s.serialize_none(),
    }
}

/// `lane/destination/segment`; names hold no `/`.
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.lane, self.destination, self.segment)
    }
}

/// The text was no `lane/destination/segment`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ledger row is named lane/destination/segment, as in the \"next\" of a page")]
pub struct KeyError;

impl std::str::FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.split('/');
        let (Some(lane), Some(destination), Some(segment), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError);
        };
        Ok(Self {
            lane: LaneName::new(lane).map_err(|_| KeyError)?,
            destination: DestinationName::new(destination).map_err(|_| KeyError)?,
            segment: SegmentId(segment.parse().map_err(|_| KeyError)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::tests::key;
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_a_page_begins_behind_it() {
        assert_eq!(key("main", "home", 7).to_string(), "main/home/7");
        assert_eq!("main/home/7".parse(), Ok(key("main", "home", 7)));
        let query = Query { after: Some(key("main", "home", 7)), ..Query::default() };
        assert_eq!([6, 7, 8].map(|n| query.takes(&key("main", "home", n))), [false, false, true]);
    }
}
