//! Where a segment ends that nobody closed: made block by block.

use super::reading::{Worn, common, walker};
use super::*;
use crate::ids::SeqRange;
use crate::spool::encoder::{Common, Encoder};
use crate::spool::format::{DATA_START, Kind, Verdict};
use crate::spool::scan::{Scan, scan};
use crate::spool::walk::Walker;

/// A block: its first number, and up to where it says that all was durable.
#[derive(Debug, Clone, Copy)]
enum Part {
    Good(u64, u64),
    /// Its header is whole, its events are not.
    Harmed(u64, u64),
    /// Nothing of it can be read.
    Gone(u64),
    Mark(u64, u64),
    Seal(u64),
}
use Part::{Gone, Good, Harmed, Mark, Seal};

/// A segment of these blocks, and where each of them ends.
fn file(parts: &[Part]) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut ends) = (vec![0; DATA_START as usize], Vec::new());
    for part in parts {
        let (Good(seq, synced) | Harmed(seq, synced) | Mark(seq, synced)) = *part else {
            let (Gone(seq) | Seal(seq)) = *part else { unreachable!() };
            bytes.extend(encoded(part, seq, seq.saturating_sub(1)));
            ends.push(bytes.len() as u64);
            continue;
        };
        bytes.extend(encoded(part, seq, synced));
        ends.push(bytes.len() as u64);
    }
    (bytes, ends)
}

fn encoded(part: &Part, seq: u64, synced: u64) -> Vec<u8> {
    let common = Common { synced_through: Seq(synced), ..common(1) };
    let mut encoder = Encoder::new(false);
    match part {
        Mark(..) => encoder.push_empty(&common, Kind::Mark, Seq(seq)),
        Seal(_) => encoder.push_empty(&common, Kind::Seal, Seq(seq)),
        _ => {
            let events = batch(&[vec![7; 30]]);
            encoder.push(&common, &stream("a"), Seq(seq), events.as_bytes(), 1).unwrap();
            encoder.finish_block(&common);
        }
    }
    let mut bytes = encoder.bytes().to_vec();
    match part {
        Harmed(..) => bytes[115] ^= 1,
        Gone(_) => bytes.fill(0x55),
        _ => {}
    }
    bytes
}

fn scanned(parts: &[Part], proof: u64, cap: Option<u64>) -> (Scan, Vec<u64>) {
    let (bytes, ends) = file(parts);
    let limit = bytes.len() as u64;
    let mut walker: Walker<Worn> = walker(bytes, &[]);
    (scan(&mut walker, Seq(1), (Seq(proof), cap.map(Seq)), limit).unwrap(), ends)
}

