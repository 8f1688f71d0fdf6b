//! Windows that may have arrived though no answer said so: when they are looked for, and what comes of it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::look::Looked;
use super::{Phase, Slot, Step};
use crate::event::UnixMillis;
use crate::kafka::window::{Journaled, Outcome};

/// A window that has been in doubt for this long is looked for before it is sent again: the broker may have forgotten
/// the producer (`producer.id.expiration.ms`, a day by default).
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(300);

/// How old the newest event of a window may be for brokers to remember it. They let go of a producer by the newest time in its
/// last batch, not by when that came (`ProducerStateManager.isProducerExpired`): what is older than `producer.id.expiration.ms`,
/// a day by default, is forgotten at the next sweep or restart. An hour leaves room for brokers that are told to forget sooner.
const REMEMBERED: Duration = Duration::from_hours(1);

/// A window without an identity, or that can't be read any more, and is not in the partition, is looked for again until it was in doubt for this long: the request may
/// still be on its way, and what is not replicated yet can't be read.
const SETTLING: Duration = Duration::from_secs(10);

impl Slot {
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubtful = true;
        self.doubtful_since.get_or_insert(now);
        self.first_doubt.get_or_insert(now);
        self.look |= self.outdated && self.journaled().is_some();
        if self.is_unnamed() {
            self.look = true;
            // Without a journal nothing is looked for.
            self.may_be_doubled |= self.journaled().is_none();
        }
    }

    /// The front window is about to go out at `now`: whether its broker can be trusted to know it again.
    pub(in super::super) fn note_age(&mut self, now: UnixMillis) {
        let newest = self.front().and_then(|w| w.batch.newest_time());
        let age = |newest: UnixMillis| u128::try_from(now.saturating_sub(newest)).unwrap_or_default();
        self.outdated = newest.is_some_and(|newest| age(newest) >= REMEMBERED.as_millis());
    }

    pub(super) fn has_old_doubt(&self, now: Instant) -> bool {
        self.doubtful
            && self.first_doubt.is_some_and(|since| now.saturating_duration_since(since) >= LOOK_AFTER)
    }

    /// Whether the front window is to be looked for before anything else is done with it; then it is being looked for.
    pub(in super::super) fn wants_look(&mut self, now: Instant) -> Option<Journaled> {
        let long = |since: Instant| now.saturating_duration_since(since) >= LOOK_AFTER;
        self.look |= self.doubtful && self.doubtful_since.is_some_and(long);
        let journaled = self.journaled().filter(|_| self.look)?.clone();
        self.phase = Phase::Looking;
        Some(journaled)
    }

    /// Asks the front window back if it is in doubt, or else if it was never sent. Returns how many events it holds.
    pub(in super::super) fn recall(&mut self, in_doubt: bool) -> u64 {
        let on_its_way = matches!(self.phase, Phase::Flying(_) | Phase::Looking);
        if self.doubtful != in_doubt || on_its_way && !in_doubt {
            return 0;
        }
        let count = self.front().map_or(0, |w| w.batch.count());
        self.recalled |= count > 0;
        u64::from(count)
    }

    pub(in super::super) fn is_recalled(&self) -> bool {
        self.recalled
    }

    /// Gives the front window back if it was asked back; nobody else may have a hand in it.
    pub(in super::super) fn returned(&mut self) -> Option<Step> {
        if !self.recalled {
            return None;
        }
        let in_doubt = self.doubtful;
        if in_doubt && self.journaled().is_none() {
            // What follows must not be taken for it.
            self.renew();
        }
        Some(self.settle(Outcome::Returned { in_doubt }))
    }

    /// The front window's time stamps have become too old. It is given back, unless it may have arrived: then it is looked
    /// for first, and goes out again under its identity, with its times moved to `unix`. Under another one it could be doubled:
    /// a leader that waits for its replicas has it and does not show it yet. `None`: it goes out as it is, since it has no identity that
    /// outlives it.
    pub(in super::super) fn stale(&mut self, unix: UnixMillis, now: Instant) -> Option<Step> {
        if !self.doubtful {
            return Some(self.settle(Outcome::Stale { may_be_doubled: self.may_be_doubled }));
        }
        self.journaled()?;
        (self.restamp, self.look) = (Some(unix), true);
        self.phase = Phase::Waiting;
        Some(Step::LookAgain { at: now })
    }

    /// The front window, which is being looked for, is not to go out again under its identity.
    pub(in super::super) fn needs_another_identity(&mut self) {
        self.forgotten = true;
    }

    /// Where the front window was sent is gone, and nothing of it can be in what has its name now.
    pub(in super::super) fn is_foreign(&mut self) -> Step {
        self.give_back()
    }

    /// What came of looking.
    pub(in super::super) fn looked(&mut self, looked: &Looked, now: Instant) -> Option<Step> {
        match looked {
            Looked::Found(offset) => return Some(self.appended(*offset)),
            Looked::Failed(_) => {
                self.phase = Phase::Waiting;
                return Some(Step::LookAgain { at: now + self.backoff.fail() });
            }
            Looked::Unknown(_) => self.may_be_doubled = true,
            Looked::Absent => {}
        }
        let since = *self.first_doubt.get_or_insert(now);
        if self.is_unnamed() || self.is_unreadable() {
            return Some(self.not_found(looked, since, now));
        }
        self.look = false;
        self.doubtful_since = Some(now);
        if !self.forgotten {
            if let Some((window, unix)) = self.queue.front_mut().zip(self.restamp.take()) {
                window.batch = window.batch.moved_to(unix);
            }
            self.phase = Phase::Ready;
            return None;
        }
        Some(self.give_back())
    }

    /// Whether the front window can only be looked for.
    fn is_unreadable(&self) -> bool {
        self.journaled().is_some_and(|journaled| journaled.unreadable)
    }

    /// The front window has no identity, or can't be sent under it, and was not found.
    fn not_found(&mut self, looked: &Looked, since: Instant, now: Instant) -> Step {
        let settled = since + SETTLING;
        if *looked == Looked::Absent && now < settled {
            self.phase = Phase::Waiting;
            return Step::LookAgain { at: (now + self.backoff.fail()).min(settled) };
        }
        self.may_be_doubled = true;
        self.give_back()
    }

    /// The front window, which nobody can look for, has been in doubt for long, and will not be accepted: it goes back to be sent under
    /// another identity, so that the next refusal is definite, and as one that may be there. `None`: there has to be a new producer id
    /// first.
    pub(super) fn give_up_doubt(&mut self) -> Option<Step> {
        self.renew();
        (!self.needs_producer()).then(|| self.give_back())
    }

    /// The window needs another identity.
    pub(super) fn give_back(&mut self) -> Step {
        if self.is_unreadable() {
            return self.settle(Outcome::NotFound);
        }
        let (may_be_doubled, fenced) = (self.may_be_doubled, self.fenced);
        self.renewals = self.renewals.saturating_add(1);
        match self.front().map(|w| w.batch.clone()) {
            Some(batch) => self.settle(Outcome::Forgotten { batch, may_be_doubled, fenced }),
            None => self.settle(Outcome::Deferred { code: 0, message: String::new() }),
        }
    }
}
