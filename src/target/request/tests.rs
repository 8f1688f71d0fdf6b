//! Our decoders against the codec crate as oracle, and against bytes that no client sends.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::target::wire::WireError;

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

fn encode<B: Encodable>(key: ApiKey, version: i16, body: &B) -> Bytes {
    let mut bytes = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(text("oracle")));
    header.encode(&mut bytes, key.request_header_version(version)).unwrap();
    body.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

fn decode(frame: Bytes) -> Request {
    let (header, request) = read(frame).unwrap();
    assert_eq!((header.correlation, header.client_id.as_deref()), (77, Some("oracle")));
    request
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,40}"
}

fn few<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #[test]
    fn produce_is_read_as_the_codec_writes_it(
        version in 3i16..=9,
        transactional in any::<bool>(),
        acks in -2i16..3,
        topics in few((name(), few((any::<i32>(), proptest::collection::vec(any::<u8>(), 0..200))))),
    ) {
        let body = ProduceRequest::default()
            .with_transactional_id(transactional.then(|| text("tx").into()))
            .with_acks(acks)
            .with_topic_data(topics.iter().map(|(topic, partitions)| {
                produce_request::TopicProduceData::default()
                    .with_name(text(topic).into())
                    .with_partition_data(partitions.iter().map(|(index, records)| {
                        produce_request::PartitionProduceData::default()
                            .with_index(*index)
                            .with_records(Some(Bytes::copy_from_slice(records)))
                    }).collect())
            }).collect());
        let expected = topics.into_iter().map(|(topic, partitions)| {
            let data = |(index, records): (_, Vec<u8>)| PartitionData { index, records: records.into() };
            (topic, partitions.into_iter().map(data).collect())
        });
        let expected = Produce { transactional, acks, topics: expected.collect() };
        prop_assert_eq!(decode(encode(ApiKey::Produce, version, &body)), Request::Produce(expected));
    }

    #[test]
    fn fetch_is_read_as_the_codec_writes_it(
        version in 4i16..=11,
        numbers in any::<[i32; 3]>(),
        topics in few((name(), few(any::<(i32, i64, i32)>()))),
        forgotten in few(name()),
        session in any::<i32>(),
    ) {
        let session_id = if version >= 7 { session } else { 0 };
        let mut body = FetchRequest::default()
            .with_max_wait_ms(numbers[0]).with_min_bytes(numbers[1]).with_max_bytes(numbers[2])
            .with_session_id(session_id)
            .with_topics(topics.iter().map(|(topic, partitions)| {
                fetch_request::FetchTopic::default()
                    .with_topic(text(topic).into())
                    .with_partitions(partitions.iter().map(|(index, offset, max)| {
                        fetch_request::FetchPartition::default()
                            .with_partition(*index).with_fetch_offset(*offset).with_partition_max_bytes(*max)
                    }).collect())
            }).collect());
        if version >= 7 {
            body = body.with_forgotten_topics_data(forgotten.iter().map(|topic| {
                fetch_request::ForgottenTopic::default()
                    .with_topic(text(topic).into()).with_partitions(vec![1, 2])
            }).collect());
        }
        let expected = topics.into_iter().map(|(topic, partitions)| {
            let one = |(index, offset, max_bytes)| FetchPartition { index, offset, max_bytes };
            (topic, partitions.into_iter().map(one).collect())
        });
        let expected = Fetch {
            max_wait_ms: numbers[0], min_bytes: numbers[1], max_bytes: numbers[2], session_id,
            topics: expected.collect(),
        };
        prop_assert_eq!(decode(encode(ApiKey::Fetch, version, &body)), Request::Fetch(expected));
    }

    #[test]
    fn list_offsets_is_read_as_the_codec_writes_it(
        version in 1i16..=5,
        topics in few((name(), few(any::<(i32, i64)>()))),
    ) {
        let body = ListOffsetsRequest::default().with_topics(topics.iter().map(|(topic, partitions)| {
            list_offsets_request::ListOffsetsTopic::default()
                .with_name(text(topic).into())
                .with_partitions(partitions.iter().map(|(index, timestamp)| {
                    list_offsets_request::ListOffsetsPartition::default()
                        .with_partition_index(*index).with_timestamp(*timestamp)
                }).collect())
        }).collect());
        let expected = topics.into_iter().map(|(topic, partitions)| {
            let one = |(index, timestamp)| OffsetOf { index, timestamp };
            (topic, partitions.into_iter().map(one).collect())
        });
        let expected = ListOffsets { topics: expected.collect() };
        prop_assert_eq!(decode(encode(ApiKey::ListOffsets, version, &body)), Request::ListOffsets(expected));
    }

    #[test]
    fn metadata_is_read_as_the_codec_writes_it(
        version in 0i16..=12,
        topics in proptest::option::of(few(name())),
        auto_create in any::<bool>(),
        by_id in any::<bool>(),
    ) {
        let by_id = by_id && version >= 10;
        let topics = if version == 0 { Some(topics.unwrap_or_default()) } else { topics };
        let mut body = MetadataRequest::default().with_topics(topics.as_ref().map(|topics| {
            topics.iter().map(|topic| {
                metadata_request::MetadataRequestTopic::default()
                    .with_name((!by_id).then(|| text(topic).into()))
            }).collect()
        }));
        body.allow_auto_topic_creation = version < 4 || auto_create;
        let asked = |n: String| if by_id { TopicAsked::Id([0; 16]) } else { TopicAsked::Name(n) };
        let all = version == 0 && topics.as_ref().is_some_and(Vec::is_empty);
        let topics = topics.filter(|_| !all).map(|t| t.into_iter().map(asked).collect());
        let expected = Metadata { topics, auto_create: version < 4 || auto_create };
        prop_assert_eq!(decode(encode(ApiKey::Metadata, version, &body)), Request::Metadata(expected));
    }

    #[test]
    fn create_topics_is_read_as_the_codec_writes_it(
        version in 2i16..=5,
        validate_only in any::<bool>(),
        topics in few((name(), any::<i32>(), any::<i16>(), 0usize..4, few((name(), name())))),
    ) {
        let body = CreateTopicsRequest::default().with_validate_only(validate_only).with_topics(
            topics.iter().map(|(topic, partitions, replication, assigned, configs)| {
                let assignment = create_topics_request::CreatableReplicaAssignment::default()
                    .with_broker_ids(vec![0.into(), 1.into()]);
                create_topics_request::CreatableTopic::default()
                    .with_name(text(topic).into())
                    .with_num_partitions(*partitions)
                    .with_replication_factor(*replication)
                    .with_assignments(vec![assignment; *assigned])
                    .with_configs(configs.iter().map(|(name, value)| {
                        create_topics_request::CreatableTopicConfig::default()
                            .with_name(text(name)).with_value(Some(text(value)))
                    }).collect())
            }).collect());
        let one = |(name, partitions, replication, assigned, _)| NewTopic { name, partitions, replication, assigned };
        let expected = CreateTopics { topics: topics.into_iter().map(one).collect(), validate_only };
        prop_assert_eq!(decode(encode(ApiKey::CreateTopics, version, &body)), Request::CreateTopics(expected));
    }

    #[test]
    fn producer_ids_are_asked_for_in_every_version(version in 0i16..=4, transactional in any::<bool>()) {
        let id = transactional.then(|| text("tx").into());
        let body = InitProducerIdRequest::default().with_transactional_id(id);
        let expected = Request::InitProducerId(InitProducerId { transactional });
        prop_assert_eq!(decode(encode(ApiKey::InitProducerId, version, &body)), expected);
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic(
        key in 0i16..24, version in 0i16..14, rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        frame.extend_from_slice(&rest);
        let _ = read(frame.freeze());
    }

    #[test]
    fn what_is_cut_short_is_refused(cut in 1usize..60) {
        let frame = encode(ApiKey::Metadata, 12, &MetadataRequest::default().with_topics(Some(vec![
            metadata_request::MetadataRequestTopic::default().with_name(Some(text("some-topic").into())),
        ])));
        prop_assume!(cut <= frame.len());
        prop_assert!(read(frame.slice(..frame.len() - cut)).is_err());
    }
}

