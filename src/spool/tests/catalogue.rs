//! Headers of many segments in one file: what a start learns from it is what the files say.

use super::super::candidates::{Listed, candidates};
use super::super::catalogue;
use super::super::format::{DATA_START, Predecessor, SegmentHeader, Verdict};
use super::super::names;
use super::super::recover::Access;
use super::super::table::{Segment, Table};
use super::super::walk::Identity;
use crate::config::model::Spool;
use crate::disk::sim::SimFs;
use crate::disk::{File, Fs};
use crate::ids::{LaneName, RunId, SegmentId, Seq, SpoolId};
use crate::metrics::Metrics;
use crate::spool::DataDir;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SPOOL: SpoolId = SpoolId(7);
const COUNT: u64 = 300;

fn dir() -> &'static Path {
    Path::new("/data/lanes/main")
}

fn path(id: u64) -> PathBuf {
    dir().join(names::segment(SegmentId(id)))
}

fn segment(id: u64) -> Segment {
    Segment {
        id: SegmentId(id),
        path: path(id),
        base: Seq(id * 10),
        end: Seq(id * 10 + 10),
        end_offset: DATA_START + id,
        bytes: DATA_START + id,
        created: Some(id as i64),
        verdict: Verdict::Closed,
        readable: true,
    }
}

/// A lane of so many segments, without events: their headers are all that a start looks at.
fn lane() -> (SimFs, Table) {
    let (fs, mut table) = (SimFs::default(), Table::default());
    fs.create_dir(dir()).unwrap();
    for id in 1..=COUNT {
        let (now, before) = (segment(id), segment(id - 1));
        let header = SegmentHeader {
            incompat: 0,
            spool: SPOOL,
            run: RunId(0),
            segment: now.id,
            base: now.base,
            created: id as i64,
            predecessor: Predecessor {
                segment: before.id,
                end_offset: before.end_offset,
                end: before.end,
                verdict: Verdict::Closed,
            },
            lane: "main".to_owned(),
        };
        let file = fs.create(&now.path).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.truncate(now.bytes).unwrap();
        table.segments.insert(now.id, now);
    }
    (fs, table)
}

/// What a start finds, and how many calls of the disk that takes.
fn found(fs: &SimFs) -> (Vec<String>, u64) {
    let identity = Identity { spool: SPOOL, lane: LaneName::new("main").unwrap(), segment: SegmentId(0) };
    let before = fs.calls();
    let mut listed = Listed::default();
    let found = candidates(fs, dir(), &identity, Access::Owner, &mut listed).unwrap();
    let highest = listed.highest;
    (found.iter().map(|c| format!("{c:?}")).chain([highest.to_string()]).collect(), fs.calls() - before)
}

fn catalogued() -> SimFs {
    let (fs, table) = lane();
    catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
    fs
}

#[test]
fn a_start_that_has_the_headers_in_one_file_finds_the_same_and_opens_few_segments() {
    let (fs, table) = lane();
    let (each, calls) = found(&fs);
    catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
    let (at_once, few) = found(&fs);
    assert_eq!(each, at_once);
    assert!(calls > 3 * COUNT && few < 20, "{calls} and {few} calls");
}

#[test]
fn a_catalogue_that_is_damaged_cut_or_of_another_spool_says_nothing() {
    let fs = catalogued();
    let path = dir().join(names::CATALOGUE);
    let bytes = fs.world().read(&path).unwrap();
    let whole = catalogue::read(&fs, dir(), SPOOL, "main");
    assert_eq!(whole.len() as u64, COUNT - 3);
    assert!(catalogue::read(&fs, dir(), SpoolId(8), "main").is_empty());
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs.tamper(|world| world.rot(&path, damaged)).unwrap();
        assert!(catalogue::read(&fs, dir(), SPOOL, "main").is_empty(), "byte {at}");
        fs.tamper(|world| world.rot(&path, bytes[..at].to_vec())).unwrap();
        assert!(catalogue::read(&fs, dir(), SPOOL, "main").is_empty(), "cut at {at}");
    }
    // A version or a count that is another, and the checksum right.
    for at in [8, 12, 13] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let crc = crc32fast::hash(&other[8..]).to_le_bytes();
        other[4..8].copy_from_slice(&crc);
        fs.tamper(|world| world.rot(&path, other)).unwrap();
        assert!(catalogue::read(&fs, dir(), SPOOL, "main").is_empty(), "byte {at}");
    }
    fs.tamper(|world| world.obstruct(&path, true)).unwrap();
    assert!(catalogue::read(&fs, dir(), SPOOL, "main").is_empty());
    let (_, table) = lane();
    fs.tamper(|world| world.obstruct(&dir().join(names::CATALOGUE_NEW), false)).unwrap();
    catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
    assert!(!catalogue::read(&fs, dir(), SPOOL, "main").is_empty(), "what was in its place is set aside");
}

