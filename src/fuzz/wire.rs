//! What comes from a broker, and from what takes itself for a client of the demo's.

use std::hint::black_box;

use crate::kafka::BatchReader;
use crate::kafka::wire::{
    ApiVersions, ConfigsAnswer, FetchAnswer, MetadataAnswer, OffsetAnswer, ProduceAnswer, ProducerIdAnswer,
    SaslAuthenticateAnswer, SaslHandshakeAnswer,
};

/// Reads arbitrary bytes as a broker's answer: the first byte says to what, the second in which version. What is read
/// names no more of anything than there are bytes.
pub fn responses(bytes: &[u8]) {
    let [which, version, answer @ ..] = bytes else { return };
    let version = i16::from(version % 16);
    let most = match which % 9 {
        0 => ApiVersions::decode(answer).map_or(0, |told| {
            let _ = black_box(told.map(|told| told.choose()));
            0
        }),
        1 => MetadataAnswer::decode(answer, version).map_or(0, |a| {
            let partitions = a.topics.iter().map(|topic| topic.partitions.len());
            a.brokers.len() + a.topics.len() + partitions.sum::<usize>()
        }),
        2 => ProduceAnswer::decode(answer, version).map_or(0, |a| a.partitions.len()),
        3 => FetchAnswer::decode(answer, version).map_or(0, |a| usize::from(a.partition.is_some())),
        4 => OffsetAnswer::decode(answer, version).map_or(0, |_| 1),
        5 => ProducerIdAnswer::decode(answer).map_or(0, |_| 1),
        6 => ConfigsAnswer::decode(answer, version).map_or(0, |a| a.topics.len()),
        7 => SaslHandshakeAnswer::decode(answer).map_or(0, |a| a.mechanisms.len()),
        _ => SaslAuthenticateAnswer::decode(answer, version).map_or(0, |a| a.bytes.len()),
    };
    assert!(most <= answer.len(), "{most} things in {} bytes", answer.len());
}

/// Reads arbitrary bytes as the batches of a Fetch answer, of which the first has its length, magic and checksum put
/// right. Nothing unpacks to more than was allowed, and no batch has more records than its header says.
pub fn records(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    const HEADER: usize = 61;
    let mut bytes = bytes.to_vec();
    if let Some(length) = bytes.len().checked_sub(12).filter(|_| bytes.len() >= HEADER) {
        bytes[8..12].copy_from_slice(&u32::try_from(length).expect("a fuzzer's input").to_be_bytes());
        bytes[16] = 2;
        let crc = crc_fast::crc32_iscsi(&bytes[21..]).to_be_bytes();
        bytes[17..21].copy_from_slice(&crc);
    }
    for batch in BatchReader::new(&bytes, LIMIT) {
        let Ok(batch) = batch else { return };
        let (mut count, mut total) = (0, 0);
        for record in batch.records() {
            let Ok(record) = record else { break };
            count += 1;
            total += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
        assert!(count <= batch.header.count && total <= LIMIT, "{count} records, {total} bytes");
    }
}

/// Reads arbitrary bytes as a request to the demo's broker, and as a batch that it is asked to append.
pub fn requests(bytes: &[u8]) {
    crate::target::read_hostile(bytes);
}
