//! How a row stands in the store.
//!
//! ```text
//! key   = lane · 0 · destination · 0 · segment u64 BE         (names hold no 0; sorts like [`Key`])
//! value = version u8 = 2 · first seq · last seq · accepted · delivered · filtered · dead-lettered
//!         · dropped · lost to damage · hash (u64 LE each) · finished at i64 LE ms
//!         · run u64 LE (0 = not known) · CRC-32 u32 LE
//! ```
//! Version 1 has no run.
//! The CRC (CRC-32/ISO-HDLC) covers the key and all of the value before it, so that a value which has come
//! under another key is seen as well. The store has checksums of its own, which are not relied on.

use crate::ids::{DestinationName, LaneName, RunId, SegmentId, Seq};

use super::row::{Key, Row};

const VERSION: u8 = 2;
const VALUE_LEN: usize = 1 + 11 * 8 + 4;
/// Of version 1.
const VALUE_LEN_1: usize = VALUE_LEN - 8;

/// The bytes a row is found by.
pub(super) fn encode_key(key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.lane.as_str().len() + key.destination.as_str().len() + 10);
    bytes.extend_from_slice(key.lane.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.destination.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&key.segment.0.to_be_bytes());
    bytes
}

/// Reads a key back; `None` if it is none.
pub(super) fn decode_key(bytes: &[u8]) -> Option<Key> {
    let (names, segment) = bytes.split_last_chunk::<8>()?;
    let mut names = names.split(|b| *b == 0);
    let (lane, destination, rest) = (names.next()?, names.next()?, names.next()?);
    if !rest.is_empty() || names.next().is_some() {
        return None;
    }
    Some(Key {
        lane: LaneName::new(std::str::from_utf8(lane).ok()?).ok()?,
        destination: DestinationName::new(std::str::from_utf8(destination).ok()?).ok()?,
        segment: SegmentId(u64::from_be_bytes(*segment)),
    })
}

/// The bytes of a row's value.
pub(super) fn encode_value(row: &Row) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VALUE_LEN);
    bytes.push(VERSION);
    for number in [
        row.first_seq.0,
        row.last_seq.0,
        row.accepted,
        row.delivered,
        row.filtered,
        row.dead_lettered,
        row.dropped,
        row.lost_to_damage,
        row.hash,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&row.finished_at.to_le_bytes());
    bytes.extend_from_slice(&row.run.map_or(0, |run| run.0).to_le_bytes());
    let crc = checksum(&encode_key(&row.key), &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a row back; `None` if it is damaged or of another version.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Row> {
    let (body, crc) = value.split_last_chunk::<4>()?;
    if checksum(key, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, mut rest) = body.split_first()?;
    if !matches!((*version, value.len()), (VERSION, VALUE_LEN) | (1, VALUE_LEN_1)) {
        return None;
    }
    let mut number = || {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        Some(u64::from_le_bytes(*head))
    };
    let mut row = Row {
        key: decode_key(key)?,
        run: None,
        first_seq: Seq(number()?),
        last_seq: Seq(number()?),
        accepted: number()?,
        delivered: number()?,
        filtered: number()?,
        dead_lettered: number()?,
        dropped: number()?,
        lost_to_damage: number()?,
        hash: number()?,
        finished_at: number()?.cast_signed(),
    };
    row.run = number().filter(|run| *run != 0).map(RunId);
    Some(row)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn key(lane: &str, destination: &str, segment: u64) -> Key {
        Key {
            lane: LaneName::new(lane).unwrap(),
            destination: DestinationName::new(destination).unwrap(),
            segment: SegmentId(segment),
        }
    }

    pub(in super::super) fn row(key: Key, at: i64) -> Row {
        let n = key.segment.0;
        Row {
            key,
            run: Some(RunId(n | 1 << 40)),
            first_seq: Seq(n * 100 + 1),
            last_seq: Seq(n * 100 + 100),
            accepted: 100,
            delivered: 90,
            filtered: 4,
            dead_lettered: 3,
            dropped: 2,
            lost_to_damage: 1,
            hash: n ^ 0xdead_beef,
            finished_at: at,
        }
    }

    fn any_key() -> impl Strategy<Value = Key> {
        ("[a-z.]{1,3}x", "[a-z.-]{1,3}y", any::<u64>()).prop_map(|(l, d, s)| key(&l, &d, s))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(key in any_key(), numbers: [u64; 9], run in 1u64.., at: i64) {
            let [first, last, accepted, delivered, filtered, dead_lettered, dropped, lost_to_damage, hash] = numbers;
            let row = Row { key, run: Some(RunId(run)), first_seq: Seq(first), last_seq: Seq(last), accepted, delivered, filtered,
                dead_lettered, dropped, lost_to_damage, hash, finished_at: at };
            prop_assert_eq!(decode(&encode_key(&row.key), &encode_value(&row)), Some(row));
        }

        #[test]
        fn bytes_sort_as_keys_do(a in any_key(), b in any_key()) {
            prop_assert_eq!(encode_key(&a).cmp(&encode_key(&b)), a.cmp(&b));
        }

        #[test]
        fn hostile_bytes_are_no_row(key: Vec<u8>, value: Vec<u8>) {
            prop_assert_eq!(decode(&key, &value), None);
            let _ = decode_key(&key);
        }
    }

    #[test]
    fn a_row_of_version_1_is_read_without_a_run() {
        let row = row(key("main", "home", 7), 5);
        let mut value = encode_value(&row);
        value.truncate(VALUE_LEN_1 - 4);
        value[0] = 1;
        value.extend(checksum(&encode_key(&row.key), &value).to_le_bytes());
        assert_eq!(decode(&encode_key(&row.key), &value), Some(Row { run: None, ..row }));
    }

    #[test]
    fn every_flipped_bit_and_a_wrong_key_are_seen() {
        let row = row(key("main", "home", 7), 5);
        let (found_by, value) = (encode_key(&row.key), encode_value(&row));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&found_by, &damaged), None, "bit {bit}");
        }
        assert_eq!(decode(&encode_key(&key("main", "home", 8)), &value), None);
    }

    #[test]
    fn a_key_with_anything_between_its_names_and_its_segment_is_none() {
        let found = |names: &str| decode_key(&[names.as_bytes(), &7u64.to_be_bytes()].concat());
        assert_eq!(found("main\0home\0"), Some(key("main", "home", 7)));
        for names in ["main\0home\0x", "main\0home\0\0", "main\0home\0x\0", "main\0home"] {
            assert_eq!(found(names), None, "{names:?}");
        }
    }
}
