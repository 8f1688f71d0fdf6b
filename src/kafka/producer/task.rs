//! The producer's one task: takes what comes, decides, sets going what is next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::{Board, SlotId};
use super::calls::{self, Cargo, Event};
use super::control::{Control, GRACE, PROBE, PROBE_TIMEOUT};
use super::handle::{Command, Mailbox};
use super::link::{Link, LinkPhase};
use super::report::Reporter;
use super::slot::Step;
use crate::config::model::Destination;
use crate::kafka::connection::{CallError, ConnectError, Connection, Options};
use crate::kafka::errors::{Verdict, meaning};
use crate::kafka::topology::{Cluster, Health, Place, Refresh};
use crate::kafka::window::{LinkError, Observer};
use crate::kafka::wire::{MetadataAnswer, PartitionResult, ProduceAnswer, ProducerIdAnswer};
use crate::metrics::{self, Metrics};

/// Bytes of batches in one request, passed only by a single batch that is larger.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Largest answer: metadata of ten thousand partitions is a tenth of it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// With the leader moved, a broker that has been silent for this long is not waited for.
const MOVED: Duration = Duration::from_secs(3);

pub(super) struct Task {
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
    jobs: JoinSet<Event>,
    board: Board,
    cluster: Cluster,
    refresh: Refresh,
    control: Control,
    links: BTreeMap<i32, Link>,
    /// Producer id and epoch for partitions that have none yet.
    producer: Option<(i64, i16)>,
    control_up: bool,
    reporter: Reporter,
    options: Options,
    control_options: Options,
    /// How long a broker may wait for replicas.
    acks_timeout_ms: i32,
    seed: u64,
}

