#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small numbers in tests"
)]

use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::*;
use crate::config::model::KafkaCompression;
use crate::kafka::codec::Codec;

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64);

const ALL: [KafkaCompression; 5] = [
    KafkaCompression::None,
    KafkaCompression::Gzip,
    KafkaCompression::Snappy,
    KafkaCompression::Lz4,
    KafkaCompression::Zstd,
];
const ME: Identity = Identity { producer_id: 4711, epoch: 3, base_sequence: 99 };

fn any_record() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let time = prop_oneof![0i64..2_000_000_000_000, any::<i64>()];
    (bytes(), bytes(), proptest::collection::vec(("[a-c]{0,2}", bytes()), 0..4), time)
}

fn push(builder: &mut RecordsBuilder, (key, value, headers, time): &Owned) {
    let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref()));
    builder.push(key.as_deref(), value.as_deref(), headers, *time);
}

fn encode(records: &[Owned], compression: KafkaCompression, stamp: Stamp, now: i64) -> Vec<u8> {
    let mut builder = RecordsBuilder::new(stamp);
    records.iter().for_each(|r| push(&mut builder, r));
    let before = builder.bytes();
    let batch = builder.seal(compression);
    assert!(builder.is_empty());
    assert_eq!(batch.uncompressed() + HEADER_LEN, before);
    let mut out = Vec::new();
    batch.encode(ME, now, &mut out);
    assert_eq!(out.len(), batch.encoded_len());
    out
}

fn read(bytes: &[u8]) -> (BatchHeader, Vec<Owned>) {
    let mut batches = BatchReader::new(bytes, 1 << 20);
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    let own = |r: RecordRef<'_>| {
        let headers = r.headers.iter().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect();
        (r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers, r.time)
    };
    let records = batch.records().map(|r| own(r.unwrap())).collect();
    (batch.header, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(records in proptest::collection::vec(any_record(), 1..12)) {
        for compression in ALL {
            let bytes = encode(&records, compression, Stamp::Event, 0);
            let (header, back) = read(&bytes);
            prop_assert_eq!(&back, &records);
            prop_assert_eq!(header.identity, ME);
            prop_assert_eq!(header.base_offset, 0);
            prop_assert_eq!(header.last_offset_delta as usize, records.len() - 1);
            prop_assert_eq!(header.max_time, records.iter().map(|r| r.3).max().unwrap());
        }
    }

    #[test]
    fn an_independent_decoder_reads_the_same(mut records in proptest::collection::vec(any_record(), 1..8)) {
        // It overflows on deltas of more than 63 bits.
        records.iter_mut().for_each(|r| r.3 /= 4);
        let mut bytes = bytes::Bytes::from(encode(&records, KafkaCompression::None, Stamp::Event, 0));
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.records.len(), records.len());
        for (i, (got, (key, value, headers, time))) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(got.key.as_deref(), key.as_deref());
            prop_assert_eq!(got.value.as_deref(), value.as_deref());
            prop_assert_eq!(got.timestamp, *time);
            prop_assert_eq!(got.offset, i as i64);
            prop_assert_eq!(got.sequence, 99 + i as i32);
            prop_assert_eq!((got.producer_id, got.producer_epoch), (4711, 3));
            // It keeps headers in a map, so that of each name only the last is there.
            for (name, value) in &got.headers {
                let last = headers.iter().rev().find(|(n, _)| n.as_str() == name.as_str()).unwrap();
                prop_assert_eq!(value.as_deref(), last.1.as_deref());
            }
        }
    }

    #[test]
    fn damage_is_noticed_and_truncation_ends_the_reading(
        records in proptest::collection::vec(any_record(), 1..6), at: prop::sample::Index, byte: u8,
    ) {
        let good = encode(&records, KafkaCompression::Lz4, Stamp::Event, 0);
        let at = at.index(good.len());
        prop_assert!(BatchReader::new(&good[..at], 1 << 20).next().is_none());
        let mut bad = good.clone();
        bad[at] = byte;
        let read = BatchReader::new(&bad, 1 << 20).next();
        // Offset, length and leader epoch stand outside of the checksum.
        if at >= 16 && bad != good {
            prop_assert!(matches!(read, Some(Err(_))), "byte {at}: {read:?}");
        }
    }

    #[test]
    fn hostile_records_never_panic(mut records in proptest::collection::vec(any::<u8>(), 0..300), count: i32) {
        let mut bytes = encode(&[(None, None, vec![], 0)], KafkaCompression::None, Stamp::Event, 0);
        bytes.truncate(HEADER_LEN);
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        bytes.append(&mut records);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        for batch in BatchReader::new(&bytes, 1 << 20).flatten() {
            for record in batch.records().flatten() {
                let _ = record.headers.iter().count();
            }
        }
    }
}

