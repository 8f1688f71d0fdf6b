//! A lane: one independent log with its own writer, quota and readers.

mod append;
mod past;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::config::model::Spool;
use crate::disk::{Fs, Home, RealFs, clear_way};
use crate::ids::{LaneName, RunId, SegmentId, Seq, SeqRange, SpoolId};
use crate::metrics::Metrics;
use crate::sabotage::{self, Bug};
use crate::status;

use self::past::FoundEnd;
use super::active::ALLOCATION;
use super::data_dir::DataDir;
use super::error::OpenError;
use super::floor::Floor;
use super::gate::Gate;
use super::host::Stamp;
use super::janitor::{Chores, Janitor};
use super::kept::Kept;
use super::names;
use super::reader::Reader;
use super::recover::{Access, Recovered, recover};
use super::shared::{LaneMetrics, Parts, Shared};
use super::table::Segment;
use super::writer::{Start, Writer};

/// Bytes that may wait for the writer.
const QUEUE_BYTES: u32 = 8 << 20;
const DEFAULT_LIMIT: u64 = 10 << 30;

/// A handle to an open lane; clones are the same lane. When the last one is dropped the lane closes by itself;
/// [`Lane::close`] waits for that.
#[derive(Debug, Clone)]
pub struct Lane<F: Fs = RealFs> {
    handle: Arc<Handle<F>>,
}

#[derive(Debug)]
struct Handle<F: Fs> {
    shared: Arc<Shared<F>>,
    janitor: Arc<Janitor<F>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    found: FoundEnd,
}

impl<F: Fs> Drop for Handle<F> {
    fn drop(&mut self) {
        self.shared.set_gate(Gate::Closed);
        self.shared.queue.close();
    }
}

impl<F: Fs> Lane<F> {
    /// Opens lane `name`, making it if there is none, and starts its threads.
    ///
    /// `at_least` is the highest position of any reader known from elsewhere: events below it were durable. The
    /// next number given out is at least this, so that a number is not used twice after a rolled-back tail, and
    /// what is missing below it is reported as lost.
    ///
    /// # Errors
    /// When the lane's directory or its files can't be made or listed, a thread can't be started, or the disk does not give what says
    /// which number comes next ([`OpenError::Withheld`]). Damage is no error, and neither is a disk that can't be written: the lane then opens, is read, and refuses events
    /// until it can.
    #[expect(clippy::needless_pass_by_value, reason = "the handle every room is given")]
    pub fn open(
        data: &DataDir<F>,
        name: LaneName,
        settings: &Spool,
        at_least: Seq,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let (lane, writer, chores) = Self::assemble(data, name, settings, at_least, &metrics)?;
        let Handle { shared, janitor, threads, .. } = lane.handle.as_ref();
        let (dir, name, janitor) = (&shared.dir, &shared.name, Arc::clone(janitor));
        let started = [
            spawn(dir, format!("tidy-{name}"), move || janitor.run(chores))?,
            spawn(dir, format!("spool-{name}"), move || writer.run())?,
        ];
        threads.lock().unwrap_or_else(PoisonError::into_inner).extend(started);
        Ok(lane)
    }

