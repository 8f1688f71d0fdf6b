//! Merges metadata answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::leaders::{Leader, Teller, Told};
use super::names::{NONE, Name};
use super::state::{PartitionInfo, TopicState, Topology};
use super::terms::{Terms, TimeLimits, Times};
use crate::config::is_broker_host;
use crate::config::model::HostPort;
use crate::ids::TopicName;
use crate::kafka::errors::meaning;
use crate::kafka::window::Journaled;
use crate::kafka::wire::{MetadataAnswer, Rights, TopicRow};

/// Between two that are asked for a second opinion.
const OPINIONS: Duration = Duration::from_secs(15);

/// Where a partition's windows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To this broker.
    Leader(i32),
    /// Nowhere for now, for the reason of this error code.
    Nowhere(i16),
    /// Not known yet.
    Unknown,
}

/// The cluster, as far as it is known.
#[derive(Debug)]
pub(crate) struct Cluster {
    bootstrap: Vec<HostPort>,
    address_map: Vec<(HostPort, HostPort)>,
    brokers: BTreeMap<i32, HostPort>,
    tracked: BTreeSet<TopicName>,
    /// What is known of the leaders of the partitions in `topology`, by the same index.
    leaders: BTreeMap<TopicName, Vec<Leader>>,
    /// Which topic has which name.
    names: BTreeMap<TopicName, Name>,
    /// A leader that is known is said to be another.
    disputed: bool,
    /// When another broker was asked last, and how many were.
    opinions: (Option<Instant>, usize),
    topology: Arc<Topology>,
}

impl Cluster {
    pub(crate) fn new(bootstrap: &[HostPort], address_map: &[(HostPort, HostPort)]) -> Self {
        Self {
            bootstrap: bootstrap.to_vec(),
            address_map: address_map.to_vec(),
            brokers: BTreeMap::new(),
            tracked: BTreeSet::new(),
            leaders: BTreeMap::new(),
            names: BTreeMap::new(),
            disputed: false,
            opinions: (None, 0),
            topology: Arc::default(),
        }
    }

    /// Keeps the topic's metadata from now on; `true` if it was not kept before.
    pub(crate) fn track(&mut self, topic: &TopicName) -> bool {
        self.tracked.insert(topic.clone())
    }

    /// Whether a topic is one that was asked for.
    pub(crate) fn tracks(&self, topic: &TopicName) -> bool {
        self.tracked.contains(topic)
    }

    pub(crate) fn tracked(&self) -> impl Iterator<Item = &TopicName> {
        self.tracked.iter()
    }

