//! Reading where it is hard: unreadable pages, chunks that end inside of something, files that can't be opened, tables
//! that have changed.

use std::io;
use std::ops::Range;

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::{File, RealFs};
use crate::ids::{SegmentId, SpoolId};
use crate::spool::encoder::{Common, Encoder};
use crate::spool::format::{BlockHeader, Kind};
use crate::spool::inspect::Snapshot;
use crate::spool::walk::{Identity, Walker};
use rustix::io::Errno;

/// A file in memory, of which some pages can't be read.
#[derive(Debug)]
pub(super) struct Worn {
    bytes: Vec<u8>,
    bad: Vec<(Range<u64>, Errno)>,
}

impl File for Worn {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buf.len() as u64;
        if let Some((_, errno)) = self.bad.iter().find(|(bad, _)| bad.start < end && offset < bad.end) {
            return Err(io::Error::from_raw_os_error(errno.raw_os_error()));
        }
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

const SPOOL: SpoolId = SpoolId(5);

pub(super) fn common(segment: u64) -> Common {
    Common {
        spool: SPOOL,
        lane: lane_name(),
        run: crate::ids::RunId(7),
        segment: SegmentId(segment),
        synced_through: Seq::NONE,
        stamp: Stamp::default(),
    }
}

/// A block of one event.
fn block(segment: u64, seq: u64, size: usize) -> Vec<u8> {
    let (common, mut encoder) = (common(segment), Encoder::new(false));
    let events = batch(&[vec![seq as u8; size]]);
    encoder.push(&common, &stream("a"), Seq(seq), events.as_bytes(), 1).unwrap();
    encoder.finish_block(&common);
    encoder.bytes().to_vec()
}

pub(super) fn walker(bytes: Vec<u8>, bad: &[Range<u64>]) -> Walker<Worn> {
    walker_of(bytes, bad.iter().map(|bad| (bad.clone(), Errno::IO)).collect())
}

fn walker_of(bytes: Vec<u8>, bad: Vec<(Range<u64>, Errno)>) -> Walker<Worn> {
    let identity = Identity { spool: SPOOL, lane: lane_name(), segment: SegmentId(1) };
    Walker::new(Worn { bytes, bad }, PathBuf::new(), identity)
}

#[test]
fn a_block_is_found_wherever_the_chunks_that_are_read_end() {
    let chunk = 256 << 10;
    let (first, second) = (block(1, 1, 40), block(1, 2, 40));
    let edges = [chunk, 2 * chunk].into_iter().flat_map(|edge| (edge - 160..=edge + 16).step_by(8));
    for at in edges.chain((0..3 * chunk).step_by(20_008)) {
        let mut bytes = vec![0; at];
        bytes.extend(&first);
        bytes.extend([0xff; 24]);
        bytes.extend(&second);
        let limit = bytes.len() as u64;
        let mut walker = walker(bytes, &[]);
        let found = walker.search(0, limit).unwrap().unwrap();
        assert_eq!((found.offset, found.header.first), (at as u64, Seq(1)), "{at}");
        assert!(walker.stored(&found, limit).unwrap().is_some(), "{at}");
        let found = walker.search(found.next, limit).unwrap().unwrap();
        assert_eq!((found.next, found.header.first), (limit, Seq(2)), "{at}");
        assert_eq!(walker.stream(&found), "a");
        assert!(walker.search(found.next, limit).unwrap().is_none());
    }
}

#[test]
fn a_block_counts_if_it_ends_before_the_limit_and_is_of_this_segment() {
    let (one, other) = (block(1, 1, 40), block(2, 1, 40));
    let len = one.len() as u64;
    let probed = |bytes: &[u8], limit| walker(bytes.to_vec(), &[]).probe(0, limit).unwrap().is_some();
    assert!(probed(&one, len) && !probed(&other, len));
    let header = BlockHeader::decode(&one).unwrap().len() as u64;
    for limit in [0, 1, header - 1, header, len - 8, len - 1] {
        assert!(!probed(&one, limit), "{limit} of {len}");
        // A header without all of its events is seen, and they are not.
        let mut cut = walker(one[..limit as usize].to_vec(), &[]);
        let seen = cut.probe(0, len).unwrap();
        assert_eq!(seen.is_some(), limit >= header, "{limit} of {len}");
        assert!(seen.is_none_or(|block| cut.whole(&block, len).unwrap().is_none()), "{limit} of {len}");
    }
    // At the end of a file there is no room for the shortest header.
    let mut mark = Encoder::new(false);
    mark.push_empty(&common(1), Kind::Mark, Seq(1));
    assert!(probed(mark.bytes(), mark.bytes().len() as u64));
}

#[test]
fn an_unreadable_page_costs_what_stands_in_it_and_nothing_else() {
    // Sixty pages; a block begins in each, and none crosses into the next.
    let mut bytes = Vec::new();
    for seq in 1..=60 {
        bytes.extend(block(1, seq, 100));
        bytes.resize((seq as usize) * 4096, 0);
    }
    bytes.truncate(59 * 4096 + 400);
    let limit = bytes.len() as u64;
    let bad = [3 * 4096..4 * 4096, 30 * 4096 + 7..30 * 4096 + 8, 31 * 4096..31 * 4096 + 1];
    let mut strict = walker(bytes.clone(), &bad);
    assert!(strict.search(0, limit).is_err(), "who has not asked often enough is told");
    let mut walker = walker(bytes.clone(), &bad);
    walker.tolerant = true;
    let (mut at, mut found) = (0, Vec::new());
    while let Some(block) = walker.search(at, limit).unwrap() {
        assert!(walker.stored(&block, limit).unwrap().is_some());
        found.push(block.header.first.0);
        at = block.next;
    }
    let expected: Vec<u64> = (1..=60).filter(|seq| ![4, 31, 32].contains(seq)).collect();
    assert_eq!((found, walker.unreadable.len()), (expected, 3));
}

#[test]
fn what_stands_before_and_behind_an_unreadable_page_is_read_from_wherever_reading_begins() {
    let (short, long) = (block(1, 1, 100), block(1, 2, 12_000));
    for start in [0, 8, 1000, 4000] {
        // A short block up to the bad page, a long one from its end to another bad page.
        let mut bytes = vec![0; start + 4096 - short.len()];
        bytes.extend(&short);
        let first = bytes.len() as u64;
        let page = first.next_multiple_of(4096);
        bytes.resize(page as usize, 0);
        bytes.resize(page as usize + 4096, 0xff);
        bytes.extend(&long);
        bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
        let limit = bytes.len() as u64;
        let mut walker = walker(bytes, &[page..page + 1, limit - 1..limit]);
        walker.tolerant = true;
        let begin = first - short.len() as u64;
        let found = walker.search(begin, limit).unwrap().unwrap();
        assert_eq!((found.offset, found.next), (begin, first));
        let found = walker.search(found.next, limit).unwrap().unwrap();
        assert_eq!((found.offset, found.header.first), (page + 4096, Seq(2)), "{start}");
        assert!(walker.whole(&found, limit).unwrap().is_some(), "{start}");
    }
}

/// Bytes that begin as a block does, so near to the end of what is in memory that the search goes on behind them.
#[test]
fn what_looks_like_a_block_at_the_end_of_what_was_read_hides_none_that_follows() {
    let chunk = 256 << 10;
    for left in [112, 584, 1000] {
        for gap in [0, 8, 48, 5000] {
            let mut bytes = vec![0; chunk - left];
            bytes.extend(crate::spool::format::BLOCK_MAGIC);
            bytes.resize(chunk + gap, 0);
            bytes.extend(block(1, 1, 40));
            let limit = bytes.len() as u64;
            let found = walker(bytes, &[]).search(0, limit).unwrap();
            assert_eq!(found.map(|block| block.offset), Some((chunk + gap) as u64), "{left} {gap}");
        }
    }
}

#[test]
fn a_file_that_is_shorter_than_it_was_is_read_to_its_end_and_no_further() {
    // A bad page, a good one, a part of a third; and a walker that has something else in memory.
    let mut bytes = block(1, 1, 40);
    bytes.resize(2 * 4096, 0);
    let last = block(1, 2, 40);
    bytes.extend(&last);
    let end = bytes.len() as u64;
    for limit in [end, end + 8, 3 * 4096 + 8, 40_000] {
        let mut walker = walker(bytes.clone(), std::slice::from_ref(&(0..1)));
        walker.tolerant = true;
        let found = walker.search(0, limit).unwrap().unwrap();
        assert_eq!((found.offset, found.next, walker.unreadable.len()), (2 * 4096, end, 1));
        assert_eq!(
            walker.stored(&found, limit).unwrap().map(|b| b.len()),
            Some(found.header.payload_len as usize)
        );
        assert!(walker.search(found.next, limit).unwrap().is_none());
        // As if the block went on: there is nothing to be had of it.
        let mut more = found;
        more.next = limit;
        assert_eq!(walker.whole(&more, limit).unwrap().is_some(), limit == end, "{limit}");
    }
    // And where reading begins in the middle of the bad page.
    let mut bytes = vec![0; 4096];
    bytes.extend(&last);
    let mut walker = walker(bytes, std::slice::from_ref(&(4090..4091)));
    walker.tolerant = true;
    let found = walker.search(4088, 40_000).unwrap();
    assert_eq!((found.map(|block| block.offset), walker.unreadable.len()), (Some(4096), 1));
}

#[test]
fn what_a_later_version_or_a_key_has_made_unreadable_is_not_unpacked() {
    let bytes = block(1, 1, 40);
    let header = BlockHeader::decode(&bytes).unwrap();
    for (flags, key_id, read) in [(0, 0, true), (0, 7, false), (2, 0, false), (2, 7, false)] {
        let mut bytes = bytes.clone();
        BlockHeader { flags, key_id, ..header }.encode(&mut bytes);
        let limit = bytes.len() as u64;
        let mut walker = walker(bytes, &[]);
        let found = walker.probe(0, limit).unwrap().unwrap();
        assert_eq!(walker.payload(&found, limit).unwrap().is_some(), read, "{flags} {key_id}");
        assert!(walker.stored(&found, limit).unwrap().is_some());
    }
}

#[test]
fn an_error_that_says_nothing_of_the_bytes_is_one_for_whoever_puts_up_with_damage_too() {
    let bytes = block(1, 1, 10_000);
    let (limit, mut walker) = (bytes.len() as u64, walker(bytes, &[]));
    walker.tolerant = true;
    assert!(walker.probe(0, limit).unwrap().is_some());
    let (few, bad) = ((5000..5001, Errno::MFILE), (5000..5001, Errno::IO));
    // The last is met by who reads page after page because of another.
    let all = [
        (vec![few.clone()], true),
        (vec![bad.clone()], false),
        (vec![bad, (9000..9001, Errno::IO)], false),
        (vec![(9000..9001, Errno::IO), few], true),
    ];
    for (bad, told) in all {
        let mut walker = walker_of(block(1, 1, 10_000), bad.clone());
        walker.tolerant = true;
        let probed = walker.probe(0, limit);
        assert_eq!(probed.is_err(), told, "{bad:?}");
    }
}

/// A minute of errors, as of a path to a disk that is switched over, cost a whole segment that was intact.
#[test]
fn a_segment_that_can_not_be_opened_or_of_which_nothing_can_be_read_is_waited_for() {
    for (op, cause) in [(Op::Open, HoleCause::Missing), (Op::Read, HoleCause::Damaged)] {
        for ends in [true, false] {
            let site = stepped::Site::new();
            let mut lane = site.lane(&stepped::plain());
            assert_eq!(stepped::send(&mut lane, &[("a", 100); 3]), 3);
            let mut reader = lane.lane().reader(Seq(1));
            site.fs.fail_next(op, 1_000_000);
            // As often as delivery asks.
            let tries = reader::WHOLE_PATIENCE.as_secs() / 3;
            for n in 0..tries {
                assert!(reader.next().is_err(), "{op:?}, attempt {n} of {tries}");
                site.host.advance(Duration::from_secs(3));
            }
            if ends {
                site.fs.fail_next(op, 0);
                assert!(matches!(reader.next().unwrap(), Some(Item::Block(block)) if block.count == 3));
                assert_eq!(lane.lane().status().quarantined_events, 0);
                continue;
            }
            let given_up = (0..3).find_map(|_| reader.next().ok());
            let Some(Some(Item::Hole(hole))) = given_up else { panic!("it is given up: {given_up:?}") };
            assert_eq!((hole.cause, hole.range.len()), (cause, 3));
        }
    }
}

#[test]
fn errors_count_only_while_they_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    (0..3).for_each(|_| drop(append(&lane, "a", &[vec![1; 100]]).unwrap()));
    for _ in 0..3 {
        let mut reader = lane.reader(Seq(1));
        fs.fail_next(Op::Open, (reader::PATIENCE - 1).into());
        assert!((1..reader::PATIENCE).all(|_| reader.next().is_err()));
        assert!(matches!(reader.next().unwrap(), Some(Item::Block(_))));
    }
    assert_eq!(lane.status().quarantined_events, 0);
    lane.close();
}

