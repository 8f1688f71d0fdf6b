//! A broker as the producer sees it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::board::SlotId;
use crate::config::model::HostPort;
use crate::kafka::backoff::Backoff;
use crate::kafka::connection::Connection;

/// A connection to a broker. Each may have two: partitions that kept a request waiting go by one of their own, each alone
/// in its request, since a broker answers a connection's requests in order, and each as late as its slowest partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Way {
    /// Whose.
    pub(super) broker: i32,
    /// Of the suspects.
    pub(super) suspects: bool,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) way: Way,
    /// Of the link when it was sent.
    pub(super) generation: u64,
    /// Counts the requests of the connection.
    number: usize,
    sent_at: Instant,
}

/// The request that a connection answers next, or would have.
#[derive(Debug, Clone, Copy)]
struct Next {
    generation: u64,
    number: usize,
    /// When it became that.
    since: Instant,
}

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
    /// Requests that this connection was given.
    sent: usize,
    /// When the request that is answered next became that.
    next_since: Instant,
    /// Of the connection before this one.
    unanswered: Option<Next>,
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
            sent: 0,
            next_since: now,
            unanswered: None,
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

    /// A request goes out.
    pub(super) fn departs(&mut self, way: Way, now: Instant) -> Flight {
        if self.in_flight == 0 {
            self.next_since = now;
        }
        let number = self.sent;
        self.in_flight += 1;
        self.sent += 1;
        Flight { way, generation: self.generation, number, sent_at: now }
    }

    /// A request was answered, and the broker reads no other for so long: a throttle.
    pub(super) fn answered(&mut self, now: Instant, quiet: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered = self.answered.saturating_add(1);
        self.next_since = now + quiet;
        self.muted_until = self.muted_until.max(now + quiet);
        self.backoff.reset();
    }

    /// For how long a request kept the connection waiting, by itself: not while others before it did. Zero where that
    /// can't be told.
    pub(super) fn kept_waiting(&self, flight: &Flight, now: Instant) -> Duration {
        let next = Next { generation: self.generation, number: self.answered, since: self.next_since };
        let of = [Some(next), self.unanswered].into_iter().flatten();
        let mut of = of.filter(|n| (n.generation, n.number) == (flight.generation, flight.number));
        of.next().map_or(Duration::ZERO, |n| now.saturating_duration_since(n.since.max(flight.sent_at)))
    }

    /// Whether to connect now.
    pub(super) fn wants_connection(&self, now: Instant) -> bool {
        !self.outbox.is_empty() && matches!(self.phase, LinkPhase::Down(at) if at <= now)
    }

    /// Its connection is dead or useless. `soon`: it did nothing wrong.
    pub(super) fn lost(&mut self, now: Instant, soon: bool) {
        let wait = if soon { Duration::ZERO } else { self.backoff.fail() };
        self.phase = LinkPhase::Down(now + wait);
        let (generation, number, since) = (self.generation, self.answered, self.next_since);
        self.unanswered = Some(Next { generation, number, since });
        self.in_flight = 0;
        (self.answered, self.sent) = (0, 0);
        // A throttle is not got round by another connection.
        self.generation += 1;
    }

    /// Connecting failed for a reason that lasts until a person has acted.
    pub(super) fn refused(&mut self, now: Instant) {
        self.lost(now, true);
        self.phase = LinkPhase::Down(now + self.backoff.fail_lasting());
    }

    /// Lets go of an idle connection that has died, leads to where the broker no longer is, or has no suspects any more.
    pub(super) fn tidy(&mut self, way: Way, now: Instant, address: Option<&HostPort>) {
        if let LinkPhase::Up(connection) = &self.phase
            && self.in_flight == 0
            && (connection.is_closed()
                || self.address.as_ref() != address
                || (way.suspects && self.outbox.is_empty() && self.muted_until <= now))
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