    /// Whether a tracked topic has never been answered for.
    pub(crate) fn has_unasked(&self) -> bool {
        self.tracked.iter().any(|topic| !self.topology.topics.contains_key(topic))
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology)
    }

    /// Address to reach a broker at.
    pub(crate) fn address(&self, broker: i32) -> Option<&HostPort> {
        self.brokers.get(&broker)
    }

    /// Every address worth trying, each once: known brokers and those of the bootstrap list by turns, so that no answer, however
    /// many brokers it names, keeps the cluster that is configured from being found; `last` at the end.
    pub(crate) fn candidates(&self, last: Option<&HostPort>) -> Vec<HostPort> {
        let mut seen = BTreeSet::new();
        let (mut known, mut configured) = (self.brokers.values(), self.bootstrap.iter());
        let turns = std::iter::from_fn(|| match (known.next(), configured.next()) {
            (None, None) => None,
            turn => Some([turn.0, turn.1].into_iter().flatten()),
        });
        let mut out: Vec<HostPort> = turns.flatten().filter(|a| seen.insert(*a)).cloned().collect();
        out.sort_by_key(|a| Some(a) == last);
        out
    }

    /// Where windows of the partition go.
    pub(crate) fn place(&self, topic: &TopicName, partition: i32) -> Place {
        match self.topology.topics.get(topic) {
            None => Place::Unknown,
            Some(TopicState::Missing { code, .. }) => Place::Nowhere(*code),
            // Which times it takes is about to be known; a window of an earlier process may carry older ones.
            Some(TopicState::Present { .. }) if self.awaits(topic) => Place::Unknown,
            Some(TopicState::Present { partitions, .. }) => {
                let found = usize::try_from(partition).ok().and_then(|index| partitions.get(index));
                match found.map(|p| p.leader) {
                    None => Place::Nowhere(3),
                    Some(None) => Place::Nowhere(5),
                    Some(Some(leader)) => Place::Leader(leader),
                }
            }
        }
    }

    /// Whether this is another cluster than the one with that id, as far as both are known.
    pub(crate) fn is_other(&self, id: &str) -> bool {
        self.topology.cluster_id.as_ref().is_some_and(|known| !id.is_empty() && known != id)
    }

    /// Whether a topic with this id is taken for another than the one that is known by its name.
    pub(crate) fn is_replaced(&self, topic: &TopicName, id: [u8; 16], now: Instant) -> bool {
        match self.topology.topics.get(topic) {
            Some(TopicState::Present { id: known, .. }) => {
                let believed = self.names.get(topic).is_none_or(|name| name.believes(id, now));
                ![*known, id].contains(&NONE) && *known != id && believed
            }
            _ => false,
        }
    }

    /// Whether the topic that a window was first sent to is gone, and another one has its name.
    pub(crate) fn is_made_anew(&self, topic: &TopicName, sent: &Journaled) -> bool {
        let topic = match self.topology.topics.get(topic) {
            Some(TopicState::Present { id, .. }) => *id,
            _ => NONE,
        };
        ![topic, sent.topic_id].contains(&NONE) && topic != sent.topic_id
    }

    /// The cluster is another one, which may have been here before.
    pub(crate) fn forget_names(&mut self) {
        self.names.clear();
    }

    /// Whether a tracked topic is missing, or a partition has no leader or two.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.disputed
            || self.topology.topics.values().any(|state| match state {
                TopicState::Missing { .. } => true,
                TopicState::Present { partitions, .. } => partitions.iter().any(|p| p.leader.is_none()),
            })
    }

    /// Takes over an answer from a broker at this address; topics it does not speak of stay as they are. `true` when [`Topology`]
    /// changed.
    pub(crate) fn merge(&mut self, answer: &MetadataAnswer, from: Option<&HostPort>, now: Instant) -> bool {
        if !answer.brokers.is_empty() {
            self.brokers = answer.brokers.iter().filter_map(|b| self.mapped(b.id, &b.host, b.port)).collect();
        }
        let teller = self.teller(from);
        let mut next = Topology::clone(&self.topology);
        // One that does not say is no other: what is known of the cluster is to be compared with the next that does.
        if answer.cluster_id.is_some() {
            next.cluster_id.clone_from(&answer.cluster_id);
        }
        for row in &answer.topics {
            if let Some(name) = self.tracked.get(row.name.as_str()).cloned() {
                // What a broker that lags behind says of one before it is as old in all else.
                if row.code == 0 && !self.names.entry(name.clone()).or_default().hear(row.id, now) {
                    continue;
                }
                let state = self.merge_topic(&name, row, teller, now);
                if row.code == 0 {
                    let terms = next.terms.entry(name.clone()).or_default();
                    terms.may_read = row.rights.map(Rights::may_read);
                    terms.may_write = row.rights.map(Rights::may_write);
                } else {
                    next.terms.remove(&name);
                }
                next.topics.insert(name, state);
            }
        }
        let changed = next != *self.topology;
        if changed {
            self.topology = Arc::new(next);
        }
        self.note_disputes();
        changed
    }

    fn teller(&self, from: Option<&HostPort>) -> Teller {
        let is_at = |at: &HostPort| Some(at) == from;
        let broker = self.brokers.iter().find(|(_, at)| is_at(at)).map(|(id, _)| *id);
        Teller { broker, alone: self.brokers.len() <= 1 }
    }

    fn note_disputes(&mut self) {
        self.disputed = self.leaders.values().flatten().any(Leader::is_disputed);
    }

    /// A broker to ask for a second opinion, if only one says that a leader is an earlier one: every now and then, one after the other.
    pub(crate) fn second_opinion(&mut self, now: Instant) -> Option<HostPort> {
        if !self.disputed || self.opinions.0.is_some_and(|asked| now < asked + OPINIONS) {
            return None;
        }
        let told = self.leaders.values().flatten().find_map(|leader| leader.lone_voice(now))?;
        let others: Vec<&HostPort> =
            self.brokers.iter().filter(|(id, _)| Some(**id) != told).map(|(_, at)| at).collect();
        let at = others.get(self.opinions.1.checked_rem(others.len())?)?;
        let at = HostPort::clone(at);
        self.opinions = (Some(now), self.opinions.1.wrapping_add(1));
        Some(at)
    }

    /// Takes from another broker's answer what it says of leaders, and nothing else: it may lag behind in all else. `true` when
    /// [`Topology`] changed.
    pub(crate) fn hear_opinion(&mut self, answer: &MetadataAnswer, from: &HostPort, now: Instant) -> bool {
        if answer.cluster_id.as_deref().is_some_and(|id| self.is_other(id)) {
            return false;
        }
        let teller = self.teller(Some(from));
        let mut next = Topology::clone(&self.topology);
        for row in answer.topics.iter().filter(|row| row.code == 0) {
            let Some(TopicState::Present { id, partitions }) = next.topics.get_mut(row.name.as_str()) else {
                continue;
            };
            let Some(leaders) = self.leaders.get_mut(row.name.as_str()).filter(|_| *id == row.id) else {
                continue;
            };
            for told in &row.partitions {
                let at = usize::try_from(told.index).ok();
                let known = at.and_then(|at| Some((leaders.get_mut(at)?, partitions.get_mut(at)?)));
                if let Some((leader, partition)) = known {
                    let who = Some(told.leader).filter(|id| self.brokers.contains_key(id));
                    leader.hear(Told { leader: who, epoch: told.leader_epoch }, teller, now);
                    *partition = leader.info();
                }
            }
        }
        self.note_disputes();
        let changed = next != *self.topology;
        if changed {
            self.topology = Arc::new(next);
        }
        changed
    }

    /// A broker has taken what was sent to it as the leader of the partition: it is.
    pub(crate) fn has_taken(&mut self, topic: &str, partition: i32, broker: i32) {
        if !self.disputed {
            return;
        }
        let at = usize::try_from(partition).ok();
        if let Some(leader) = at.and_then(|at| self.leaders.get_mut(topic)?.get_mut(at)) {
            leader.has_taken(broker);
            self.note_disputes();
        }
    }

    /// Whether a topic is there that may be written to, as far as is known.
    pub(crate) fn may_write(&self) -> bool {
        self.topology.terms.values().any(|terms| terms.may_write != Some(false))
    }

    /// Takes over which time stamps a topic takes. `true` when [`Topology`] changed.
    pub(crate) fn set_times(&mut self, name: &TopicName, times: Times) -> bool {
        let known = self.topology.terms.get(name).is_some_and(|terms| terms.times != times);
        if known && let Some(terms) = Arc::make_mut(&mut self.topology).terms.get_mut(name) {
            terms.times = times;
        }
        known
    }

    fn awaits(&self, name: &TopicName) -> bool {
        self.topology.terms.get(name).is_some_and(|terms| terms.times == Times::Awaited)
    }

    /// The first answer about a topic is not waited for any longer. `true` when [`Topology`] changed.
    pub(crate) fn forget_awaited(&mut self, name: &TopicName) -> bool {
        self.awaits(name) && self.set_times(name, Times::Unknown)
    }

    /// Which time stamps a topic takes, as far as is known.
    pub(crate) fn limits(&self, name: &TopicName) -> TimeLimits {
        match self.topology.terms.get(name) {
            Some(Terms { times: Times::Known(limits), .. }) => *limits,
            _ => TimeLimits::default(),
        }
    }

    fn mapped(&self, id: i32, host: &str, port: i32) -> Option<(i32, HostPort)> {
        // It is written into requests to a proxy, and shown to people.
        let host = Some(host).filter(|host| is_broker_host(host))?;
        let told = HostPort { host: host.to_owned(), port: u16::try_from(port).ok()? };
        let mapped = self.address_map.iter().find(|(from, _)| *from == told).map(|(_, to)| to.clone());
        Some((id, mapped.unwrap_or(told)))
    }

    fn merge_topic(&mut self, name: &TopicName, row: &TopicRow, by: Teller, now: Instant) -> TopicState {
        if row.code != 0 {
            self.leaders.remove(name);
            return TopicState::Missing { code: row.code, message: meaning(row.code).message.to_owned() };
        }
        // Kafka numbers partitions densely from 0, so a number beyond their count is not believed.
        let mut partitions = vec![PartitionInfo::default(); row.partitions.len()];
        let mut leaders = self.known(name, row.id);
        leaders.resize_with(row.partitions.len(), Leader::default);
        for told in &row.partitions {
            let Some(index) = usize::try_from(told.index).ok().filter(|i| *i < partitions.len()) else {
                continue;
            };
            let leader = Some(told.leader).filter(|id| self.brokers.contains_key(id));
            if let (Some(partition), Some(known)) = (partitions.get_mut(index), leaders.get_mut(index)) {
                known.hear(Told { leader, epoch: told.leader_epoch }, by, now);
                *partition = known.info();
            }
        }
        self.leaders.insert(name.clone(), leaders);
        TopicState::Present { id: row.id, partitions }
    }

    /// What is known of the same incarnation of the topic. Without ids, every answer is taken as it is.
    fn known(&self, name: &TopicName, id: [u8; 16]) -> Vec<Leader> {
        match self.topology.topics.get(name) {
            Some(TopicState::Present { id: before, .. }) if *before == id && id != NONE => {
                self.leaders.get(name).cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
