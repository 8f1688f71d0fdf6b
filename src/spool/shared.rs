//! What the threads of a lane share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Semaphore, watch};

use crate::config::model::Spool;
use crate::disk::{Fs, Home};
use crate::ids::{LaneName, RunId, SegmentId, Seq, SeqRange};
use crate::metrics::{Lane as LaneLabel, Metrics};

use super::active::{Prepared, prepare};
use super::data_dir::DataDir;
use super::gate::Gate;
use super::kept::Kept;
use super::quarantine::Quarantine;
use super::queue::{Queue, Request};
use super::table::{Segment, Table};
use super::turn::Turn;

/// Called when the durable watermark has moved.
pub(super) type Watcher = Box<dyn Fn(Seq) + Send + Sync>;

/// Handles to the lane's metrics.
#[derive(Debug)]
pub(super) struct LaneMetrics {
    pub(super) bytes: Gauge,
    pub(super) full: Gauge,
    pub(super) quarantined: Counter,
    pub(super) fsync_errors: Counter,
    pub(super) commit_seconds: Histogram,
}

impl LaneMetrics {
    pub(super) fn new(metrics: &Metrics, lane: &LaneName, limit: u64) -> Self {
        let label = LaneLabel { lane: lane.to_string() };
        metrics.spool_limit_bytes.get_or_create(&label).set(i64::try_from(limit).unwrap_or(i64::MAX));
        Self {
            bytes: metrics.spool_bytes.get_or_create(&label).clone(),
            full: metrics.spool_full.get_or_create(&label).clone(),
            quarantined: metrics.quarantined.get_or_create(&label).clone(),
            fsync_errors: metrics.fsync_errors.get_or_create(&label).clone(),
            commit_seconds: metrics.commit_seconds.get_or_create(&label).clone(),
        }
    }
}

/// State of one lane.
pub(super) struct Shared<F: Fs> {
    pub(super) data: DataDir<F>,
    pub(super) name: LaneName,
    pub(super) dir: PathBuf,
    pub(super) home: Home,
    pub(super) settings: Spool,
    /// Quota in bytes.
    pub(super) limit: u64,
    pub(super) queue: Queue,
    /// Bytes that may wait in the queue.
    pub(super) budget: Arc<Semaphore>,
    pub(super) gate: watch::Sender<Gate>,
    turn: Turn,
    /// That of what tidies up.
    tidying: Turn,
    pub(super) metrics: LaneMetrics,
    table: Mutex<Table>,
    durable: AtomicU64,
    run: AtomicU64,
    path_durable: AtomicBool,
    proof_wanted: AtomicBool,
    watchers: Mutex<Vec<Watcher>>,
    quarantine: Mutex<Quarantine>,
    kept: Mutex<Kept>,
}

impl<F: Fs> std::fmt::Debug for Shared<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("name", &self.name)
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

/// What a new [`Shared`] is made of.
pub(super) struct Parts<F: Fs> {
    pub(super) data: DataDir<F>,
    pub(super) name: LaneName,
    pub(super) dir: PathBuf,
    pub(super) home: Home,
    pub(super) settings: Spool,
    pub(super) limit: u64,
    pub(super) budget: usize,
    pub(super) metrics: LaneMetrics,
    pub(super) table: Table,
    pub(super) kept: Kept,
    pub(super) durable: Seq,
    pub(super) run: RunId,
}

impl<F: Fs> Shared<F> {
    pub(super) fn new(parts: Parts<F>) -> Self {
        let shared = Self {
            data: parts.data,
            name: parts.name,
            dir: parts.dir,
            home: parts.home,
            settings: parts.settings,
            limit: parts.limit,
            queue: Queue::default(),
            budget: Arc::new(Semaphore::new(parts.budget)),
            gate: watch::Sender::new(Gate::Open),
            turn: Turn::default(),
            tidying: Turn::default(),
            metrics: parts.metrics,
            table: Mutex::new(parts.table),
            durable: AtomicU64::new(parts.durable.0),
            run: AtomicU64::new(parts.run.0),
            path_durable: AtomicBool::new(false),
            proof_wanted: AtomicBool::new(false),
            watchers: Mutex::new(Vec::new()),
            quarantine: Mutex::new(Quarantine::default()),
            kept: Mutex::new(parts.kept),
        };
        shared.table().aside = shared.kept().bytes();
        shared.gauge_bytes();
        shared
    }

    /// The table. Held for look-ups and small changes only, never across I/O.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same holds.
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest number that is durable.
    pub(super) fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// The identity under which numbers are given out now.
    pub(super) fn run(&self) -> RunId {
        RunId(self.run.load(Ordering::Acquire))
    }

    pub(super) fn set_run(&self, run: RunId) {
        self.run.store(run.0, Ordering::Release);
    }

    /// The writer is to begin its segment though nobody sends anything: see [`super::Lane::go_on_above`].
    pub(super) fn want_proof(&self) {
        self.proof_wanted.store(true, Ordering::Release);
        self.queue.nudge();
    }

    /// Whether it is, once.
    pub(super) fn take_wanted_proof(&self) -> bool {
        self.proof_wanted.swap(false, Ordering::Acquire)
    }

