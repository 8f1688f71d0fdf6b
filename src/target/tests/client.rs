//! A client for these tests: one connection, requests written and read by the codec crate.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::target::Target;

pub(super) const TOPIC: &str = "orders";

/// One batch: producer id, epoch, first sequence, values.
pub(super) fn batch(producer: (i64, i16, i32), values: &[&str]) -> Bytes {
    let record = |(n, value): (usize, &&str)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.0,
        producer_epoch: producer.1,
        timestamp_type: TimestampType::Creation,
        offset: n as i64,
        sequence: if producer.0 < 0 { -1 } else { producer.2.wrapping_add(n as i32) },
        timestamp: 1_700_000_000_000 + n as i64,
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Default::default(),
    };
    let records: Vec<_> = values.iter().enumerate().map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

/// A batch without a producer id.
pub(super) fn plain(values: &[&str]) -> Bytes {
    batch((-1, -1, -1), values)
}

pub(super) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(super) async fn connect(target: &Target) -> Self {
        Self::connect_to(target, 0).await
    }

    pub(super) async fn connect_to(target: &Target, broker: usize) -> Self {
        Self { stream: TcpStream::connect(target.brokers()[broker]).await.unwrap() }
    }

    pub(super) async fn send<R: Request + Encodable>(&mut self, version: i16, request: &R) {
        let key = ApiKey::try_from(R::KEY).unwrap();
        let mut bytes = BytesMut::zeroed(4);
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(5)
            .encode(&mut bytes, key.request_header_version(version))
            .unwrap();
        request.encode(&mut bytes, version).unwrap();
        let length = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer's frame; an error when the connection was closed.
    pub(super) async fn frame(&mut self) -> std::io::Result<Bytes> {
        let mut frame = vec![0; self.stream.read_u32().await? as usize];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    pub(super) async fn receive<R: Request>(&mut self, version: i16) -> std::io::Result<R::Response>
    where
        R::Response: Decodable,
    {
        let mut frame = self.frame().await?;
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header = ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 5);
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining());
        Ok(response)
    }

    pub(super) async fn ask<R: Request + Encodable>(&mut self, version: i16, request: &R) -> R::Response
    where
        R::Response: Decodable,
    {
        self.send(version, request).await;
        self.receive::<R>(version).await.unwrap()
    }

    pub(super) async fn send_batch(&mut self, acks: i16, partition: i32, records: Bytes) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(StrBytes::from_static_str(TOPIC).into())
            .with_partition_data(vec![data]);
        self.send(8, &ProduceRequest::default().with_acks(acks).with_topic_data(vec![topic])).await;
    }

    pub(super) async fn produce(&mut self, partition: i32, records: Bytes) -> PartitionProduceResponse {
        self.send_batch(-1, partition, records).await;
        let response = self.receive::<ProduceRequest>(8).await.unwrap();
        response.responses[0].partition_responses[0].clone()
    }

    /// Error code and base offset of the answer.
    pub(super) async fn put(&mut self, records: Bytes) -> (i16, i64) {
        let row = self.produce(0, records).await;
        (row.error_code, row.base_offset)
    }
}