#[test]
fn the_time_of_sending_is_set_for_each_send() {
    let records = vec![(None, Some(vec![1]), vec![], 5), (None, Some(vec![2]), vec![], 900)];
    for now in [1_000, 2_000] {
        let (header, back) = read(&encode(&records, KafkaCompression::Gzip, Stamp::Send, now));
        assert_eq!((header.base_time, header.max_time), (now, now));
        assert!(back.iter().all(|r| r.3 == now));
    }
}

#[test]
fn a_builder_begins_anew_after_a_seal() {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    for base in [1_000_000, 50] {
        push(&mut builder, &(None, None, vec![], base));
        push(&mut builder, &(None, None, vec![], base + 7));
        let mut out = Vec::new();
        builder.seal(KafkaCompression::None).encode(ME, 0, &mut out);
        let (header, back) = read(&out);
        assert_eq!((header.base_time, header.max_time), (base, base + 7));
        assert_eq!(back.len(), 2);
    }
}

#[test]
fn a_batch_that_would_grow_stays_uncompressed() {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    builder.push(None, Some(b"x"), [], 0);
    assert_eq!(builder.seal(KafkaCompression::Zstd).codec(), Codec::None);
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let mut bytes =
        encode(&[(None, None, vec![], 5), (None, None, vec![], 6)], KafkaCompression::None, Stamp::Event, 0);
    bytes[22] |= 8;
    bytes[35..43].copy_from_slice(&777i64.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    assert!(read(&bytes).1.iter().all(|r| r.3 == 777));
}

#[test]
fn headers_keep_their_order_their_duplicates_and_their_nulls() {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    let headers = [("b", Some(&b"1"[..])), ("a", None), ("b", Some(&b""[..]))];
    builder.push(Some(b""), None, headers, 0);
    let mut out = Vec::new();
    builder.seal(KafkaCompression::None).encode(ME, 0, &mut out);
    let mut batches = BatchReader::new(&out, 1 << 20);
    let batch = batches.next().unwrap().unwrap();
    let record = batch.records().next().unwrap().unwrap();
    assert_eq!(record.headers.iter().collect::<Vec<_>>(), headers);
    assert_eq!(record.headers.last("b"), Some(Some(&b""[..])));
    assert_eq!((record.key, record.value), (Some(&b""[..]), None));
}

#[test]
fn times_that_are_moved_keep_their_distances_in_all_records() {
    let mut builder = RecordsBuilder::new(Stamp::Event);
    for time in [50, 20, 70] {
        builder.push(None, Some(b"v"), [], time);
    }
    let batch = builder.seal(KafkaCompression::Lz4);
    let mut bytes = Vec::new();
    batch.moved_to(1_070).encode(ME, 0, &mut bytes);
    let (header, records) = read(&bytes);
    assert_eq!(records.iter().map(|r| r.3).collect::<Vec<_>>(), [1_050, 1_020, 1_070]);
    assert_eq!((header.identity, header.max_time), (ME, 1_070));
}
