//! Connections to the leaders of partitions: opened when there is something to send, and what goes over them.

use std::time::Duration;

use tokio::time::Instant;

use super::super::calls::{self, Cargo};
use super::super::link::LinkPhase;
use super::super::slot::Step;
use super::{Task, UNNAMED};
use crate::kafka::batch::Batch;
use crate::kafka::clock;
use crate::kafka::connection::{ConnectError, Connection};
use crate::kafka::topology::TimeLimits;

impl Task {
    pub(super) fn drive_links(&mut self, now: Instant) {
        let after = self.links.range(self.turn.saturating_add(1)..);
        let brokers: Vec<i32> = after.chain(self.links.range(..=self.turn)).map(|(id, _)| *id).collect();
        for broker in brokers {
            self.drive_link(broker, now);
        }
    }

    fn drive_link(&mut self, broker: i32, now: Instant) {
        let Some(link) = self.links.get_mut(&broker) else { return };
        let address = self.cluster.address(broker).cloned();
        link.tidy(now, address.as_ref());
        if link.patrol(now) {
            self.refresh.want(now);
        }
        if link.wants_connection(now) {
            let Some(address) = address else {
                // Metadata names a leader and not its address: it is being replaced.
                link.lost(now, false);
                self.refresh.want(now);
                return self.abandon_outbox(broker);
            };
            link.phase = LinkPhase::Connecting;
            link.address = Some(address.clone());
            let opening = calls::open_link(broker, link.generation, address, self.options.clone());
            self.jobs.spawn(opening);
        }
        while self.send_one(broker, now) {}
    }

    /// Sends one request with what waits for the broker. `false` when there is nothing more to send now.
    fn send_one(&mut self, broker: i32, now: Instant) -> bool {
        let unnamed = self.unnamed.then_some(UNNAMED);
        let (Some(fresh), Some(link)) = (self.producer.or(unnamed), self.links.get_mut(&broker)) else {
            return false;
        };
        if let Some(at) = self.rate.blocked(now) {
            link.muted_until = link.muted_until.max(at);
        }
        let Some(connection) = link.open(now).cloned() else { return false };
        let most = self.rate.most(link.most_bytes());
        let mut cargo = Vec::new();
        let mut bytes = 0;
        let mut stale = Vec::new();
        while let Some(&id) = link.outbox.front() {
            let Some(slot) = self.board.slot(id) else { break };
            let Some(batch) = slot.front().map(|w| w.batch.clone()) else { break };
            if bytes > 0 && bytes + batch.encoded_len() > most {
                break;
            }
            link.outbox.pop_front();
            if is_stale(&batch, &self.cluster.limits(&slot.topic), self.max_age)
                && let Some(step) = slot.stale(now)
            {
                stale.push((id, step));
                continue;
            }
            bytes += batch.encoded_len();
            let identity = slot.send(broker, fresh);
            let (topic, partition) = (slot.topic.clone(), slot.partition);
            cargo.push(Cargo { slot: id, topic, partition, batch, identity });
        }
        let any = !cargo.is_empty();
        link.in_flight += usize::from(any);
        for (id, step) in stale {
            match step {
                Step::Settled(window, outcome) => {
                    self.board.put(id);
                    self.reporter.observer.settled(window, outcome);
                }
                Step::LookAgain { at } | Step::Again { at, .. } => self.board.wait(id, at),
            }
        }
        if !any {
            return false;
        }
        self.rate.spend(bytes, now);
        self.turn = broker;
        let way = (broker, link.generation, connection);
        self.jobs.spawn(calls::produce(way, cargo, self.acks_timeout_ms));
        true
    }

    pub(super) fn linked(
        &mut self,
        broker: i32,
        generation: u64,
        result: Result<Connection, ConnectError>,
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(&broker).filter(|l| l.generation == generation) else { return };
        match result {
            Ok(connection) => {
                link.phase = LinkPhase::Up(connection);
                self.reporter.up(self.is_up(), now);
            }
            Err(error) => {
                let address = link.address.as_ref().map_or_else(String::new, ToString::to_string);
                let lasting = error.is_lasting();
                let mut error = error.link_error(&format!("broker {broker} at {address}"));
                if lasting {
                    link.refused(now);
                } else {
                    link.lost(now, false);
                    error.hint.push_str(
                        "; brokers must be reachable at the addresses they advertise, or at those of address_map",
                    );
                }
                self.abandon_outbox(broker);
                self.refresh.want(now);
                self.reporter.error(self.is_up(), error, now);
            }
        }
    }

    /// What waits for a broker may find another leader.
    pub(in super::super) fn abandon_outbox(&mut self, broker: i32) {
        let Some(link) = self.links.get_mut(&broker) else { return };
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
