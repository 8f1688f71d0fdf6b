//! Finds leaders, asks them.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::fetched::{Fetched, FetchedRecord};
use crate::config::model::HostPort;
use crate::event::UnixMillis;
use crate::ids::TopicName;
use crate::kafka::access::Access;
use crate::kafka::backoff::Backoff;
use crate::kafka::batch::BatchError;
use crate::kafka::connection::{CallError, ConnectError, Connection, Options, connect};
use crate::kafka::errors::{Verdict, meaning};
use crate::kafka::topology::{Cluster, Place};
use crate::kafka::wire::{
    EARLIEST, FetchAnswer, LATEST, MetadataAnswer, OffsetAnswer, Request, WireError, fetch_request,
    list_offsets_request, metadata_request,
};

/// Asked for at once, less in tests; one batch may be larger.
const FETCH_BYTES: i32 = if cfg!(test) { 64 << 10 } else { 4 << 20 };
/// Largest answer to take.
const MAX_ANSWER: usize = 128 * 1024 * 1024;
/// How long a broker may wait for records when there are none.
const FETCH_WAIT: Duration = Duration::from_millis(250);

/// How to reach the cluster.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// `host:port` of brokers to begin with.
    pub bootstrap: Vec<HostPort>,
    /// Replaces addresses that brokers advertise.
    pub address_map: Vec<(HostPort, HostPort)>,
    /// Named in every request.
    pub client_id: String,
    /// For name lookup and TCP together.
    pub connect_timeout: Duration,
    /// The longest silence while an answer is due.
    pub request_timeout: Duration,
    /// How long to retry what may pass by itself.
    pub patience: Duration,
    /// Proxy, TLS and SASL.
    pub access: Access,
}

impl ConsumerOptions {
    /// The defaults: 10 s to connect, 15 s a request, 30 s of patience.
    #[must_use]
    pub fn new(bootstrap: Vec<HostPort>) -> Self {
        Self {
            bootstrap,
            address_map: Vec::new(),
            client_id: "spoolway".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            patience: Duration::from_secs(30),
            access: Access::default(),
        }
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// No broker could be reached.
    #[error("can't connect to {address}: {source}; {}", source.link_error(address).hint)]
    Connect {
        /// The address tried last.
        address: String,
        /// Why it failed.
        source: ConnectError,
    },
    /// A broker did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A broker answered what can't be understood.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A broker answered with an error.
    #[error("topic {topic}, partition {partition}: {message} (code {code}); {hint}")]
    Code {
        /// The topic.
        topic: String,
        /// The partition, -1 for the topic as a whole.
        partition: i32,
        /// Kafka's error code.
        code: i16,
        /// What it means.
        message: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The log holds a batch that can't be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A name that no topic can have.
    #[error(transparent)]
    Name(#[from] crate::ids::NameError),
}

impl ConsumeError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // What a person must put right is said at once.
            Self::Connect { source, .. } => !source.is_lasting(),
            Self::Call(_) => true,
            Self::Code { code, .. } => match meaning(*code).verdict {
                Verdict::Refresh | Verdict::Retry => *code != 1,
                // Also what a broker says that does not know its topics yet.
                Verdict::Defer => matches!(code, 3 | 5 | 72),
                _ => false,
            },
            _ => false,
        }
    }

    fn code(topic: &str, partition: i32, code: i16) -> Self {
        let meaning = meaning(code);
        let (message, hint) = (meaning.message, meaning.hint);
        Self::Code { topic: topic.to_owned(), partition, code, message, hint }
    }
}

/// Reads topics.
#[derive(Debug)]
pub struct Consumer {
    options: Options,
    patience: Duration,
    cluster: Cluster,
    connections: HashMap<HostPort, Connection>,
}