#[test]
fn the_other_requests_are_read_in_every_version() {
    for version in 0..=2 {
        let body = FindCoordinatorRequest::default().with_key(text("group"));
        assert_eq!(decode(encode(ApiKey::FindCoordinator, version, &body)), Request::FindCoordinator);
    }
    for version in 0..=3 {
        let known = Request::ApiVersions { known: true };
        assert_eq!(decode(encode(ApiKey::ApiVersions, version, &ApiVersionsRequest::default())), known);
    }
}

#[test]
fn a_newer_api_versions_is_answered_in_version_0() {
    let (header, request) = read(encode(ApiKey::ApiVersions, 4, &ApiVersionsRequest::default())).unwrap();
    assert_eq!((header.version, request), (0, Request::ApiVersions { known: false }));
}

/// The codec crate would reserve 400 GB for each of these.
#[test]
fn huge_counts_are_refused_without_allocating() {
    let frame = |key: ApiKey, version: i16, body: &[u8]| {
        let mut bytes = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .encode(&mut bytes, key.request_header_version(version))
            .unwrap();
        bytes.extend_from_slice(body);
        bytes.freeze()
    };
    let old = frame(ApiKey::Metadata, 4, &[0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(read(old), Err(WireError::CutShort(_))));
    let compact = frame(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(read(compact), Err(WireError::CutShort(_))));
    let produce = frame(ApiKey::Produce, 3, &[0xff, 0xff, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(read(produce), Err(WireError::CutShort(_))));
    let mut many = vec![0, 1, 0x86, 0xa1];
    many.resize(200_010, 0);
    assert_eq!(read(frame(ApiKey::Metadata, 4, &many)), Err(WireError::TooManyElements));
}

#[test]
fn the_oracle_reads_what_it_writes() {
    let mut body = encode(ApiKey::InitProducerId, 1, &InitProducerIdRequest::default());
    let header = RequestHeader::decode(&mut body, 1).unwrap();
    assert_eq!(header.request_api_key, ApiKey::InitProducerId as i16);
    assert!(InitProducerIdRequest::decode(&mut body, 1).is_ok());
}