#[test]
fn a_tool_gives_up_when_a_file_may_not_be_read_and_counts_what_can_not_be_read_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 100], vec![2; 100]]).unwrap();
    lane.close();
    // Else it is asked, too, whether the segment was deleted meanwhile.
    std::fs::remove_file(dir.path().join("lanes/main").join(names::FLOOR)).unwrap();
    for (errno, attempts, lost) in [(Errno::ACCESS, 41, None), (Errno::IO, 21, Some(2))] {
        let fs = Faulty::new();
        let snapshot = Snapshot::take(&fs, dir.path()).unwrap();
        fs.error(errno);
        fs.fail_next(Op::Open, 1000);
        let before = fs.count(Op::Open);
        let looked = snapshot.lanes[0].look_over(true);
        assert_eq!(looked.ok().map(|findings| findings.lost()), lost, "{errno}");
        assert_eq!(fs.count(Op::Open) - before, attempts, "{errno}");
    }
}

/// Several segments of events of 2000 bytes, numbered from 1.
fn small() -> Spool {
    Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() }
}

#[test]
fn a_segment_that_is_deleted_while_it_is_being_opened_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &small(), Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    let mut reader = lane.reader(Seq(1));
    let (released, first) = (lane.clone(), segments(dir.path())[0].clone());
    fs.meanwhile(Op::Open, move || {
        released.release(Seq(9));
        super::faults::wait_until("the deletion", || !first.exists());
    });
    let Some(Item::Hole(hole)) = reader.next().unwrap() else { panic!("it is gone") };
    assert_eq!((hole.cause, hole.range.first), (HoleCause::Released, Seq(1)));
    assert_eq!(lane.status().quarantined_events, 0);
    drop(reader);
    lane.close();
}

