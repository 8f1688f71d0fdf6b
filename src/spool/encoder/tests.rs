//! From requests to blocks and back.
#![allow(clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;
use crate::event::{Event, EventBatch};
use crate::spool::format::MAX_EVENTS_RAW;

fn common() -> Common {
    Common {
        spool: SpoolId(1),
        lane: LaneName::new("main").unwrap(),
        run: RunId(2),
        segment: SegmentId(3),
        synced_through: Seq(4),
        stamp: Stamp { time: 5, boot: 6, monotonic: 7 },
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// Events that can be packed, and events that can't.
fn events(sizes: &[usize], packs: bool) -> EventBatch {
    let mut batch = EventBatch::new();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        if packs { b'.' } else { noise.to_le_bytes()[3] }
    };
    for size in sizes {
        batch.push(&Event::of_value(&(0..*size).map(|_| roll()).collect::<Vec<_>>()));
    }
    batch
}

/// Stream, number of the first event, and bytes of every block.
fn blocks(encoded: &[u8]) -> Vec<(String, Seq, u32, Vec<u8>)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < encoded.len() {
        let header = BlockHeader::decode(&encoded[at..]).unwrap();
        let start = at + header.len();
        let stored = &encoded[start..start + header.payload_len as usize];
        assert_eq!(crc32fast::hash(stored), header.payload_crc);
        let raw = match header.flags {
            0 => stored.to_vec(),
            _ => lz4_flex::block::decompress(stored, header.raw_len as usize).unwrap(),
        };
        assert_eq!(raw.len(), header.raw_len as usize);
        assert!(header.count == 1 || raw.len() <= MAX_EVENTS_RAW);
        at += header.block_len() as usize;
        assert!(encoded[start + stored.len()..at].iter().all(|padding| *padding == 0));
        found.push((header.stream.to_owned(), header.first, header.count, raw));
    }
    found
}

