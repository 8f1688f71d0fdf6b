//! The life of windows in one partition: a pure state machine.
//!
//! INVARIANT: the identity (producer id, epoch, base sequence) of a window that may have reached a broker
//! does not change until it is settled, but for [`Verdict::Reset`], where the broker has said that it can't
//! tell. The sequence moves on only when a window is in the log.
//!
//! A window with an identity from the journal keeps it here to the end: where it can't, the window goes back
//! ([`Outcome::Forgotten`]), and only after it was looked for in the partition.
//!
//! Where the cluster gives no producer ids, windows go out without an identity ([`Identity::NONE`]), and the broker would take one as
//! often as it comes. So a window in doubt is looked for before anything else, and where it is not found it goes back as one that
//! may be doubled: nothing keeps what is still on its way from being appended.

mod doubt;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use self::doubt::LOOK_AFTER;
use super::link::Way;
use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::backoff::Backoff;
use crate::kafka::batch::{Identity, Stamp};
use crate::kafka::errors::{Meaning, Verdict, meaning, printable};
use crate::kafka::window::{Journaled, Outcome, Window};
use crate::kafka::wire::PartitionResult;

/// A topic or partition may be missing, forbidden or without a leader for this long before its windows are
/// given back.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// What is in doubt in a partition of a topic that another has the name of by now is given back after this, on end.
const REPLACED: Duration = Duration::from_secs(30);

/// A partition that keeps a connection waiting for this long is suspect: those that share a request with it, or come
/// behind it, would be as late.
const SLOW: Duration = Duration::from_secs(5);

/// Kafka's error code for a topic or partition that does not exist.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// Kafka's error code for an epoch that is not the producer's last one.
const INVALID_PRODUCER_EPOCH: i16 = 47;
/// Kafka's error codes for a topic that nobody, or not this principal, may write to.
const FORBIDDEN: [i16; 2] = [17, 29];

/// Sequence numbers are 31 bits: after 2^31 - 1 comes 0 (`DefaultRecordBatch.incrementSequence`).
const SEQUENCE_MASK: u32 = 0x7fff_ffff;

/// Where the front window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Idle,
    /// It can be sent.
    Ready,
    /// It waits for its backoff.
    Waiting,
    /// It waits for metadata to name a leader.
    Blocked,
    /// It is on its way.
    Flying(Way),
    /// It is being looked for in the partition.
    Looking,
}

/// What to do after an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// The front window is done; tell its outcome.
    Settled(u64, Outcome),
    /// Send it again then; `refresh`: ask for metadata meanwhile.
    Again {
        /// When.
        at: Instant,
        /// Whether what is known may be old.
        refresh: bool,
        /// What was wrong, and what the broker added.
        why: (Meaning, Option<String>),
    },
    /// Look for it again then.
    LookAgain {
        /// When.
        at: Instant,
    },
}

/// A partition with windows.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) topic: TopicName,
    pub(super) partition: i32,
    pub(super) phase: Phase,
    queue: VecDeque<Window>,
    /// Producer id and epoch; `None` until the first send, or after the epochs ran out.
    producer: Option<(i64, i16)>,
    sequence: u32,
    /// An earlier send of the front window had an unknown outcome.
    doubtful: bool,
    /// Since when, or since when it was looked for last.
    doubtful_since: Option<Instant>,
    /// Since when, whatever was looked for.
    first_doubt: Option<Instant>,
    /// The front window has to be looked for.
    look: bool,
    /// Its events are older than what brokers remember.
    outdated: bool,
    /// The broker will not have the front window under its identity.
    forgotten: bool,
    /// Since it knows a later epoch.
    fenced: bool,
    /// Its times are too old for the topic: should it not be there, they are moved to this one.
    restamp: Option<UnixMillis>,
    /// How often it was so in a row.
    renewals: u32,
    /// The identity was renewed while the front window was in doubt.
    may_be_doubled: bool,
    /// The front window, which has no identity from the journal, was sent without any.
    unnamed: bool,
    /// The front window was asked back.
    recalled: bool,
    /// Since when the front window has nowhere to go.
    nowhere_since: Option<Instant>,
    /// Another topic has the name of the one that the front window was first sent to.
    replaced: bool,
    /// Since when metadata says, on end, that its topic or partition is not there, or not to be seen.
    gone_since: Option<Instant>,
    /// The last request with a window of its own kept the connection waiting.
    suspect: bool,
    backoff: Backoff,
}

impl Slot {
    pub(super) fn new(topic: TopicName, partition: i32, seed: u64) -> Self {
        Self {
            topic,
            partition,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            producer: None,
            sequence: 0,
            doubtful: false,
            doubtful_since: None,
            first_doubt: None,
            look: false,
            outdated: false,
            forgotten: false,
            fenced: false,
            restamp: None,
            renewals: 0,
            may_be_doubled: false,
            unnamed: false,
            recalled: false,
            nowhere_since: None,
            replaced: false,
            gone_since: None,
            suspect: false,
            backoff: Backoff::new(seed),
        }
    }