#[test]
fn from_every_number_on_what_follows_is_read_and_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &small(), Seq::NONE);
    for i in 0..12u8 {
        append(&lane, "a", &[vec![i; 2000], vec![i], vec![i; 3]]).unwrap();
    }
    let whole = read_all(&lane, 1).0;
    for from in 1..=37 {
        let (events, holes) = read_all(&lane, from);
        assert!(holes.is_empty() && events.iter().eq(whole.range(from..)), "{from}");
    }
    lane.close();
}

#[test]
fn a_reader_at_the_end_goes_on_when_more_has_come_in_this_segment_and_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &small(), Seq::NONE);
    let mut reader = lane.reader(Seq(1));
    for seq in 1..=20 {
        assert_eq!(reader.next().unwrap(), None);
        append(&lane, "a", &[vec![seq as u8; 2000]]).unwrap();
        let Some(Item::Block(block)) = reader.next().unwrap() else { panic!("{seq} was appended") };
        assert_eq!((block.first, block.count), (Seq(seq), 1));
    }
    assert!(lane.status().segments > 2);
    lane.close();
}

#[test]
fn what_a_reader_finds_damaged_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &small(), Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[format::DATA_START as usize + 1000] ^= 1;
    std::fs::write(path, bytes).unwrap();
    assert_eq!(lane.status().quarantined_events, 0, "nobody has looked");
    for _ in 0..2 {
        let (events, holes) = read_all(&lane, 1);
        assert_eq!((events.len(), holes.len(), lane.status().quarantined_events), (9, 1, 1));
    }
    lane.close();
}

