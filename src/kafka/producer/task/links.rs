//! Connections to the leaders of partitions: opened when there is something to send, and what goes over them.

use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use super::super::calls::{self, Cargo};
use super::super::link::{LinkPhase, Way};
use super::super::slot::Step;
use super::{Task, UNNAMED};
use crate::kafka::batch::Batch;
use crate::kafka::clock;
use crate::kafka::connection::{ConnectError, Connection};
use crate::kafka::topology::TimeLimits;
use crate::kafka::window::LinkError;

impl Task {
    pub(super) fn drive_links(&mut self, now: Instant) {
        let after = self.links.range((Bound::Excluded(self.turn), Bound::Unbounded));
        let ways: Vec<Way> = after.chain(self.links.range(..=self.turn)).map(|(way, _)| *way).collect();
        for way in ways {
            self.drive_link(way, now);
        }
    }

    fn drive_link(&mut self, way: Way, now: Instant) {
        let Some(link) = self.links.get_mut(&way) else { return };
        let address = self.cluster.address(way.broker).cloned();
        link.tidy(way, now, address.as_ref());
        if link.patrol(now) {
            self.refresh.want(now);
        }
        if link.wants_connection(now) {
            let Some(address) = address else {
                // Metadata names a leader and not its address: it is being replaced.
                link.lost(now, false);
                self.refresh.want(now);
                return self.abandon_outbox(way);
            };
            link.phase = LinkPhase::Connecting;
            link.address = Some(address.clone());
            let opening = calls::open_link(way, link.generation, address, self.options.clone());
            self.jobs.spawn(opening);
        }
        while self.send_one(way, now) {}
    }

    /// Sends one request with what waits for the connection. `false` when there is nothing more to send now.
    fn send_one(&mut self, way: Way, now: Instant) -> bool {
        let unnamed = self.unnamed.then_some(UNNAMED);
        let (Some(fresh), Some(link)) = (self.producer.or(unnamed), self.links.get_mut(&way)) else {
            return false;
        };
        let Some(connection) = link.open(now).filter(|_| !link.outbox.is_empty()).cloned() else {
            return false;
        };
        if let Some(at) = self.pace.blocked(now) {
            link.muted_until = at;
            return false;
        }
        let most = self.pace.most(link.most_bytes());
        let mut cargo = Vec::new();
        let mut bytes = 0;
        let mut stale = Vec::new();
        while let Some(&id) = link.outbox.front() {
            let Some(slot) = self.board.slot(id) else { break };
            let Some(batch) = slot.front().map(|w| w.batch.clone()) else { break };
            if bytes > 0 && (way.suspects || bytes + batch.encoded_len() > most) {
                break;
            }
            link.outbox.pop_front();
            if is_stale(&batch, &self.cluster.limits(&slot.topic), self.max_age)
                && let Some(step) = slot.stale(clock::unix_now(), now)
            {
                stale.push((id, step));
                continue;
            }
            bytes += batch.encoded_len();
            slot.note_age(clock::unix_now());
            let identity = slot.send(way, fresh);
            let (topic, partition) = (slot.topic.clone(), slot.partition);
            cargo.push(Cargo { slot: id, topic, partition, batch, identity });
        }
        let flight = (!cargo.is_empty()).then(|| link.departs(way, now));
        for (id, step) in stale {
            match step {
                Step::Settled(window, outcome) => {
                    self.board.put(id);
                    self.reporter.observer.settled(window, outcome);
                }
                Step::LookAgain { at } | Step::Again { at, .. } => self.board.wait(id, at),
            }
        }
        let Some(flight) = flight else { return false };
        self.pace.spend(bytes, now);
        self.turn = way;
        self.jobs.spawn(calls::produce((flight, connection), cargo, self.acks_timeout_ms));
        true
    }

    pub(super) fn linked(
        &mut self,
        way: Way,
        generation: u64,
        result: Result<(Connection, Option<String>), ConnectError>,
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(&way).filter(|l| l.generation == generation) else { return };
        match result {
            Ok((_, Some(id))) if self.cluster.is_other(&id) => {
                let address = link.address.as_ref().map_or_else(String::new, ToString::to_string);
                link.lost(now, false);
                self.abandon_outbox(way);
                self.refresh.want(now);
                let message = format!("broker {} at {address} belongs to another cluster, {id}", way.broker);
                let hint = "nothing, if the cluster was made anew: the others will say so too; else an address leads to the wrong broker";
                let error = LinkError { code: None, message, hint: hint.to_owned() };
                self.reporter.error(self.is_up(), error, now);
            }
            Ok((connection, _)) => {
                link.phase = LinkPhase::Up(connection);
                self.reporter.up(self.is_up(), now);
            }
            Err(error) => {
                let address = link.address.as_ref().map_or_else(String::new, ToString::to_string);
                let lasting = error.is_lasting();
                let mut error = error.link_error(&format!("broker {} at {address}", way.broker));
                if lasting {
                    link.refused(now);
                } else {
                    link.lost(now, false);
                    error.hint.push_str(
                        "; brokers must be reachable at the addresses they advertise, or at those of address_map",
                    );
                }
                self.abandon_outbox(way);
                self.refresh.want(now);
                self.reporter.error(self.is_up(), error, now);
            }
        }
    }

    /// What waits for connections may find other leaders.
    pub(in super::super) fn abandon_outboxes(&mut self) {
        let ways: Vec<Way> = self.links.keys().copied().collect();
        ways.into_iter().for_each(|way| self.abandon_outbox(way));
    }

    fn abandon_outbox(&mut self, way: Way) {
        let Some(link) = self.links.get_mut(&way) else { return };
        for id in std::mem::take(&mut link.outbox) {
            self.board.put(id);
        }
    }
}

/// A window that waited for half as long again as its events may keep their times.
fn is_stale(batch: &Batch, limits: &TimeLimits, max_age: Option<Duration>) -> bool {
    let (Some(newest), Some(max_age)) = (batch.newest_time(), max_age) else { return false };
    let most = limits.max_age(max_age);
    clock::unix_now().saturating_sub(newest) > most.saturating_add(most / 2)
}
