//! Appending over a socket: the answers of a real broker (kafka.md 1.2).

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::client::{Client, TOPIC, batch, plain};
use crate::target::{Storage, Target, TargetOptions};

pub(super) fn one_topic() -> TargetOptions {
    TargetOptions { topics: vec![(TOPIC.to_owned(), 2)], ..TargetOptions::default() }
}

pub(super) async fn producer_id(client: &mut Client) -> i64 {
    let answer = client.ask(4, &InitProducerIdRequest::default().with_transactional_id(None)).await;
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    answer.producer_id.0
}

/// Changes bytes of a batch and makes its CRC right again.
fn forged(records: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&records[..]);
    change(&mut bytes);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[tokio::test]
async fn batches_get_offsets_and_duplicates_get_the_first_copys() {
    let target = Target::start(one_topic()).await.unwrap();
    let mut client = Client::connect(&target).await;
    let id = producer_id(&mut client).await;
    assert_eq!(client.put(batch((id, 0, 0), &["a", "b"])).await, (0, 0));
    assert_eq!(client.put(batch((id, 0, 2), &["c"])).await, (0, 2));
    let again = client.produce(0, batch((id, 0, 0), &["x", "y"])).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    assert!(again.log_append_time_ms > 0, "a duplicate's answer carries a time");
    assert_eq!(client.put(batch((id, 0, 4), &["gap"])).await.0, 45);
    assert_eq!(client.put(batch((id, 1, 0), &["d"])).await, (0, 3));
    assert_eq!(client.put(batch((id, 0, 3), &["old epoch"])).await.0, 47);
    assert_eq!(target.end_offset(TOPIC, 0), Some(4));
    let counts = *target.counts().borrow();
    assert_eq!((counts.batches, counts.records, counts.duplicates, counts.refused), (3, 4, 1, 2));
    let kept: Vec<_> =
        target.batches(TOPIC, 0).unwrap().iter().map(|(h, _)| (h.base_offset, h.count)).collect();
    assert_eq!(kept, [(0, 2), (2, 1), (3, 1)]);
}

#[tokio::test]
async fn what_a_broker_rejects_is_rejected_and_uses_no_sequence() {
    let target = Target::start(one_topic()).await.unwrap();
    let mut client = Client::connect(&target).await;
    let good = batch((9, 0, 0), &["a", "b"]);
    let two = Bytes::from([&good[..], &good[..]].concat());
    let mut torn = BytesMut::from(&good[..]);
    torn[70] ^= 1;
    let cases = [
        ("bad CRC", torn.freeze(), 2),
        ("cut short", good.slice(..40), 2),
        ("nothing", Bytes::new(), 2),
        ("two batches", two, 87),
        ("base offset", forged(&good, |b| b[7] = 1), 87),
        ("magic", forged(&good, |b| b[16] = 1), 87),
        ("count", forged(&good, |b| b[60] = 3), 87),
        ("count and delta", forged(&good, |b| (b[60], b[26]) = (3, 2)), 87),
        ("control", forged(&good, |b| b[22] |= 0x20), 87),
        ("transactional", forged(&good, |b| b[22] |= 0x10), 53),
        ("no epoch", forged(&good, |b| b[51..53].fill(0xff)), 47),
        ("no sequence", forged(&good, |b| b[53..57].fill(0xff)), 87),
        ("too large", plain(&[&"x".repeat(1_048_588)]), 10),
    ];
    for (what, records, code) in cases {
        assert_eq!(client.put(records).await, (code, -1), "{what}");
    }
    assert_eq!(client.put(good).await, (0, 0));
    assert_eq!(target.end_offset(TOPIC, 0), Some(2));
}

#[tokio::test]
async fn unknown_partitions_foreign_leaders_and_odd_acks_are_refused() {
    let target = Target::start(TargetOptions { brokers: 2, ..one_topic() }).await.unwrap();
    let mut client = Client::connect(&target).await;
    assert_eq!(client.produce(7, plain(&["a"])).await.error_code, 3);
    assert_eq!(client.produce(1, plain(&["a"])).await.error_code, 6);
    client.send_batch(2, 0, plain(&["a"])).await;
    let answer = client.receive::<ProduceRequest>(8).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 21);
    let mut other = Client::connect_to(&target, 1).await;
    assert_eq!(other.produce(1, plain(&["a"])).await.error_code, 0);
}

#[tokio::test]
async fn without_acks_nothing_is_answered_and_the_batch_is_there() {
    let target = Target::start(one_topic()).await.unwrap();
    let mut client = Client::connect(&target).await;
    client.send_batch(0, 0, plain(&["a"])).await;
    assert_eq!(client.put(plain(&["b"])).await, (0, 1));
}