#[test]
fn a_segment_that_is_another_file_by_now_is_looked_at_itself() {
    let expected = |fs: &SimFs| {
        let bare = SimFs::of(fs.world());
        bare.remove(&dir().join(names::CATALOGUE)).unwrap();
        found(&bare).0
    };
    // Two that have changed places, one whose place another has taken, one that is gone.
    let swapped = catalogued();
    let aside = dir().join("aside");
    for (from, to) in [(path(7), aside.clone()), (path(9), path(7)), (aside, path(9))] {
        swapped.rename(&from, &to).unwrap();
    }
    let taken = catalogued();
    taken.rename(&path(11), &path(12)).unwrap();
    let gone = catalogued();
    gone.remove(&path(20)).unwrap();
    // The files are what they were, and what is in them is not: as `cp` and `rsync --inplace` leave it.
    let refilled = catalogued();
    let bytes = [7, 9].map(|id| refilled.world().read(&path(id)).unwrap());
    refilled.tamper(|world| {
        [9, 7].iter().zip(bytes).for_each(|(id, bytes)| world.rot(&path(*id), bytes).unwrap());
    });
    for (fs, what) in [(swapped, "swapped"), (taken, "taken"), (gone, "gone"), (refilled, "refilled")] {
        assert!(found(&fs).0 == expected(&fs), "{what}");
    }
}

#[test]
fn only_what_was_closed_in_order_is_noted() {
    let (fs, mut table) = lane();
    let torn = Segment { verdict: Verdict::Torn, ..segment(50) };
    table.segments.insert(torn.id, torn);
    table.segments.remove(&SegmentId(100));
    catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
    let known = catalogue::read(&fs, dir(), SPOOL, "main");
    let missing: Vec<u64> = (1..=COUNT).filter(|id| known.keys().all(|(known, _)| known.0 != *id)).collect();
    assert_eq!(missing, [1, 50, 51, 100, 101, COUNT - 1, COUNT]);
}

/// What is said of the one before would be taken for what its successor's header says of it.
#[test]
fn only_of_a_segment_that_follows_the_one_before_at_once_the_header_is_noted() {
    let noted = |harm: &dyn Fn(&mut Segment)| {
        let (fs, mut table) = lane();
        let mut harmed = segment(100);
        harm(&mut harmed);
        table.segments.insert(harmed.id, harmed);
        catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
        let known = catalogue::read(&fs, dir(), SPOOL, "main");
        [99, 100, 101, 102].map(|id| known.keys().any(|(known, _)| known.0 == id))
    };
    assert_eq!(noted(&|_| {}), [true; 4]);
    assert_eq!(noted(&|s| s.end = Seq(1009)), [true, true, false, true], "numbers are missing behind it");
    assert_eq!(noted(&|s| s.base = Seq(1001)), [true, false, true, true], "and before it");
    assert_eq!(noted(&|s| s.verdict = Verdict::Failed), [true, false, false, true]);
    assert_eq!(noted(&|s| s.readable = false), [true, false, false, true]);
    assert_eq!(noted(&|s| s.created = None), [true, false, true, true]);
    let (fs, mut table) = lane();
    table.segments.remove(&SegmentId(100));
    let mut next = segment(101);
    next.base = segment(99).end;
    table.segments.insert(next.id, next);
    catalogue::write(&fs, dir(), SPOOL, &table).unwrap();
    let known = catalogue::read(&fs, dir(), SPOOL, "main");
    assert!(!known.keys().any(|(id, _)| id.0 == 101), "a segment is missing before it");
}

/// Found by an audit: the catalogue went by inodes alone, no block of either file was its own, and both counted as lost whole.
#[test]
fn two_segments_that_have_changed_places_by_their_contents_lose_nothing() {
    let (fs, metrics) = (SimFs::default(), Metrics::new());
    let settings = Spool { segment_size: 1 << 10, ..super::settings() };
    let open = |seed| {
        let host = Arc::new(SteppedHost::new(seed));
        let data = DataDir::open_on(fs.clone(), Path::new("/data"), host).unwrap();
        SteppedLane::open(&data, super::lane_name(), &settings, Seq::NONE, &metrics).unwrap()
    };
    let mut lane = open(1);
    for event in 0..COUNT {
        let batch = super::batch(&[event.to_le_bytes().to_vec()]);
        let heard = lane.append(vec![(super::stream("a"), batch)], 1, || 0);
        assert!(matches!(heard[..], [Heard::Answer(Ok(_), _)]), "{heard:?}");
        while lane.tidy() {}
    }
    lane.close();
    let spool =
        DataDir::open_on(fs.clone(), Path::new("/data"), Arc::new(SteppedHost::new(2))).unwrap().spool_id();
    let known = catalogue::read(&fs, dir(), spool, "main");
    assert!([7, 200].iter().all(|id| known.keys().any(|(known, _)| known.0 == *id)), "{}", known.len());
    let bytes = [7, 200].map(|id| fs.world().read(&path(id)).unwrap());
    fs.tamper(|world| {
        [200, 7].iter().zip(bytes).for_each(|(id, bytes)| world.rot(&path(*id), bytes).unwrap());
    });
    let lane = open(3);
    let (events, holes) = super::read_all(lane.lane(), 1);
    assert_eq!((events.len() as u64, holes.len(), lane.lane().status().quarantined_events), (COUNT, 0, 0));
    lane.close();
}
