//! Looking into a spool from outside: no lock, no write, beside a running agent or without one.
//!
//! A [`Snapshot`] is what the files say at one moment. An agent that goes on writing is not disturbed; what it
//! adds later is not seen. Of a segment that it deletes meanwhile its floor says so before the file is gone: a
//! file that is not there any more is asked for in the floor before it is called missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{EntryKind, Fs, Home, look_at_slots};
use crate::ids::{Incarnation, LaneName, SegmentId, Seq, SeqRange, SpoolId, StreamName};

use super::block::{Hole, HoleCause, Item};
use super::candidates::spool_id_in_segments;
use super::data_dir::{FoundRoot, lane_names, read_root};
use super::error::{OpenError, ReadError};
use super::format::Verdict;
use super::host::Stamp;
use super::incarnation;
use super::names;
use super::passed_over::PassedOver;
use super::reader::{Log, PATIENCE, Place, Reader, place};
use super::recover::{Access, recover};
use super::table::{FloorMark, Segment, Table};
use super::walk::Identity;

/// A data directory as its files say it is.
#[derive(Debug)]
pub struct Snapshot<F: Fs> {
    /// Its identity.
    pub spool: SpoolId,
    /// Its lanes, sorted by name.
    pub lanes: Vec<LaneSnapshot<F>>,
}

/// One lane of a [`Snapshot`].
#[derive(Debug, Clone)]
pub struct LaneSnapshot<F: Fs> {
    log: Arc<Frozen<F>>,
}

#[derive(Debug)]
struct Frozen<F: Fs> {
    fs: F,
    spool: SpoolId,
    lane: LaneName,
    dir: PathBuf,
    table: Table,
    end: Seq,
    left_alone: Vec<PassedOver>,
    /// The table without what was deleted since.
    left: Mutex<Table>,
    home: Home,
}

impl<F: Fs> Frozen<F> {
    fn left(&self) -> MutexGuard<'_, Table> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fs> Log<F> for Frozen<F> {
    fn fs(&self) -> &F {
        &self.fs
    }
    fn identity(&self, segment: SegmentId) -> Identity {
        Identity { spool: self.spool, lane: self.lane.clone(), segment }
    }
    fn look(&self, position: Seq) -> Place {
        place(&self.left(), position, self.end.prev())
    }
    /// Asked when its file can't be opened.
    fn holds(&self, segment: SegmentId) -> bool {
        let mut left = self.left();
        left.floor = left.floor.raised_by(read_floor(&self.fs, &self.dir));
        let gone = left.floor.gone();
        left.segments.retain(|s| s.end > gone);
        left.segments.contains_key(&segment)
    }
    fn clock(&self) -> Option<Stamp> {
        None
    }

    fn at_home(&self) -> std::io::Result<()> {
        self.home.check()
    }

    fn keep(&self, _segment: SegmentId) {}

    fn lost(&self, _range: SeqRange, _segment: SegmentId) {}
}

/// The identity of the spool at `path`, for whoever takes no lock and writes nothing.
pub(super) fn identify<F: Fs>(fs: &F, path: &Path) -> Result<SpoolId, OpenError> {
    let withheld = match read_root(fs, path)? {
        FoundRoot::Whole(root) if root.unreadable() != 0 => {
            return Err(OpenError::Newer { path: path.to_owned(), bits: root.unreadable() });
        }
        FoundRoot::Whole(root) => return Ok(root.spool),
        FoundRoot::Damaged(why) => why,
        FoundRoot::Absent => None,
    };
    let stranger = || match withheld {
        Some(why) => OpenError::io("read", &path.join(names::FORMAT))(why),
        None => OpenError::NotASpool { path: path.to_owned() },
    };
    spool_id_in_segments(fs, path, Access::Visitor)?.ok_or_else(stranger)
}

impl<F: Fs> Snapshot<F> {
    /// Reads what the files of the data directory at `path` say.
    ///
    /// # Errors
    /// [`OpenError::NotASpool`], [`OpenError::Newer`], or when a directory can't be listed.
    pub fn take(fs: &F, path: &Path) -> Result<Self, OpenError> {
        Self::take_with(fs, path, |_, _| Ok(Seq::NONE))
    }