#[tokio::test]
async fn a_partition_over_its_limit_takes_no_more() {
    let target = Target::start(TargetOptions { max_log_bytes: 150, ..one_topic() }).await.unwrap();
    let mut client = Client::connect(&target).await;
    assert_eq!(client.put(plain(&["a"])).await, (0, 0));
    assert_eq!(client.put(plain(&["a"])).await, (0, 1));
    assert_eq!(client.put(plain(&["a"])).await, (56, -1));
    assert_eq!(client.produce(1, plain(&["b"])).await.error_code, 0);
}

#[tokio::test]
async fn every_metadata_version_names_brokers_topics_and_leaders() {
    let target = Target::start(TargetOptions { brokers: 2, ..one_topic() }).await.unwrap();
    let mut client = Client::connect(&target).await;
    for version in 0..=12 {
        let mut request = MetadataRequest::default();
        request.topics = if version > 0 { None } else { Some(Vec::new()) };
        request.allow_auto_topic_creation = true;
        let answer = client.ask(version, &request).await;
        assert_eq!(answer.brokers.len(), 2, "version {version}");
        let topic = &answer.topics[0];
        assert_eq!((topic.error_code, topic.name.as_ref().unwrap().as_str()), (0, TOPIC));
        let leaders: Vec<_> = topic.partitions.iter().map(|p| p.leader_id.0).collect();
        assert_eq!(leaders, [0, 1]);
        assert_eq!(topic.topic_id.is_nil(), version < 10, "topic ids come with version 10");
    }
}

#[tokio::test]
async fn a_topic_made_again_has_another_id_and_no_producers() {
    let target = Target::start(one_topic()).await.unwrap();
    let mut client = Client::connect(&target).await;
    let name = |n: &'static str| StrBytes::from_static_str(n).into();
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(name(TOPIC)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let before = client.ask(12, &request).await.topics[0].topic_id;
    assert_eq!(client.put(batch((3, 0, 0), &["a"])).await, (0, 0));
    assert!(target.delete_topic(TOPIC));
    assert_eq!(client.ask(12, &request).await.topics[0].error_code, 3);
    target.create_topic(TOPIC, 1).unwrap();
    assert_ne!(client.ask(12, &request).await.topics[0].topic_id, before);
    assert_eq!(client.put(batch((3, 0, 1), &["b"])).await, (0, 0));
}

#[tokio::test]
async fn an_unknown_topic_is_made_only_where_that_is_wanted() {
    let target = Target::start(TargetOptions { auto_create: Some(3), ..one_topic() }).await.unwrap();
    let mut client = Client::connect(&target).await;
    let name = StrBytes::from_static_str("new").into();
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(name));
    let mut request = MetadataRequest::default().with_topics(Some(vec![asked]));
    request.allow_auto_topic_creation = false;
    assert_eq!(client.ask(9, &request).await.topics[0].error_code, 3);
    request.allow_auto_topic_creation = true;
    assert_eq!(client.ask(9, &request).await.topics[0].partitions.len(), 3);
}

#[tokio::test]
async fn batches_in_files_outlive_a_kill_and_producers_but_their_last_batch_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::Directory { path: dir.path().to_owned(), sync: true };
    let target = Target::start(TargetOptions { storage, ..one_topic() }).await.unwrap();
    let mut client = Client::connect(&target).await;
    let first = producer_id(&mut client).await;
    for n in 0..3 {
        assert_eq!(client.put(batch((first, 0, n), &["v"])).await, (0, i64::from(n)));
    }
    let before = target.batches(TOPIC, 0).unwrap();
    target.kill().await;
    assert!(tokio::net::TcpStream::connect(target.bootstrap()).await.is_err(), "a dead broker listens");
    assert_eq!(target.start_again().await.unwrap(), 0);
    assert_eq!(target.batches(TOPIC, 0).unwrap(), before);
    let mut client = Client::connect(&target).await;
    assert_eq!(client.put(batch((first, 0, 1), &["v"])).await.0, 45, "only the last batch is known");
    assert_eq!(client.put(batch((first, 0, 2), &["v"])).await, (0, 2));
    assert_eq!(client.put(batch((first, 0, 3), &["v"])).await, (0, 3));
    assert!(producer_id(&mut client).await >= first + 1000 - first % 1000);
}

#[tokio::test]
async fn hostile_frames_close_their_connection_and_nothing_else() {
    let target = Target::start(one_topic()).await.unwrap();
    let mut good = Client::connect(&target).await;
    let frames: [&[u8]; 4] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 4, 0, 0, 0, 0],
        &[0, 0, 0, 14, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
    ];
    for frame in frames {
        let mut bad = Client::connect(&target).await;
        bad.write(frame).await;
        assert!(bad.frame().await.is_err(), "{frame:?} was answered");
    }
    assert_eq!(good.put(plain(&["a"])).await, (0, 0));
}
