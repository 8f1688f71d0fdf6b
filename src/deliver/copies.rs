//! Dead letters as records of a topic, for those who look there.
//!
//! # Promises
//! - The letter on disk remains the truth: what becomes of its copy changes nothing about it.
//! - Every letter that stands on disk is copied to the topic of `dead_letters.topic` on its own destination, at least once:
//!   what was on its way when the agent died is there again, under the same name in the header `spoolway-letter`.
//! - A copy that can't be sent holds back nothing but later copies for its destination. One that the topic refuses for good is
//!   passed over, and said.
//!
//! # How
//! A thread a destination looks for letters beyond its mark, sends some with a [`Replay`] of its own, and moves the mark
//! ([`Copied`]) once all of them are acknowledged. There is no connection while there is nothing to copy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::log::BlockInfo;
use super::replay::{Replay, ReplayError};
use crate::config::model::{Destination, TimestampPolicy};
use crate::disk::Fs;
use crate::event::{Event, EventBatch, EventError, EventIter};
use crate::ids::{Incarnation, SeqRange, TopicName};
use crate::logs::Limit;
use crate::metrics::{self, Metrics};
use crate::state::letters::{Copied, Letters, LettersError, Stored};

/// Whether there are new letters is looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// What could not be copied is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// Letters in a round.
const AT_A_TIME: usize = 256;

/// What all threads work with.
pub struct Means<F: Fs> {
    /// Where to, on each destination.
    pub topic: TopicName,
    /// The letters.
    pub letters: Arc<Letters<F>>,
    /// The marks.
    pub copied: Copied<F>,
    /// Part of a letter's name: its number is this data directory's own.
    pub incarnation: Incarnation,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where connections live.
    pub runtime: Handle,
}

/// The running threads. They end when this is closed or dropped.
#[derive(Debug)]
pub struct Copies {
    stop: Arc<AtomicBool>,
    /// Whoever waits at the other ends wakes up when these are dropped.
    bells: Mutex<Vec<mpsc::SyncSender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Copies {
    /// Begins to copy.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start<F: Fs>(means: Means<F>, destinations: &[Destination]) -> std::io::Result<Self> {
        let Means { topic, letters, copied, incarnation, metrics, runtime } = means;
        let stop = Arc::new(AtomicBool::new(false));
        let copied = Arc::new(Mutex::new(copied));
        let (mut bells, mut threads) = (Vec::new(), Vec::new());
        for destination in destinations {
            // Their own times stand in a header: old records would not be kept.
            let destination = Destination { timestamp: TimestampPolicy::Send, ..destination.clone() };
            let label = metrics::Destination { destination: destination.name.to_string() };
            let (bell, rung) = mpsc::sync_channel(1);
            let name = format!("copy {}", destination.name);
            let copier = Copier {
                topic: topic.clone(),
                letters: Arc::clone(&letters),
                copied: Arc::clone(&copied),
                incarnation,
                counter: metrics.letters_copied.get_or_create(&label).clone(),
                destination,
                runtime: runtime.clone(),
                stop: Arc::clone(&stop),
                lines: Limit::new(Duration::from_secs(60)),
                seen: AtomicU64::new(0),
            };
            threads.push(std::thread::Builder::new().name(name).spawn(move || copier.run(&rung))?);
            bells.push(bell);
        }
        Ok(Self { stop, bells: Mutex::new(bells), threads: Mutex::new(threads) })
    }

