//! The producer's one task: takes what comes, decides, sets going what is next.

mod links;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::{Board, SlotId};
use super::calls::{self, Event};
use super::control::{Control, PROBE, PROBE_TIMEOUT};
use super::handle::{Command, Mailbox};
use super::inquiry::Inquiry;
use super::link::{Link, Way};
use super::look::{AT_A_TIME, LOOK_PATIENCE, MARGIN, Search};
use super::pace::Pace;
use super::report::Reporter;
use super::slot::Step;
use crate::config::model::{Destination, InDoubt, TimestampPolicy};
use crate::kafka::access::Access;
use crate::kafka::connection::{Connection, Options};
use crate::kafka::consume::ConsumerOptions;
use crate::kafka::topology::{Cluster, Place, Refresh};
use crate::kafka::window::Observer;
use crate::metrics::{self, Metrics};

/// Largest answer: metadata of ten thousand partitions is a tenth of it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Stands for a producer id and epoch where the cluster gives none.
pub(super) const UNNAMED: (i64, i16) = (-1, -1);

pub(super) struct Task {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) stop: CancellationToken,
    pub(super) jobs: JoinSet<Event>,
    pub(super) board: Board,
    pub(super) cluster: Cluster,
    pub(super) refresh: Refresh,
    pub(super) control: Control,
    pub(super) inquiry: Inquiry,
    /// With [`TimestampPolicy::Auto`]: how old events may be that keep their times.
    max_age: Option<Duration>,
    pub(super) links: BTreeMap<Way, Link>,
    pace: Pace,
    /// Which connection was sent by last: with a rate, the others come first.
    turn: Way,
    /// Producer id and epoch for partitions that have none yet.
    pub(super) producer: Option<(i64, i16)>,
    /// The cluster gives none: windows go without an identity.
    pub(super) unnamed: bool,
    pub(super) control_up: bool,
    pub(super) reporter: Reporter,
    pub(super) options: Options,
    /// For reading back.
    pub(super) consumer: ConsumerOptions,
    /// Windows to be looked for, and how many are being looked for.
    to_look: VecDeque<(SlotId, Search)>,
    looking: usize,
    pub(super) control_options: Options,
    /// For how long brokers have asked for silence.
    pub(super) throttled: Counter<f64, AtomicU64>,
    /// What can't be found out is held, not sent again.
    pub(super) holds_in_doubt: bool,
    /// How long a broker may wait for replicas.
    pub(super) acks_timeout_ms: i32,
    pub(super) seed: u64,
}

