//! A small broker that does what it is told: wrong things, mostly.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::model::HostPort;
use crate::kafka::batch::{BatchReader, Identity};

/// What happens to a Produce request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// The connection is cut before anything is appended.
    LoseRequest,
    /// Appended, then the connection is cut.
    LoseAnswer,
    /// Not appended, answered with this.
    Code(i16),
    /// Appended, answered with this.
    AppendThenCode(i16),
    /// Appended, answered well, and the next request on the connection waits this long.
    Throttle(Duration),
    /// As it should be.
    Well,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) logs: BTreeMap<(String, i32), Vec<String>>,
    producers: HashMap<(String, i32, i64), (Identity, i32)>,
    pub(super) faults: VecDeque<Fault>,
    /// Leaders by topic; a topic that is not here is missing.
    pub(super) topics: BTreeMap<String, Vec<i32>>,
    /// What metadata says of brokers, when it is not this one alone.
    pub(super) brokers: Vec<(i32, HostPort)>,
    pub(super) producer_id_errors: VecDeque<i16>,
    /// Partitions in each Produce request, in order.
    pub(super) requests: Vec<usize>,
    /// Epochs seen, in order.
    pub(super) identities: Vec<Identity>,
    pub(super) metadata_requests: usize,
    /// Changes when the cluster is made anew.
    generation: i64,
    /// What has one of these partitions in it is answered so much later, and so is what comes behind it on its connection.
    pub(super) slow: BTreeMap<i32, Duration>,
    /// Produce requests that have been taken: their connection, and which partitions they were for.
    pub(super) taken: Vec<(u16, Vec<i32>)>,
}

/// Shared by the brokers of a cluster.
pub(super) type Shared = Arc<Mutex<State>>;

/// One broker; it ends when dropped.
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) address: HostPort,
    pub(super) state: Shared,
    hang: watch::Sender<bool>,
    listening: Option<AbortHandle>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Broker {
    pub(super) async fn start(id: i32, state: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = HostPort { host: "127.0.0.1".into(), port };
        let (hang, _) = watch::channel(false);
        let mut broker = Self { id, address, state, hang, listening: None, connections: Arc::default() };
        broker.listen(listener);
        broker
    }

    /// With one topic `t` of `partitions`.
    pub(super) async fn alone(partitions: usize) -> Self {
        let broker = Self::start(1, Shared::default()).await;
        broker.state.lock().unwrap().topics.insert("t".into(), vec![1; partitions]);
        broker
    }

    fn listen(&mut self, listener: TcpListener) {
        let (id, address, state) = (self.id, self.address.clone(), Arc::clone(&self.state));
        let (hang, connections) = (self.hang.clone(), Arc::clone(&self.connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let one = Session {
                    id,
                    address: address.clone(),
                    state: Arc::clone(&state),
                    hang: hang.subscribe(),
                };
                connections.lock().unwrap().push(tokio::spawn(one.run(stream)).abort_handle());
            }
        });
        self.listening = Some(task.abort_handle());
    }

    /// Dies with all its connections.
    pub(super) fn kill(&mut self) {
        self.listening.take().inspect(AbortHandle::abort);
        self.connections.lock().unwrap().drain(..).for_each(|c| c.abort());
    }

    /// Listens at the same address again.
    pub(super) async fn restart(&mut self) {
        let at = format!("127.0.0.1:{}", self.address.port);
        let listener = loop {
            match TcpListener::bind(&at).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.listen(listener);
    }

    /// Answers nothing until told otherwise, and keeps its connections.
    pub(super) fn hang(&self, hang: bool) {
        self.hang.send_replace(hang);
    }

    /// All that was written is gone, and there is another cluster at the same address, in which somebody else has the producer id
    /// that the old one gave to us, and has sent a first batch of as many records as ours have to each of these partitions.
    pub(super) fn make_anew(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut state = self.state.lock().unwrap();
        state.logs.clear();
        state.producers.clear();
        let id = 4000 + state.generation;
        for partition in partitions {
            state.producers.insert(("t".into(), partition, id), (Identity::first(id, 0), 3));
        }
        state.generation += 1;
    }

    pub(super) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    pub(super) fn log(&self, topic: &str, partition: i32) -> Vec<String> {
        self.state.lock().unwrap().logs.get(&(topic.into(), partition)).cloned().unwrap_or_default()
    }
}

struct Session {
    id: i32,
    address: HostPort,
    state: Shared,
    hang: watch::Receiver<bool>,
}

