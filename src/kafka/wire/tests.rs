use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchResponse, InitProducerIdResponse, ListOffsetsResponse, MetadataRequest,
    MetadataResponse, ProduceRequest as OracleProduce, ProduceResponse, RequestHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::kafka::batch::{BatchReader, Identity, RecordsBuilder, Stamp};

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn bytes_of(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.freeze()
}

/// Decodes every prefix, every prefix with a huge number written over each position, and the whole.
fn hostile<T>(good: &[u8], decode: impl Fn(&[u8]) -> Result<T, WireError>) {
    assert!(decode(good).is_ok());
    for end in 0..good.len() {
        let _ = decode(&good[..end]);
    }
    for huge in [[0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0x7f], [0x80, 0, 0, 0], [0xff; 4]] {
        for at in 0..good.len().saturating_sub(3) {
            let mut bad = good.to_vec();
            bad[at..at + 4].copy_from_slice(&huge);
            let _ = decode(&bad);
        }
    }
}

fn some_metadata() -> MetadataResponse {
    let partition = |i: i32| {
        MetadataResponsePartition::default()
            .with_partition_index(i)
            .with_leader_id((i - 1).into())
            .with_leader_epoch(i + 5)
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![2.into()])
            .with_offline_replicas(vec![])
            .with_error_code(if i == 0 { 5 } else { 0 })
    };
    let topic = MetadataResponseTopic::default()
        .with_name(Some(s("orders").into()))
        .with_topic_id("00000000-0000-0000-0000-000000000007".parse().unwrap())
        .with_partitions(vec![partition(0), partition(1), partition(2)]);
    let gone = MetadataResponseTopic::default().with_name(Some(s("gone").into())).with_error_code(3);
    let broker = |i: i32| {
        MetadataResponseBroker::default().with_node_id(i.into()).with_host(s("host")).with_port(9000 + i)
    };
    MetadataResponse::default()
        .with_throttle_time_ms(12)
        .with_brokers(vec![broker(1), broker(2).with_rack(Some(s("r")))])
        .with_cluster_id(Some(s("cluster")))
        .with_controller_id(2.into())
        .with_topics(vec![topic, gone])
}

#[test]
fn metadata_says_what_the_oracle_wrote() {
    for version in 8..=12 {
        let bytes = bytes_of(&some_metadata(), version);
        let got = MetadataAnswer::decode(&bytes, version).unwrap();
        assert_eq!((got.throttle_ms, got.cluster_id.as_deref()), (12, Some("cluster")));
        let brokers: Vec<_> = got.brokers.iter().map(|b| (b.id, b.host.as_str(), b.port)).collect();
        assert_eq!(brokers, [(1, "host", 9001), (2, "host", 9002)]);
        let orders = &got.topics[0];
        let id = if version >= 10 { 7 } else { 0 };
        assert_eq!((orders.code, orders.name.as_str(), u128::from_be_bytes(orders.id)), (0, "orders", id));
        let rows: Vec<_> =
            orders.partitions.iter().map(|p| (p.code, p.index, p.leader, p.leader_epoch)).collect();
        assert_eq!(rows, [(5, 0, -1, 5), (0, 1, 0, 6), (0, 2, 1, 7)]);
        assert_eq!((got.topics[1].code, got.topics[1].name.as_str()), (3, "gone"));
        hostile(&bytes, |b| MetadataAnswer::decode(b, version));
    }
}

#[test]
fn metadata_requests_never_ask_for_creation() {
    for version in [8, 12] {
        let mut frame = metadata_request("me", version, ["a", "b"]).into_frame(77).freeze().slice(4..);
        let header_version = if version == 12 { 2 } else { 1 };
        let header = RequestHeader::decode(&mut frame, header_version).unwrap();
        assert_eq!((header.correlation_id, header.request_api_version), (77, version));
        let body = MetadataRequest::decode(&mut frame, version).unwrap();
        assert!(!body.allow_auto_topic_creation);
        assert_eq!(body.topics.unwrap().len(), 2);
    }
}

