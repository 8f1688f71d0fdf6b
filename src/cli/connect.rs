//! `spoolway check --connect`: whether each destination can be reached, and what is wrong if not.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::config::model::{Config, Delivery, Destination, HostPort, Route, TopicTemplate};
use crate::config::{Pattern, RouteTable, is_broker_host};
use crate::ids::TopicName;
use crate::kafka::Access;
use crate::kafka::connection::{ConnectError, Connection, Options, connect};
use crate::kafka::errors::{meaning, printable};
use crate::kafka::wire::{MetadataAnswer, Rights, TopicRow, metadata_request};

/// An answer with the metadata of a large cluster fits in this.
const MAX_ANSWER: usize = 32 << 20;
/// Brokers of a cluster that are tried.
const MOST_BROKERS: usize = 1000;
/// Kafka's error code for a topic that may not be used so.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// What was found out about a destination.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Reached {
    /// Its name.
    pub(super) destination: String,
    /// The cluster's identity, if a broker answered.
    pub(super) cluster_id: Option<String>,
    /// Advertised brokers that were reached.
    pub(super) brokers: usize,
    /// Topics known beforehand that are there, with their partitions.
    pub(super) topics: Vec<Topic>,
    /// What was not looked at, and why.
    pub(super) notes: Vec<String>,
    /// What is wrong.
    pub(super) problems: Vec<Trouble>,
}

/// A topic that is there.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Topic {
    name: String,
    partitions: usize,
}

/// Something that is wrong, worded for people.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Trouble {
    code: Option<i16>,
    message: String,
    hint: String,
}

/// Reaches all destinations at the same time.
pub(super) async fn reach_all(config: &Config) -> Vec<Reached> {
    let mut tasks = JoinSet::new();
    for (index, destination) in config.destinations.iter().enumerate() {
        let asked = Asked::of(config, destination);
        let destination = destination.clone();
        tasks.spawn(async move { (index, reach(&destination, &asked).await) });
    }
    let mut reached = tasks.join_all().await;
    reached.sort_by_key(|(index, _)| *index);
    reached.into_iter().map(|(_, reached)| reached).collect()
}

/// What is asked of a destination.
struct Asked {
    topics: BTreeSet<TopicName>,
    /// Of these, the one for copies of dead letters, which are never looked for.
    letters: Option<TopicName>,
    note: Option<&'static str>,
}

impl Asked {
    fn of(config: &Config, destination: &Destination) -> Self {
        let mut topics = known_topics(config, destination);
        let note = unknown(config, destination, topics.is_empty());
        let letters = config.dead_letters.topic.clone().filter(|letters| !topics.contains(letters));
        topics.extend(letters.clone());
        Self { topics, letters, note }
    }
}

/// What to say of the topics that nobody can know before an event has come: a check that says nothing of them would pass for one of
/// them too.
fn unknown(config: &Config, destination: &Destination, none_is_known: bool) -> Option<&'static str> {
    let mut routes = config.routes.iter().filter(|route| route.to == destination.name).peekable();
    let takes_any = |route: &Route| {
        matches!(route.topic, TopicTemplate::Stream(_))
            && route.streams.iter().any(|s| !matches!(Pattern::parse(s), Ok(Pattern::Exact(_))))
    };
    let follows = if config.routes.is_empty() { true } else { routes.any(takes_any) };
    let senders_name_streams = config.sources.iter().any(|s| s.kind.takes_others());
    match (none_is_known, follows && senders_name_streams) {
        (true, _) => Some("no topic is known before events come: topics and rights were not checked"),
        (false, true) => Some(
            "other topics follow from streams that senders name: those and the rights to them were not checked",
        ),
        (false, false) => None,
    }
}