#[derive(Debug, Clone)]
struct Sent {
    stream: &'static str,
    sizes: Vec<usize>,
    packs: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let size = prop_oneof![6 => 0usize..300, 2 => 10_000usize..40_000, 1 => 65_000usize..200_000];
    (prop_oneof!["a", "b"].boxed(), proptest::collection::vec(size, 1..6), any::<bool>()).prop_map(
        |(stream, sizes, packs)| Sent { stream: if stream == "a" { "a" } else { "b" }, sizes, packs },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn blocks_hold_every_request_in_order_in_no_more_than_was_reckoned(
        requests in proptest::collection::vec(sent(), 1..8),
        compress in any::<bool>(),
    ) {
        let common = common();
        let mut encoder = Encoder::new(compress);
        let (mut next, mut most, mut expected) = (Seq::FIRST, 0, Vec::new());
        for Sent { stream: name, sizes, packs } in &requests {
            let batch = events(sizes, *packs);
            most += Encoder::at_most(batch.as_bytes().len());
            encoder.push(&common, &stream(name), next, batch.as_bytes(), batch.count()).unwrap();
            prop_assert!(encoder.bytes().len() as u64 + encoder.waiting() <= most);
            expected.extend((next.0..).zip(batch.iter()).map(|(seq, event)| {
                (seq, (*name).to_owned(), event.unwrap().value.unwrap().to_vec())
            }));
            next = next.plus(batch.count().into());
        }
        let reckoned = encoder.bytes().len() as u64 + encoder.waiting();
        encoder.finish_block(&common);
        prop_assert!(encoder.bytes().len() as u64 <= reckoned);
        prop_assert_eq!(encoder.waiting(), 0);
        let mut read = Vec::new();
        for (stream, first, count, raw) in blocks(encoder.bytes()) {
            let before = read.len();
            read.extend((first.0..).zip(crate::event::EventIter::new(&raw)).map(|(seq, event)| {
                (seq, stream.clone(), event.unwrap().value.unwrap().to_vec())
            }));
            prop_assert_eq!(read.len() - before, count as usize);
        }
        prop_assert!(read == expected);
    }
}

#[test]
fn small_requests_of_a_stream_share_blocks_that_are_as_full_as_they_may_be() {
    let (common, mut encoder, batch) = (common(), Encoder::new(false), events(&[1000], false));
    for seq in 1..=200 {
        encoder.push(&common, &stream("a"), Seq(seq), batch.as_bytes(), 1).unwrap();
    }
    encoder.finish_block(&common);
    let each = batch.as_bytes().len();
    let counts: Vec<usize> = blocks(encoder.bytes()).iter().map(|block| block.2 as usize).collect();
    assert_eq!(counts, [BLOCK_RAW / each, BLOCK_RAW / each, BLOCK_RAW / each, 200 - 3 * (BLOCK_RAW / each)]);
}

#[test]
fn what_packs_is_packed_if_it_is_worth_it_and_asked_for() {
    let stored = |compress, size, packs| {
        let (common, mut encoder) = (common(), Encoder::new(compress));
        let batch = events(&[size], packs);
        encoder.push(&common, &stream("a"), Seq::FIRST, batch.as_bytes(), 1).unwrap();
        encoder.finish_block(&common);
        let header = BlockHeader::decode(encoder.bytes()).unwrap();
        (header.flags, header.payload_len < header.raw_len)
    };
    for size in [MIN_COMPRESS - 2, 1000, BLOCK_RAW - 4, 200_000] {
        assert_eq!(stored(true, size, true), (FLAG_LZ4, true), "{size}");
        assert_eq!(stored(true, size, false), (0, false), "{size}");
        assert_eq!(stored(false, size, true), (0, false), "{size}");
    }
    assert_eq!(stored(true, MIN_COMPRESS - 3, true), (0, false));
}

#[test]
fn memory_that_one_large_event_took_is_given_back() {
    let (common, mut encoder) = (common(), Encoder::new(false));
    let large = events(&[5 << 20], false);
    for (batch, most) in [(&large, 0), (&events(&[100], false), 256 << 10)] {
        encoder.push(&common, &stream("a"), Seq::FIRST, batch.as_bytes(), 1).unwrap();
        encoder.finish_block(&common);
        encoder.clear();
        assert!(encoder.bytes().is_empty() && encoder.out.len() <= most && encoder.raw.capacity() < 1 << 20);
    }
    assert!(!encoder.out.is_empty(), "what is little is kept for the next");
}

#[test]
fn what_is_reset_leaves_nothing_behind() {
    let (common, mut encoder, batch) = (common(), Encoder::new(false), events(&[10], false));
    encoder.push(&common, &stream("a"), Seq(1), batch.as_bytes(), 1).unwrap();
    encoder.reset();
    assert_eq!((encoder.waiting(), encoder.bytes().len()), (0, 0));
    encoder.push(&common, &stream("b"), Seq(1), batch.as_bytes(), 1).unwrap();
    encoder.push_empty(&common, Kind::Mark, Seq(2));
    let found = blocks(encoder.bytes());
    let named: Vec<_> =
        found.iter().map(|(stream, first, count, _)| (stream.as_str(), *first, *count)).collect();
    assert_eq!(named, [("b", Seq(1), 1), ("", Seq(2), 0)]);
}

#[test]
fn a_block_is_filled_to_the_last_byte_and_no_further() {
    let counts = |sizes: &[usize], together| {
        let (common, mut encoder) = (common(), Encoder::new(false));
        let batches = if together {
            vec![events(sizes, false)]
        } else {
            sizes.iter().map(|size| events(&[*size], false)).collect()
        };
        let mut next = Seq::FIRST;
        for batch in batches {
            encoder.push(&common, &stream("a"), next, batch.as_bytes(), batch.count()).unwrap();
            next = next.plus(batch.count().into());
        }
        encoder.finish_block(&common);
        blocks(encoder.bytes()).iter().map(|block| block.2).collect::<Vec<_>>()
    };
    let around = events(&[20_000], false).as_bytes().len() - 20_000;
    let rest = BLOCK_RAW - 2 * (20_000 + around) - around;
    assert_eq!(counts(&[20_000, 20_000, rest], false), [3]);
    assert_eq!(counts(&[20_000, 20_000, rest + 1], false), [2, 1]);
    // A request that is too large for one block.
    assert_eq!(counts(&[20_000, 20_000, rest, 10, 20], true), [3, 2]);
    assert_eq!(counts(&[20_000, 20_000, rest + 1, 10, 20], true), [2, 3]);
}

#[test]
fn with_the_longest_names_too_no_more_is_written_than_was_reckoned() {
    let (mut common, mut encoder) = (common(), Encoder::new(false));
    common.lane = LaneName::new(&"l".repeat(249)).unwrap();
    let name = StreamName::new(&"s".repeat(249)).unwrap();
    // Two events in a row never fit into one block.
    for count in [1, 7, 200] {
        let batch = events(&vec![BLOCK_RAW / 2; count], false);
        encoder.reset();
        encoder.push(&common, &name, Seq::FIRST, batch.as_bytes(), batch.count()).unwrap();
        let written = encoder.bytes().len() as u64;
        let waiting = encoder.waiting();
        encoder.finish_block(&common);
        let all = encoder.bytes().len() as u64;
        assert!(all - written <= waiting, "{waiting} for {}", all - written);
        assert!(all <= Encoder::at_most(batch.as_bytes().len()), "{count}");
    }
}