impl Task {
    pub(super) fn new(
        destination: &Destination,
        (metrics, pace): (&Metrics, Pace),
        observer: Arc<dyn Observer>,
        mailbox: Arc<Mailbox>,
        stop: CancellationToken,
    ) -> Self {
        let label = metrics::Destination { destination: destination.name.to_string() };
        let access = Access::measured(destination, metrics);
        let options = Options {
            client_id: destination.client_id.clone(),
            connect_timeout: destination.connect_timeout,
            request_timeout: destination.request_timeout,
            max_answer: MAX_ANSWER,
            access: access.clone(),
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
            inquiry: Inquiry::new(destination.timestamp != TimestampPolicy::Send),
            max_age: Some(destination.timestamp_max_age)
                .filter(|_| destination.timestamp == TimestampPolicy::Auto),
            links: BTreeMap::new(),
            pace,
            turn: Way { broker: -1, suspects: false },
            producer: None,
            unnamed: false,
            control_up: false,
            reporter: Reporter::new(destination.name.clone(), observer),
            holds_in_doubt: destination.in_doubt == InDoubt::Hold,
            options,
            consumer: ConsumerOptions {
                address_map: destination.address_map.clone(),
                client_id: destination.client_id.clone(),
                connect_timeout: destination.connect_timeout,
                request_timeout: destination.request_timeout,
                // The slot has a backoff of its own, and others wait for their turn.
                patience: LOOK_PATIENCE,
                access,
                ..ConsumerOptions::new(destination.bootstrap.clone())
            },
            to_look: VecDeque::new(),
            looking: 0,
            control_options,
            throttled: metrics.throttled.get_or_create(&label).clone(),
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
        self.drive_looks();
        self.drive_links(now);
        self.drive_control(now);
        if self.board.has_ready() {
            return now;
        }
        let links = self.links.values().filter_map(|link| link.deadline(now));
        let control = self.control.deadline(self.refresh.due(), self.producer.is_none());
        let inquiry = self.inquiry.next().filter(|_| self.control.connection().is_some());
        let next = links.chain(control).chain(inquiry).chain(self.board.next_wake()).min();
        next.unwrap_or(now + PROBE)
    }

    fn take(&mut self, command: Command, now: Instant) {
        let topic = match command {
            Command::Track(topic) => topic,
            Command::Renew => {
                self.producer = None;
                // Whoever asks has forgotten that there is none, too, and is to be told again.
                if std::mem::replace(&mut self.unnamed, false) {
                    self.control.initialize_at = now;
                }
                return;
            }
            Command::Recall { in_doubt, told } => {
                let events = self.board.recall(in_doubt);
                self.abandon_outboxes();
                // Whoever asked may have gone.
                let _gone = told.send(events);
                return;
            }
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
    pub(super) fn route(&mut self, now: Instant) {
        while let Some(id) = self.board.next_ready() {
            let Some(slot) = self.board.slot(id) else { continue };
            if let Some(step) = slot.returned() {
                self.put_back(id, step);
                continue;
            }
            if slot.journaled().is_some_and(|journaled| self.cluster.is_other(&journaled.cluster_id)) {
                let step = slot.is_foreign();
                self.put_back(id, step);
                continue;
            }
            match self.cluster.place(&slot.topic, slot.partition) {
                Place::Leader(broker) => {
                    slot.has_place();
                    if let Some(journaled) = slot.wants_look(now) {
                        // A Produce request names a topic: the window may have gone into the new one before anybody here knew
                        // of that. What is known of the old one's offsets says nothing, nor does an identity, which another
                        // host may have by now.
                        let anew = self.cluster.is_made_anew(&slot.topic, &journaled);
                        if anew {
                            slot.needs_another_identity();
                        }
                        let appended_after = journaled.sent_at.saturating_sub(MARGIN);
                        let newest = slot.front().and_then(|w| w.batch.newest_time());
                        let search = Search {
                            cluster: self.consumer.clone(),
                            topic: slot.topic.clone(),
                            partition: slot.partition,
                            identity: journaled.identity,
                            count: slot.front().map_or(0, |w| w.batch.count()),
                            acked_offset: if anew { -1 } else { journaled.acked_offset },
                            batch: slot
                                .front()
                                .map(|w| w.batch.clone())
                                .filter(|_| anew || journaled.identity.is_none()),
                            time: newest.map_or(appended_after, |newest| newest.min(appended_after)),
                            sent_at: journaled.sent_at,
                        };
                        self.to_look.push_back((id, search));
                        continue;
                    }
                    let seed = self.seed.wrapping_add(u64::from(broker.unsigned_abs()));
                    let way = Way { broker, suspects: slot.is_suspect() };
                    let link = self.links.entry(way).or_insert_with(|| Link::new(now, seed));
                    link.outbox.push_back(id);
                }
                Place::Unknown => {
                    slot.phase = super::slot::Phase::Blocked;
                    self.board.put(id);
                }
                Place::Nowhere(code) => {
                    let sent = slot.journaled();
                    let replaced = sent.is_some_and(|sent| self.cluster.is_made_anew(&slot.topic, sent));
                    slot.is_replaced(replaced);
                    match slot.nowhere(code, self.holds_in_doubt, now) {
                        Some(step) => self.put_back(id, step),
                        None => {
                            self.board.put(id);
                            self.refresh.want(now);
                        }
                    }
                }
            }
        }
    }

    /// A slot has made a step of its own, and waits again.
    fn put_back(&mut self, id: SlotId, step: Step) {
        self.board.put(id);
        if let Step::Settled(window, outcome) = step {
            self.reporter.observer.settled(window, outcome);
        }
    }

    fn drive_looks(&mut self) {
        while self.looking < AT_A_TIME
            && let Some((id, search)) = self.to_look.pop_front()
        {
            self.looking += 1;
            self.jobs.spawn(calls::look_for(id, search));
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
            Ok(Event::Linked { way, generation, result }) => self.linked(way, generation, result, now),
            Ok(Event::Metadata(result)) => self.metadata(result, now),
            Ok(Event::Opinion(from, Some(answer))) => self.opinion(&from, &answer, now),
            // The next will be asked.
            Ok(Event::Opinion(_, None)) => {}
            Ok(Event::Times(topics, result)) => self.times(topics, result, now),
            Ok(Event::ProducerId(result)) => self.producer_id(result, now),
            Ok(Event::Looked { slot, looked, beside }) => {
                self.looking = self.looking.saturating_sub(1);
                if let Some(event) = beside {
                    self.reporter.observer.saw(event);
                }
                self.looked(slot, looked, now);
            }
            Ok(Event::Produced { flight, slots, result }) => self.produced(&flight, slots, result, now),
            // A panic in a job is a bug; its windows would never be settled, so it is not survived silently.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_cancelled) => {}
        }
    }

    /// The link is up when the cluster answers, and not every leader we need refuses us.
    pub(super) fn is_up(&self) -> bool {
        let failing = self.links.values().any(Link::is_failing);
        self.control_up && (!failing || self.links.values().any(Link::is_up))
    }
}