impl Task {
    pub(super) fn new(
        destination: &Destination,
        metrics: &Metrics,
        observer: Arc<dyn Observer>,
        mailbox: Arc<Mailbox>,
        stop: CancellationToken,
    ) -> Self {
        let label = metrics::Destination { destination: destination.name.to_string() };
        let options = Options {
            client_id: destination.client_id.clone(),
            connect_timeout: destination.connect_timeout,
            request_timeout: destination.request_timeout,
            max_answer: MAX_ANSWER,
            sent: Some(metrics.sent_bytes.get_or_create(&label).clone()),
        };
        let control_options = Options {
            connect_timeout: options.connect_timeout.min(PROBE_TIMEOUT),
            request_timeout: options.request_timeout.min(PROBE_TIMEOUT),
            ..options.clone()
        };
        let now = Instant::now();
        // Only spreads delays; without randomness they are merely in step.
        let seed = getrandom::u64().unwrap_or_default();
        // The broker gives up before we do, so that its answer is seen.
        let acks = destination.request_timeout.as_millis().saturating_mul(2) / 3;
        Self {
            mailbox,
            stop,
            jobs: JoinSet::new(),
            board: Board::new(seed),
            cluster: Cluster::new(&destination.bootstrap, &destination.address_map),
            refresh: Refresh::new(now),
            control: Control::new(now, seed),
            links: BTreeMap::new(),
            producer: None,
            control_up: false,
            reporter: Reporter::new(destination.name.clone(), observer),
            options,
            control_options,
            acks_timeout_ms: i32::try_from(acks).unwrap_or(i32::MAX),
            seed,
        }
    }

    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let deadline = self.step(Instant::now());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.finished(done),
                () = self.mailbox.filled.notified() => {}
                () = sleep_until(deadline) => {}
            }
            while let Some(done) = self.jobs.try_join_next() {
                self.finished(done);
            }
        }
    }

    /// Does all that can be done now; returns when there is more to do, if nothing happens before.
    fn step(&mut self, now: Instant) -> Instant {
        for command in self.mailbox.take() {
            self.take(command, now);
        }
        self.board.wake(now);
        self.route(now);
        self.drive_links(now);
        self.drive_control(now);
        let links = self.links.values().filter_map(|link| link.deadline(now));
        let control = self.control.deadline(self.refresh.due(), self.producer.is_none());
        let next = links.chain(control).chain(self.board.next_wake()).min();
        next.unwrap_or(now + PROBE)
    }

    fn take(&mut self, command: Command, now: Instant) {
        let topic = match command {
            Command::Track(topic) => topic,
            Command::Send(window) => {
                let topic = window.topic.clone();
                self.board.push(window);
                topic
            }
        };
        if self.cluster.track(&topic) {
            self.refresh.restart(now);
        }
    }

    /// Hands ready slots to the leaders of their partitions.
    fn route(&mut self, now: Instant) {
        while let Some(id) = self.board.next_ready() {
            let Some(slot) = self.board.slot(id) else { continue };
            match self.cluster.place(&slot.topic, slot.partition) {
                Place::Leader(broker) => {
                    let seed = self.seed.wrapping_add(u64::from(broker.unsigned_abs()));
                    let link = self.links.entry(broker).or_insert_with(|| Link::new(now, seed));
                    link.outbox.push_back(id);
                }
                Place::Unknown => {
                    slot.phase = super::slot::Phase::Blocked;
                    self.board.put(id);
                }
                Place::Nowhere(code) => {
                    let step = slot.nowhere(code, now);
                    self.board.put(id);
                    if let Some(Step::Settled(window, outcome)) = step {
                        self.reporter.observer.settled(window, outcome);
                    } else {
                        self.refresh.want(now);
                    }
                }
            }
        }
    }

    fn drive_links(&mut self, now: Instant) {
        let brokers: Vec<i32> = self.links.keys().copied().collect();
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
        let (Some(fresh), Some(link)) = (self.producer, self.links.get_mut(&broker)) else { return false };
        let Some(connection) = link.open(now).cloned() else { return false };
        let mut cargo = Vec::new();
        let mut bytes = 0;
        while let Some(&id) = link.outbox.front() {
            let Some(slot) = self.board.slot(id) else { break };
            let Some(batch) = slot.front().map(|w| w.batch.clone()) else { break };
            if bytes > 0 && bytes + batch.encoded_len() > MAX_REQUEST {
                break;
            }
            bytes += batch.encoded_len();
            link.outbox.pop_front();
            let identity = slot.send(broker, fresh);
            let (topic, partition) = (slot.topic.clone(), slot.partition);
            cargo.push(Cargo { slot: id, topic, partition, batch, identity });
        }
        if cargo.is_empty() {
            return false;
        }
        link.in_flight += 1;
        let way = (broker, link.generation, connection);
        self.jobs.spawn(calls::produce(way, cargo, self.acks_timeout_ms));
        true
    }

    fn drive_control(&mut self, now: Instant) {
        if self.control.lost_at.is_some_and(|at| at + GRACE <= now) {
            self.control.lost_at = None;
            self.control_up = false;
            self.reporter.up(self.is_up(), now);
        }
        if let Some(address) = self.control.next_address(now, |failed| self.cluster.candidates(failed)) {
            self.jobs.spawn(calls::open_control(address, self.control_options.clone()));
        }
        let Some(connection) = self.control.connection().cloned() else { return };
        if !self.control.asking && (self.refresh.due() <= now || self.control.heard + PROBE <= now) {
            // A probe asks for no topic: it is answered with the brokers, which are good to know.
            let probe = self.refresh.due() > now;
            let topics = self.cluster.tracked().filter(|_| !probe).cloned().collect();
            self.control.asking = true;
            self.jobs.spawn(calls::ask_metadata(connection.clone(), topics));
        }
        if self.producer.is_none() && !self.control.initializing && self.control.initialize_at <= now {
            self.control.initializing = true;
            self.jobs.spawn(calls::ask_producer_id(connection));
        }
    }

    fn finished(&mut self, done: Result<Event, JoinError>) {
        let now = Instant::now();
        match done {
            Ok(Event::Control(result)) => self.control_opened(result, now),
            Ok(Event::ControlLost) => {
                // Of a connection that has been replaced since, perhaps.
                if self.control.connection().is_some_and(Connection::is_closed) {
                    self.control.lost(now);
                }
            }
            Ok(Event::Linked { broker, generation, result }) => self.linked(broker, generation, result, now),
            Ok(Event::Metadata(result)) => self.metadata(result, now),
            Ok(Event::ProducerId(result)) => self.producer_id(result, now),
            Ok(Event::Produced { broker, generation, slots, result }) => {
                self.produced((broker, generation), slots, result, now);
            }
            // A panic in a job is a bug; its windows would never be settled, so it is not survived silently.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_cancelled) => {}
        }
    }

    /// The link is up when the cluster answers, and not every leader we need refuses us.
    fn is_up(&self) -> bool {
        let failing = self.links.values().any(Link::is_failing);
        self.control_up && (!failing || self.links.values().any(Link::is_up))
    }

    fn control_opened(&mut self, result: Result<Connection, ConnectError>, now: Instant) {
        match result {
            Ok(connection) => {
                self.jobs.spawn(calls::watch(connection.closed()));
                self.control.connected(connection, now);
                self.control_up = true;
                self.refresh.want(now);
                self.reporter.up(self.is_up(), now);
            }
            Err(error) => {
                let who =
                    self.control.address.as_ref().map_or_else(|| "no address".into(), ToString::to_string);
                self.control.not_connected(now);
                self.control_up = false;
                self.reporter.error(false, error.link_error(&who), now);
            }
        }
    }

    fn linked(
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
                link.lost(now, false);
                self.abandon_outbox(broker);
                self.refresh.want(now);
                let mut error = error.link_error(&format!("broker {broker} at {address}"));
                error.hint.push_str(
                    "; brokers must be reachable at the addresses they advertise, or at those of address_map",
                );
                self.reporter.error(self.is_up(), error, now);
            }
        }
    }

    /// What waits for a broker may find another leader.
    fn abandon_outbox(&mut self, broker: i32) {
        let Some(link) = self.links.get_mut(&broker) else { return };
        for id in std::mem::take(&mut link.outbox) {
            self.board.put(id);
        }
    }

    fn metadata(&mut self, result: Result<MetadataAnswer, String>, now: Instant) {
        self.control.asking = false;
        let answer = match result {
            Ok(answer) => answer,
            Err(reason) => return self.control_failed(&reason, now),
        };
        let quiet = Duration::from_millis(u64::try_from(answer.throttle_ms).unwrap_or_default());
        self.heard(quiet, now);
        let changed = self.cluster.merge(&answer);
        let probe = answer.topics.is_empty() && self.cluster.tracked().next().is_some();
        if !probe {
            self.board.unblock();
            self.route(now);
            self.refresh.answered(now, quiet, self.health());
            if self.cluster.has_unasked() {
                self.refresh.want(now);
            }
        }
        self.leave_the_moved(now);
        if changed {
            let brokers: Vec<i32> = self.links.keys().copied().collect();
            brokers.into_iter().for_each(|broker| self.abandon_outbox(broker));
            self.reporter.observer.topology(self.cluster.topology());
        }
    }

    fn health(&self) -> Health {
        if self.board.has_impatient() {
            Health::Awaited
        } else if self.cluster.is_unsettled() {
            Health::Unsettled
        } else {
            Health::Settled
        }
    }

    /// Does not wait for a silent broker that has lost what it was sent to lead. INVARIANT: its windows stay
    /// in doubt and keep their identity.
    fn leave_the_moved(&mut self, now: Instant) {
        let moved = self.board.flying().filter(|(slot, broker)| {
            matches!(self.cluster.place(&slot.topic, slot.partition), Place::Leader(new) if new != *broker)
        });
        for (_, broker) in moved {
            if let Some(link) = self.links.get(&broker)
                && link.silence(now) >= MOVED
                && let LinkPhase::Up(connection) = &link.phase
            {
                connection.close("the broker is silent and no longer leads");
            }
        }
    }

    fn heard(&mut self, quiet: Duration, now: Instant) {
        self.control.heard = now + quiet;
        if let Some(connection) = self.control.connection() {
            connection.throttle(quiet);
        }
    }

    /// A control request failed: the connection is not trusted, nor idle ones to the same cluster.
    fn control_failed(&mut self, reason: &str, now: Instant) {
        let at = self.control.address.as_ref().map_or_else(String::new, ToString::to_string);
        self.control.lost(now);
        for link in self.links.values_mut().filter(|l| l.in_flight == 0 && l.is_up()) {
            link.lost(now, true);
        }
        let message = format!("the broker at {at} stopped answering: {reason}");
        let hint = "check whether the broker is overloaded or stopped, and the network".to_owned();
        self.reporter.error(self.is_up(), LinkError { code: None, message, hint }, now);
    }

    fn producer_id(&mut self, result: Result<ProducerIdAnswer, String>, now: Instant) {
        self.control.initializing = false;
        let answer = match result {
            Ok(answer) => answer,
            Err(reason) => {
                self.control.initialize_at = now + self.control.initialize_backoff.fail();
                return self.control_failed(&reason, now);
            }
        };
        self.heard(Duration::from_millis(u64::try_from(answer.throttle_ms).unwrap_or_default()), now);
        // Brokers that are still starting answer with an id of -1, under which batches are accepted without
        // any protection against duplicates.
        if answer.code == 0 && answer.producer_id >= 0 {
            self.control.initialize_backoff.reset();
            self.producer = Some((answer.producer_id, answer.epoch.max(0)));
            return;
        }
        let meaning = meaning(answer.code);
        if meaning.verdict == Verdict::Hold {
            self.control.initialize_backoff.slow_down();
        }
        self.control.initialize_at = now + self.control.initialize_backoff.fail();
        self.reporter.error(self.is_up(), meaning.link_error("no producer id"), now);
    }

    fn produced(
        &mut self,
        (broker, generation): (i32, u64),
        slots: Vec<SlotId>,
        result: Result<ProduceAnswer, CallError>,
        now: Instant,
    ) {
        match result {
            Ok(answer) => {
                let quiet = Duration::from_millis(u64::try_from(answer.throttle_ms).unwrap_or_default());
                if let Some(link) = self.links.get_mut(&broker).filter(|l| l.generation == generation) {
                    link.in_flight = link.in_flight.saturating_sub(1);
                    link.backoff.reset();
                    link.muted_until = link.muted_until.max(now + quiet);
                    if let LinkPhase::Up(connection) = &link.phase {
                        connection.throttle(quiet);
                    }
                }
                self.settle_all((broker, generation), &slots, &answer, now);
            }
            Err(error) => self.not_produced((broker, generation), slots, &error, now),
        }
    }

    fn settle_all(&mut self, way: (i32, u64), slots: &[SlotId], answer: &ProduceAnswer, now: Instant) {
        let told = answer.partitions.iter().filter_map(|p| Some((self.board.find(&p.topic, p.index)?, p)));
        let told: HashMap<SlotId, &PartitionResult> = told.collect();
        let (answered, forgotten): (Vec<SlotId>, Vec<SlotId>) =
            slots.iter().copied().partition(|id| told.contains_key(id));
        for id in answered {
            if let Some(result) = told.get(&id) {
                self.settle_one(id, result, now);
            }
        }
        if !forgotten.is_empty() {
            let error = CallError::Unanswered("the broker's answer leaves out a partition".into());
            self.not_produced(way, forgotten, &error, now);
        }
    }

    fn settle_one(&mut self, id: SlotId, result: &PartitionResult, now: Instant) {
        let Some(slot) = self.board.slot(id) else { return };
        let step = slot.answered(result, now);
        let fresh_needed = slot.needs_producer();
        match step {
            Step::Settled(window, outcome) => {
                self.board.put(id);
                self.reporter.observer.settled(window, outcome);
            }
            Step::Again { at, refresh, why: (meaning, added) } => {
                self.board.wait(id, at);
                if refresh {
                    self.refresh.want(now);
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

    /// A request was not answered: what may have arrived is in doubt.
    fn not_produced(
        &mut self,
        (broker, generation): (i32, u64),
        slots: Vec<SlotId>,
        error: &CallError,
        now: Instant,
    ) {
        for id in slots {
            if let Some(slot) = self.board.slot(id) {
                match error {
                    CallError::NotSent(_) => slot.not_sent(),
                    CallError::Unanswered(_) => slot.unanswered(),
                }
                self.board.put(id);
            }
        }
        self.refresh.want(now);
        let Some(link) = self.links.get_mut(&broker).filter(|l| l.generation == generation) else { return };
        if let LinkPhase::Up(connection) = &link.phase {
            connection.close("the broker did not answer as it must");
        }
        let address = link.address.as_ref().map_or_else(String::new, ToString::to_string);
        link.lost(now, false);
        let message = format!("broker {broker} at {address}: {error}");
        let hint = "nothing: what was sent is sent again under the same identity".to_owned();
        self.reporter.error(self.is_up(), LinkError { code: None, message, hint }, now);
    }
}