    /// Takes a window; `true` when it can be sent at once.
    pub(super) fn push(&mut self, window: Window) -> bool {
        self.queue.push_back(window);
        let first = self.phase == Phase::Idle;
        if first {
            self.begin();
        }
        first
    }

    /// Another window is the front one now.
    fn begin(&mut self) {
        let flags = self.journaled().map(|j| (j.doubtful, j.may_be_doubled));
        (self.doubtful, self.may_be_doubled) = flags.unwrap_or_default();
        self.look = self.doubtful;
        (self.doubtful_since, self.first_doubt) = (None, None);
        (self.forgotten, self.recalled, self.replaced) = (false, false, false);
        (self.nowhere_since, self.gone_since) = (None, None);
        (self.unnamed, self.restamp, self.outdated, self.fenced) = (false, None, false, false);
        self.phase = if self.queue.is_empty() { Phase::Idle } else { Phase::Ready };
    }

    pub(super) fn journaled(&self) -> Option<&Journaled> {
        self.front().and_then(|w| w.journaled.as_ref())
    }

    pub(super) fn front(&self) -> Option<&Window> {
        self.queue.front()
    }

    /// The front window goes out by `way`; `fresh` is the producer id to use if there is none yet, negative if the cluster
    /// gives none.
    pub(super) fn send(&mut self, way: Way, fresh: (i64, i16)) -> Identity {
        self.phase = Phase::Flying(way);
        if let Some(journaled) = self.journaled() {
            return journaled.identity;
        }
        self.unnamed = self.producer.is_none() && fresh.0 < 0;
        if self.unnamed {
            return Identity::NONE;
        }
        let (producer_id, epoch) = *self.producer.get_or_insert(fresh);
        Identity { producer_id, epoch, base_sequence: self.sequence.cast_signed() }
    }

    /// Whether a broker can't tell the front window from another.
    fn is_unnamed(&self) -> bool {
        self.journaled().map_or(self.unnamed, |journaled| journaled.identity.is_none())
    }

    /// The request with its window kept the connection waiting for this long.
    pub(super) fn kept_waiting(&mut self, time: Duration) {
        self.suspect = time >= SLOW;
    }

    /// Whether its windows are to go alone, and not by the connection of the others.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Not a byte of it left this host.
    pub(super) fn not_sent(&mut self) {
        self.phase = Phase::Ready;
    }