    /// [`Snapshot::take`], told for each lane up to where readers have been: everything below was durable, so
    /// what is missing of it is lost. Asked before the lane is looked at, so that beside a running agent the log
    /// is never older than the readers.
    ///
    /// # Errors
    /// As [`Snapshot::take`], and what `at_least` refuses.
    pub fn take_with(
        fs: &F,
        path: &Path,
        mut at_least: impl FnMut(SpoolId, &LaneName) -> Result<Seq, OpenError>,
    ) -> Result<Self, OpenError> {
        let spool = identify(fs, path)?;
        let mut lanes = Vec::new();
        for name in lane_names(fs, path)? {
            let at_least = at_least(spool, &name)?;
            lanes.push(LaneSnapshot::take(fs, path, spool, name, at_least)?);
        }
        Ok(Self { spool, lanes })
    }
}

/// What one look over a lane finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings {
    /// Events that are there, by stream.
    pub streams: BTreeMap<String, u64>,
    /// Events that are there, by segment.
    pub segments: BTreeMap<SegmentId, u64>,
    /// Bytes of events, unpacked; of those that were read.
    pub bytes: u64,
    /// Numbers without events, in order.
    #[serde(skip)]
    pub holes: Vec<Hole>,
    /// Events whose block is whole and which cannot be decoded all the same.
    pub undecodable: u64,
}

impl Findings {
    /// Numbers lost to damage.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = |h: &&Hole| matches!(h.cause, HoleCause::Damaged | HoleCause::Missing);
        self.holes.iter().filter(lost).map(|h| h.range.len()).sum::<u64>() + self.undecodable
    }
}

impl<F: Fs> LaneSnapshot<F> {
    fn take(fs: &F, path: &Path, spool: SpoolId, lane: LaneName, at_least: Seq) -> Result<Self, OpenError> {
        let dir = path.join(names::LANES).join(lane.as_str());
        let home = Home::hold(fs, &dir, names::LANE_HOME).map_err(OpenError::io("open", &dir))?;
        let found = recover(fs, &dir, spool, &lane, at_least, Access::Visitor)?;
        let mut table = found.table;
        // After the files: of what was deleted in between, it says so.
        table.floor = read_floor(fs, &dir);
        let end = found.predecessor.end.max(table.floor.gone()).max(at_least);
        let left = Mutex::new(table.clone());
        let left_alone = found.left_alone;
        Ok(Self {
            log: Arc::new(Frozen { fs: fs.clone(), spool, lane, dir, table, end, left_alone, left, home }),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LaneName {
        &self.log.lane
    }

    /// The oldest number on disk, or the next to come.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.log.table.first_seq().unwrap_or(self.log.end)
    }

    /// The number after the newest.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.log.end
    }

    /// The lowest number that has to be there: those below were deleted on purpose. Below [`Self::first`] if the
    /// oldest segment is lost.
    #[must_use]
    pub fn begin(&self) -> Seq {
        self.log.table.floor.gone().max(Seq::FIRST)
    }

    /// Everything below was dropped because the lane was full, or released.
    #[must_use]
    pub fn dropped_below(&self) -> Seq {
        self.log.table.floor.dropped
    }

    /// Everything below was settled by every reader when it was deleted.
    #[must_use]
    pub fn released_below(&self) -> Seq {
        self.log.table.floor.released
    }

    /// Its segments in order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.log.table.segments.values()
    }

    /// A segment of the lane that is none of its log, as if it were all there is.
    pub(super) fn alone(&self, segment: Segment) -> std::io::Result<Self> {
        let Frozen { fs, spool, lane, dir, .. } = self.log.as_ref();
        let (mut table, end) = (Table::default(), segment.end);
        table.floor.released = segment.base;
        table.segments.insert(segment.id, segment);
        Ok(Self {
            log: Arc::new(Frozen {
                fs: fs.clone(),
                spool: *spool,
                lane: lane.clone(),
                dir: dir.clone(),
                left: Mutex::new(table.clone()),
                table,
                end,
                left_alone: Vec::new(),
                home: Home::hold(fs, dir, names::LANE_HOME)?,
            }),
        })
    }

