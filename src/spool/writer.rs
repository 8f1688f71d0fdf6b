//! The writer thread of a lane: takes what waits, writes it, syncs once, answers all.
//!
//! INVARIANT: a number is given to one event of one run only. Numbers of a failed commit are given again, but
//! under a new run, in a segment whose header cuts the failed bytes off.

mod admission;
mod healing;
mod segments;
mod timers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::config::model::{SpoolCompression, Sync};
use crate::disk::Fs;
use crate::ids::{RunId, SegmentId, Seq};
use crate::sabotage::{self, Bug};

use super::active::Active;
use super::encoder::{Common, Encoder};
use super::format::{Predecessor, SegmentHeader, Verdict};
use super::janitor::Janitor;
use super::queue::{Answer, Request, Took};
use super::room::Room;
use super::shared::Shared;

/// Bytes written at once at most, one large event apart.
const FLUSH: usize = 1 << 20;
/// Enough bytes to end `commit_delay` early.
const ENOUGH: usize = 1 << 20;
/// A lane without work for this long writes a mark.
const IDLE: Duration = Duration::from_millis(200);
/// While full, the file system is asked again this often.
const FULL_CHECK: Duration = Duration::from_millis(200);
/// Room for a seal at the end of a segment.
const SEAL_ROOM: u64 = 1024;

/// A request whose events are in the encoder or written.
struct Begun {
    answer: oneshot::Sender<Answer>,
    first: Seq,
    last: Seq,
    at: std::time::Instant,
    permit: OwnedSemaphorePermit,
}

/// Why nothing can be written, and when to try again.
struct Trouble {
    retry_at: Clock,
    backoff: Duration,
}

/// Time since the host booted: what the writer's timers go by.
type Clock = Duration;

/// Where the log goes on, as recovery found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) next: Seq,
    pub(super) run: RunId,
    pub(super) predecessor: Predecessor,
    pub(super) next_segment: SegmentId,
}

pub(super) struct Writer<F: Fs> {
    shared: Arc<Shared<F>>,
    janitor: Arc<Janitor<F>>,
    allocation: u64,
    active: Option<Active<F::File>>,
    encoder: Encoder,
    requests: Vec<Request>,
    begun: Vec<Begun>,
    next: Seq,
    /// The number after the last one somebody was told of.
    answered: Seq,
    run: RunId,
    predecessor: Predecessor,
    next_segment: SegmentId,
    asked_ahead: bool,
    room: Room,
    trouble: Option<Trouble>,
    /// When the oldest unsynced write was made; with `sync = interval`.
    dirty_since: Option<Clock>,
    /// When the lane has been idle long enough for a mark; `None` when what is durable is proven.
    mark_at: Option<Clock>,
}

impl<F: Fs> Writer<F> {
    pub(super) fn new(
        shared: Arc<Shared<F>>,
        janitor: Arc<Janitor<F>>,
        allocation: u64,
        start: Start,
    ) -> Self {
        let compress = shared.settings.compression == SpoolCompression::Lz4;
        Self {
            shared,
            janitor,
            allocation,
            active: None,
            encoder: Encoder::new(compress),
            requests: Vec::new(),
            begun: Vec::new(),
            next: start.next,
            answered: start.next,
            run: start.run,
            predecessor: start.predecessor,
            next_segment: start.next_segment,
            asked_ahead: false,
            room: Room::default(),
            trouble: None,
            dirty_since: None,
            mark_at: None,
        }
    }

    /// The thread.
    pub(super) fn run(mut self) {
        self.start();
        loop {
            let delay = self.shared.settings.commit_delay;
            if !self.turn(self.patience(), delay) {
                break;
            }
        }
        self.finish();
    }

    /// Makes the first segment of this process ready.
    pub(super) fn start(&mut self) {
        self.shared.begin_work();
        self.open_next();
        self.shared.end_work();
    }

    /// One turn: waits at most `patience` for requests, and then up to `delay` for more of them. False when the
    /// lane is closed and nothing waits.
    pub(super) fn turn(&mut self, patience: Option<Duration>, delay: Duration) -> bool {
        let mut requests = std::mem::take(&mut self.requests);
        let took = self.shared.queue.take(&mut requests, patience, delay, ENOUGH);
        self.requests = requests;
        self.shared.begin_work();
        match took {
            Took::Requests => self.round(),
            Took::Nothing => self.tick(),
            Took::Closed => {}
        }
        if took != Took::Closed && self.is_due() {
            self.tick();
        }
        self.shared.end_work();
        took != Took::Closed
    }

    fn clock(&self) -> Clock {
        Duration::from_nanos(self.shared.data.host().now().monotonic)
    }

    /// Everything that was taken from the queue: written, synced once, answered.
    fn round(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        if requests.windows(2).any(|pair| matches!(pair, [a, b] if a.stream != b.stream)) {
            // One block a stream; the order within each stream stays.
            requests.sort_by(|a, b| a.stream.cmp(&b.stream));
        }
        let need: u64 = requests.iter().map(|r| Encoder::at_most(r.batch.as_bytes().len())).sum();
        let room = self.trouble.is_none() && self.check_room(need);
        let mut common = self.common();
        for request in requests.drain(..) {
            // Nobody waits for it any more: withdrawn.
            if request.answer.is_closed() {
                continue;
            }
            if !room || !self.is_within_quota() || !self.admit(&request) {
                request.give_back();
                continue;
            }
            if self.active.as_ref().is_some_and(|a| a.id != common.segment) {
                common = self.common();
            }
            self.begin(request, &common);
        }
        self.requests = requests;
        self.commit();
    }

