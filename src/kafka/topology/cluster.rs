//! Merges metadata answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::state::{PartitionInfo, TopicState, Topology};
use super::terms::{Terms, TimeLimits, Times};
use crate::config::is_broker_host;
use crate::config::model::HostPort;
use crate::ids::TopicName;
use crate::kafka::errors::meaning;
use crate::kafka::window::Journaled;
use crate::kafka::wire::{MetadataAnswer, Rights, TopicRow};

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
    /// Leader epochs of the partitions in `topology`, by the same index.
    epochs: BTreeMap<TopicName, Vec<i32>>,
    topology: Arc<Topology>,
}

impl Cluster {
    pub(crate) fn new(bootstrap: &[HostPort], address_map: &[(HostPort, HostPort)]) -> Self {
        Self {
            bootstrap: bootstrap.to_vec(),
            address_map: address_map.to_vec(),
            brokers: BTreeMap::new(),
            tracked: BTreeSet::new(),
            epochs: BTreeMap::new(),
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

    /// Whether a topic with this id is another than the one that is known by its name.
    pub(crate) fn is_replaced(&self, topic: &TopicName, id: [u8; 16]) -> bool {
        match self.topology.topics.get(topic) {
            Some(TopicState::Present { id: known, .. }) => ![*known, id].contains(&[0; 16]) && *known != id,
            _ => false,
        }
    }

    /// Whether the topic that a window was first sent to is gone, and another one has its name.
    pub(crate) fn is_made_anew(&self, topic: &TopicName, sent: &Journaled) -> bool {
        let topic = match self.topology.topics.get(topic) {
            Some(TopicState::Present { id, .. }) => *id,
            _ => [0; 16],
        };
        ![topic, sent.topic_id].contains(&[0; 16]) && topic != sent.topic_id
    }

    /// Whether a tracked topic is missing, or a partition has no leader.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.topology.topics.values().any(|state| match state {
            TopicState::Missing { .. } => true,
            TopicState::Present { partitions, .. } => partitions.iter().any(|p| p.leader.is_none()),
        })
    }

    /// Takes over an answer; topics it does not speak of stay as they are. `true` when [`Topology`] changed.
    pub(crate) fn merge(&mut self, answer: &MetadataAnswer) -> bool {
        if !answer.brokers.is_empty() {
            self.brokers = answer.brokers.iter().filter_map(|b| self.mapped(b.id, &b.host, b.port)).collect();
        }
        let mut next = Topology::clone(&self.topology);
        // One that does not say is no other: what is known of the cluster is to be compared with the next that does.
        if answer.cluster_id.is_some() {
            next.cluster_id.clone_from(&answer.cluster_id);
        }
        for row in &answer.topics {
            if let Some(name) = self.tracked.get(row.name.as_str()).cloned() {
                let state = self.merge_topic(&name, row);
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
        changed
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

    fn merge_topic(&mut self, name: &TopicName, row: &TopicRow) -> TopicState {
        if row.code != 0 {
            self.epochs.remove(name);
            return TopicState::Missing { code: row.code, message: meaning(row.code).message.to_owned() };
        }
        // Kafka numbers partitions densely from 0, so a number beyond their count is not believed.
        let mut partitions = vec![PartitionInfo::default(); row.partitions.len()];
        let mut epochs = vec![-1; row.partitions.len()];
        let known = self.known(name, row.id);
        for told in &row.partitions {
            let Some(index) = usize::try_from(told.index).ok().filter(|i| *i < partitions.len()) else {
                continue;
            };
            let leader = Some(told.leader).filter(|id| self.brokers.contains_key(id));
            // A broker that lags behind may tell of an earlier leader.
            let kept = known.as_ref().and_then(|k| k.get(index)).filter(|(_, e)| *e > told.leader_epoch);
            let (info, epoch) = kept.copied().unwrap_or((PartitionInfo { leader }, told.leader_epoch));
            if let (Some(p), Some(e)) = (partitions.get_mut(index), epochs.get_mut(index)) {
                (*p, *e) = (info, epoch);
            }
        }
        self.epochs.insert(name.clone(), epochs);
        TopicState::Present { id: row.id, partitions }
    }

    /// What is known of the same incarnation of the topic. Without ids, every answer is taken as it is.
    fn known(&self, name: &TopicName, id: [u8; 16]) -> Option<Vec<(PartitionInfo, i32)>> {
        match self.topology.topics.get(name)? {
            TopicState::Present { id: before, partitions } if *before == id && id != [0; 16] => {
                let epochs = self.epochs.get(name)?;
                Some(partitions.iter().copied().zip(epochs.iter().copied()).collect())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::{BrokerRow, PartitionRow};

    fn at(host: &str, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(&[at("boot", 1)], &[(at("k1", 9092), at("gate", 19092))]);
        cluster.track(&TopicName::new("t").unwrap());
        cluster
    }

    fn answer(id: u8, leaders: &[(i32, i32)]) -> MetadataAnswer {
        let broker = |id: i32| BrokerRow { id, host: format!("k{id}"), port: 9092 };
        let rows = leaders.iter().zip(0..);
        let partition =
            |(&(leader, leader_epoch), index)| PartitionRow { code: 0, index, leader, leader_epoch };
        MetadataAnswer {
            brokers: vec![broker(1), broker(2)],
            cluster_id: Some("c".into()),
            topics: vec![TopicRow {
                code: 0,
                name: "t".into(),
                id: [id; 16],
                partitions: rows.map(partition).collect(),
                rights: None,
            }],
            ..MetadataAnswer::default()
        }
    }

    #[test]
    fn a_window_of_another_cluster_or_of_an_earlier_topic_of_the_name_is_told_apart() {
        use crate::kafka::batch::Identity;
        let mut cluster = cluster();
        cluster.merge(&answer(7, &[(1, 5)]));
        let topic = TopicName::new("t").unwrap();
        let is_made_anew = |id: u8| {
            let identity = Identity { producer_id: 1, epoch: 0, base_sequence: 0 };
            let sent = Journaled {
                identity,
                doubtful: true,
                cluster_id: "c".into(),
                topic_id: [id; 16],
                acked_offset: -1,
                sent_at: 0,
                may_be_doubled: false,
                unreadable: false,
            };
            cluster.is_made_anew(&topic, &sent)
        };
        assert!(!cluster.is_other("c") && cluster.is_other("d"));
        assert!(!is_made_anew(7) && is_made_anew(8));
        assert!(!cluster.is_other("") && !is_made_anew(0), "what was not known tells nothing apart");
    }

    fn place(cluster: &Cluster, partition: i32) -> Place {
        cluster.place(&TopicName::new("t").unwrap(), partition)
    }

    #[test]
    fn leaders_are_followed_and_changes_are_told_once() {
        let mut cluster = cluster();
        assert_eq!(place(&cluster, 0), Place::Unknown);
        assert!(cluster.merge(&answer(1, &[(1, 0), (-1, 3), (7, 0)])));
        assert!(!cluster.merge(&answer(1, &[(1, 0), (-1, 3), (7, 0)])));
        assert_eq!(place(&cluster, 0), Place::Leader(1));
        assert_eq!(place(&cluster, 1), Place::Nowhere(5));
        assert_eq!(place(&cluster, 2), Place::Nowhere(5), "led by a broker that is not there");
        assert_eq!(place(&cluster, 3), Place::Nowhere(3));
        assert!(cluster.is_unsettled());
    }

    #[test]
    fn a_lagging_broker_does_not_turn_back_the_leader() {
        let mut cluster = cluster();
        cluster.merge(&answer(1, &[(2, 6)]));
        assert!(!cluster.merge(&answer(1, &[(1, 5)])));
        assert_eq!(place(&cluster, 0), Place::Leader(2));
        assert!(cluster.merge(&answer(2, &[(1, 0)])), "a new topic of the same name begins at 0");
        assert_eq!(place(&cluster, 0), Place::Leader(1));
    }

    #[test]
    fn an_answer_without_a_cluster_id_does_not_make_the_next_cluster_the_same() {
        let mut cluster = cluster();
        cluster.merge(&answer(1, &[(1, 0)]));
        assert!(!cluster.merge(&MetadataAnswer { cluster_id: None, ..answer(1, &[(1, 0)]) }));
        assert!(cluster.is_other("d") && !cluster.is_other("c"));
        assert_eq!(cluster.topology().cluster_id.as_deref(), Some("c"));
    }

    #[test]
    fn addresses_are_mapped_and_the_bootstrap_list_stays() {
        let mut cluster = cluster();
        cluster.merge(&answer(1, &[]));
        assert_eq!(cluster.address(1), Some(&at("gate", 19092)));
        let all = [at("gate", 19092), at("boot", 1), at("k2", 9092)];
        assert_eq!(cluster.candidates(None), all);
        assert_eq!(cluster.candidates(Some(&at("gate", 19092))).last(), Some(&at("gate", 19092)));
        let nobody = MetadataAnswer::default();
        cluster.merge(&nobody);
        assert_eq!(cluster.candidates(None), all, "an answer without brokers is not believed");
    }

    #[test]
    fn no_answer_hides_the_bootstrap_list_or_names_a_host_that_is_none() {
        let mut cluster = cluster();
        let told = |id, host: &str| BrokerRow { id, host: host.into(), port: 9092 };
        let many = (0..10_000).map(|id| told(id, &format!("10.0.{}.{}", id / 256, id % 256))).collect();
        cluster.merge(&MetadataAnswer { brokers: many, ..answer(1, &[]) });
        assert_eq!(cluster.candidates(None).iter().position(|c| *c == at("boot", 1)), Some(1));
        let long = "h".repeat(254);
        let hosts =
            ["evil HTTP/1.1\r\n\r\n", "a b", "\u{1b}]0;x\u{7}", "", &long, "fe80::1%eth0", "k_3.example-x"];
        let rows = (0..).zip(hosts).map(|(id, host)| told(id, host)).collect();
        cluster.merge(&MetadataAnswer { brokers: rows, ..answer(1, &[]) });
        let known: Vec<&str> = (0..7).filter_map(|id| Some(cluster.address(id)?.host.as_str())).collect();
        assert_eq!(known, ["fe80::1%eth0", "k_3.example-x"]);
    }

    #[test]
    fn a_topic_that_went_missing_says_why_and_comes_back() {
        let mut cluster = cluster();
        cluster.merge(&answer(1, &[(1, 0)]));
        let mut gone = answer(1, &[]);
        gone.topics[0].code = 29;
        assert!(cluster.merge(&gone));
        assert_eq!(place(&cluster, 0), Place::Nowhere(29));
        cluster.merge(&answer(1, &[(2, 0)]));
        assert_eq!(place(&cluster, 0), Place::Leader(2));
    }

    #[test]
    fn an_absurd_partition_number_allocates_nothing() {
        let mut cluster = cluster();
        let mut bad = answer(1, &[(1, 0)]);
        bad.topics[0].partitions[0].index = i32::MAX;
        cluster.merge(&bad);
        assert_eq!(cluster.topology().partition_count("t"), Some(1));
        assert_eq!(place(&cluster, 0), Place::Nowhere(5));
    }
}