    /// Ends; what is on its way may arrive, and is copied again later. Blocking, for a second at most.
    pub fn close(&self) {
        self.tell();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that copies dead letters had panicked");
            }
        }
    }

    fn tell(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The thread of one destination.
struct Copier<F: Fs> {
    topic: TopicName,
    letters: Arc<Letters<F>>,
    copied: Arc<Mutex<Copied<F>>>,
    incarnation: Incarnation,
    counter: prometheus_client::metrics::counter::Counter,
    destination: Destination,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    lines: Limit<String>,
    /// Up to here there was nothing more to copy.
    seen: AtomicU64,
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("connecting failed: {0}")]
    System(#[from] std::io::Error),
}

impl<F: Fs> Copier<F> {
    fn run(&self, rung: &mpsc::Receiver<()>) {
        let mut wait = Duration::ZERO;
        while let Err(mpsc::RecvTimeoutError::Timeout) = rung.recv_timeout(wait) {
            wait = match self.round() {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK,
                Err(error) => {
                    self.say(&error);
                    RETRY
                }
            };
        }
    }

    /// Copies some letters. False when there are none.
    fn round(&self) -> Result<bool, CopyError> {
        let after = self.mark().of(&self.destination.name);
        let newest = self.letters.last();
        if newest <= after.max(self.seen.load(Ordering::Relaxed)) {
            return Ok(false);
        }
        let mine = |stored: &Stored| stored.letter.destination == self.destination.name;
        let letters = self.letters.find_after(after, AT_A_TIME, mine)?.letters;
        let Some(last) = letters.last().map(|stored| stored.id) else {
            self.seen.store(newest, Ordering::Relaxed);
            return Ok(false);
        };
        let copied = match self.send(&letters) {
            Ok(()) => letters.len() as u64,
            // One of them: which it is shows when each goes alone.
            Err(CopyError::Replay(ReplayError::Refused { .. })) => {
                letters.iter().map(|stored| self.send_alone(stored)).sum::<Result<_, _>>()?
            }
            Err(error) => return Err(error),
        };
        self.mark().set(&self.destination.name, last)?;
        self.counter.inc_by(copied);
        Ok(true)
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Copied<F>> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were copied: one, or none.
    fn send_alone(&self, stored: &Stored) -> Result<u64, CopyError> {
        match self.send(std::slice::from_ref(stored)) {
            Err(CopyError::Replay(error @ ReplayError::Refused { .. })) => {
                tracing::warn!(
                    destination = %self.destination.name, letter = stored.id, %error,
                    "this dead letter has no copy in the topic; it is on disk (`spoolway dlq show`)"
                );
                Ok(0)
            }
            other => other.map(|()| 1),
        }
    }

    fn send(&self, letters: &[Stored]) -> Result<(), CopyError> {
        let mut replay = Replay::start(&self.destination, None, &self.runtime)?;
        replay.stop_when(&self.stop);
        let sent = letters.iter().try_for_each(|stored| self.put(&mut replay, stored));
        let sent = sent.and_then(|()| replay.finish());
        self.runtime.block_on(replay.close());
        Ok(sent?)
    }

    fn put(&self, replay: &mut Replay, stored: &Stored) -> Result<(), ReplayError> {
        let letter = &stored.letter;
        let info = BlockInfo {
            range: SeqRange::new(letter.seq, letter.seq.next()),
            stream: letter.stream.clone(),
            time: letter.time,
            run: letter.run,
            segment: None,
        };
        let Ok(bytes) = record(stored, self.incarnation) else {
            tracing::error!(letter = stored.id, "this dead letter can't be decoded, and is not copied");
            return Ok(());
        };
        match EventIter::new(&bytes).next() {
            Some(Ok(event)) => replay.put(&self.topic, &info, 0, &event),
            _ => Ok(()),
        }
    }

    fn say(&self, error: &CopyError) {
        if matches!(error, CopyError::Replay(ReplayError::Stopped)) {
            return;
        }
        if let Some(suppressed) = self.lines.pass(error.to_string().as_str()) {
            tracing::warn!(
                destination = %self.destination.name, topic = %self.topic, suppressed,
                "dead letters can't be copied to their topic for now, and stay on disk: {error}"
            );
        }
    }
}

/// The event with what was wrong with it behind its own headers, encoded.
fn record(stored: &Stored, incarnation: Incarnation) -> Result<Vec<u8>, EventError> {
    let letter = &stored.letter;
    let event = letter.event()?;
    let name = format!("{incarnation}-{}", stored.id);
    let numbers = [
        letter.code.to_string(),
        letter.seq.to_string(),
        letter.partition.to_string(),
        letter.at.to_string(),
    ];
    let [code, seq, partition, at] = &numbers;
    let ours = [
        ("spoolway-letter", name.as_str()),
        ("spoolway-reason", letter.reason.name()),
        ("spoolway-code", code),
        ("spoolway-message", &letter.message),
        ("spoolway-destination", letter.destination.as_str()),
        ("spoolway-topic", letter.topic.as_str()),
        ("spoolway-partition", partition),
        ("spoolway-stream", letter.stream.as_str()),
        ("spoolway-lane", letter.lane.as_str()),
        ("spoolway-seq", seq),
        ("spoolway-at", at),
    ];
    let ours = ours.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
    let headers: Vec<_> = event.headers.iter().chain(ours).collect();
    let mut batch = EventBatch::new();
    batch.push(&Event { key: event.key, value: event.value, headers: &headers, time: event.time });
    Ok(batch.as_bytes().to_vec())
}
