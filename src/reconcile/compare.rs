//! Both sides read at the same time, in as many passes as memory needs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::file::FileError;
use super::pace::{Pace, Spread};
use super::sources::{Shown, Source};
use super::tally::{At, Hash, Side, Surplus, Tally};
use crate::verify::ReadError;

/// Different records that may wait for their match: their table has 70 MB, half as much again while it grows.
const WAITING: usize = 1 << 19;
/// By how much the number of passes grows when that is not enough.
const MORE: u64 = 8;
/// Bytes of a key or value that an example shows.
const PREVIEW: usize = 200;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The one.
    pub left: Source,
    /// The other.
    pub right: Source,
    /// Whether keys count.
    pub keys: bool,
    /// How many examples of what is on one side only.
    pub examples: usize,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// A topic can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A task ended without a word.
    #[error("a reader failed: {0}")]
    Task(String),
}

/// What was found out about a side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SideReport {
    /// Its pace.
    #[serde(flatten)]
    pub pace: Pace,
    /// Records a second between its oldest and its newest time stamp.
    pub records_per_second: Option<u64>,
    /// Records that only this side has.
    pub only_here: u64,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// A record that only one side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its partition; 0 of a file.
    pub partition: i32,
    /// Its offset; the line of a file.
    pub offset: i64,
    /// How many like it are only on this side.
    pub count: u64,
    /// The beginning of its key.
    pub key: Option<String>,
    /// The beginning of its value.
    pub value: Option<String>,
}

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Records that both have.
    pub matched: u64,
    /// The left side.
    pub left: SideReport,
    /// The right side.
    pub right: SideReport,
    /// How much later than its match a record of the right side is stamped, in milliseconds.
    pub right_behind_left_ms: Spread,
    /// How often both were read.
    pub passes: u64,
}

impl Comparison {
    /// Whether both have the same records.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.left.only_here == 0 && self.right.only_here == 0
    }
}

/// Compares; `progress` is told how many records have been read in this pass, and how many it has.
///
/// # Errors
/// [`Failed`] when a side can't be read to its end.
pub async fn compare(
    sides: &Sides,
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<Comparison, Failed> {
    compare_within(sides, WAITING, progress).await
}

pub(super) async fn compare_within(
    sides: &Sides,
    waiting: usize,
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<Comparison, Failed> {
    let total = sides.left.len() + sides.right.len();
    let progress: Arc<Mutex<Progress>> = Arc::new(Mutex::new(Box::new(progress)));
    let (mut passes, mut pass) = (1, 0);
    let mut sums = Comparison::default();
    let mut kept = Vec::new();
    while pass < passes {
        let state = State { waiting, pass, passes, ..State::default() };
        let state = run(sides, state, total, &progress).await?;
        if state.overflown {
            // Nothing of this division counts.
            (passes, pass) = (passes * MORE, 0);
            (sums, kept) = (Comparison::default(), Vec::new());
            continue;
        }
        state.add_to(&mut sums, &mut kept, sides.examples);
        pass += 1;
    }
    sums.passes = passes;
    for report in [&mut sums.left, &mut sums.right] {
        report.records_per_second = report.pace.per_second();
    }
    sums.left.examples = show(&sides.left, &kept, Side::Left).await?;
    sums.right.examples = show(&sides.right, &kept, Side::Right).await?;
    Ok(sums)
}

type Progress = Box<dyn FnMut(u64, u64) + Send>;

#[derive(Default)]
struct State {
    tally: Tally,
    waiting: usize,
    pass: u64,
    passes: u64,
    overflown: bool,
    read: u64,
    left: Pace,
    right: Pace,
    behind: Spread,
}

impl State {
    /// Whether to go on.
    fn take(&mut self, side: Side, record: &Shown<'_>, keys: bool) -> bool {
        self.read += 1;
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let pace = if side == Side::Left { &mut self.left } else { &mut self.right };
        pace.take(bytes, record.time, record.latency);
        let hash = Hash::of(record.key, record.value, keys);
        if !hash.is_of_pass(self.pass, self.passes) {
            return true;
        }
        let matched = self.tally.take(side, hash, record.at, record.time);
        // Lines of a file have no time stamps.
        if let Some(other) = matched.filter(|other| *other > 0 && record.time > 0) {
            let behind = record.time.saturating_sub(other);
            self.behind.take(if side == Side::Right { behind } else { -behind });
        }
        self.overflown |= self.tally.len() > self.waiting;
        !self.overflown
    }

    fn add_to(self, sums: &mut Comparison, kept: &mut Vec<Surplus>, examples: usize) {
        sums.matched += self.tally.matched();
        let mut found: Vec<_> = self.tally.surplus().collect();
        found.sort_unstable_by_key(|surplus| (surplus.side, surplus.at));
        for side in [Side::Left, Side::Right] {
            let mine = || found.iter().filter(|surplus| surplus.side == side);
            let report = if side == Side::Left { &mut sums.left } else { &mut sums.right };
            report.only_here += mine().map(|surplus| surplus.count).sum::<u64>();
            let room = examples.saturating_sub(kept.iter().filter(|k| k.side == side).count());
            kept.extend(mine().take(room));
        }
        if self.pass == 0 {
            (sums.left.pace, sums.right.pace) = (self.left, self.right);
        }
        sums.right_behind_left_ms.add(&self.behind);
    }
}

async fn run(
    sides: &Sides,
    state: State,
    total: u64,
    progress: &Arc<Mutex<Progress>>,
) -> Result<State, Failed> {
    let shared = Arc::new(Mutex::new(state));
    let shower = |side: Side| {
        let (shared, progress, keys) = (Arc::clone(&shared), Arc::clone(progress), sides.keys);
        Arc::new(move |record: &Shown<'_>| {
            let mut state = lock(&shared);
            let go_on = !state.overflown && state.take(side, record, keys);
            let read = state.read;
            drop(state);
            if read.is_multiple_of(1024) {
                lock(&progress)(read, total);
            }
            go_on
        })
    };
    tokio::try_join!(sides.left.each(shower(Side::Left)), sides.right.each(shower(Side::Right)))?;
    Ok(std::mem::take(&mut *lock(&shared)))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the examples again, to show what is in them.
async fn show(source: &Source, kept: &[Surplus], side: Side) -> Result<Vec<Example>, Failed> {
    let wanted: HashMap<At, u64> =
        kept.iter().filter(|surplus| surplus.side == side).map(|s| (s.at, s.count)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let found = Arc::new(Mutex::new(Vec::new()));
    let shower = {
        let (found, wanted) = (Arc::clone(&found), wanted.clone());
        Arc::new(move |record: &Shown<'_>| {
            let Some(count) = wanted.get(&record.at) else { return true };
            let (partition, offset) = record.at;
            let (key, value) = (record.key.map(preview), record.value.map(preview));
            let mut found = lock(&found);
            found.push(Example { partition, offset, count: *count, key, value });
            found.len() < wanted.len()
        })
    };
    source.narrowed(wanted.keys().copied()).each(shower).await?;
    let mut found = std::mem::take(&mut *lock(&found));
    found.sort_by_key(|example| (example.partition, example.offset));
    Ok(found)
}

fn preview(bytes: &[u8]) -> String {
    let beginning = bytes.get(..PREVIEW).unwrap_or(bytes);
    let text = String::from_utf8_lossy(beginning).into_owned();
    if bytes.len() > PREVIEW { text + "…" } else { text }
}
