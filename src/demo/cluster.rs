//! A real cluster, as its owner reaches it, and what is asked of it for the demo's topic.

use std::time::Duration;

use rskafka::client::ClientBuilder;
use tokio::time::timeout;

use super::DemoError;
use crate::config::model::{Destination, HostPort};
use crate::kafka::Access;
use crate::kafka::connection::{Options, connect};
use crate::kafka::consume::ConsumerOptions;

/// How long a request about a topic may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the broker may take to do it, in milliseconds.
const WAIT: i32 = 10_000;

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
        let topic = topic.to_owned();
        self.administer("creating a topic", |client| async move {
            client.controller_client()?.create_topic(topic, partitions, -1, WAIT).await
        })
        .await
    }

    /// Deletes it.
    pub(super) async fn delete(&self, topic: &str) -> Result<(), DemoError> {
        let topic = topic.to_owned();
        self.administer("deleting the demo's topic", |client| async move {
            client.controller_client()?.delete_topic(topic, WAIT).await
        })
        .await
    }

    /// One request through rskafka, which would try for ever by itself: whether the cluster can be reached at all is asked
    /// before, since that says at once and in plain words what is wrong.
    async fn administer<F>(
        &self,
        what: &'static str,
        ask: impl FnOnce(rskafka::client::Client) -> F,
    ) -> Result<(), DemoError>
    where
        F: Future<Output = Result<(), rskafka::client::error::Error>>,
    {
        self.reach().await?;
        let addresses = self.destination.bootstrap.iter().map(HostPort::to_string).collect();
        let builder = ClientBuilder::new(addresses).client_id(self.options.client_id.as_str());
        let builder = self.options.access.guide(builder).await.map_err(|cause| self.failed(what, &cause))?;
        let asked = async { ask(builder.build().await?).await };
        match timeout(PATIENCE, asked).await {
            Ok(done) => done.map_err(|error| self.failed(what, &error.to_string())),
            Err(_) => Err(self.failed(what, &format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Whether one of the addresses answers us.
    async fn reach(&self) -> Result<(), DemoError> {
        let mut refused = "no address was given".to_owned();
        for address in &self.destination.bootstrap {
            match connect(address, &self.options).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let error = error.link_error(&address.to_string());
                    refused = format!("{}; {}", error.message, error.hint);
                }
            }
        }
        Err(self.failed("connecting to a broker", &refused))
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