#[test]
fn produce_answers_say_what_the_oracle_wrote() {
    for version in [7, 8] {
        let row = |i: i32| PartitionProduceResponse::default().with_index(i).with_base_offset(1 << 40);
        let mut bad = row(1).with_error_code(87);
        if version == 8 {
            let error = BatchIndexAndErrorMessage::default().with_batch_index(3);
            bad = bad
                .with_record_errors(vec![error.with_batch_index_error_message(Some(s("no key")))])
                .with_error_message(Some(s("bad record")));
        }
        let topic = TopicProduceResponse::default()
            .with_name(s("orders").into())
            .with_partition_responses(vec![row(0), bad]);
        let answer = ProduceResponse::default().with_responses(vec![topic]).with_throttle_time_ms(500);
        let bytes = bytes_of(&answer, version);
        let got = ProduceAnswer::decode(&bytes, version).unwrap();
        assert_eq!(got.throttle_ms, 500);
        assert_eq!((got.partitions[0].code, got.partitions[0].offset), (0, 1 << 40));
        assert_eq!((got.partitions[1].index, got.partitions[1].code), (1, 87));
        if version == 8 {
            let error = RecordError { index: 3, message: Some("no key".into()) };
            assert_eq!(got.partitions[1].record_errors, [error]);
            assert_eq!(got.partitions[1].message.as_deref(), Some("bad record"));
        }
        hostile(&bytes, |b| ProduceAnswer::decode(b, version));
    }
}

#[test]
fn the_oracle_reads_our_produce_request() {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    builder.push(Some(b"k"), Some(b"v"), [], 9);
    let batch = builder.seal(crate::config::model::KafkaCompression::None);
    let me = Identity { producer_id: 5, epoch: 0, base_sequence: 8 };
    for version in [7, 8] {
        let mut request = ProduceRequest::new("me", version, 10_000, 100);
        request.topic("a", 2);
        request.partition(0, &batch, me, 0);
        request.partition(3, &batch, me, 0);
        request.topic("b", 1);
        request.partition(1, &batch, me, 0);
        let frame = request.finish().into_frame(6).freeze();
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let mut rest = frame.slice(4..);
        let header = RequestHeader::decode(&mut rest, 1).unwrap();
        assert_eq!((header.correlation_id, header.client_id.as_deref()), (6, Some("me")));
        let body = OracleProduce::decode(&mut rest, version).unwrap();
        assert!(rest.is_empty());
        assert_eq!((body.acks, body.timeout_ms, body.transactional_id), (-1, 10_000, None));
        let rows: Vec<_> = body
            .topic_data
            .iter()
            .flat_map(|t| t.partition_data.iter().map(|p| (t.name.as_str(), p.index)))
            .collect();
        assert_eq!(rows, [("a", 0), ("a", 3), ("b", 1)]);
        let records = body.topic_data[1].partition_data[0].records.clone().unwrap();
        assert_eq!(BatchReader::new(&records, 1000).next().unwrap().unwrap().header.identity, me);
    }
}

#[test]
fn versions_are_the_newest_both_sides_speak() {
    let offer = |rows: &[(i16, i16, i16)]| {
        let keys = rows.iter().map(|&(k, min, max)| {
            ApiVersion::default().with_api_key(k).with_min_version(min).with_max_version(max)
        });
        bytes_of(&ApiVersionsResponse::default().with_api_keys(keys.collect()), 2)
    };
    let kafka_4 = offer(&[(0, 3, 13), (1, 4, 18), (2, 1, 10), (3, 0, 13), (22, 0, 5)]);
    let got = ApiVersions::decode(&kafka_4).unwrap().unwrap().choose().unwrap();
    assert_eq!((got.produce, got.metadata, got.producer_id), (8, 12, Ok(1)));
    assert_eq!((got.fetch, got.list_offsets), (Ok(11), Ok(4)));
    let redpanda = offer(&[(0, 0, 7), (1, 4, 11), (2, 0, 4), (3, 0, 8), (22, 0, 3)]);
    let got = ApiVersions::decode(&redpanda).unwrap().unwrap().choose().unwrap();
    assert_eq!((got.produce, got.metadata), (7, 8));
    let old = offer(&[(0, 0, 2), (3, 0, 8), (22, 0, 1)]);
    let error = ApiVersions::decode(&old).unwrap().unwrap().choose().unwrap_err();
    assert_eq!(error, WireError::Version { api: "Produce", min: 0, max: 2 });
    let none = offer(&[(0, 0, 9), (3, 0, 8)]);
    let without = ApiVersions::decode(&none).unwrap().unwrap().choose().unwrap();
    assert_eq!(
        without.producer_id,
        Err(WireError::NotOffered { api: "InitProducerId" }),
        "it is done without"
    );
    hostile(&kafka_4, ApiVersions::decode);
}

