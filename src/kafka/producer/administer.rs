//! The task's dealings with the control connection: metadata, producer ids, probes.

use std::time::Duration;

use tokio::time::Instant;

use super::calls::{self, TimesError};
use super::control::{GRACE, PROBE};
use super::link::LinkPhase;
use super::task::{Task, UNNAMED};
use crate::config::model::HostPort;
use crate::ids::TopicName;
use crate::kafka::connection::{ConnectError, Connection};
use crate::kafka::errors::Meaning;
use crate::kafka::errors::{Verdict, meaning};
use crate::kafka::topology::{Health, Place, TimeLimits, Times};
use crate::kafka::window::LinkError;
use crate::kafka::wire::{ConfigsAnswer, MetadataAnswer, ProducerIdAnswer, Rights};

/// Kafka's error code for what is not permitted of a topic.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// Kafka's error code where idempotent writing is not permitted.
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
/// A producer id that is refused for this long is done without: brokers that have just started know no permissions yet.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// A broker that offers none may be another one after this.
const SELDOM: Duration = Duration::from_secs(60);
/// With the leader moved, a broker that has been silent for this long is not waited for.
const MOVED: Duration = Duration::from_secs(3);

/// A throttle is obeyed for this long at most: brokers ask for seconds, and nobody is to silence a host for weeks.
const MOST_QUIET: Duration = Duration::from_mins(5);

impl Task {
    pub(super) fn drive_control(&mut self, now: Instant) {
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
        if let Some(address) = self.cluster.second_opinion(now) {
            let topics = self.cluster.tracked().cloned().collect();
            self.jobs.spawn(calls::ask_elsewhere(address, self.control_options.clone(), topics));
        }
        let about = self.inquiry.due(now);
        if !self.inquiry.asking && !about.is_empty() {
            self.inquiry.asking = true;
            self.jobs.spawn(calls::ask_times(connection.clone(), about));
        }
        if self.producer.is_none() && !self.control.initializing && self.control.initialize_at <= now {
            match &connection.versions().producer_id {
                Ok(version) => {
                    self.control.initializing = true;
                    self.jobs.spawn(calls::ask_producer_id(connection.clone(), *version));
                }
                Err(error) => self.not_offered(&error.to_string(), now),
            }
        }
    }

