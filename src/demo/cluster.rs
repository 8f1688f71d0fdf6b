//! A real cluster, as its owner reaches it, and what is asked of it for the demo's topic.

use std::time::Duration;

use rskafka::client::ClientBuilder;
use rskafka::client::error::{Error, ProtocolError};
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

    /// Makes a topic of a name that nobody else has, with the cluster's usual number of copies.
    ///
    /// rskafka asks again when an answer is lost, or says that a quota was passed; one that is there then was made by what was asked
    /// first.
    pub(super) async fn create(&self, topic: &str, partitions: i32) -> Result<(), DemoError> {
        let topic = topic.to_owned();
        self.administer("creating a topic", |client| async move {
            let made = client.controller_client()?.create_topic(topic, partitions, -1, WAIT).await;
            made.or_else(|error| {
                refused(&error, ProtocolError::TopicAlreadyExists).then_some(()).ok_or(error)
            })
        })
        .await
    }

    /// Deletes it; whether it was there. Of one that was, "no" says that an earlier request has deleted it (see
    /// [`create`](Self::create)).
    pub(super) async fn delete(&self, topic: &str) -> Result<bool, DemoError> {
        self.reach().await?;
        let topic = topic.to_owned();
        self.administer("deleting the demo's topic", |client| async move {
            let deleted = client.controller_client()?.delete_topic(topic, WAIT).await.map(|()| true);
            let absent = |error: &Error| refused(error, ProtocolError::UnknownTopicOrPartition);
            deleted.or_else(|error| absent(&error).then_some(false).ok_or(error))
        })
        .await
    }

    /// One request through rskafka, which would try for ever by itself.
    async fn administer<F, T>(
        &self,
        what: &'static str,
        ask: impl FnOnce(rskafka::client::Client) -> F,
    ) -> Result<T, DemoError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let addresses = self.destination.bootstrap.iter().map(HostPort::to_string).collect();
        let builder = ClientBuilder::new(addresses).client_id(self.options.client_id.as_str());
        let builder = self.options.access.guide(builder).await.map_err(|cause| self.failed(what, &cause))?;
        let asked = async { ask(builder.build().await?).await };
        match timeout(PATIENCE, asked).await {
            Ok(Err(error)) if !is_definite(&error) => Err(self.unanswered(what, error.to_string())),
            Ok(done) => done.map_err(|error| self.failed(what, &error.to_string())),
            Err(_) => Err(self.unanswered(what, format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Whether one of the addresses answers us: rskafka would not say, nor in plain words, what is wrong.
    pub(super) async fn reach(&self) -> Result<(), DemoError> {
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
        DemoError::Cluster { what, bootstrap: self.bootstrap(), cause: cause.to_owned() }
    }

    fn unanswered(&self, what: &'static str, cause: String) -> DemoError {
        DemoError::Unanswered { what, bootstrap: self.bootstrap(), cause }
    }

    fn bootstrap(&self) -> String {
        self.destination.bootstrap.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Whether an error says that nothing was done, nor will be.
fn is_definite(error: &Error) -> bool {
    let doubtful = [ProtocolError::RequestTimedOut, ProtocolError::UnknownServerError];
    matches!(error, Error::ServerError { .. }) && !doubtful.into_iter().any(|code| refused(error, code))
}

fn refused(error: &Error, code: ProtocolError) -> bool {
    matches!(error, Error::ServerError { protocol_error, .. } if *protocol_error == code)
}
