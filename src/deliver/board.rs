//! What a delivery thread shows of itself to others: the numbers as they were last saved.

use std::sync::{Mutex, PoisonError};

use super::engine::View;
use crate::event::UnixMillis;
use crate::ids::{DestinationName, LaneName, Seq};
use crate::kafka::LinkError;
use crate::state::positions::Totals;
use crate::status::{Account, Destination, LastError, Waiting};

/// The board of one (lane, destination).
#[derive(Debug)]
pub struct Board {
    lane: LaneName,
    destination: DestinationName,
    posted: Mutex<Posted>,
}

/// What metrics count, as `/status` shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Events sent again though it is not known whether they had arrived.
    pub possibly_doubled: u64,
    /// Seconds for which brokers have asked for silence.
    pub throttled_seconds: f64,
}

#[derive(Debug, Default)]
struct Posted {
    since: Seq,
    settled_below: Seq,
    totals: Totals,
    view: View,
    parked_bytes: u64,
    counted: Counted,
    up: bool,
    ever_up: bool,
    last_error: Option<LastError>,
    /// When the delivery thread last came round.
    seen: UnixMillis,
    /// Since when something waits that has not been read.
    behind_since: Option<UnixMillis>,
}

impl Board {
    /// A board that says: nothing delivered since `since`.
    #[must_use]
    pub fn new(lane: LaneName, destination: DestinationName, since: Seq, totals: Totals) -> Self {
        let posted = Posted { since, settled_below: since, totals, ..Posted::default() };
        Self { lane, destination, posted: Mutex::new(posted) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Posted) -> T) -> T {
        look(&mut self.posted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The numbers that were saved.
    pub fn post_saved(&self, settled_below: Seq, totals: Totals) {
        self.with(|p| {
            p.settled_below = settled_below;
            p.totals = totals;
        });
    }

    /// What the engine shows, and that its thread is alive.
    pub fn post_view(&self, view: View, counted: Counted, now: UnixMillis) {
        self.with(|p| {
            (p.view, p.counted) = (view, counted);
            p.seen = now;
        });
    }

    /// Bytes that wait elsewhere than in the lane.
    pub fn post_parked(&self, bytes: u64) {
        self.with(|p| p.parked_bytes = bytes);
    }

    /// Whether the cluster answers.
    pub fn post_link(&self, up: bool) {
        self.with(|p| {
            p.up = up;
            p.ever_up |= up;
        });
    }

    /// Something went wrong; the same again only counts.
    pub fn post_error(&self, error: LinkError, now: UnixMillis) {
        self.with(|p| {
            let again = p.last_error.as_ref().filter(|e| e.message == error.message && e.code == error.code);
            let count = again.map_or(0, |e| e.count) + 1;
            let LinkError { code, message, hint } = error;
            p.last_error = Some(LastError { at: now, code, message, hint, count });
        });
    }

    /// Whether the cluster has answered since the start.
    #[must_use]
    pub fn was_ever_up(&self) -> bool {
        self.with(|p| p.ever_up)
    }

    /// When the delivery thread last came round.
    #[must_use]
    pub fn seen(&self) -> UnixMillis {
        self.with(|p| p.seen)
    }

    /// The destination's name.
    #[must_use]
    pub fn destination(&self) -> &DestinationName {
        &self.destination
    }

    /// The lane's name.
    #[must_use]
    pub fn lane(&self) -> &LaneName {
        &self.lane
    }

    /// The row of `/status`, with the lane's last durable event.
    #[must_use]
    pub fn destination_row(&self, durable: Seq, now: UnixMillis) -> Destination {
        self.with(|p| {
            let lag_events = pending(p, durable);
            let behind_since = (lag_events > 0).then(|| p.behind_since.unwrap_or(now));
            p.behind_since = behind_since;
            let oldest = p.view.oldest.or(behind_since).filter(|_| lag_events > 0);
            let waiting = p.view.waiting.iter().map(|(t, r)| Waiting { topic: t.clone(), reason: r.clone() });
            Destination {
                name: self.destination.clone(),
                lane: self.lane.clone(),
                up: p.up,
                delivered_seq: p.settled_below.prev(),
                lag_events,
                lag_seconds: oldest.map_or(0.0, |at| millis_to_seconds(now.saturating_sub(at))),
                in_flight: p.view.in_flight,
                parked: p.view.parked.min(lag_events),
                parked_bytes: p.parked_bytes,
                waiting: waiting.collect(),
                possibly_doubled: p.counted.possibly_doubled,
                throttled_seconds: p.counted.throttled_seconds,
                notes: p.view.notes.clone(),
                last_error: p.last_error.clone(),
            }
        })
    }

    /// The account of `/status`, with the lane's last durable event.
    #[must_use]
    pub fn account_row(&self, durable: Seq) -> Account {
        self.with(|p| Account {
            lane: self.lane.clone(),
            destination: self.destination.clone(),
            since_seq: p.since,
            accepted: p.totals.sum() + pending(p, durable),
            delivered: p.totals.delivered,
            dead_lettered: p.totals.dead_lettered,
            filtered: p.totals.filtered,
            dropped: p.totals.dropped,
            lost_to_damage: p.totals.lost,
            pending: pending(p, durable),
        })
    }
}

fn pending(posted: &Posted, durable: Seq) -> u64 {
    (durable.next().0.saturating_sub(posted.since.0)).saturating_sub(posted.totals.sum())
}

fn millis_to_seconds(millis: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_adds_up_and_the_same_error_only_counts() {
        let (lane, name) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let board = Board::new(lane, name, Seq(11), Totals::default());
        board.post_saved(Seq(15), Totals { delivered: 3, filtered: 1, ..Totals::default() });
        let account = board.account_row(Seq(20));
        assert_eq!((account.accepted, account.pending), (10, 6));
        let error = LinkError { code: None, message: "refused".into(), hint: "start it".into() };
        board.post_error(error.clone(), 5);
        board.post_error(error, 6);
        let row = board.destination_row(Seq(20), 2_000);
        assert_eq!(row.last_error.unwrap().count, 2);
        assert_eq!((row.lag_events, row.lag_seconds, row.delivered_seq), (6, 0.0, Seq(14)));
        assert_eq!(board.destination_row(Seq(20), 5_000).lag_seconds, 3.0);
    }
}
