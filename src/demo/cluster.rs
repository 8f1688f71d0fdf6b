//! A real cluster, as its owner reaches it, and what is asked of it for the demo's topic.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::DemoError;
use crate::config::model::{Destination, HostPort};
use crate::kafka::Access;
use crate::kafka::connection::{Connection, Options, connect};
use crate::kafka::consume::ConsumerOptions;
use crate::kafka::errors::{meaning, printable};
use crate::kafka::wire::{
    MetadataAnswer, Request, TopicAnswer, Versions, WireError, create_topic_request, delete_topic_request,
    metadata_request,
};

/// How long a request about a topic may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the broker may take to do it.
const WAIT: Duration = Duration::from_secs(10);
/// Brokers of a large cluster that are tried: one of them is the controller, or knows it.
const MOST_BROKERS: usize = 100;
/// Kafka's error code of a broker that passes such requests on to nobody.
const NOT_CONTROLLER: i16 = 41;

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    destination: Destination,
    options: Options,
}

impl Cluster {
    pub(super) fn new(destination: &Destination) -> Self {
        let options = Options {
            client_id: destination.client_id.clone(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: destination.request_timeout,
            max_answer: 16 << 20,
            access: Access::of(destination),
            sent: None,
        };
        Self { destination: destination.clone(), options }
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// For reading the topic back.
    pub(super) fn consumer(&self) -> ConsumerOptions {
        ConsumerOptions {
            client_id: self.options.client_id.clone(),
            request_timeout: self.options.request_timeout,
            access: self.options.access.clone(),
            ..ConsumerOptions::new(self.destination.bootstrap.clone())
        }
    }

    /// Makes a topic with the cluster's usual number of copies.
    pub(super) async fn create(&self, topic: &str, partitions: i32) -> Result<(), DemoError> {
        let request = |versions: &Versions, client_id: &str| {
            let version = versions.create_topics.clone()?;
            Ok(create_topic_request(client_id, version, topic, partitions, WAIT))
        };
        self.administer("creating a topic", request, TopicAnswer::created).await
    }

    /// Deletes it.
    pub(super) async fn delete(&self, topic: &str) -> Result<(), DemoError> {
        let request = |versions: &Versions, client_id: &str| {
            Ok(delete_topic_request(client_id, versions.delete_topics.clone()?, topic, WAIT))
        };
        self.administer("deleting the demo's topic", request, TopicAnswer::deleted).await
    }

    /// Asks one broker after the other, until one of them does not say that it is another's business.
    async fn administer(
        &self,
        what: &'static str,
        request: impl Fn(&Versions, &str) -> Result<Request, WireError>,
        read: fn(&[u8]) -> Result<TopicAnswer, WireError>,
    ) -> Result<(), DemoError> {
        let mut refused = "it names no broker".to_owned();
        for broker in self.brokers().await? {
            let asked = async {
                let connection = self.connected(&broker).await?;
                let request = request(connection.versions(), connection.client_id());
                let answer = call(&connection, request.map_err(|e| e.to_string())?).await?;
                read(&answer).map_err(|e| e.to_string())
            };
            let late = |_| Err(format!("no answer within {} s", PATIENCE.as_secs()));
            let done = timeout(PATIENCE, asked).await.unwrap_or_else(late);
            match done.map_err(|cause| self.failed(what, &cause))? {
                TopicAnswer { code: 0, .. } => return Ok(()),
                answer => {
                    refused = told(&answer);
                    if answer.code != NOT_CONTROLLER {
                        break;
                    }
                }
            }
        }
        Err(self.failed(what, &refused))
    }

    /// Where the cluster's brokers say that they are.
    async fn brokers(&self) -> Result<Vec<HostPort>, DemoError> {
        let failed = |cause: &str| self.failed("asking for its brokers", cause);
        let mut outcome = Err(failed("no address was given"));
        for address in &self.destination.bootstrap {
            match self.connected(address).await {
                Ok(connection) => {
                    let version = connection.versions().metadata;
                    let request = metadata_request(connection.client_id(), version, []);
                    let answer = call(&connection, request).await.map_err(|e| failed(&e))?;
                    let answer =
                        MetadataAnswer::decode(&answer, version).map_err(|e| failed(&e.to_string()))?;
                    let port = |p| u16::try_from(p).unwrap_or_default();
                    let rows = answer.brokers.into_iter().take(MOST_BROKERS);
                    return Ok(rows.map(|b| HostPort { host: b.host, port: port(b.port) }).collect());
                }
                Err(cause) => outcome = Err(failed(&cause)),
            }
        }
        outcome
    }

    async fn connected(&self, broker: &HostPort) -> Result<Connection, String> {
        connect(broker, &self.options).await.map_err(|error| {
            let error = error.link_error(&broker.to_string());
            format!("{}; {}", error.message, error.hint)
        })
    }

    fn failed(&self, what: &'static str, cause: &str) -> DemoError {
        let bootstrap = self.destination.bootstrap.iter().map(HostPort::to_string);
        DemoError::Cluster {
            what,
            bootstrap: bootstrap.collect::<Vec<_>>().join(","),
            cause: cause.to_owned(),
        }
    }
}

async fn call(connection: &Connection, request: Request) -> Result<Bytes, String> {
    connection.call(request).await.map_err(|e| e.to_string())
}

/// Why a topic was not made or deleted.
fn told(answer: &TopicAnswer) -> String {
    let known = meaning(answer.code);
    let more = answer.message.as_deref().map(|said| format!("; it says: {}", printable(said, 300)));
    format!("{} ({}, code {}){}", known.message, known.name, answer.code, more.unwrap_or_default())
}
