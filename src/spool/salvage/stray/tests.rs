//! Which blocks are found beside the log, in which numbers, and what proves them.

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::SimFs;
use crate::ids::{LaneName, SpoolId};
use crate::spool::format::{BlockHeader, DATA_START, Kind, Verdict};
use crate::spool::table::Segment;

const SEGMENT: SegmentId = SegmentId(3);

fn identity() -> Identity {
    Identity { spool: SpoolId(5), lane: LaneName::new("main").unwrap(), segment: SEGMENT }
}

fn range(first: u64, end: u64) -> SeqRange {
    SeqRange::new(Seq(first), Seq(end))
}

/// A whole block; one without events is a seal.
fn block(run: u64, first: u64, count: u32, payload: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(payload.len()).unwrap();
    let header = BlockHeader {
        kind: if count == 0 { Kind::Seal } else { Kind::Events },
        flags: 0,
        payload_crc: crc32fast::hash(payload),
        payload_len,
        raw_len: payload_len,
        count,
        spool: SpoolId(5),
        run: RunId(run),
        segment: SEGMENT,
        first: Seq(first),
        synced_through: Seq::NONE,
        time: 0,
        boot: 0,
        monotonic: 0,
        key_id: 0,
        lane: "main",
        stream: "a",
    };
    let mut bytes = vec![0; usize::try_from(header.block_len()).unwrap()];
    header.encode(&mut bytes);
    bytes[header.len()..header.len() + payload.len()].copy_from_slice(payload);
    bytes
}

/// What is found in files of these blocks, which begin where those of a segment do.
fn collected(fs: &SimFs, files: &[Vec<u8>]) -> Strays {
    let mut strays = Strays::default();
    for (name, blocks) in files.iter().enumerate() {
        let path = PathBuf::from(format!("/{name}"));
        let limit = DATA_START + blocks.len() as u64;
        let mut bytes = vec![0; usize::try_from(DATA_START).unwrap()];
        bytes.extend(blocks);
        fs.tamper(|world| world.rot(&path, bytes)).unwrap();
        let mut walker = walker(fs, &path, SEGMENT, &identity()).unwrap().unwrap();
        strays.collect(&mut walker, (&path, SEGMENT), (DATA_START, limit)).unwrap();
    }
    strays
}

fn blocks() -> impl Strategy<Value = Vec<(usize, u64, u64, u32, bool)>> {
    proptest::collection::vec((0usize..2, 1u64..3, 1u64..16, 0u32..4, any::<bool>()), 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn within_some_numbers_are_the_blocks_that_lie_within_them_in_order(all in blocks(), first in 1u64..16, len in 0u64..16) {
        let fs = SimFs::default();
        let mut files = vec![Vec::new(), Vec::new()];
        let mut expected = [Vec::new(), Vec::new()];
        for (file, run, first, count, junk) in &all {
            if *junk {
                files[*file].extend([0xa5; 24]);
            }
            files[*file].extend(block(*run, *first, *count, &[0; 8]));
            if *count > 0 {
                expected[*file].push((*run, range(*first, first + u64::from(*count))));
            }
        }
        let expected: Vec<_> = expected.concat();
        let strays = collected(&fs, &files);
        let found = |places: Vec<Place>| places.iter().map(|p| (p.run().0, p.range())).collect::<Vec<_>>();
        let mut each = Vec::new();
        for stretch in &strays.stretches {
            each.extend(found(stretch.places(&fs, &identity()).unwrap()));
        }
        prop_assert_eq!(&each, &expected);
        let queries = expected.iter().map(|(_, own)| *own).chain([range(first, first + len), range(0, 99)]);
        for query in queries.collect::<Vec<_>>() {
            let fits = |(_, own): &&(u64, SeqRange)| query.first <= own.first && own.end <= query.end;
            let mut fitting: Vec<_> = expected.iter().filter(fits).copied().collect();
            fitting.sort_by_key(|(_, own)| own.first);
            prop_assert_eq!(found(strays.within(&fs, &identity(), query).unwrap()), fitting, "{}", query);
        }
    }
}

#[test]
fn blocks_that_follow_each_other_are_kept_as_stretches_of_a_mebibyte() {
    let payload = vec![0; (128 << 10) - block(1, 1, 1, &[0; 8]).len() + 8];
    let file: Vec<u8> = (1..=17).flat_map(|n| block(1, n, 1, &payload)).collect();
    assert_eq!(file.len(), 17 * (128 << 10));
    let strays = collected(&SimFs::default(), &[file]);
    let found: Vec<_> = strays.stretches.iter().map(|s| s.range).collect();
    assert_eq!(found, [range(1, 9), range(9, 17), range(17, 18)]);
}

#[test]
fn a_block_is_proven_by_a_later_one_of_its_run_or_by_the_place_it_once_had_in_the_log() {
    let fs = SimFs::default();
    let strays = collected(&fs, &[block(1, 10, 4, &[0; 16])]);
    let place = strays.within(&fs, &identity(), range(10, 14)).unwrap().pop().unwrap();
    let next = place.block.next;
    let table = |id, base, end, end_offset| {
        let segment = Segment {
            id,
            path: PathBuf::new(),
            base: Seq(base),
            end: Seq(end),
            end_offset,
            bytes: 0,
            created: None,
            verdict: Verdict::Closed,
            readable: true,
        };
        let mut table = Table::default();
        table.segments.insert(id, segment);
        table
    };
    assert!(strays.is_proven(&place, &table(SEGMENT, 10, 14, next)));
    for other in [
        table(SEGMENT.next(), 10, 14, next),
        table(SEGMENT, 11, 14, next),
        table(SEGMENT, 10, 13, next),
        table(SEGMENT, 10, 14, next - 1),
    ] {
        assert!(!strays.is_proven(&place, &other), "{other:?}");
    }
    for (run, synced_through, proven) in [(1, 12, false), (1, 13, true), (2, 99, false)] {
        let mut strays = Strays::default();
        strays.learn(RunId(run), Seq(synced_through));
        assert_eq!(strays.is_proven(&place, &Table::default()), proven, "{run} {synced_through}");
    }
}

#[test]
fn a_file_that_is_gone_or_damaged_has_no_blocks_and_one_that_may_not_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (fs, path) = (Faulty::new(), dir.path().join("file"));
    let opened = || walker(&fs, &path, SEGMENT, &identity()).map(|w| w.is_some());
    assert!(!opened().unwrap());
    std::fs::write(&path, "").unwrap();
    assert!(opened().unwrap());
    for (errno, told) in [(Errno::IO, false), (Errno::ACCESS, true)] {
        fs.error(errno);
        fs.fail_next(Op::Open, 1);
        assert_eq!(opened().is_err(), told, "{errno}");
    }
}