impl Session {
    async fn run(mut self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        while let Ok(len) = stream.read_i32().await {
            let mut frame = vec![0; len as usize];
            if stream.read_exact(&mut frame).await.is_err() || self.hang.wait_for(|hung| !hung).await.is_err()
            {
                return;
            }
            let mut frame = Bytes::from(frame);
            let (key, version) =
                (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
            let header =
                RequestHeader::decode(&mut frame, if key == 3 && version >= 9 { 2 } else { 1 }).unwrap();
            let mut out = BytesMut::new();
            out.put_i32(0);
            out.put_i32(header.correlation_id);
            let mut quiet = Duration::ZERO;
            match key {
                18 => offer().encode(&mut out, version).unwrap(),
                3 => {
                    if version >= 9 {
                        out.put_u8(0);
                    }
                    let request = MetadataRequest::decode(&mut frame, version).unwrap();
                    self.metadata(&request).encode(&mut out, version).unwrap();
                }
                22 => self.producer_id().encode(&mut out, version).unwrap(),
                0 => {
                    let request = ProduceRequest::decode(&mut frame, version).unwrap();
                    tokio::time::sleep(self.slowness(&request, stream.peer_addr().unwrap().port())).await;
                    let Some((answer, wait)) = self.produce(&request) else { return };
                    quiet = wait;
                    answer.encode(&mut out, version).unwrap();
                }
                other => panic!("request {other}"),
            }
            let len = (out.len() - 4) as u32;
            out[..4].copy_from_slice(&len.to_be_bytes());
            if stream.write_all(&out).await.is_err() {
                return;
            }
            tokio::time::sleep(quiet).await;
        }
    }

    fn slowness(&self, request: &ProduceRequest, connection: u16) -> Duration {
        let mut state = self.state.lock().unwrap();
        let partitions = request.topic_data.iter().flat_map(|t| &t.partition_data).map(|p| p.index);
        let partitions: Vec<i32> = partitions.collect();
        let slowest = partitions.iter().filter_map(|p| state.slow.get(p)).max().copied();
        state.taken.push((connection, partitions));
        slowest.unwrap_or_default()
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let mut state = self.state.lock().unwrap();
        state.metadata_requests += 1;
        let brokers = match &state.brokers[..] {
            [] => vec![(self.id, self.address.clone())],
            brokers => brokers.to_vec(),
        };
        let row = |(id, at): (i32, HostPort)| {
            let row = MetadataResponseBroker::default().with_node_id(id.into());
            row.with_host(StrBytes::from_string(at.host)).with_port(i32::from(at.port))
        };
        let topics = request.topics.iter().flatten().map(|t| topic(&state, t.name.clone().unwrap()));
        MetadataResponse::default()
            .with_topics(topics.collect())
            .with_brokers(brokers.into_iter().map(row).collect())
            .with_cluster_id(Some(StrBytes::from_string(format!("cluster {}", state.generation))))
    }

    fn producer_id(&self) -> InitProducerIdResponse {
        let mut state = self.state.lock().unwrap();
        match state.producer_id_errors.pop_front() {
            Some(code) => {
                InitProducerIdResponse::default().with_error_code(code).with_producer_id((-1).into())
            }
            None => InitProducerIdResponse::default().with_producer_id((4000 + state.generation).into()),
        }
    }

    /// `None` cuts the connection.
    fn produce(&self, request: &ProduceRequest) -> Option<(ProduceResponse, Duration)> {
        let mut state = self.state.lock().unwrap();
        let fault = state.faults.pop_front().unwrap_or(Fault::Well);
        if matches!(fault, Fault::LoseRequest) {
            return None;
        }
        assert_eq!(request.acks, -1);
        state.requests.push(request.topic_data.iter().map(|t| t.partition_data.len()).sum());
        let mut topics = Vec::new();
        for topic in &request.topic_data {
            let mut rows = Vec::new();
            for one in &topic.partition_data {
                let leads = state.topics.get(topic.name.as_str()).and_then(|l| l.get(one.index as usize));
                let code = match (leads, fault) {
                    (None, _) => 3,
                    (Some(leader), _) if *leader != self.id => 6,
                    (_, Fault::Code(code)) => code,
                    _ => {
                        let code =
                            state.append(topic.name.as_str(), one.index, one.records.as_ref().unwrap());
                        if let Fault::AppendThenCode(code) = fault { code } else { code }
                    }
                };
                rows.push(PartitionProduceResponse::default().with_index(one.index).with_error_code(code));
            }
            topics.push(
                TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(rows),
            );
        }
        let quiet = match fault {
            Fault::LoseAnswer => return None,
            Fault::Throttle(quiet) => quiet,
            _ => Duration::ZERO,
        };
        let answer = ProduceResponse::default().with_responses(topics);
        Some((answer.with_throttle_time_ms(quiet.as_millis() as i32), quiet))
    }
}

impl State {
    fn append(&mut self, topic: &str, partition: i32, records: &[u8]) -> i16 {
        let mut batches = BatchReader::new(records, 1 << 20);
        let batch = batches.next().unwrap().unwrap();
        assert!(batches.next().is_none(), "one batch a partition");
        let (me, count) = (batch.header.identity, batch.header.count as i32);
        assert!(me.producer_id >= 0, "unprotected");
        self.identities.push(me);
        let producer = (topic.to_owned(), partition, me.producer_id);
        if let Some((last, next)) = self.producers.get(&producer) {
            if *last == me {
                return 0;
            }
            let expected = if me.epoch > last.epoch { 0 } else { *next };
            if me.epoch < last.epoch {
                return 47;
            }
            if me.base_sequence != expected {
                return 45;
            }
        }
        self.producers.insert(producer, (me, me.base_sequence + count));
        let values = batch.records().map(|r| String::from_utf8_lossy(r.unwrap().value.unwrap()).into_owned());
        self.logs.entry((topic.to_owned(), partition)).or_default().extend(values);
        0
    }
}

fn topic(state: &State, name: kafka_protocol::messages::TopicName) -> MetadataResponseTopic {
    let row = MetadataResponseTopic::default();
    let Some(leaders) = state.topics.get(name.as_str()) else {
        return row.with_name(Some(name)).with_error_code(3);
    };
    let partition = |(index, leader): (usize, &i32)| {
        let row = MetadataResponsePartition::default().with_partition_index(index as i32);
        row.with_leader_id((*leader).into()).with_error_code(if *leader < 0 { 5 } else { 0 })
    };
    row.with_name(Some(name)).with_partitions(leaders.iter().enumerate().map(partition).collect())
}

fn offer() -> ApiVersionsResponse {
    let row = |(key, min, max): (i16, i16, i16)| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    };
    let rows = [(0, 3, 8), (1, 4, 11), (2, 1, 4), (3, 0, 12), (18, 0, 3), (22, 0, 4)];
    ApiVersionsResponse::default().with_api_keys(rows.into_iter().map(row).collect())
}