    pub(super) fn control_opened(&mut self, result: Result<Connection, ConnectError>, now: Instant) {
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
                self.control.not_connected(now, error.is_lasting());
                self.control_up = false;
                self.reporter.error(false, error.link_error(&who), now);
            }
        }
    }

    pub(super) fn metadata(&mut self, result: Result<MetadataAnswer, String>, now: Instant) {
        self.control.asking = false;
        let answer = match result {
            Ok(answer) => answer,
            Err(reason) => return self.control_failed(&reason, now),
        };
        let quiet = self.heard(answer.throttle_ms, now);
        let could = self.cluster.may_write();
        if answer.cluster_id.as_deref().is_some_and(|id| self.cluster.is_other(id)) {
            self.another_cluster(&answer, now);
        }
        for row in answer.topics.iter().filter(|row| row.code == 0) {
            // Nobody need have seen it missing in between.
            if let Some(name) =
                TopicName::new(&row.name).ok().filter(|name| self.cluster.is_replaced(name, row.id, now))
            {
                self.inquiry.forget(&name);
            }
        }
        let merged = self.cluster.merge(&answer, self.control.address.as_ref(), now);
        if !could && self.cluster.may_write() {
            // Whoever may write to any topic gets a producer id from most brokers.
            (self.control.refused_since, self.control.initialize_at) = (None, now);
        }
        let changed = self.meet_topics(&answer, now) || merged;
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
            self.abandon_outboxes();
            self.reporter.observer.topology(self.cluster.topology());
        }
    }

    /// A second broker has said who leads what, where what the first says is older than what is known.
    pub(super) fn opinion(&mut self, from: &HostPort, answer: &MetadataAnswer, now: Instant) {
        if self.cluster.hear_opinion(answer, from, now) {
            self.board.unblock();
            self.abandon_outboxes();
            self.reporter.observer.topology(self.cluster.topology());
        }
    }

    /// Topics that are there for the first time are asked about, and their windows wait for the answer.
    fn meet_topics(&mut self, answer: &MetadataAnswer, now: Instant) -> bool {
        let mut changed = false;
        for row in &answer.topics {
            let Ok(name) = TopicName::new(&row.name) else { continue };
            if !self.cluster.tracks(&name) {
                continue;
            }
            if row.code != 0 {
                self.inquiry.forget(&name);
                continue;
            }
            let may = row.rights.is_none_or(Rights::may_describe_configs);
            if self.inquiry.meet(&name, may, now) {
                changed |= self.cluster.set_times(&name, Times::Awaited);
            } else if !may {
                self.say_unknown(
                    "reading their configuration is not permitted (allow DESCRIBE_CONFIGS on them)",
                );
            }
        }
        changed
    }

    /// Which time stamps topics take is known, or not.
    pub(super) fn times(
        &mut self,
        topics: Vec<TopicName>,
        result: Result<ConfigsAnswer, TimesError>,
        now: Instant,
    ) {
        self.inquiry.asking = false;
        let mut changed = false;
        let (answer, failure) = match result {
            Ok(answer) => (answer, None),
            Err(error) => (ConfigsAnswer::default(), Some(error)),
        };
        if failure.is_none() {
            self.heard(answer.throttle_ms, now);
        }
        for topic in topics {
            let row = answer.topics.iter().find(|row| row.name == topic.as_str());
            match row.filter(|row| row.code == 0) {
                Some(row) => {
                    self.inquiry.answered(&topic, true, now);
                    changed |= self.cluster.set_times(&topic, Times::Known(TimeLimits::read(&row.values)));
                }
                // It is made just now, say.
                None if row.is_some_and(|row| row.code != TOPIC_AUTHORIZATION_FAILED)
                    || matches!(failure, Some(TimesError::Failed(_))) =>
                {
                    if self.inquiry.failed(&topic, now) {
                        changed |= self.cluster.forget_awaited(&topic);
                    }
                }
                None => {
                    self.inquiry.answered(&topic, false, now);
                    changed |= self.cluster.forget_awaited(&topic);
                    let why = match (row, &failure) {
                        (Some(row), _) => meaning(row.code).message.to_owned(),
                        (None, Some(TimesError::NotOffered(error))) => error.to_string(),
                        (None, _) => "the broker's answer leaves out a topic".to_owned(),
                    };
                    self.say_unknown(&why);
                }
            }
        }
        if changed {
            self.board.unblock();
            self.reporter.observer.topology(self.cluster.topology());
        }
        if let Some(TimesError::Failed(reason)) = failure {
            self.control_failed(&reason, now);
        }
    }

    /// Said once: the default does for most topics.
    fn say_unknown(&mut self, why: &str) {
        if !std::mem::replace(&mut self.inquiry.said, true) {
            self.reporter.say(&format!(
                "which time stamps topics take is not known: {why}; timestamp_max_age alone decides"
            ));
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

    /// Another cluster is where the old one was. Its brokers give out the same producer ids to others: under one of them, a new
    /// window could be taken for somebody else's, and be answered well.
    fn another_cluster(&mut self, answer: &MetadataAnswer, now: Instant) {
        let id = answer.cluster_id.as_deref().unwrap_or_default();
        self.reporter.say(&format!(
            "this is another cluster than before (its id is {id} now): what is in doubt goes to it anew, under a new producer id"
        ));
        self.cluster.forget_names();
        self.producer = None;
        self.unnamed = false;
        (self.control.refused_since, self.control.initialize_at) = (None, now);
        self.board.forget_identities();
        for link in self.links.values_mut() {
            match &link.phase {
                LinkPhase::Up(connection) if link.in_flight > 0 => {
                    connection.close("the cluster is another one");
                }
                LinkPhase::Up(_) => link.lost(now, true),
                _ => {}
            }
        }
    }

    /// Does not wait for a silent broker that has lost what it was sent to lead. INVARIANT: its windows stay
    /// in doubt and keep their identity.
    fn leave_the_moved(&mut self, now: Instant) {
        let moved = self.board.flying().filter(|(slot, way)| {
            matches!(self.cluster.place(&slot.topic, slot.partition), Place::Leader(new) if new != way.broker)
        });
        for (_, way) in moved {
            if let Some(link) = self.links.get(&way)
                && link.silence(now) >= MOVED
                && let LinkPhase::Up(connection) = &link.phase
            {
                connection.close("the broker is silent and no longer leads");
            }
        }
    }

    /// The broker that is asked has answered; returns for how long it reads no more.
    fn heard(&mut self, throttle_ms: i32, now: Instant) -> Duration {
        let quiet = self.quiet(throttle_ms);
        self.control.heard = now + quiet;
        if let Some(connection) = self.control.connection() {
            connection.throttle(quiet);
        }
        quiet
    }

    /// How long a broker is not to be sent anything, as it says, which is counted.
    pub(super) fn quiet(&self, throttle_ms: i32) -> Duration {
        let quiet = Duration::from_millis(u64::try_from(throttle_ms).unwrap_or_default()).min(MOST_QUIET);
        if !quiet.is_zero() {
            self.throttled.inc_by(quiet.as_secs_f64());
        }
        quiet
    }

    /// A control request failed: the connection is not trusted, nor idle ones to the same cluster.
    fn control_failed(&mut self, reason: &str, now: Instant) {
        let at = self.control.address.as_ref().map_or_else(String::new, ToString::to_string);
        self.control.lost(now);
        for link in self.links.values_mut().filter(|l| l.in_flight == 0 && l.is_up()) {
            link.lost(now, true);
        }
        let message = format!("the broker at {at} stopped answering: {reason}");
        let mut hint = "check whether the broker is overloaded or stopped, and the network".to_owned();
        if self.options.access.sasl().is_none() {
            // A broker says no more to a client that it does not know.
            hint.push_str(
                "; a listener that demands authentication ends connections in the same way: set `sasl`",
            );
        }
        self.reporter.error(self.is_up(), LinkError { code: None, message, hint }, now);
    }

    pub(super) fn producer_id(&mut self, result: Result<ProducerIdAnswer, String>, now: Instant) {
        self.control.initializing = false;
        let answer = match result {
            Ok(answer) => answer,
            Err(reason) => {
                self.control.initialize_at = now + self.control.initialize_backoff.fail();
                return self.control_failed(&reason, now);
            }
        };
        self.heard(answer.throttle_ms, now);
        // Brokers that are still starting answer with an id of -1, under which batches are accepted without
        // any protection against duplicates.
        if answer.code == 0 && answer.producer_id >= 0 {
            self.control.initialize_backoff.reset();
            self.control.refused_since = None;
            self.unnamed = false;
            self.producer = Some((answer.producer_id, answer.epoch.max(0)));
            self.reporter.observer.producer_id(answer.producer_id, answer.epoch.max(0));
            return;
        }
        let meaning = meaning(answer.code);
        if answer.code == CLUSTER_AUTHORIZATION_FAILED {
            return self.not_permitted(&meaning, now);
        }
        if meaning.verdict == Verdict::Hold {
            self.control.initialize_backoff.slow_down();
        }
        self.control.initialize_at = now + self.control.initialize_backoff.fail();
        self.reporter.error(self.is_up(), meaning.link_error("no producer id"), now);
    }

    /// Idempotent writing is forbidden: for long enough, and where writing is not, it is done without.
    fn not_permitted(&mut self, meaning: &Meaning, now: Instant) {
        let since = *self.control.refused_since.get_or_insert(now);
        let long = now.saturating_duration_since(since) >= REFUSED_FOR;
        if long {
            self.control.initialize_backoff.slow_down();
        }
        self.control.initialize_at = now + self.control.initialize_backoff.fail();
        if !self.unnamed {
            self.reporter.error(self.is_up(), meaning.link_error("no producer id"), now);
        }
        if long && self.cluster.may_write() {
            self.do_without();
        }
    }

    /// The broker has no idempotent writing at all.
    fn not_offered(&mut self, why: &str, now: Instant) {
        self.control.initialize_at = now + SELDOM;
        self.reporter.say(&format!("no producer id: {why}"));
        self.do_without();
    }

    /// From now on windows go without an identity.
    fn do_without(&mut self) {
        if !std::mem::replace(&mut self.unnamed, true) {
            self.reporter.observer.producer_id(UNNAMED.0, UNNAMED.1);
        }
    }
}