/// Topics that are known before an event has come: those of fixed names, of streams that routes name
/// exactly, and of those that sources name exactly.
pub(super) fn known_topics(config: &Config, destination: &Destination) -> BTreeSet<TopicName> {
    let routes = config.routes.iter().filter(|route| route.to == destination.name);
    let fixed = routes.clone().filter_map(|route| match &route.topic {
        TopicTemplate::Fixed(topic) => Some(topic.clone()),
        TopicTemplate::Stream(_) => None,
    });
    let of_routes = routes.flat_map(|route| &route.streams).filter_map(|s| match Pattern::parse(s) {
        Ok(Pattern::Exact(stream)) => Some(stream),
        _ => None,
    });
    let of_sources = config.sources.iter().flat_map(|source| source.kind.named_streams()).cloned();
    // A loaded configuration's routes compile, and its fixed streams have topics that can be named.
    let table = RouteTable::new(config).ok();
    let topic = |stream| table.as_ref()?.topic_for(&stream, &destination.name).ok().flatten();
    of_routes.chain(of_sources).filter_map(topic).chain(fixed).collect()
}

async fn reach(destination: &Destination, asked: &Asked) -> Reached {
    let topics = &asked.topics;
    let mut reached = Reached { destination: destination.name.to_string(), ..Reached::default() };
    let options = Options {
        client_id: destination.client_id.clone(),
        connect_timeout: destination.connect_timeout,
        request_timeout: destination.request_timeout,
        max_answer: MAX_ANSWER,
        access: Access::of(destination),
        sent: None,
    };
    let options = Arc::new(options);
    let Some(connection) = any(&destination.bootstrap, &options, &mut reached).await else { return reached };
    match metadata(&connection, topics).await {
        Ok(answer) => {
            reached.cluster_id.clone_from(&answer.cluster_id);
            reached.notes.extend(asked.note.map(str::to_owned));
            let reads = destination.delivery == Delivery::ExactlyOnce;
            let is_read =
                |topic: &TopicRow| reads && asked.letters.as_ref().is_none_or(|l| l.as_str() != topic.name);
            for topic in answer.topics.iter().filter(|topic| topics.contains(topic.name.as_str())) {
                judge_topic(topic, is_read(topic), &mut reached);
            }
            advertised(destination, &answer, &options, &mut reached).await;
        }
        Err(trouble) => reached.problems.push(trouble),
    }
    reached
}

/// Connects to all bootstrap brokers at once: each one that fails is a problem, one that answers is enough.
async fn any(brokers: &[HostPort], options: &Arc<Options>, reached: &mut Reached) -> Option<Connection> {
    let mut found = None;
    for (broker, answer) in connect_all(brokers, options).await {
        match answer {
            Ok(connection) => found = Some(connection),
            Err(error) => reached.problems.push(trouble(&error, &format!("{broker} (bootstrap)"))),
        }
    }
    found
}