    pub(super) fn log(&self) -> &impl Log<F> {
        self.log.as_ref()
    }

    pub(super) fn left_alone(&self) -> &[PassedOver] {
        &self.log.left_alone
    }

    pub(super) fn directory(&self) -> &Path {
        &self.log.dir
    }

    /// A word for how a segment ended. The last one has no verdict yet if its process runs or died: it is open.
    #[must_use]
    pub fn state(&self, segment: &Segment) -> &'static str {
        match segment.verdict {
            Verdict::Torn if self.log.table.is_last(segment.id) => "open",
            verdict => verdict_word(verdict),
        }
    }

    /// A reader from number `from` on.
    #[must_use]
    pub fn reader(&self, from: Seq) -> Reader<F> {
        let log = Arc::clone(&self.log);
        Reader::new(log, from)
    }

    /// Goes over the lane: headers only, or with `thorough` every byte of every event.
    ///
    /// # Errors
    /// None for damage, which is in the findings; only when a file could not be read after several attempts.
    pub fn look_over(&self, thorough: bool) -> Result<Findings, ReadError> {
        self.look_over_with(thorough, |_| {})
    }

    /// [`Self::look_over`], telling after each block to which number it has come.
    ///
    /// # Errors
    /// As [`Self::look_over`].
    pub fn look_over_with(
        &self,
        thorough: bool,
        mut progress: impl FnMut(Seq),
    ) -> Result<Findings, ReadError> {
        let mut findings = Findings::default();
        let mut reader = self.reader(self.begin());
        loop {
            progress(reader.position());
            let mut seen = String::new();
            let item = patient(&mut reader, |stream, _| {
                stream.as_str().clone_into(&mut seen);
                thorough
            })?;
            match item {
                None => return Ok(findings),
                Some(Item::Hole(hole)) => findings.holes.push(hole),
                Some(Item::Skipped(range, _)) => self.count(&mut findings, seen, range),
                Some(Item::Block(block)) => {
                    self.count(&mut findings, seen, block.range());
                    findings.bytes += block.payload.len() as u64;
                    let whole = block.events().filter(Result::is_ok).count() as u64;
                    findings.undecodable += u64::from(block.count).saturating_sub(whole);
                }
            }
        }
    }

    fn count(&self, findings: &mut Findings, stream: String, range: SeqRange) {
        *findings.streams.entry(stream).or_default() += range.len();
        if let Some(segment) = self.log.table.holding(range.first) {
            *findings.segments.entry(segment).or_default() += range.len();
        }
    }
}

/// The incarnation under which the data directory at `path` lived last.
#[must_use]
pub fn incarnation<F: Fs>(fs: &F, path: &Path, spool: SpoolId) -> Incarnation {
    incarnation::last_known(fs, path, spool)
}

/// Asks a reader again after an error; what cannot be read becomes damage after a few times.
///
/// # Errors
/// When it fails for good.
pub fn patient<F: Fs>(
    reader: &mut Reader<F>,
    mut wanted: impl FnMut(&StreamName, SeqRange) -> bool,
) -> Result<Option<Item>, ReadError> {
    let mut attempts = 0;
    loop {
        match reader.next_where(|stream, range| wanted(stream, range)) {
            Err(e) if attempts >= 2 * PATIENCE => return Err(e),
            Err(_) => attempts += 1,
            done => return done,
        }
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::None => "open",
        Verdict::Closed => "closed",
        Verdict::Torn => "torn",
        Verdict::Rotten => "damaged",
        Verdict::Failed => "failed",
        Verdict::Unknown(_) => "unknown",
    }
}

/// The floor file, looked at without making one.
pub(super) fn read_floor<F: Fs>(fs: &F, dir: &Path) -> FloorMark {
    let listed = fs.list(dir).unwrap_or_default();
    if !listed.iter().any(|e| e.name == names::FLOOR && e.kind == EntryKind::File) {
        return FloorMark::default();
    }
    let value = look_at_slots(fs, &dir.join(names::FLOOR)).ok().flatten();
    value.and_then(|v| super::floor::decode(&v)).unwrap_or_default()
}