    pub(super) fn watch(&self, watcher: Watcher) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// INVARIANT: called after the sync that covers `segment` up to its `end_offset`, never before: this is what
    /// lets readers see it and senders hear "accepted".
    pub(super) fn publish(&self, segment: Segment) {
        let durable = segment.end.prev();
        let moved = durable > self.durable();
        self.table().segments.insert(segment.id, segment);
        if moved {
            self.durable.store(durable.0, Ordering::Release);
            for watcher in self.watchers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                watcher(durable);
            }
        }
    }

    /// Makes the names on the way to the lane's directory durable, once.
    ///
    /// DURABILITY: a directory that is there may have been made by a process that was killed before it synced the
    /// one above. A power cut would take it away, with everything in it. So whoever is about to rely on it syncs.
    pub(super) fn make_path_durable(&self) -> io::Result<()> {
        if self.path_durable.load(Ordering::Relaxed) {
            return Ok(());
        }
        for above in self.dir.ancestors().skip(1) {
            // A relative path ends in nothing: it begins in the working directory.
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.data.fs().sync_dir(above) {
                // Who may not even read a directory has not made a name in it.
                Err(e)
                    if e.kind() == io::ErrorKind::PermissionDenied
                        && !above.starts_with(self.data.path()) => {}
                synced => synced?,
            }
        }
        self.path_durable.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the file of a segment, in the lane's own directory, once delivery has its room again.
    pub(super) fn prepare(&self, id: SegmentId, bytes: u64) -> io::Result<Prepared<F::File>> {
        self.data.take_ballast_back()?;
        self.prepare_at_least(id, bytes)
    }

    /// The same, and if delivery has to do without.
    pub(super) fn prepare_at_least(&self, id: SegmentId, bytes: u64) -> io::Result<Prepared<F::File>> {
        self.home.check()?;
        let prepared = prepare(self.data.fs(), &self.dir, id, bytes)?;
        self.home.check().map(|()| prepared)
    }

    /// Deletes a file in which nothing is. If it can't be, the next start does.
    pub(super) fn remove_unused(&self, path: &Path) {
        if let Err(e) = self.home.check().and_then(|()| self.data.fs().remove(path)) {
            tracing::warn!(path = %path.display(), error = %e, "an unused segment could not be removed");
        }
    }

    pub(super) fn gauge_bytes(&self) {
        let bytes = self.table().bytes();
        self.metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts lost numbers, each once, and says so once.
    pub(super) fn quarantine(&self, range: SeqRange, segment: SegmentId) {
        let new = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).add(range);
        if new > 0 {
            self.metrics.quarantined.inc_by(new);
            tracing::error!(lane = %self.name, events = new, range = %range, segment = %segment,
                "events are lost to damaged or missing bytes on disk; see `spoolway spool verify`");
        }
    }

    pub(super) fn quarantined(&self) -> u64 {
        let gone = self.table().floor;
        let mut quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        quarantine.forget_below(gone.released.max(gone.dropped));
        quarantine.count()
    }

    fn clock(&self) -> Duration {
        Duration::from_nanos(self.data.host().now().monotonic)
    }

    /// The writer begins to work, and others may ask how long that takes.
    pub(super) fn begin_work(&self) {
        self.turn.begin(self.clock());
    }

    /// The writer has done it.
    pub(super) fn end_work(&self) {
        if let Some(after) = self.turn.end(self.clock()) {
            tracing::info!(lane = %self.name, seconds = after.as_secs(), "the disk answers again");
        }
    }

    /// The helper begins to tidy up.
    pub(super) fn begin_tidying(&self) {
        self.tidying.begin(self.clock());
    }

    /// The helper has done it.
    pub(super) fn end_tidying(&self) {
        if let Some(after) = self.tidying.end(self.clock()) {
            tracing::info!(lane = %self.name, seconds = after.as_secs(), "the disk answers what tidies up again");
        }
    }

    /// Whether the disk has not answered the helper for too long: events are taken all the same, until it is waited for. Told once.
    pub(super) fn tidying_hangs(&self) -> bool {
        let hung = self.tidying.hung(|| self.clock());
        if let Some((hung, true)) = hung {
            tracing::warn!(lane = %self.name, seconds = hung.as_secs(), "the disk does not answer what tidies up behind the writer");
        }
        hung.is_some()
    }

    /// Why nothing can be written though the writer has not said so: the disk does not answer it. Told once.
    pub(super) fn hung(&self) -> Option<String> {
        let (hung, first) = self.turn.hung(|| self.clock())?;
        let message =
            format!("the disk under {} has not answered for {} s", self.dir.display(), hung.as_secs());
        if first {
            tracing::error!(lane = %self.name, why = %message, "the lane can't write; it goes on when the disk answers");
        }
        Some(message)
    }

    /// Gives back what waits behind a disk that does not answer: nothing of it was begun, and its senders can be told so.
    pub(super) fn give_back_behind_a_hung_disk(&self) {
        if self.hung().is_some() {
            self.queue.drain().into_iter().for_each(Request::give_back);
        }
    }

    /// Sets the gate and tells people, once: while it stays full or failing, only the reason changes (a number of
    /// free bytes, the name of the segment that was tried), and `/status` has the newest.
    pub(super) fn set_gate(&self, gate: Gate) {
        let mut news = false;
        self.gate.send_if_modified(|now| {
            let change = *now != gate && *now != Gate::Closed;
            if change {
                news = std::mem::discriminant(now) != std::mem::discriminant(&gate);
                now.clone_from(&gate);
            }
            change
        });
        if !news {
            return;
        }
        self.metrics.full.set(i64::from(matches!(gate, Gate::Full(_))));
        match gate {
            Gate::Open => tracing::info!(lane = %self.name, "the lane takes events"),
            Gate::Full(why) => {
                tracing::warn!(lane = %self.name, %why, "the lane is full and takes no events");
            }
            Gate::Failing(why) => {
                tracing::error!(lane = %self.name, %why, "the lane can't write; it goes on trying");
            }
            Gate::Closed => {}
        }
    }
}
