//! What the task does with answers to Produce requests.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::board::SlotId;
use super::link::{Flight, LinkPhase};
use super::look::Looked;
use super::slot::Step;
use super::task::Task;
use crate::kafka::connection::CallError;
use crate::kafka::window::{LinkError, Outcome};
use crate::kafka::wire::{PartitionResult, ProduceAnswer};

/// Kafka's error code for a time stamp that the topic does not take: what is known of that may be old.
const INVALID_TIMESTAMP: i16 = 32;

impl Task {
    pub(super) fn produced(
        &mut self,
        flight: &Flight,
        slots: Vec<SlotId>,
        result: Result<ProduceAnswer, CallError>,
        now: Instant,
    ) {
        let link = self.links.get(&flight.way);
        let time = link.map_or(Duration::ZERO, |link| link.kept_waiting(flight, now));
        for id in &slots {
            if let Some(slot) = self.board.slot(*id) {
                slot.kept_waiting(time);
            }
        }
        match result {
            Ok(answer) => {
                let quiet = self.quiet(answer.throttle_ms);
                if let Some(link) =
                    self.links.get_mut(&flight.way).filter(|l| l.generation == flight.generation)
                {
                    link.answered(now, quiet);
                    if let LinkPhase::Up(connection) = &link.phase {
                        connection.throttle(quiet);
                    }
                }
                self.settle_all(flight, &slots, &answer, now);
            }
            Err(error) => self.not_produced(flight, slots, &error, now),
        }
    }

    fn settle_all(&mut self, flight: &Flight, slots: &[SlotId], answer: &ProduceAnswer, now: Instant) {
        let told = answer.partitions.iter().filter_map(|p| Some((self.board.find(&p.topic, p.index)?, p)));
        let told: HashMap<SlotId, &PartitionResult> = told.collect();
        let (answered, forgotten): (Vec<SlotId>, Vec<SlotId>) =
            slots.iter().copied().partition(|id| told.contains_key(id));
        for id in answered {
            if let Some(result) = told.get(&id) {
                if result.code == 0 {
                    self.cluster.has_taken(&result.topic, result.index, flight.way.broker);
                }
                self.settle_one(id, result, now);
            }
        }
        if !forgotten.is_empty() {
            let error = CallError::Unanswered("the broker's answer leaves out a partition".into());
            self.not_produced(flight, forgotten, &error, now);
        }
    }

    fn settle_one(&mut self, id: SlotId, result: &PartitionResult, now: Instant) {
        let Some(slot) = self.board.slot(id) else { return };
        let step = slot.answered(result, now);
        let fresh_needed = slot.needs_producer();
        match step {
            Step::Settled(window, outcome) => {
                if matches!(outcome, Outcome::Refused { code: INVALID_TIMESTAMP, .. }) {
                    self.inquiry.want_by_name(&result.topic, now);
                }
                self.board.put(id);
                self.reporter.observer.settled(window, outcome);
            }
            Step::LookAgain { at } => self.board.wait(id, at),
            Step::Again { at, refresh, why: (meaning, added) } => {
                self.board.wait(id, at);
                if refresh {
                    self.refresh.want(now);
                }
                if meaning.code == INVALID_TIMESTAMP {
                    self.inquiry.want_by_name(&result.topic, now);
                }
                if fresh_needed {
                    self.producer = None;
                }
                let mut error =
                    meaning.link_error(&format!("topic {}, partition {}", result.topic, result.index));
                if let Some(added) = added {
                    error.message = format!("{}: {added}", error.message);
                }
                self.reporter.error(self.is_up(), error, now);
            }
        }
    }

    /// A window was looked for in its partition.
    pub(super) fn looked(&mut self, id: SlotId, looked: Looked, now: Instant) {
        let (looked, held) = match looked {
            // It is looked for again and again: what is missing may be permitted one day.
            Looked::Unknown(why) if self.holds_in_doubt => (Looked::Failed(why), true),
            looked => (looked, false),
        };
        let Some(slot) = self.board.slot(id) else { return };
        let what = format!("topic {}, partition {}", slot.topic, slot.partition);
        let step = slot.looked(&looked, now);
        match step {
            Some(Step::Settled(window, outcome)) => {
                self.board.put(id);
                self.reporter.observer.settled(window, outcome);
            }
            Some(Step::LookAgain { at } | Step::Again { at, .. }) => self.board.wait(id, at),
            None => self.board.put(id),
        }
        let (message, hint) = match &looked {
            Looked::Found(_) | Looked::Absent => return,
            Looked::Unknown(why) => (
                format!("{what}: whether a window in doubt has arrived can't be found out: {why}"),
                "what can be read of it is sent again, and may be there twice; it is counted",
            ),
            Looked::Failed(why) if held => (
                format!("{what}: whether a window in doubt has arrived can't be found out: {why}"),
                "mend what keeps it from being read; the partition is held until then (in_doubt = \"hold\"; \"resend\" would send it again)",
            ),
            Looked::Failed(why) => (
                format!("{what}: reading back a window in doubt failed: {why}"),
                "nothing, if it passes by itself: the partition waits until it can be read",
            ),
        };
        let error = LinkError { code: None, message, hint: hint.to_owned() };
        self.reporter.error(self.is_up(), error, now);
    }

    /// A request was not answered: what may have arrived is in doubt.
    fn not_produced(&mut self, flight: &Flight, slots: Vec<SlotId>, error: &CallError, now: Instant) {
        for id in slots {
            if let Some(slot) = self.board.slot(id) {
                match error {
                    CallError::NotSent(_) => slot.not_sent(),
                    CallError::Unanswered(_) => slot.unanswered(now),
                }
                self.board.put(id);
            }
        }
        self.refresh.want(now);
        let Some(link) = self.links.get_mut(&flight.way).filter(|l| l.generation == flight.generation) else {
            return;
        };
        if let LinkPhase::Up(connection) = &link.phase {
            connection.close("the broker did not answer as it must");
        }
        let address = link.address.as_ref().map_or_else(String::new, ToString::to_string);
        link.lost(now, false);
        let message = format!("broker {} at {address}: {error}", flight.way.broker);
        let hint = "nothing: what was sent is sent again under the same identity".to_owned();
        self.reporter.error(self.is_up(), LinkError { code: None, message, hint }, now);
    }
}
