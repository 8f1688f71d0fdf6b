//! A lane without threads, driven by hand: for simulations and fuzzers, never in a release.
//!
//! It is the lane that `spoolway run` opens, writer and helper included; only who calls whom when is the caller's
//! choice, so that a run can be repeated call for call.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::config::model::Spool;
use crate::disk::Fs;
use crate::event::{EventBatch, UnixMillis};
use crate::ids::{LaneName, Seq, StreamName};
use crate::intake::{AcceptError, Appended, Patience};
use crate::metrics::Metrics;

use super::data_dir::DataDir;
use super::error::OpenError;
use super::host::{Host, Stamp};
use super::janitor::Chores;
use super::lane::Lane;
use super::writer::Writer;

/// A host whose clock stands still until it is told to go on, and whose randomness is a seed.
#[derive(Debug)]
pub struct SteppedHost {
    nanos: AtomicU64,
    random: AtomicU64,
    boot: u64,
}

/// Its wall clock when it boots.
const BOOTED_AT: UnixMillis = 1_700_000_000_000;

impl SteppedHost {
    /// A host that has just booted; other seeds are other hosts or other boots.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { nanos: AtomicU64::new(1_000_000_000), random: AtomicU64::new(random), boot: seed }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Host for SteppedHost {
    fn now(&self) -> Stamp {
        let monotonic = self.nanos.load(Ordering::Relaxed);
        let millis = i64::try_from(monotonic / 1_000_000).unwrap_or(0);
        Stamp { time: BOOTED_AT.saturating_add(millis), boot: self.boot, monotonic }
    }

    fn random(&self) -> std::io::Result<u64> {
        let mut x = self.random.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.store(x, Ordering::Relaxed);
        Ok(x)
    }
}

/// What a sender of a [`SteppedLane`] hears.
#[derive(Debug)]
pub enum Heard {
    /// An answer, and what the clock of the caller said when it was given.
    Answer(Result<Appended, AcceptError>, u64),
    /// Nothing yet; it has gone away and its events are withdrawn unless they were begun.
    Nothing,
}

/// Tells when it was woken, by a clock of the caller.
struct Alarm<C> {
    clock: C,
    at: AtomicU64,
}

impl<C: Fn() -> u64 + Send + Sync> Wake for Alarm<C> {
    fn wake(self: Arc<Self>) {
        self.at.store((self.clock)(), Ordering::Relaxed);
    }
}

/// A lane without threads.
#[derive(Debug)]
pub struct SteppedLane<F: Fs> {
    lane: Lane<F>,
    writer: Writer<F>,
    chores: Chores<F>,
}

impl<F: Fs> std::fmt::Debug for Writer<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl<F: Fs> std::fmt::Debug for Chores<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chores")
    }
}

impl<F: Fs> SteppedLane<F> {
    /// As [`Lane::open`].
    ///
    /// # Errors
    /// As [`Lane::open`].
    pub fn open(
        data: &DataDir<F>,
        name: LaneName,
        settings: &Spool,
        at_least: Seq,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let (lane, mut writer, chores) = Lane::assemble(data, name, settings, at_least, metrics)?;
        writer.start();
        Ok(Self { lane, writer, chores })
    }

    /// The handle that other rooms have.
    #[must_use]
    pub fn lane(&self) -> &Lane<F> {
        &self.lane
    }

    /// Sends all requests at once, so that they share a commit, and gives the writer `turns` to answer.
    pub fn append<C>(&mut self, requests: Vec<(StreamName, EventBatch)>, turns: usize, clock: C) -> Vec<Heard>
    where
        C: Fn() -> u64 + Clone + Send + Sync + 'static,
    {
        let lane = self.lane.clone();
        let mut senders: Vec<_> = requests
            .into_iter()
            .map(|(stream, batch)| Sender::new(lane.append(stream, batch, Patience::Forever), clock.clone()))
            .collect();
        senders.iter_mut().for_each(Sender::listen);
        for _ in 0..turns {
            if senders.iter().all(|s| s.heard.is_some()) {
                break;
            }
            self.turn();
            senders.iter_mut().for_each(Sender::listen);
        }
        senders.into_iter().map(|s| s.heard.unwrap_or(Heard::Nothing)).collect()
    }

    /// The writer looks once at its queue and its timers. `commit_delay` is that of the settings, in earnest.
    pub fn turn(&mut self) {
        let delay = self.lane.settings().commit_delay;
        self.writer.turn(Some(Duration::ZERO), delay);
    }

    /// The helper does what it was asked for. False when that was nothing.
    pub fn tidy(&mut self) -> bool {
        self.lane.janitor().turn(&mut self.chores)
    }

    /// An orderly end. Dropping the lane instead is a kill.
    pub fn close(mut self) {
        self.lane.refuse();
        while self.writer.turn(Some(Duration::ZERO), Duration::ZERO) {}
        self.writer.finish();
        while self.tidy() {}
    }
}

/// One sender's future.
struct Sender<T, C> {
    future: Pin<Box<T>>,
    alarm: Arc<Alarm<C>>,
    heard: Option<Heard>,
}

impl<T, C> Sender<T, C>
where
    T: Future<Output = Result<Appended, AcceptError>>,
    C: Fn() -> u64 + Send + Sync + 'static,
{
    fn new(future: T, clock: C) -> Self {
        let at = AtomicU64::new(clock());
        Self { future: Box::pin(future), alarm: Arc::new(Alarm { clock, at }), heard: None }
    }

    fn listen(&mut self) {
        if self.heard.is_some() {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.alarm));
        if let Poll::Ready(answer) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.heard = Some(Heard::Answer(answer, self.alarm.at.load(Ordering::Relaxed)));
        }
    }
}