    /// Recovers the lane and makes everything but its threads: what [`Lane::open`] hands to them.
    pub(super) fn assemble(
        data: &DataDir<F>,
        name: LaneName,
        settings: &Spool,
        at_least: Seq,
        metrics: &Metrics,
    ) -> Result<(Self, Writer<F>, Chores<F>), OpenError> {
        let fs = data.fs();
        let dir = data.path().join(names::LANES).join(name.as_str());
        make_lane_dir(fs, data.path(), &dir)?;
        let home = Home::hold(fs, &dir, names::LANE_HOME).map_err(OpenError::io("open", &dir))?;
        let floor = Floor::open_in(fs, &dir, || data.let_go_of_ballast())?;
        let kept = Kept::find(fs, &dir).map_err(OpenError::io("list", &dir))?;
        let mut found = recover(fs, &dir, data.spool_id(), &name, at_least, Access::Owner)?;
        let floor_end = floor.mark().dropped.max(floor.mark().released);
        let ended = FoundEnd { end: found.end(), floor: floor_end, is_whole: found.is_whole() };
        let next = start_above(&mut found, &floor, at_least);
        let run = draw_run(data, &dir)?;
        let limit = quota(fs, settings, &dir);
        let parts = Parts {
            data: data.clone(),
            dir,
            home,
            settings: settings.clone(),
            limit,
            budget: usize::try_from(QUEUE_BYTES).unwrap_or(usize::MAX),
            metrics: LaneMetrics::new(metrics, &name, limit),
            table: std::mem::take(&mut found.table),
            kept,
            durable: next.prev(),
            run,
            name,
        };
        let start = Start { next, run, predecessor: found.predecessor, next_segment: found.next_segment };
        let shared = Arc::new(Shared::new(parts));
        for hole in &found.holes {
            shared.quarantine(*hole, found.predecessor.segment);
        }
        let allocation = ALLOCATION.min(settings.segment_size.next_multiple_of(4096)).max(4096);
        let janitor = Arc::new(Janitor::new(allocation, std::mem::take(&mut found.void)));
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&janitor), allocation, start);
        let chores = Chores::new(Arc::clone(&shared), floor);
        let lane =
            Self { handle: Arc::new(Handle { shared, janitor, threads: Mutex::default(), found: ended }) };
        Ok((lane, writer, chores))
    }

    /// A reader that begins with number `from`. Blocking I/O, for a plain thread.
    #[must_use]
    pub fn reader(&self, from: Seq) -> Reader<F> {
        let shared = Arc::clone(&self.handle.shared);
        Reader::new(shared, from)
    }

    /// Has `watcher` called from the writer thread whenever the durable watermark has moved. It must not block.
    pub fn on_durable(&self, watcher: Box<dyn Fn(Seq) + Send + Sync>) {
        self.handle.shared.watch(watcher);
    }

    /// The newest durable event; [`Seq::NONE`] in a new lane.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.handle.shared.durable()
    }

    /// The oldest event on disk, or the next one to come.
    #[must_use]
    pub fn first(&self) -> Seq {
        let first = self.handle.shared.table().first_seq();
        first.unwrap_or_else(|| self.durable().next())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LaneName {
        &self.handle.shared.name
    }

    /// The run under which numbers are given out now. A block says its own.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.handle.shared.run()
    }

    /// The data directory's identity.
    #[must_use]
    pub fn spool_id(&self) -> SpoolId {
        self.handle.shared.data.spool_id()
    }

    /// The moment, by the clocks that blocks are stamped by.
    #[must_use]
    pub fn now(&self) -> Stamp {
        self.handle.shared.data.host().now()
    }

    /// Every reader is durably past everything below `upto`: segments that end there or before may be deleted.
    pub fn release(&self, upto: Seq) {
        self.handle.janitor.release(upto);
    }

    /// When the lane is full, segments that end there or before may be deleted, though some reader may not have
    /// settled them: to it they are dropped.
    pub fn may_drop(&self, upto: Seq) {
        self.handle.janitor.may_drop(upto);
    }

    /// By what rules it is kept.
    #[must_use]
    pub fn settings(&self) -> &Spool {
        &self.handle.shared.settings
    }

    /// Bytes that events of it may take, for each destination, which wait elsewhere.
    #[must_use]
    pub fn park_size(&self) -> u64 {
        let shared = &self.handle.shared;
        shared.settings.park_size.unwrap_or(shared.limit / 4)
    }

    /// Something that delivery has to write failed for want of room: gives up what is kept back for that.
    pub fn let_go_of_ballast(&self) {
        self.handle.shared.data.let_go_of_ballast();
    }

    /// Whether half of its room or more is taken.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        let shared = &self.handle.shared;
        shared.table().bytes() >= shared.limit / 2
    }

    /// Numbers that were given up for lack of room, if some reader had not settled them; what lies before was released by all.
    #[must_use]
    pub fn dropped(&self) -> SeqRange {
        let floor = self.handle.shared.table().floor;
        SeqRange::new(floor.released.min(floor.dropped), floor.dropped)
    }

    /// The segment that holds this event.
    #[must_use]
    pub fn segment_of(&self, seq: Seq) -> Option<SegmentId> {
        self.handle.shared.table().holding(seq)
    }

    /// What it is doing, for `/status`.
    #[must_use]
    pub fn status(&self) -> status::Lane {
        let shared = &self.handle.shared;
        let gate = shared.gate.borrow().clone();
        let (bytes, segments) = {
            let table = shared.table();
            (table.bytes(), table.segments.len() as u64)
        };
        status::Lane {
            name: shared.name.clone(),
            draining: false,
            first_seq: self.first(),
            durable_seq: self.durable(),
            bytes,
            limit_bytes: shared.limit,
            segments,
            quarantined_events: shared.quarantined(),
            full: matches!(gate, Gate::Full(_)),
            full_reason: match &gate {
                Gate::Full(why) => Some(why.to_string()),
                _ => None,
            },
            failing: match &gate {
                Gate::Failing(why) => Some(why.to_string()),
                _ => shared.hung().or_else(|| shared.home.away()),
            },
        }
    }

    /// Looks whether the disk answers the writer. If it has not for too long, what waits to be written is refused: its senders can
    /// go elsewhere, or say that they can't. To be called every second or so, by whoever does not touch that disk.
    pub fn look_at_disk(&self) {
        self.handle.shared.give_back_behind_a_hung_disk();
    }

    /// Whether the disk has not answered the writer for too long, or what tidies up behind it: who closes the lane would wait for both.
    #[must_use]
    pub fn is_hung(&self) -> bool {
        let shared = &self.handle.shared;
        shared.hung().is_some() || shared.tidying_hangs()
    }

    /// Whether one of its threads has ended though nobody closed it: a panic. Nothing is appended any more.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let threads = self.handle.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().any(JoinHandle::is_finished)
    }

    /// Takes no more events.
    pub(super) fn refuse(&self) {
        self.handle.shared.set_gate(Gate::Closed);
        self.handle.shared.queue.close();
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn janitor(&self) -> &Janitor<F> {
        &self.handle.janitor
    }

    /// Takes no more events, writes and syncs what was taken, seals the segment, ends the threads. Blocking.
    pub fn close(&self) {
        self.refuse();
        let threads =
            std::mem::take(&mut *self.handle.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads.into_iter().rev() {
            if thread.join().is_err() {
                tracing::error!(lane = %self.handle.shared.name, "a thread of the lane had panicked");
            }
            // A writer that has panicked has not told its helper that it is over.
            self.handle.janitor.stop();
        }
    }
}

/// Makes the lane's directory. A file, a FIFO or the like in its place, or in that of the directory of lanes, is set aside. A link
/// that leads nowhere stays, and keeps the lane from opening: what it leads to may be a disk that is not mounted yet, on which
/// all events are.
fn make_lane_dir<F: Fs>(fs: &F, data_dir: &Path, dir: &Path) -> Result<(), OpenError> {
    match fs.create_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
            clear_way(fs, data_dir, dir)?;
            fs.create_dir(dir).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => std::io::Error::new(
                    e.kind(),
                    "a link that leads nowhere stands there; is what it leads to mounted?",
                ),
                _ => e,
            })
        }
        made => made,
    }
    .map_err(OpenError::io("create", dir))
}

