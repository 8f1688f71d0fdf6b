//! Routes as they were: `<data_dir>/routes`, a file of slots.
//!
//! Each start writes down the routes it begins with and, when they are other ones, up to which number the ones before held.
//!
//! A stream that goes to one destination less and to others more has *moved*: what the one had not settled is the others'
//! (`deliver::takeover` hands it over). A destination that a stream goes to no more otherwise still gets what was accepted
//! before: nobody else will. Which numbers are whose is told in `story.rs`.
//!
//! ```text
//! value = JSON: {"spool": …, "now": [route …], "changes": number,
//!                "before": [{"until": {lane: number, …}, "routes": [route …], "change": number, "moves": bool, "done": bool} …]}
//! route = {"streams": [text …], "to": text, "topic": text, "only": bool}
//! ```
//! Where the file is lost, what waits for a destination without a route counts as filtered, and what was taken over from another
//! may be sent twice.

mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use story::{Given, Pair, Share};

use crate::config::RouteTable;
use crate::config::model::{Route, TopicTemplate};
use crate::disk::{DiskError, Fs, Slots, look_at_slots};
use crate::ids::{DestinationName, LaneName, Seq, SpoolId, StreamName, TopicName};

/// Room for a few hundred routes; more take a larger file.
const CAPACITY: usize = 32 << 10;

/// The routes that held below some number.
#[derive(Debug, Clone)]
struct Before {
    until: BTreeMap<LaneName, Seq>,
    table: RouteTable,
    said: Vec<Said>,
    /// Number of the change that ended them.
    change: u64,
    /// Streams that moved by it are handed over,
    moves: bool,
    /// and have been.
    done: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct RouteHistory {
    spool: u64,
    now: Option<RouteTable>,
    said: Vec<Said>,
    changes: u64,
    /// The newest first.
    before: Vec<Before>,
}

/// The file of a [`RouteHistory`].
#[derive(Debug)]
pub struct RoutesFile<F: Fs> {
    fs: F,
    path: PathBuf,
    slots: Slots<F>,
    value: Vec<u8>,
}

/// What is known of routes can't be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutesError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It can't be written as JSON.
    #[error("what is known of earlier routes can't be written down: {0}")]
    Json(#[from] serde_json::Error),
}

/// A route as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    streams: Vec<String>,
    to: String,
    topic: String,
    /// Its streams go by no other.
    #[serde(default)]
    only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    until: BTreeMap<String, u64>,
    routes: Vec<Said>,
    #[serde(default)]
    change: u64,
    #[serde(default)]
    moves: bool,
    #[serde(default)]
    done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    spool: u64,
    now: Vec<Said>,
    #[serde(default)]
    changes: u64,
    before: Vec<Change>,
}

impl Said {
    fn of(route: &Route) -> Self {
        let Route { streams, to, topic, only } = route;
        Self { streams: streams.clone(), to: to.to_string(), topic: topic.to_string(), only: *only }
    }

    fn read(&self) -> Option<Route> {
        let topic = TopicTemplate::parse(&self.topic).ok()?;
        let (to, streams) = (DestinationName::new(&self.to).ok()?, self.streams.clone());
        Some(Route { streams, to, topic, only: self.only })
    }
}

fn table(said: &[Said]) -> Option<RouteTable> {
    let routes: Option<Vec<Route>> = said.iter().map(Said::read).collect();
    RouteTable::of(&routes?, &[]).ok()
}

impl<F: Fs> RoutesFile<F> {
    /// Opens the file, and reads what it says to spool `spool`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(fs: &F, data_dir: &Path, spool: SpoolId) -> Result<(Self, RouteHistory), DiskError> {
        let path = data_dir.join("routes");
        let (slots, value) = Slots::open(fs, &path, CAPACITY)?;
        let written: Option<Written> = value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        let known = written.filter(|w| w.spool == spool.0).map(RouteHistory::read);
        let history = known.unwrap_or_else(|| RouteHistory { spool: spool.0, ..RouteHistory::default() });
        Ok((Self { fs: fs.clone(), path, slots, value: value.unwrap_or_default() }, history))
    }

    /// Writes it down, durably, if the file does not say it already.
    ///
    /// # Errors
    /// [`RoutesError`].
    pub fn keep(&mut self, history: &RouteHistory) -> Result<(), RoutesError> {
        let value = serde_json::to_vec(&history.written())?;
        if value == self.value {
            return Ok(());
        }
        if value.len() > self.slots.capacity() {
            (self.slots, _) = Slots::open(&self.fs, &self.path, value.len())?;
        }
        self.slots.save(&value)?;
        self.slots.sync()?;
        self.value = value;
        Ok(())
    }

    /// The same; where no earlier routes count any more, a disk that is full or may only be read keeps nothing from starting. Not
    /// written down, the routes are as lost: should they change before they are, what waits goes by the new ones.
    ///
    /// # Errors
    /// [`RoutesError`].
    pub fn keep_if_it_can_be(&mut self, history: &RouteHistory) -> Result<(), RoutesError> {
        match self.keep(history) {
            Err(RoutesError::Disk(error)) if error.is_no_making() && history.before.is_empty() => {
                tracing::error!(%error, "the routes as they are can't be written down; the next start tries again");
                Ok(())
            }
            kept => kept,
        }
    }
}