    fn common(&self) -> Common {
        Common {
            spool: self.shared.data.spool_id(),
            lane: self.shared.name.clone(),
            run: self.run,
            segment: self.active.as_ref().map_or(SegmentId(0), |a| a.id),
            synced_through: self.shared.durable(),
            stamp: self.shared.data.host().now(),
        }
    }

    /// From here on the sender hears "accepted" or nothing.
    fn begin(&mut self, request: Request, common: &Common) {
        let Request { stream, batch, answer, at, permit } = request;
        self.lead();
        let (first, count) = (self.next, batch.count());
        self.next = first.plus(u64::from(count));
        self.begun.push(Begun { answer, first, last: self.next.prev(), at, permit });
        if let Err(e) = self.encoder.push(common, &stream, first, batch.as_bytes(), count) {
            self.fail(&io::Error::new(io::ErrorKind::InvalidData, e), "encode events for");
            return;
        }
        if self.encoder.bytes().len() >= FLUSH {
            self.flush(common);
        }
    }

    /// A new segment's header goes with its first block, under the same sync.
    fn lead(&mut self) {
        let Some(active) = self.active.as_ref().filter(|a| a.offset == 0) else { return };
        if !self.encoder.bytes().is_empty() {
            return;
        }
        let header = SegmentHeader {
            incompat: 0,
            spool: self.shared.data.spool_id(),
            run: self.run,
            segment: active.id,
            base: active.base,
            created: active.created,
            predecessor: active.predecessor,
            lane: self.shared.name.as_str().to_owned(),
        };
        self.encoder.push_lead(&header.encode_area());
    }

    /// Writes what is encoded. False, and everything begun is given up, when that fails.
    fn flush(&mut self, common: &Common) -> bool {
        self.encoder.finish_block(common);
        let Some(active) = &mut self.active else { return false };
        if self.encoder.bytes().is_empty() {
            return true;
        }
        let written = active.write(self.encoder.bytes());
        self.encoder.clear();
        match written {
            Ok(()) => {
                if sabotage::commits(Bug::WatermarkTooHigh) {
                    self.show_unsynced();
                }
                true
            }
            Err(e) => {
                self.fail(&e, "write to");
                false
            }
        }
    }

    /// When what was written is synced.
    pub(super) fn policy(&self) -> Sync {
        if sabotage::commits(Bug::AnswerBeforeSync) {
            return Sync::Interval(Duration::from_millis(100));
        }
        self.shared.settings.sync
    }

    /// Writes, syncs if events are accepted by sync, answers.
    fn commit(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        let common = self.common();
        if !self.flush(&common) {
            return;
        }
        let sync = self.policy();
        match sync {
            Sync::Always if !self.sync() => return,
            Sync::Always => {}
            Sync::Interval(_) => {
                let now = self.clock();
                self.dirty_since.get_or_insert(now);
                self.answered = self.next;
            }
        }
        for begun in self.begun.drain(..) {
            self.shared.metrics.commit_seconds.observe(begun.at.elapsed().as_secs_f64());
            drop(begun.permit);
            // Whoever asked may be gone; the events stay.
            let _ = begun.answer.send(Answer::Appended { first: begun.first, last: begun.last });
        }
        if sync == Sync::Always {
            self.mark_at = Some(self.clock() + IDLE);
        }
        self.ahead();
    }

    /// One sync for everything written. False, and everything begun is given up, when that fails.
    fn sync(&mut self) -> bool {
        self.dirty_since = None;
        let Some(active) = &mut self.active else { return true };
        match active.sync(self.next) {
            Ok(()) => {
                self.answered = self.next;
                let segment = active.segment(Verdict::None);
                self.shared.publish(segment);
                self.shared.gauge_bytes();
                true
            }
            Err(e) => {
                self.shared.metrics.fsync_errors.inc();
                self.fail(&e, "sync");
                false
            }
        }
    }

    /// SABOTAGE: see [`Bug::WatermarkTooHigh`].
    fn show_unsynced(&self) {
        if let Some(active) = &self.active {
            let mut segment = active.segment(Verdict::None);
            (segment.end, segment.end_offset) = (self.next, active.offset);
            self.shared.publish(segment);
        }
    }

    /// The next segment is made ready when half of this one is written.
    fn ahead(&mut self) {
        let half = self.shared.settings.segment_size / 2;
        if !self.asked_ahead && self.active.as_ref().is_some_and(|a| a.offset >= half) {
            self.asked_ahead = true;
            self.janitor.prepare(self.next_segment);
        }
    }

    /// The lane is closed: seals what is open.
    pub(super) fn finish(&mut self) {
        self.shared.begin_work();
        self.end();
        self.shared.end_work();
    }

    fn end(&mut self) {
        // What was accepted at an interval is synced before the seal says that all is well; and where there is no seal,
        // because the disk has no room for more, all the same.
        if self.dirty_since.is_some() {
            self.sync();
        }
        if self.trouble.is_none() {
            self.seal();
        }
        if let Some(Ok(ready)) = self.janitor.take_prepared() {
            self.shared.remove_unused(&ready.path);
        }
        self.janitor.stop();
    }
}