#[test]
fn it_ends_behind_its_last_good_block_and_what_was_durable_before_is_rot() {
    type Case<'a> = (&'a [Part], u64, Option<u64>, (u64, Verdict, &'a [(u64, u64)]));
    let cases: [Case<'_>; 19] = [
        (&[], 0, None, (1, Verdict::Torn, &[])),
        (&[Good(1, 0), Good(2, 1), Seal(3)], 0, None, (3, Verdict::Closed, &[])),
        (&[Good(1, 0), Good(2, 1)], 0, None, (3, Verdict::Torn, &[])),
        // Nobody was told that the second is kept; somebody was.
        (&[Good(1, 0), Harmed(2, 1)], 1, None, (2, Verdict::Torn, &[])),
        (&[Good(1, 0), Harmed(2, 1)], 2, None, (2, Verdict::Rotten, &[])),
        (&[Good(1, 0), Gone(2)], 2, None, (2, Verdict::Rotten, &[])),
        // What the kernel happened to write behind a torn block does not count.
        (&[Good(1, 0), Harmed(2, 1), Good(3, 1)], 0, None, (2, Verdict::Torn, &[])),
        (&[Good(1, 0), Good(3, 1)], 0, None, (2, Verdict::Torn, &[])),
        // A later block proves it, or a mark, or the header of one that is harmed itself.
        (&[Good(1, 0), Harmed(2, 1), Good(3, 2)], 0, None, (4, Verdict::Rotten, &[(2, 3)])),
        (&[Good(1, 0), Gone(2), Good(3, 1), Mark(4, 3)], 0, None, (4, Verdict::Rotten, &[(2, 3)])),
        (&[Good(1, 0), Harmed(2, 1), Harmed(3, 2)], 0, None, (3, Verdict::Rotten, &[(2, 3)])),
        (&[Good(1, 0), Gone(2), Gone(3), Good(4, 3), Seal(5)], 0, None, (5, Verdict::Closed, &[(2, 4)])),
        // Holes that follow each other are one; with something between them they are two.
        (&[Good(1, 0), Gone(2), Mark(3, 2), Gone(3), Good(4, 3)], 0, None, (5, Verdict::Rotten, &[(2, 4)])),
        (&[Gone(1), Good(2, 1), Gone(3), Good(4, 3)], 0, None, (5, Verdict::Rotten, &[(1, 2), (3, 4)])),
        // A mark that is gone takes nothing with it.
        (&[Good(1, 0), Gone(2), Good(2, 1), Good(3, 2)], 0, None, (4, Verdict::Torn, &[])),
        // What a later segment has does not count here.
        (&[Good(1, 0), Good(2, 1), Good(3, 1)], 2, Some(3), (3, Verdict::Torn, &[])),
        (&[Good(1, 0), Gone(2), Good(3, 2)], 2, Some(3), (3, Verdict::Rotten, &[(2, 3)])),
        (&[Good(1, 0), Harmed(2, 1), Harmed(3, 2)], 2, Some(3), (3, Verdict::Rotten, &[(2, 3)])),
        (&[Good(1, 0), Gone(2), Good(3, 2), Good(4, 3)], 2, Some(4), (4, Verdict::Rotten, &[(2, 3)])),
    ];
    for (parts, proof, cap, (end, verdict, holes)) in cases {
        let (found, _) = scanned(parts, proof, cap);
        let ranges: Vec<_> = found.holes.iter().map(|hole| (hole.first.0, hole.end.0)).collect();
        // What was closed is rotten all the same where something is missing inside of it.
        let verdict = if holes.is_empty() { verdict } else { Verdict::Rotten };
        assert_eq!(
            (found.end, found.verdict, &ranges[..]),
            (Seq(end), verdict, holes),
            "{parts:?} {proof} {cap:?}"
        );
    }
}

#[test]
fn the_next_segment_is_told_the_byte_behind_the_last_good_block() {
    for (parts, good) in [
        (vec![Good(1, 0), Good(2, 1)], 2),
        (vec![Good(1, 0), Good(2, 1), Seal(3), Good(3, 2)], 3),
        (vec![Good(1, 0), Harmed(2, 1), Good(3, 1)], 1),
        (vec![Good(1, 0), Gone(2), Good(3, 2), Harmed(4, 2)], 3),
    ] {
        let (found, ends) = scanned(&parts, 0, None);
        assert_eq!(found.end_offset, ends[good - 1], "{parts:?}");
    }
    assert_eq!(scanned(&[], 0, None).0.end_offset, DATA_START);
    let mut short = walker(vec![0; 100], &[]);
    assert_eq!(scan(&mut short, Seq(1), (Seq(0), None), 100).unwrap().end_offset, 100);
}

#[test]
fn more_holes_than_are_remembered_are_left_to_the_reader_and_the_end_is_found_all_the_same() {
    let count = 1003;
    let mut parts: Vec<Part> = (0..count).flat_map(|n| [Good(2 * n + 1, 2 * n), Gone(2 * n + 2)]).collect();
    parts.push(Good(2 * count + 1, 2 * count));
    let (found, _) = scanned(&parts, 0, None);
    assert_eq!((found.end, found.holes.len()), (Seq(2 * count + 2), 1000));
    let lone = |n: u64| SeqRange::new(Seq(2 * n), Seq(2 * n + 1));
    assert!(found.holes.iter().zip(1..).all(|(hole, n)| *hole == lone(n)));
}

#[test]
fn more_damaged_places_than_a_start_remembers_are_counted_to_the_event_once_they_are_read() {
    use crate::disk::sim::SimFs;
    use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
    const BLOCKS: u64 = 2400;
    let (fs, metrics) = (SimFs::default(), Metrics::new());
    let settings = Spool { segment_size: 4 << 20, compression: SpoolCompression::None, ..settings() };
    let started = |seed| {
        let host = std::sync::Arc::new(SteppedHost::new(seed));
        let data = DataDir::open_on(fs.clone(), Path::new("/data"), host).unwrap();
        SteppedLane::open(&data, lane_name(), &settings, Seq::NONE, &metrics).unwrap()
    };
    let mut lane = started(1);
    for _ in 0..BLOCKS {
        let heard = lane.append(vec![(stream("a"), batch(&[vec![7; 9]]))], 1, || 0).pop();
        assert!(matches!(heard, Some(Heard::Answer(Ok(_), _))));
    }
    drop(lane);
    let path = Path::new("/data/lanes/main").join(names::segment(crate::ids::SegmentId(1)));
    let mut bytes = fs.world().read(&path).unwrap();
    let (mut at, mut damaged) = (format::DATA_START as usize, 0);
    while let Some(block) = bytes.get(at..).and_then(format::BlockHeader::decode) {
        let (end, first) = (at + block.block_len() as usize, block.first.0);
        if first % 2 == 1 {
            bytes[end - 9] ^= 0xff;
            damaged += 1;
        }
        at = end;
    }
    assert_eq!(damaged, BLOCKS / 2);
    fs.tamper(|world| world.rot(&path, bytes)).unwrap();
    let lane = started(2);
    let counted = || lane.lane().status().quarantined_events;
    assert!((1000..=damaged).contains(&counted()), "{} at the start", counted());
    let (events, holes) = read_all(lane.lane(), 1);
    assert_eq!((events.len() as u64, holes.len() as u64, counted()), (BLOCKS - damaged, damaged, damaged));
}

/// A copy of block `of` where block `at` was, cut off after `len` bytes of it.
fn misplaced(parts: &[Part], of: usize, at: usize, len: usize) -> Vec<u8> {
    let (mut bytes, ends) = file(parts);
    let begin = |n: usize| if n == 0 { DATA_START as usize } else { ends[n - 1] as usize };
    let copy = bytes[begin(of)..][..len.min(ends[of] as usize - begin(of))].to_vec();
    bytes[begin(at)..][..copy.len()].copy_from_slice(&copy);
    bytes
}

/// Found by reading: the first whole block behind a damaged one was believed to be the next, so one copy of a later
/// block cost all that stood between.
#[test]
fn a_copy_of_a_later_or_earlier_block_costs_what_it_has_overwritten_and_nothing_else() {
    let parts: Vec<Part> = (1..=9).map(|seq| Good(seq, seq - 1)).chain([Seal(10)]).collect();
    let whole_len = encoded(&Good(1, 0), 1, 0).len();
    for (of, at) in [(7, 2), (2, 7), (9, 0), (9, 4), (0, 4), (4, 3), (8, 7)] {
        // All of it, or its header alone.
        for len in [whole_len, 112] {
            // Written there too, or there instead of where it belongs.
            for moved in [false, len == whole_len] {
                let mut bytes = misplaced(&parts, of, at, len);
                if moved {
                    let (_, ends) = file(&parts);
                    let begin = if of == 0 { DATA_START } else { ends[of - 1] };
                    bytes[begin as usize..ends[of] as usize].fill(0);
                }
                let limit = bytes.len() as u64;
                let mut walker: Walker<Worn> = walker(bytes, &[]);
                let found = scan(&mut walker, Seq(1), (Seq(9), None), limit).unwrap();
                let lost = at as u64 + 1;
                let told = format!("{of} at {at}, {len} bytes, moved: {moved}");
                assert_eq!(found.holes, [SeqRange::new(Seq(lost), Seq(lost + 1))], "{told}");
                assert_eq!(found.end, Seq(10), "{told}");
            }
        }
    }
}

/// Where a reader begins makes no difference, nor what stands at the end of the file.
#[test]
fn a_block_that_stands_elsewhere_is_read_once_and_from_every_number_on() {
    use crate::disk::sim::SimFs;
    const BLOCKS: usize = 9;
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    let settings = Spool { compression: SpoolCompression::None, ..settings() };
    let lane = open(&fs, data, &settings, Seq::NONE);
    (0..BLOCKS as u8).for_each(|n| drop(append(&lane, "a", &[vec![n; 90], vec![n; 90]]).unwrap()));
    lane.close();
    drop(lane);
    let path = data.join("lanes/main").join(names::segment(crate::ids::SegmentId(1)));
    let whole = fs.world().read(&path).unwrap();
    let start = DATA_START as usize;
    let len = format::BlockHeader::decode(&whole[start..]).unwrap().block_len() as usize;
    let begin = |n: usize| start + n * len;
    // The last place is behind the seal, where the segment ended.
    let behind = begin(BLOCKS) + 2 * len;
    let places: Vec<usize> = (0..BLOCKS).map(begin).chain([behind]).collect();
    for (of, at) in (0..BLOCKS).flat_map(|of| (0..=BLOCKS).map(move |at| (of, at))) {
        // All of it there too, or there and nowhere else; or its header alone, which says more than stands there.
        for (moved, part) in [(false, len), (true, len), (false, 112)] {
            if of == at {
                continue;
            }
            let mut bytes = whole.clone();
            bytes.resize(bytes.len().max(behind + len), 0);
            bytes[places[at]..places[at] + part].copy_from_slice(&whole[begin(of)..begin(of) + part]);
            if moved {
                bytes[begin(of)..begin(of) + len].fill(0);
            }
            let fs = SimFs::of(fs.world());
            fs.tamper(|world| world.rot(&path, bytes)).unwrap();
            let lane = open(&fs, data, &settings, Seq::NONE);
            let lost = if at < BLOCKS { 2 * at as u64 + 1..2 * at as u64 + 3 } else { 0..0 };
            for from in 1..=2 * BLOCKS as u64 {
                let told = format!("{of} at {at}, moved: {moved}, {part} bytes, from {from}");
                let (events, holes) = read_all(&lane, from);
                let there = (from..=2 * BLOCKS as u64).filter(|n| !lost.contains(n));
                assert!(there.eq(events.keys().copied()), "{told}: {:?}", events.keys());
                assert!(events.iter().all(|(n, (_, value))| u64::from(value[0]) == (n - 1) / 2), "{told}");
                let said = holes.iter().flat_map(|hole| hole.range.first.0..hole.range.end.0);
                assert!(
                    said.eq((from..=2 * BLOCKS as u64).filter(|n| lost.contains(n))),
                    "{told}: {holes:?}"
                );
            }
        }
    }
}

/// A page that was written one too far: a block, and the beginning of a longer one, whose length would reach over what
/// stands behind.
#[test]
fn a_length_in_a_misplaced_header_hides_nothing_that_stands_where_it_belongs() {
    let parts: Vec<Part> = (1..=9).map(|seq| Good(seq, seq - 1)).chain([Seal(10)]).collect();
    let (whole, ends) = file(&parts);
    let (five, size) = (ends[3] as usize, (ends[4] - ends[3]) as usize);
    // Number 5, and the header of 6, over numbers 7 and 8; they are gone from where they belong.
    let mut bytes = whole.clone();
    let page = size + 112;
    assert!(size >= 144 && size.is_multiple_of(8), "{size}");
    bytes[five + 2 * size + 32..][..page].copy_from_slice(&whole[five..five + page]);
    bytes[five..five + page].fill(0);
    let limit = bytes.len() as u64;
    let mut walker: Walker<Worn> = walker(bytes, &[]);
    let found = scan(&mut walker, Seq(1), (Seq(9), None), limit).unwrap();
    assert_eq!((found.end, &found.holes[..]), (Seq(10), &[SeqRange::new(Seq(6), Seq(9))][..]));
}
