//! A broker as the producer sees it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::board::SlotId;
use crate::config::model::HostPort;
use crate::kafka::backoff::Backoff;
use crate::kafka::connection::Connection;

/// Requests in flight on a connection.
pub(super) const MAX_IN_FLIGHT: usize = 5;
/// Bytes of batches in one request, passed only by a single batch that is larger.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// The first request on a connection has an eighth of it.
const RAMP: usize = 3;
/// A connection that owes an answer is looked after this often.
const PATROL: Duration = Duration::from_secs(5);

/// The connection's state.
#[derive(Debug)]
pub(super) enum LinkPhase {
    /// None; not to be tried before.
    Down(Instant),
    /// On the way.
    Connecting,
    /// There.
    Up(Connection),
}

/// A broker, its connection, and the slots that wait for it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) phase: LinkPhase,
    /// Counts connections, so that news of an earlier one is told apart.
    pub(super) generation: u64,
    pub(super) address: Option<HostPort>,
    pub(super) outbox: VecDeque<SlotId>,
    pub(super) in_flight: usize,
    /// Requests that this connection has answered: it begins with one small request at a time, so that a thousand hosts
    /// that come back after an outage do not pour all they have into a cluster that has just come up.
    answered: usize,
    /// A throttle: nothing is to be sent before.
    pub(super) muted_until: Instant,
    pub(super) backoff: Backoff,
    patrol_at: Instant,
}

impl Link {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            phase: LinkPhase::Down(now),
            generation: 0,
            address: None,
            outbox: VecDeque::new(),
            in_flight: 0,
            answered: 0,
            muted_until: now,
            backoff: Backoff::new(seed),
            patrol_at: now,
        }
    }

    /// The connection to send on now, if it may be sent on.
    pub(super) fn open(&self, now: Instant) -> Option<&Connection> {
        match &self.phase {
            LinkPhase::Up(connection)
                if self.in_flight < self.most_in_flight() && self.muted_until <= now =>
            {
                Some(connection)
            }
            _ => None,
        }
    }

    fn most_in_flight(&self) -> usize {
        MAX_IN_FLIGHT.min(1 + self.answered)
    }

    /// Bytes that the next request may have.
    pub(super) fn most_bytes(&self) -> usize {
        MAX_REQUEST >> RAMP.saturating_sub(self.answered)
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered = self.answered.saturating_add(1);
        self.backoff.reset();
    }

    /// Whether to connect now.
    pub(super) fn wants_connection(&self, now: Instant) -> bool {
        !self.outbox.is_empty() && matches!(self.phase, LinkPhase::Down(at) if at <= now)
    }

    /// Its connection is dead or useless. `soon`: it did nothing wrong.
    pub(super) fn lost(&mut self, now: Instant, soon: bool) {
        let wait = if soon { Duration::ZERO } else { self.backoff.fail() };
        self.phase = LinkPhase::Down(now + wait);
        self.in_flight = 0;
        self.answered = 0;
        self.muted_until = now;
        self.generation += 1;
    }

    /// Connecting failed for a reason that lasts until a person has acted.
    pub(super) fn refused(&mut self, now: Instant) {
        self.lost(now, true);
        self.phase = LinkPhase::Down(now + self.backoff.fail_lasting());
    }

    /// Lets go of an idle connection that has died, or leads to where the broker no longer is.
    pub(super) fn tidy(&mut self, now: Instant, address: Option<&HostPort>) {
        if let LinkPhase::Up(connection) = &self.phase
            && self.in_flight == 0
            && (connection.is_closed() || self.address.as_ref() != address)
        {
            self.lost(now, true);
        }
    }

    /// Whether it is time to ask whether the broker that owes an answer still leads.
    pub(super) fn patrol(&mut self, now: Instant) -> bool {
        let due = self.in_flight > 0 && self.patrol_at <= now;
        let silent = self.silence(now) >= PATROL;
        if due {
            self.patrol_at = now + PATROL;
        }
        due && silent
    }

    /// For how long it has owed an answer.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let LinkPhase::Up(connection) = &self.phase else { return Duration::ZERO };
        connection.silent_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Connecting has failed, and not just a connection been lost.
    pub(super) fn is_failing(&self) -> bool {
        !matches!(self.phase, LinkPhase::Up(_)) && self.backoff.failures() > 1
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, LinkPhase::Up(_))
    }

    /// When it next wants something without being told.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let waits = !self.outbox.is_empty();
        let own = match self.phase {
            LinkPhase::Down(at) if waits => Some(at),
            LinkPhase::Up(_) if waits && self.in_flight < self.most_in_flight() => Some(self.muted_until),
            _ => None,
        };
        let patrol = (self.in_flight > 0).then_some(self.patrol_at);
        // INVARIANT: never a moment that is past, or the task would spin: what is due has been done just now,
        // or waits for something that will be told.
        own.into_iter().chain(patrol).filter(|at| *at > now).min()
    }
}