async fn connect_all(
    brokers: &[HostPort],
    options: &Arc<Options>,
) -> Vec<(HostPort, Result<Connection, ConnectError>)> {
    let mut tasks = JoinSet::new();
    for broker in brokers.iter().cloned() {
        let options = Arc::clone(options);
        tasks.spawn(async move {
            let answer = connect(&broker, &options).await;
            (broker, answer)
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    answers
}

fn trouble(error: &ConnectError, who: &str) -> Trouble {
    let error = error.link_error(who);
    Trouble { code: error.code, message: error.message, hint: error.hint }
}

async fn metadata(connection: &Connection, topics: &BTreeSet<TopicName>) -> Result<MetadataAnswer, Trouble> {
    let version = connection.versions().metadata;
    let names = topics.iter().map(TopicName::as_str);
    let request = metadata_request(connection.client_id(), version, names);
    let unread = |message: String| Trouble {
        code: None,
        message: format!("the brokers and topics can't be asked for: {message}"),
        hint: "look into the broker's log; if this listener demands authentication, set `sasl`".to_owned(),
    };
    let answer = connection.call(request).await.map_err(|e| unread(e.to_string()))?;
    MetadataAnswer::decode(&answer, version).map_err(|e| unread(e.to_string()))
}

fn judge_topic(topic: &TopicRow, reads: bool, reached: &mut Reached) {
    if topic.code == 0
        && let Some(rights) = topic.rights
    {
        judge_rights(topic, rights, reads, reached);
    }
    let broken = topic.partitions.iter().find(|p| p.leader < 0 || p.code != 0);
    if topic.code != 0 {
        let error = meaning(topic.code).link_error(&format!("topic {}", topic.name));
        reached.problems.push(Trouble { code: error.code, message: error.message, hint: error.hint });
    } else if let Some(partition) = broken {
        reached.problems.push(Trouble {
            code: (partition.code != 0).then_some(partition.code),
            message: format!("partition {} of topic {} has no leader", partition.index, topic.name),
            hint: "bring its brokers back; other partitions go on meanwhile".to_owned(),
        });
    } else {
        reached.topics.push(Topic { name: topic.name.clone(), partitions: topic.partitions.len() });
    }
}

fn judge_rights(topic: &TopicRow, rights: Rights, reads: bool, reached: &mut Reached) {
    let name = &topic.name;
    if !rights.may_write() {
        let error = meaning(TOPIC_AUTHORIZATION_FAILED).link_error(&format!("topic {name}"));
        let message = format!("writing to topic {name} is not permitted to this principal");
        reached.problems.push(Trouble { code: error.code, message, hint: error.hint });
    } else if reads && !rights.may_read() {
        reached.problems.push(Trouble {
            code: None,
            message: format!("reading topic {name} is not permitted to this principal"),
            hint: "allow READ on it: what was in flight when the agent or a broker dies is looked for there; without it, it is told by \
                   the broker's memory alone, and where that is gone it is sent again and counted as possibly doubled"
                .to_owned(),
        });
    }
}

/// Events go to the brokers' advertised addresses, which the bootstrap address says nothing about.
async fn advertised(
    destination: &Destination,
    answer: &MetadataAnswer,
    options: &Arc<Options>,
    reached: &mut Reached,
) {
    let mut addresses = vec![];
    for row in answer.brokers.iter().take(MOST_BROKERS) {
        match u16::try_from(row.port) {
            Ok(_) if !is_broker_host(&row.host) => reached.problems.push(Trouble {
                code: None,
                message: format!(
                    "broker {} advertises a host that is none: {:?}",
                    row.id,
                    printable(&row.host, 100)
                ),
                hint: "correct advertised.listeners of that broker".to_owned(),
            }),
            Ok(port) => addresses.push(mapped(destination, HostPort { host: row.host.clone(), port })),
            Err(_) => reached.problems.push(Trouble {
                code: None,
                message: format!("broker {} advertises port {}, which is none", row.id, row.port),
                hint: "correct advertised.listeners of that broker".to_owned(),
            }),
        }
    }
    for (broker, answer) in connect_all(&addresses, options).await {
        match answer {
            Ok(_) => reached.brokers += 1,
            Err(error) => {
                let mut trouble = trouble(&error, &format!("{broker}, which the cluster advertises"));
                trouble
                    .hint
                    .push_str("; the broker's advertised.listeners, or address_map here, may be wrong");
                reached.problems.push(trouble);
            }
        }
    }
}

fn mapped(destination: &Destination, advertised: HostPort) -> HostPort {
    let found = destination.address_map.iter().find(|(from, _)| *from == advertised);
    found.map_or(advertised, |(_, to)| to.clone())
}

impl Reached {
    /// For people, one line and one for each problem.
    pub(super) fn tell(&self) -> String {
        let mut text = format!("  {}: ", self.destination);
        let brokers =
            if self.brokers == 1 { "1 broker".to_owned() } else { format!("{} brokers", self.brokers) };
        let cluster = self.cluster_id.as_deref();
        let cluster = cluster.map_or_else(String::new, |id| format!("cluster {}, ", printable(id, 100)));
        match (self.problems.is_empty(), self.brokers) {
            (_, 0) => text.push_str("not reached"),
            (true, _) => _ = write!(text, "reached, {cluster}{brokers}"),
            (false, _) => _ = write!(text, "{cluster}{brokers}"),
        }
        for topic in &self.topics {
            let _ = write!(text, ", topic {} ({} partitions)", topic.name, topic.partitions);
        }
        for note in &self.notes {
            let _ = write!(text, "\n    note: {note}");
        }
        for problem in &self.problems {
            let (message, hint) = (printable(&problem.message, 1000), printable(&problem.hint, 1000));
            let _ = write!(text, "\n    problem: {message}\n    remedy: {hint}");
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests;