impl Consumer {
    /// A consumer that has not connected yet.
    #[must_use]
    pub fn new(options: &ConsumerOptions) -> Self {
        Self {
            options: Options {
                client_id: options.client_id.clone(),
                connect_timeout: options.connect_timeout,
                request_timeout: options.request_timeout,
                max_answer: MAX_ANSWER,
                access: options.access.clone(),
                sent: None,
            },
            patience: options.patience,
            cluster: Cluster::new(&options.bootstrap, &options.address_map),
            connections: HashMap::new(),
        }
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`ConsumeError`] after the patience is up.
    pub async fn partitions(&mut self, topic: &str) -> Result<i32, ConsumeError> {
        let name = TopicName::new(topic)?;
        let mut retry = Retry::new(self.patience);
        loop {
            match self.refresh(&name).await {
                Ok(()) => {
                    let count = self.cluster.topology().partition_count(topic).unwrap_or_default();
                    return Ok(i32::try_from(count).unwrap_or(i32::MAX));
                }
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// Identity of the cluster, once anything was asked.
    #[must_use]
    pub fn cluster_id(&self) -> Option<String> {
        self.cluster.topology().cluster_id.clone()
    }

    /// The first offset that is still in the log.
    ///
    /// # Errors
    /// [`ConsumeError`] after the patience is up.
    pub async fn earliest(&mut self, topic: &str, partition: i32) -> Result<i64, ConsumeError> {
        self.offset(topic, partition, EARLIEST).await
    }

    /// The high watermark: the offset after the last replicated record.
    ///
    /// # Errors
    /// [`ConsumeError`] after the patience is up.
    pub async fn latest(&mut self, topic: &str, partition: i32) -> Result<i64, ConsumeError> {
        self.offset(topic, partition, LATEST).await
    }

    /// The first offset whose record has time stamp `time` or a later one; `None` when there is none.
    ///
    /// # Errors
    /// [`ConsumeError`] after the patience is up.
    pub async fn offset_at(
        &mut self,
        topic: &str,
        partition: i32,
        time: UnixMillis,
    ) -> Result<Option<i64>, ConsumeError> {
        let offset = self.offset(topic, partition, time.max(0)).await?;
        Ok(Some(offset).filter(|offset| *offset >= 0))
    }

    async fn offset(&mut self, topic: &str, partition: i32, at: i64) -> Result<i64, ConsumeError> {
        let ask = |connection: &Connection| {
            let version = connection.versions().list_offsets.clone()?;
            Ok((list_offsets_request(connection.client_id(), version, topic, partition, at), version))
        };
        let read = |answer: Bytes, version| {
            let answer = OffsetAnswer::decode(&answer, version)?;
            Ok((answer.code, answer.offset))
        };
        self.ask_leader(topic, partition, ask, read).await
    }

    /// Fetches from `offset` on. Empty when there is nothing there yet (after a short wait).
    ///
    /// # Errors
    /// [`ConsumeError`] after the patience is up; code 1 when the offset is not in the log.
    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<Fetched, ConsumeError> {
        let wait = i32::try_from(FETCH_WAIT.as_millis()).unwrap_or_default();
        let ask = |connection: &Connection| {
            let version = connection.versions().fetch.clone()?;
            let place = (topic, partition);
            Ok((fetch_request(connection.client_id(), version, place, offset, FETCH_BYTES, wait), version))
        };
        let read = |answer: Bytes, version| {
            let found = FetchAnswer::decode(&answer, version)?.partition.ok_or(WireError::Null)?;
            let (records, high_watermark) = (found.records, found.high_watermark);
            Ok((found.code, Fetched { answer, records, from: offset, high_watermark }))
        };
        self.ask_leader(topic, partition, ask, read).await
    }

    /// Shows every record from `from` up to (not including) offset `end`; returns the offset after the last.
    ///
    /// # Errors
    /// [`ConsumeError`]; also when nothing comes for as long as the patience.
    pub async fn scan(
        &mut self,
        topic: &str,
        partition: i32,
        (from, end): (i64, i64),
        mut visit: impl FnMut(FetchedRecord<'_>),
    ) -> Result<i64, ConsumeError> {
        let mut next = from;
        let mut retry = Retry::new(self.patience);
        while next < end {
            let fetched = self.fetch(topic, partition, next).await?;
            let after = fetched.for_each(|r| {
                if r.record.offset < end {
                    visit(r);
                }
            })?;
            if after > next {
                next = after;
                retry = Retry::new(self.patience);
            } else {
                retry.after(ConsumeError::code(topic, partition, 78)).await?;
            }
        }
        Ok(next)
    }

    /// Asks the partition's leader until it answers without an error, or the patience is up.
    async fn ask_leader<T>(
        &mut self,
        topic: &str,
        partition: i32,
        ask: impl Fn(&Connection) -> Result<(Request, i16), WireError>,
        read: impl Fn(Bytes, i16) -> Result<(i16, T), WireError>,
    ) -> Result<T, ConsumeError> {
        let name = TopicName::new(topic)?;
        let mut retry = Retry::new(self.patience);
        loop {
            let error = match self.try_leader(&name, partition, &ask, &read).await {
                Ok((0, value)) => return Ok(value),
                Ok((code, _)) => ConsumeError::code(topic, partition, code),
                Err(error) => error,
            };
            retry.after(error).await?;
            // A failure here is seen again by the next try, which says more about it.
            let _ = self.refresh(&name).await;
        }
    }

    async fn try_leader<T>(
        &mut self,
        topic: &TopicName,
        partition: i32,
        ask: impl Fn(&Connection) -> Result<(Request, i16), WireError>,
        read: impl Fn(Bytes, i16) -> Result<(i16, T), WireError>,
    ) -> Result<(i16, T), ConsumeError> {
        if self.cluster.place(topic, partition) == Place::Unknown {
            self.refresh(topic).await?;
        }
        let address = match self.cluster.place(topic, partition) {
            Place::Leader(broker) => self.cluster.address(broker).cloned(),
            Place::Nowhere(code) => return Err(ConsumeError::code(topic.as_str(), partition, code)),
            Place::Unknown => None,
        };
        let address = address.ok_or_else(|| ConsumeError::code(topic.as_str(), partition, 5))?;
        let connection = self.connection(&address).await?;
        let (request, version) = ask(&connection)?;
        let answer = connection.call(request).await?;
        Ok(read(answer, version)?)
    }

    /// Asks for the topic's metadata, at any broker that answers.
    async fn refresh(&mut self, topic: &TopicName) -> Result<(), ConsumeError> {
        self.cluster.track(topic);
        let mut outcome = Err(ConsumeError::code(topic.as_str(), -1, 5));
        for address in self.cluster.candidates(None) {
            outcome = self.refresh_at(&address, topic).await;
            if !matches!(outcome, Err(ConsumeError::Connect { .. } | ConsumeError::Call(_))) {
                break;
            }
        }
        outcome
    }

    async fn refresh_at(&mut self, address: &HostPort, topic: &TopicName) -> Result<(), ConsumeError> {
        let connection = self.connection(address).await?;
        let version = connection.versions().metadata;
        let request = metadata_request(connection.client_id(), version, [topic.as_str()]);
        let answer = connection.call(request).await?;
        let answer = MetadataAnswer::decode(&answer, version)?;
        self.cluster.merge(&answer, Some(address), Instant::now());
        match answer.topics.iter().find(|t| t.name == topic.as_str()).map(|t| t.code) {
            Some(0) => Ok(()),
            Some(code) => Err(ConsumeError::code(topic.as_str(), -1, code)),
            None => Err(WireError::Null.into()),
        }
    }

    async fn connection(&mut self, address: &HostPort) -> Result<Connection, ConsumeError> {
        if let Some(open) = self.connections.get(address).filter(|c| !c.is_closed()) {
            return Ok(open.clone());
        }
        let opened = connect(address, &self.options).await;
        let opened =
            opened.map_err(|source| ConsumeError::Connect { address: address.to_string(), source })?;
        self.connections.insert(address.clone(), opened.clone());
        Ok(opened)
    }
}

/// Waits between tries, until patience is up.
struct Retry {
    until: Instant,
    backoff: Backoff,
}

impl Retry {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, backoff: Backoff::new(1) }
    }

    /// Waits after an error that may pass; gives back any other, and the last when there is no time left.
    async fn after(&mut self, error: ConsumeError) -> Result<(), ConsumeError> {
        let delay = self.backoff.fail().min(Duration::from_secs(1));
        if !error.is_transient() || Instant::now() + delay > self.until {
            return Err(error);
        }
        sleep(delay).await;
        Ok(())
    }
}