#[test]
fn a_topic_of_many_rows_is_named_once_in_memory() {
    let row = [&1i32.to_be_bytes()[..], &[0; 26]].concat();
    let name = "n".repeat(32_767);
    let head =
        [&1i32.to_be_bytes()[..], &i16::MAX.to_be_bytes(), name.as_bytes(), &1_000i32.to_be_bytes()].concat();
    let bytes = [head, row.repeat(1_000), vec![0; 4]].concat();
    let got = ProduceAnswer::decode(&bytes, 7).unwrap();
    assert_eq!(got.partitions.len(), 1_000);
    assert!(got.partitions.iter().all(|p| Arc::ptr_eq(&p.topic, &got.partitions[0].topic)));
}

#[test]
fn a_broker_that_refuses_version_2_is_asked_in_version_0() {
    let refusal = bytes_of(&ApiVersionsResponse::default().with_error_code(35), 0);
    assert_eq!(ApiVersions::decode(&refusal), Ok(None));
}

#[test]
fn producer_ids_say_what_the_oracle_wrote() {
    let answer = InitProducerIdResponse::default()
        .with_producer_id(1000.into())
        .with_producer_epoch(2)
        .with_error_code(14);
    let bytes = bytes_of(&answer, 1);
    let got = ProducerIdAnswer::decode(&bytes).unwrap();
    assert_eq!((got.code, got.producer_id, got.epoch), (14, 1000, 2));
    hostile(&bytes, ProducerIdAnswer::decode);
}

#[test]
fn offsets_say_what_the_oracle_wrote() {
    for version in 1..=4 {
        let row = ListOffsetsPartitionResponse::default().with_partition_index(3).with_offset(99);
        let topic = ListOffsetsTopicResponse::default().with_name(s("t").into()).with_partitions(vec![row]);
        let bytes = bytes_of(&ListOffsetsResponse::default().with_topics(vec![topic]), version);
        assert_eq!(OffsetAnswer::decode(&bytes, version), Ok(OffsetAnswer { code: 0, offset: 99 }));
        hostile(&bytes, |b| OffsetAnswer::decode(b, version));
        let _ = list_offsets_request("me", version, "t", 3, LATEST);
    }
}

#[test]
fn fetched_records_are_where_the_oracle_wrote_them() {
    for version in 4..=11 {
        let row = PartitionData::default()
            .with_partition_index(0)
            .with_high_watermark(1234)
            .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
            .with_records(Some(Bytes::from_static(b"record batches")));
        let topic = FetchableTopicResponse::default().with_topic(s("t").into()).with_partitions(vec![row]);
        let bytes = bytes_of(&FetchResponse::default().with_responses(vec![topic]), version);
        let got = FetchAnswer::decode(&bytes, version).unwrap().partition.unwrap();
        assert_eq!((got.code, got.high_watermark), (0, 1234));
        assert_eq!(&bytes[got.records], b"record batches");
        hostile(&bytes, |b| FetchAnswer::decode(b, version));
        let _ = fetch_request("me", version, ("t", 0), 5, 1000, 100);
    }
}

proptest! {
    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = ApiVersions::decode(&noise).map(|a| a.map(|a| a.choose()));
        let _ = ProducerIdAnswer::decode(&noise);
        for version in 1..=12 {
            let _ = MetadataAnswer::decode(&noise, version);
            let _ = ProduceAnswer::decode(&noise, version);
            let _ = FetchAnswer::decode(&noise, version);
            let _ = OffsetAnswer::decode(&noise, version);
        }
    }

    #[test]
    fn what_we_accept_of_damaged_metadata_the_oracle_reads_the_same(
        at: prop::sample::Index, byte: u8, version in prop::sample::select(vec![8i16, 12]),
    ) {
        let mut bytes = bytes_of(&some_metadata(), version).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // Only what we accept is given to the oracle: it would abort on what we refuse.
        // It refuses null arrays, which we take for empty.
        if let Ok(ours) = MetadataAnswer::decode(&bytes, version)
            && let Ok(theirs) = MetadataResponse::decode(&mut Bytes::from(bytes), version)
        {
            prop_assert_eq!(ours.brokers.len(), theirs.brokers.len());
            prop_assert_eq!(ours.topics.len(), theirs.topics.len());
            for (a, b) in ours.topics.iter().zip(&theirs.topics) {
                prop_assert_eq!(a.code, b.error_code);
                prop_assert_eq!(a.name.as_str(), b.name.as_ref().map_or("", |n| n.as_str()));
                let a: Vec<_> = a.partitions.iter().map(|p| (p.index, p.leader, p.leader_epoch)).collect();
                let b: Vec<_> =
                    b.partitions.iter().map(|p| (p.partition_index, p.leader_id.0, p.leader_epoch)).collect();
                prop_assert_eq!(a, b);
            }
        }
    }
}