/// Takes the routes as they were along to another data directory of the same spool, beside a running agent or without one. What
/// can't be read is not there.
///
/// # Errors
/// When the new file can't be written.
pub fn carry<F: Fs>(fs: &F, from: &Path, into: &Path) -> Result<(), DiskError> {
    let Ok(Some(value)) = look_at_slots(fs, &from.join("routes")) else { return Ok(()) };
    let (mut slots, _) = Slots::open(fs, &into.join("routes"), value.len().max(CAPACITY))?;
    slots.save(&value)?;
    slots.sync()
}

impl RouteHistory {
    fn read(written: Written) -> Self {
        let Written { spool, now, changes, before } = written;
        let before = before.iter().filter_map(Change::read).collect();
        Self { spool, now: table(&now), said: now, changes, before }
    }

    fn written(&self) -> Written {
        let before = self.before.iter().map(Change::of).collect();
        Written { spool: self.spool, now: self.said.clone(), changes: self.changes, before }
    }

    /// Numbers of changes go on behind one that somebody knows: this file may be lost, or an older copy.
    pub fn count_from(&mut self, known: u64) {
        self.changes = self.changes.max(known);
    }

    /// A destination has another name now.
    pub fn rename(&mut self, old: &DestinationName, new: &DestinationName) {
        let all = self.before.iter_mut().map(|b| (&mut b.said, &mut b.table));
        for (said, compiled) in all.chain(self.now.as_mut().map(|now| (&mut self.said, now))) {
            let mut mine = said.iter_mut().filter(|said| said.to == old.as_str()).peekable();
            if mine.peek().is_some() {
                mine.for_each(|said| said.to = new.to_string());
                *compiled = table(said).unwrap_or_else(|| compiled.clone());
            }
        }
    }

    /// Takes over the routes this start begins with; `ends` is the next number of each lane. Once everything from
    /// before the newest change is settled, all are forgotten: `is_past` says whether everybody is past a number of a lane. Returns whether they have changed.
    pub fn begin(
        &mut self,
        routes: &[Route],
        ends: &BTreeMap<LaneName, Seq>,
        is_past: impl Fn(&LaneName, Seq) -> bool,
    ) -> bool {
        let said: Vec<Said> = routes.iter().map(Said::of).collect();
        let changed = self.now.take().filter(|_| self.said != said);
        let has_changed = changed.is_some();
        if let Some(table) = changed {
            self.changes += 1;
            let (change, said) = (self.changes, std::mem::take(&mut self.said));
            let until = ends.clone();
            self.before.insert(0, Before { until, table, said, change, moves: true, done: false });
        }
        self.now = table(&said);
        self.said = said;
        // All at once: whose something is by a newer change depends on the older ones.
        if self.before.iter().all(|b| b.until.iter().all(|(lane, until)| is_past(lane, *until))) {
            self.before.clear();
        }
        has_changed
    }

    /// What the newest change would hand over stays where it is.
    pub fn forgo(&mut self) {
        self.before.iter_mut().take(1).for_each(|b| b.moves = false);
    }

    /// What the newest change hands over has been.
    pub fn note_done(&mut self) {
        self.before.iter_mut().take(1).for_each(|b| b.done = true);
    }

    /// Number of the last change.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.changes
    }

    /// Whether a change is remembered.
    #[must_use]
    pub fn knows(&self, change: u64) -> bool {
        self.before.iter().any(|b| b.change == change)
    }

    /// Number behind the last event before a change, in a lane.
    #[must_use]
    pub fn until(&self, change: u64, lane: &LaneName) -> Seq {
        let before = self.before.iter().find(|b| b.change == change);
        before.and_then(|b| b.until.get(lane)).copied().unwrap_or_default()
    }

    /// Where events of a stream went below which number, the newest change first.
    #[must_use]
    pub fn ways(&self, lane: &LaneName, stream: &StreamName, to: &DestinationName) -> Vec<(Seq, TopicName)> {
        let ways = self.before.iter().filter_map(|before| {
            let topic = before.table.topic_for(stream, to).ok().flatten()?;
            Some((*before.until.get(lane)?, topic))
        });
        ways.collect()
    }
}

impl Change {
    fn of(before: &Before) -> Self {
        let until = before.until.iter().map(|(lane, until)| (lane.to_string(), until.0)).collect();
        let Before { said, change, moves, done, .. } = before;
        Self { until, routes: said.clone(), change: *change, moves: *moves, done: *done }
    }

    /// `None` where it was written by a version that knows other routes.
    fn read(&self) -> Option<Before> {
        let until =
            self.until.iter().filter_map(|(lane, until)| Some((LaneName::new(lane).ok()?, Seq(*until))));
        let (table, said) = (table(&self.routes)?, self.routes.clone());
        let Change { change, moves, done, .. } = *self;
        Some(Before { until: until.collect(), table, said, change, moves, done })
    }
}

#[cfg(test)]
mod tests;
