//! The connection for everything but records.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::HostPort;
use crate::kafka::backoff::Backoff;
use crate::kafka::connection::Connection;

/// After this long without an answer, a probe is sent.
pub(super) const PROBE: Duration = Duration::from_secs(5);
/// A probe is answered within this, or the broker is hung.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// A lost connection is not said to be a lost link before one try to open another has failed or this has
/// passed. With the two above: less than 20 s.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// A lost connection is replaced within this: a broker's end is seen by all its relays in the same instant.
const SPREAD: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) enum ControlPhase {
    /// None; not to be tried before.
    Down(Instant),
    Connecting,
    Up(Connection),
}

#[derive(Debug)]
pub(super) struct Control {
    pub(super) phase: ControlPhase,
    /// Addresses not yet tried in this round.
    round: VecDeque<HostPort>,
    /// Where the connection leads, or was last tried to.
    pub(super) address: Option<HostPort>,
    backoff: Backoff,
    /// The last answer.
    pub(super) heard: Instant,
    /// When the connection was lost, until another one stands or the link is said to be down.
    pub(super) lost_at: Option<Instant>,
    /// A metadata request is on its way.
    pub(super) asking: bool,
    /// A request for a producer id is on its way.
    pub(super) initializing: bool,
    pub(super) initialize_at: Instant,
    /// Since when a producer id is refused for good.
    pub(super) refused_since: Option<Instant>,
    pub(super) initialize_backoff: Backoff,
}

impl Control {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            phase: ControlPhase::Down(now),
            round: VecDeque::new(),
            address: None,
            backoff: Backoff::new(seed),
            heard: now,
            lost_at: None,
            asking: false,
            initializing: false,
            initialize_at: now,
            refused_since: None,
            initialize_backoff: Backoff::new(seed.wrapping_add(1)),
        }
    }

    /// The next address to try, if it is time; `all` gives those of a new round, the one that failed last.
    pub(super) fn next_address(
        &mut self,
        now: Instant,
        all: impl FnOnce(Option<&HostPort>) -> Vec<HostPort>,
    ) -> Option<HostPort> {
        if !matches!(self.phase, ControlPhase::Down(at) if at <= now) {
            return None;
        }
        if self.round.is_empty() {
            self.round = all(self.address.as_ref()).into();
        }
        let address = self.round.pop_front()?;
        self.phase = ControlPhase::Connecting;
        self.address = Some(address.clone());
        Some(address)
    }

    pub(super) fn connected(&mut self, connection: Connection, now: Instant) {
        self.phase = ControlPhase::Up(connection);
        self.round.clear();
        self.backoff.reset();
        self.heard = now;
        self.lost_at = None;
    }

    /// An attempt failed: the next address at once, a new round after a while. `lasting`: until a person has acted.
    pub(super) fn not_connected(&mut self, now: Instant, lasting: bool) {
        let wait = match (self.round.is_empty(), lasting) {
            (false, _) => Duration::ZERO,
            (true, false) => self.backoff.fail(),
            (true, true) => self.backoff.fail_lasting(),
        };
        self.phase = ControlPhase::Down(now + wait);
        self.lost_at = None;
    }

    /// The connection died.
    pub(super) fn lost(&mut self, now: Instant) {
        if let ControlPhase::Up(connection) = &self.phase {
            connection.close("the control connection is given up");
            self.phase = ControlPhase::Down(now + self.backoff.spread(SPREAD));
            self.lost_at = Some(now);
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.phase {
            ControlPhase::Up(connection) => Some(connection),
            _ => None,
        }
    }

    /// When it next wants something, given when metadata is due and whether a producer id is needed.
    pub(super) fn deadline(&self, refresh_due: Instant, needs_producer: bool) -> Option<Instant> {
        let grace = self.lost_at.map(|at| at + GRACE);
        let own = match self.phase {
            ControlPhase::Down(at) => Some(at),
            ControlPhase::Connecting => None,
            ControlPhase::Up(_) => {
                let ask = (!self.asking).then(|| refresh_due.min(self.heard + PROBE));
                let initialize = (needs_producer && !self.initializing).then_some(self.initialize_at);
                ask.into_iter().chain(initialize).min()
            }
        };
        own.into_iter().chain(grace).min()
    }
}
