//! Where a segment goes on behind a bad place: made block by block.

use super::reading::{Worn, common, walker};
use super::*;
use crate::spool::encoder::Encoder;
use crate::spool::format::{BLOCK_MAGIC, DATA_START, Kind};
use crate::spool::seek::Seeker;
use crate::spool::walk::Walker;

/// A block of so many events from a number on; the first of them says `content`.
fn block(first: u64, count: u32, content: &[u8]) -> Vec<u8> {
    let mut values = vec![content.to_vec()];
    values.resize(count as usize, vec![7; 9]);
    let mut encoder = Encoder::new(false);
    encoder.push(&common(1), &stream("a"), Seq(first), batch(&values).as_bytes(), count).unwrap();
    encoder.finish_block(&common(1));
    encoder.bytes().to_vec()
}

fn good(first: u64, count: u32) -> Vec<u8> {
    block(first, count, &[7; 9])
}

fn empty(kind: Kind, next: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(false);
    encoder.push_empty(&common(1), kind, Seq(next));
    encoder.bytes().to_vec()
}

fn gone() -> Vec<u8> {
    vec![0x55; 160]
}

/// Its header is whole, its events are not.
fn harmed(mut block: Vec<u8>) -> Vec<u8> {
    let len = block.len();
    block[len - 16..].iter_mut().for_each(|byte| *byte ^= 1);
    block
}

/// A block with the bytes of another one in its event, where a block could begin.
fn around(first: u64, inner: &[u8]) -> Vec<u8> {
    let with = |pad: usize| block(first, 1, &[&vec![7; pad], inner, &[7; 40]].concat());
    let stands = |block: &[u8]| block[8..].windows(4).position(|at| at == BLOCK_MAGIC).unwrap() % 8 == 0;
    (0..8).map(with).find(|block| stands(block)).unwrap()
}

fn walk(parts: &[Vec<u8>]) -> (Walker<Worn>, u64) {
    let bytes = [vec![0; DATA_START as usize], parts.concat()].concat();
    let limit = bytes.len() as u64;
    (walker(bytes, &[]), limit)
}

/// What `Seeker` goes on with, for who reads from the segment's first byte, where number 1 is due: the byte behind the header area,
/// and the first number there.
fn found(parts: &[Vec<u8>], expected: u64, midway: bool) -> Option<(u64, u64)> {
    let (mut walker, limit) = walk(parts);
    let mut seeker = Seeker::new(DATA_START, Seq(1));
    let found = seeker.seek(&mut walker, (DATA_START, Seq(expected), midway), (limit, None)).unwrap();
    found.map(|block| (block.offset - DATA_START, block.header.first.0))
}

fn first(parts: &[Vec<u8>], expected: u64, midway: bool) -> Option<u64> {
    found(parts, expected, midway).map(|(_, first)| first)
}

#[test]
fn it_goes_on_with_the_lowest_number_that_is_not_below_the_one_that_is_due() {
    assert_eq!(first(&[gone(), good(2, 1), good(3, 1)], 1, false), Some(2));
    assert_eq!(first(&[gone(), good(7, 1), good(3, 1), good(5, 1)], 2, false), Some(3));
    assert_eq!(first(&[good(1, 1), gone(), harmed(good(3, 1))], 2, false), None);
    let (twice, second) = ([gone(), good(5, 1), good(5, 1)], gone().len() as u64);
    assert_eq!(found(&twice, 2, false), Some((second, 5)), "of two that say the same the first");
}

#[test]
fn a_mark_brings_nothing_and_a_seal_ends_it() {
    assert_eq!(first(&[gone(), empty(Kind::Mark, 2), good(3, 1)], 2, false), Some(3));
    assert_eq!(first(&[gone(), empty(Kind::Seal, 2)], 2, false), Some(2));
}

#[test]
fn who_begins_midway_goes_on_with_the_block_that_its_number_is_in_and_nobody_else_does() {
    let three = || [gone(), good(1, 3), good(5, 1)];
    for (expected, midway, goes_on) in
        [(2, true, 1), (3, true, 1), (4, true, 5), (2, false, 5), (5, true, 5), (1, true, 1)]
    {
        assert_eq!(first(&three(), expected, midway), Some(goes_on), "{expected}, midway: {midway}");
    }
    assert_eq!(first(&[good(1, 1), gone(), good(5, 1)], 3, true), Some(5));
}

/// What stands in an event may look like a block of this very segment: somebody has sent a part of a spool.
#[test]
fn what_a_block_holds_is_no_block_unless_the_block_stands_where_it_does_not_belong_and_is_not_whole() {
    let inner = good(2, 1);
    assert_eq!(first(&[harmed(around(1, &inner))], 2, false), None, "it stands where it belongs");
    assert_eq!(first(&[good(1, 1), harmed(around(2, &good(3, 1)))], 2, false), None);
    // A sector that was written in the wrong place, over the beginning of others.
    assert_eq!(first(&[harmed(around(9, &inner))], 2, false), Some(2));
    assert_eq!(first(&[around(9, &inner)], 2, false), Some(9), "it is whole");
}

#[test]
fn a_segment_holds_what_is_whole_in_it_and_no_less_than_what_is_asked_for() {
    let holds = |parts: &[Vec<u8>], expected| {
        let (mut walker, limit) = walk(parts);
        Seeker::new(DATA_START, Seq(1)).holds(&mut walker, Seq(expected), (limit, None)).unwrap()
    };
    assert!(holds(&[gone(), good(2, 1)], 2) && holds(&[gone(), good(3, 1)], 2));
    assert!(!holds(&[good(1, 1), gone()], 2), "whole, and below");
    assert!(!holds(&[harmed(good(2, 1))], 2), "above, and not whole");
}

/// Of a segment that is read from its middle, whose first block is not there, the block that the number is in still counts.
#[test]
fn a_reader_that_begins_within_a_block_gets_the_rest_of_it_though_what_stands_before_is_damaged() {
    use super::stepped::{Site, plain};
    use crate::spool::stepped::Heard;
    let site = Site::new();
    let mut lane = site.lane(&plain());
    for count in [1, 5, 1] {
        let heard = lane.append(vec![(stream("a"), batch(&vec![vec![7; 30]; count]))], 1, || 0);
        assert!(matches!(heard[..], [Heard::Answer(Ok(_), _)]));
    }
    let path = segments(site.dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[DATA_START as usize..][..8].fill(0x55);
    std::fs::write(&path, &bytes).unwrap();
    let mut reader = lane.lane().reader(Seq(4));
    let first = reader.next().unwrap();
    assert!(matches!(&first, Some(Item::Block(block)) if block.range().end == Seq(7)), "{first:?}");
    lane.close();
}