    /// It may have arrived.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.doubt(now);
        self.phase = Phase::Ready;
    }

    /// A broker answered.
    pub(super) fn answered(&mut self, result: &PartitionResult, now: Instant) -> Step {
        let meaning = meaning(result.code);
        let verdict = self.verdict(&meaning);
        if meaning.ambiguous {
            self.doubt(now);
        }
        match verdict {
            Verdict::Reset if self.journaled().is_some() => {
                (self.forgotten, self.fenced) = (true, result.code == INVALID_PRODUCER_EPOCH);
                // The first time at once; a broker that will have no identity at all is not asked without a pause.
                if !self.doubtful && self.renewals == 0 {
                    return self.give_back();
                }
                self.look = true;
                self.again(now, false, meaning, result)
            }
            // Nothing of it will ever be accepted, and it has not arrived: a new identity fences what may still be on its
            // way, and then a refusal is definite. By now a follower has caught up or is out of sync, so that nothing
            // is appended that can't be read.
            Verdict::Refuse | Verdict::Defer
                if self.has_old_doubt(now)
                    && (verdict == Verdict::Refuse || FORBIDDEN.contains(&result.code)) =>
            {
                if self.journaled().is_none() {
                    return self.give_up_doubt().unwrap_or_else(|| self.again(now, false, meaning, result));
                }
                (self.forgotten, self.look) = (true, true);
                self.again(now, false, meaning, result)
            }
            Verdict::Done | Verdict::Duplicate => self.acknowledged(result),
            Verdict::Refuse if !self.doubtful => self.settle(refusal(&meaning, result)),
            Verdict::Defer if !self.doubtful && self.out_of_patience(now) => {
                self.settle(Outcome::Deferred { code: result.code, message: words(&meaning, result) })
            }
            Verdict::Reset => {
                self.renew();
                self.again(now, false, meaning, result)
            }
            Verdict::Hold | Verdict::Refuse => {
                self.backoff.slow_down();
                self.again(now, false, meaning, result)
            }
            Verdict::Defer | Verdict::Refresh => self.again(now, true, meaning, result),
            Verdict::Retry => self.again(now, false, meaning, result),
        }
    }

    /// The table's verdict, seen with what only the slot knows.
    fn verdict(&self, meaning: &Meaning) -> Verdict {
        let restamped = self.front().is_some_and(|w| w.batch.stamp() == Stamp::Send);
        match meaning.verdict {
            // "Duplicate" of what was never sent: somebody else used our numbers.
            Verdict::Duplicate if !self.doubtful => Verdict::Reset,
            // The time of sending is our own clock's; when that is set right, the same window passes.
            Verdict::Refuse if meaning.code == 32 && restamped => Verdict::Hold,
            verdict => verdict,
        }
    }

    /// Metadata says that there is nowhere to send it. `Some` when it has been so for too long. `holds`: what can't be found out is
    /// held.
    pub(super) fn nowhere(&mut self, code: i16, holds: bool, now: Instant) -> Option<Step> {
        self.phase = Phase::Blocked;
        let out_of_patience = self.out_of_patience(now);
        // What was never there holds nothing; a cluster that has lost its memory for a moment says so too.
        // Where it may not even be looked at, nobody will find out.
        let is_gone = code == UNKNOWN_TOPIC_OR_PARTITION || (FORBIDDEN.contains(&code) && !holds);
        self.gone_since = is_gone.then(|| self.gone_since.unwrap_or(now));
        // But a topic that has another in its place is gone for good, and no partition of it comes back. Brokers that lag behind may
        // say so for a moment of one that is itself the newer.
        let for_good = self.replaced && code == UNKNOWN_TOPIC_OR_PARTITION;
        let least = if for_good { REPLACED } else { LOOK_AFTER };
        let for_long = self.gone_since.is_some_and(|s| now.saturating_duration_since(s) >= least);
        if !out_of_patience || (self.doubtful && !for_long) {
            return None;
        }
        if self.doubtful {
            if self.journaled().is_none() {
                self.renew();
            }
            // It may only have been hidden from us.
            return Some(self.settle(Outcome::Returned { in_doubt: true }));
        }
        let message = meaning(code).message.to_owned();
        Some(self.settle(Outcome::Deferred { code, message }))
    }

    /// Whether metadata has another topic in the place of the one that the front window was first sent to.
    pub(super) fn is_replaced(&mut self, replaced: bool) {
        self.replaced = replaced;
    }

    /// Whether the front window, which has nowhere to go, goes back before long.
    pub(super) fn is_impatient(&self) -> bool {
        !self.doubtful || self.replaced
    }

    /// Metadata has its topic, and a leader for it.
    pub(super) fn has_place(&mut self) {
        self.gone_since = None;
    }

    fn out_of_patience(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(*self.nowhere_since.get_or_insert(now)) >= PATIENCE
    }

    fn acknowledged(&mut self, result: &PartitionResult) -> Step {
        if self.journaled().is_none() && !self.unnamed {
            let count = self.front().map_or(0, |w| w.batch.count());
            self.sequence = self.sequence.wrapping_add(count) & SEQUENCE_MASK;
        }
        self.appended(if result.code == 0 { result.offset } else { -1 })
    }

    fn appended(&mut self, offset: i64) -> Step {
        self.renewals = 0;
        let (doubtful, may_be_doubled) = (self.doubtful, self.may_be_doubled);
        self.settle(Outcome::Acked { offset, doubtful, may_be_doubled })
    }

    fn settle(&mut self, outcome: Outcome) -> Step {
        let id = self.queue.pop_front().map_or(0, |w| w.id);
        // What was forgotten comes back under another identity, and may be forgotten again.
        if !matches!(outcome, Outcome::Forgotten { .. }) {
            self.backoff.reset();
        }
        self.begin();
        Step::Settled(id, outcome)
    }

    /// Begins a new series of numbers, as the Java client does: the same producer id with the next epoch,
    /// sequence 0, which fences what may still be on its way (`TransactionManager.bumpIdempotentProducerEpoch`).
    fn renew(&mut self) {
        self.may_be_doubled |= self.doubtful;
        self.sequence = 0;
        self.producer = self.producer.and_then(|(id, epoch)| Some((id, epoch.checked_add(1)?)));
    }

    #[cfg(test)]
    pub(super) fn set_sequence(&mut self, sequence: u32) {
        self.sequence = sequence;
    }

    /// The cluster is another one: what it was told is known to nobody there.
    pub(super) fn forget_identity(&mut self) {
        (self.producer, self.sequence) = (None, 0);
    }

    /// Whether the next send needs a producer id that was never used in this partition.
    pub(super) fn needs_producer(&self) -> bool {
        self.producer.is_none() && self.journaled().is_none() && !self.unnamed
    }

    fn again(&mut self, now: Instant, refresh: bool, meaning: Meaning, result: &PartitionResult) -> Step {
        self.phase = Phase::Waiting;
        Step::Again { at: now + self.backoff.fail(), refresh, why: (meaning, result.message.clone()) }
    }
}

fn refusal(meaning: &Meaning, result: &PartitionResult) -> Outcome {
    let records = result.record_errors.iter().filter_map(|e| u32::try_from(e.index).ok()).collect();
    Outcome::Refused { code: result.code, message: words(meaning, result), records }
}

/// What the code means, and what the broker adds.
fn words(meaning: &Meaning, result: &PartitionResult) -> String {
    let of_record = result.record_errors.first().and_then(|e| e.message.as_deref());
    match of_record.or(result.message.as_deref()) {
        Some(added) => format!("{}; the broker adds: {}", meaning.message, printable(added, 300)),
        None => meaning.message.to_owned(),
    }
}