fn draw_run<F: Fs>(data: &DataDir<F>, dir: &Path) -> Result<RunId, OpenError> {
    if sabotage::commits(Bug::NumbersTwiceUnderOneRun) {
        return Ok(RunId(data.spool_id().0));
    }
    Ok(RunId(data.host().random().map_err(OpenError::io("draw a run id for", dir))?))
}

/// Numbers go on above everything that was ever given out; segments that were deleted on purpose and came back
/// are put away.
pub(super) fn start_above<F: Fs>(found: &mut Recovered, floor: &Floor<F>, at_least: Seq) -> Seq {
    let mark = floor.mark();
    found.table.floor = mark;
    let gone = mark.dropped.max(mark.released);
    let end = found.predecessor.end;
    let last = found.table.segments.last_key_value().map(|(id, _)| *id);
    let back: Vec<SegmentId> =
        found.table.segments.values().filter(|s| s.end <= gone && Some(s.id) != last).map(|s| s.id).collect();
    let back = back.iter().filter_map(|id| found.table.segments.remove(id));
    found.void.extend(back.filter(|_| floor.is_durable()));
    // Without a header the first one does not say where it begins: not before what is gone.
    let first =
        found.table.segments.values().next().filter(|s| s.created.is_none() && s.base < gone).cloned();
    if let Some(first) = first {
        let base = gone.min(first.end);
        found.table.segments.insert(first.id, Segment { base, ..first });
    }
    found.holes.retain(|hole| hole.end > gone);
    if !found.table.segments.is_empty() && at_least > end {
        found.holes.push(SeqRange::new(end, at_least));
    }
    end.max(at_least).max(gone).max(Seq::FIRST)
}

/// The smaller of 10 GiB and half of the file system, unless it is configured.
fn quota<F: Fs>(fs: &F, settings: &Spool, dir: &Path) -> u64 {
    settings.max_size.unwrap_or_else(|| default_quota(fs.space(dir).map_or(u64::MAX, |space| space.total)))
}

/// The quota of a lane whose configuration names none, on a file system of `total` bytes.
#[must_use]
pub fn default_quota(total: u64) -> u64 {
    DEFAULT_LIMIT.min(total / 2)
}

fn spawn(
    dir: &Path,
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name).spawn(body).map_err(OpenError::io("start a thread for", dir))
}