#[test]
fn a_segment_of_a_later_version_is_not_read_though_its_blocks_look_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &small(), Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    lane.close();
    drop(lane);
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let header = format::SegmentHeader::decode_area(&bytes).unwrap();
    let area = format::SegmentHeader { incompat: 1, ..header }.encode_area();
    bytes[..area.len()].copy_from_slice(&area);
    std::fs::write(path, bytes).unwrap();
    let lane = open(&RealFs, dir.path(), &small(), Seq::NONE);
    let (events, holes) = read_all(&lane, 1);
    let [hole] = holes[..] else { panic!("{holes:?}") };
    assert_eq!((hole.cause, hole.range.first), (HoleCause::Damaged, Seq(1)));
    assert_eq!(hole.range.len() + events.len() as u64, 10);
    assert!(path.exists(), "and it is left where it is");
    lane.close();
}

/// One that is read with care takes a page for lost only while the disk gives others of the same file.
#[test]
fn a_page_counts_as_unreadable_while_the_disk_gives_either_copy_of_the_header() {
    let mut bytes = vec![0; format::DATA_START as usize];
    bytes.extend(block(1, 1, 9000));
    let (harmed, limit) = (format::DATA_START + 4096, bytes.len() as u64);
    for (header, answers) in [(&[][..], true), (&[0], true), (&[4096], true), (&[0, 4096], false)] {
        let bad: Vec<_> = header.iter().chain([&harmed]).map(|at| *at..at + 1).collect();
        let mut walker = walker(bytes.clone(), &bad);
        (walker.tolerant, walker.wary) = (true, true);
        let block = walker.probe(format::DATA_START, limit);
        let stored = block.and_then(|block| walker.stored(&block.unwrap(), limit));
        assert_eq!(stored.is_ok(), answers, "{header:?}");
        assert_eq!(!walker.unreadable.is_empty(), answers, "{header:?}");
    }
}
