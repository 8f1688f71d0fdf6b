//! Salvage: what is intact of a damaged spool, and nothing else, stands in the fresh one.

mod files;
mod meanwhile;
mod power;
mod strays;

use super::*;
use crate::disk::RealFs;
use crate::ids::{RunId, SegmentId};
use crate::spool::inspect::Snapshot;
use crate::spool::salvage::{LaneCopy, Old, Salvaged, Wishes, finish};

/// An event with all of its identity.
type Event = (u64, u64, i64, String, Vec<u8>);

const SALVAGE: RunId = RunId(0x5a17a6e);

/// Events, and lost numbers, as the tools read them.
fn dump(dir: &Path) -> (Vec<Event>, Vec<(u64, u64)>) {
    dump_on(&RealFs, dir)
}

fn dump_on<F: Fs>(fs: &F, dir: &Path) -> (Vec<Event>, Vec<(u64, u64)>) {
    let snapshot = Snapshot::take(fs, dir).unwrap();
    let Some(lane) = snapshot.lanes.first() else { return (Vec::new(), Vec::new()) };
    let mut reader = lane.reader(lane.begin());
    let (mut events, mut holes) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Block(b) => events.extend((b.first.0..).zip(b.events()).map(|(seq, event)| {
                (seq, b.run.0, b.time, b.stream.to_string(), event.unwrap().value.unwrap().to_vec())
            })),
            Item::Hole(hole) => match holes.last_mut() {
                Some((_, end)) if *end == hole.range.first.0 => *end = hole.range.end.0,
                _ => holes.push((hole.range.first.0, hole.range.end.0)),
            },
            Item::Skipped(..) => panic!("nothing was to be skipped"),
        }
    }
    (events, holes)
}

fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            all.extend(tree(&entry));
        } else {
            all.insert(entry.clone(), std::fs::read(entry).unwrap());
        }
    }
    all
}

fn salvage_with(dir: &Path, into: &Path, unproven: bool, may_keep: bool) -> LaneCopy {
    let before = tree(dir);
    let spool = Old::identify(&RealFs, dir).unwrap();
    let old = Old::find(&RealFs, dir, spool).unwrap();
    let may_keep = |_| may_keep;
    let wishes = Wishes { at_least: Seq::NONE, unproven, may_keep: &may_keep, run: SALVAGE };
    std::fs::create_dir_all(into).unwrap();
    let copy = old.copy(&lane_name(), into, &wishes, &mut |_| {}).unwrap();
    finish(&RealFs, into, spool).unwrap();
    assert!(before == tree(dir), "the old directory has changed");
    copy
}

fn salvage(dir: &Path, into: &Path) -> LaneCopy {
    salvage_with(dir, into, false, true)
}

/// What was salvaged is what can be read of the old one, number by number, and so are the holes.
fn same(dir: &Path, into: &Path, copy: &LaneCopy) {
    let old = dump(dir);
    assert_eq!(dump(into), old);
    let lost: Vec<_> = copy.salvaged.lost.iter().map(|r| (r.first.0, r.end.0)).collect();
    assert_eq!(lost, old.1);
    assert_eq!(copy.salvaged.events, old.0.len() as u64);
}

/// A spool of three openings and several segments.
fn make(dir: &Path) {
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    for opening in 0..3u8 {
        let lane = open(&RealFs, dir, &settings, Seq::NONE);
        for i in 0..6u8 {
            append(&lane, ["a", "b"][usize::from(i % 2)], &[vec![opening * 10 + i; 2000], vec![i]]).unwrap();
        }
        lane.close();
    }
    assert!(segments(dir).len() >= 5);
}

/// Where blocks of events begin in a segment, and how long they are.
fn blocks(path: &Path) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut found) = (format::DATA_START as usize, Vec::new());
    while let Some(block) = bytes.get(at..).and_then(format::BlockHeader::decode) {
        let len = block.block_len() as usize;
        if block.count > 0 {
            found.push((at, len));
        }
        at += len;
    }
    found
}

fn spoil(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_spool_is_salvaged_whole_and_goes_on_under_numbers_that_follow() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let copy = salvage(dir.path(), into.path());
    same(dir.path(), into.path(), &copy);
    assert_eq!((copy.salvaged.lost(), copy.log_end, copy.first), (0, Seq(37), Seq(1)));
    let lane = open(&RealFs, into.path(), &settings(), Seq::NONE);
    assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(37));
    lane.close();
    assert_eq!(dump(into.path()).0.len(), 37);
}

#[test]
fn no_segment_number_of_the_old_spool_is_used_again() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    salvage(dir.path(), into.path());
    let number = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let highest = segments(dir.path()).iter().map(number).max().unwrap();
    assert!(segments(into.path()).iter().all(|p| number(p) > highest));
    // A name counts, whatever stands in the file; but for one that somebody has made up.
    let (last, into) = (names::LAST_BY_NAME.0, tempfile::tempdir().unwrap());
    let named = |id| dir.path().join("lanes/main").join(names::segment(SegmentId(id)));
    [40, last + 5].iter().for_each(|id| std::fs::write(named(*id), vec![0xa5; 9000]).unwrap());
    salvage(dir.path(), into.path());
    let (low, high) = (number(&named(40)), number(&named(last)));
    assert!(segments(into.path()).iter().all(|p| low < number(p) && number(p) < high));
}

#[test]
fn wherever_a_byte_rots_what_the_log_still_gives_is_salvaged_and_the_rest_is_named() {
    let whole = tempfile::tempdir().unwrap();
    make(whole.path());
    let files = segments(whole.path()).len();
    let mut lost_some = 0;
    for file in 0..files {
        for (at, len) in blocks(&segments(whole.path())[file]) {
            for place in [at + 20, at + len / 2] {
                let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                copy_dir(whole.path(), dir.path());
                spoil(&segments(dir.path())[file], place);
                let copy = salvage(dir.path(), into.path());
                same(dir.path(), into.path(), &copy);
                lost_some += u64::from(copy.salvaged.lost() > 0);
            }
        }
    }
    assert!(lost_some > 20, "{lost_some}");
}

#[test]
fn a_missing_or_truncated_segment_is_lost_to_the_number_and_nothing_else_is() {
    let whole = tempfile::tempdir().unwrap();
    make(whole.path());
    for file in 0..segments(whole.path()).len() {
        for keep in [None, Some(5000), Some(format::DATA_START as usize + 3000)] {
            let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            copy_dir(whole.path(), dir.path());
            let path = &segments(dir.path())[file];
            match keep {
                None => std::fs::remove_file(path).unwrap(),
                Some(len) => {
                    let bytes = std::fs::read(path).unwrap();
                    std::fs::write(path, &bytes[..len.min(bytes.len())]).unwrap();
                }
            }
            let copy = salvage(dir.path(), into.path());
            same(dir.path(), into.path(), &copy);
        }
    }
}

#[test]
fn renamed_and_moved_segments_are_found_and_nothing_is_lost() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let whole = dump(dir.path());
    let files = segments(dir.path());
    std::fs::rename(&files[1], files[1].with_extension("seg.bak")).unwrap();
    std::fs::create_dir(dir.path().join("lanes/found by fsck")).unwrap();
    std::fs::rename(&files[2], dir.path().join("lanes/found by fsck/#1234")).unwrap();
    std::fs::rename(files.last().unwrap(), dir.path().join("lanes/last")).unwrap();
    assert_ne!(dump(dir.path()), whole);
    let copy = salvage(dir.path(), into.path());
    assert_eq!(dump(into.path()), whole);
    assert_eq!((copy.salvaged.lost(), copy.salvaged.renumbered), (0, 0));
}

#[test]
fn a_renamed_lane_is_found_with_its_floor() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let whole = dump(dir.path());
    std::fs::rename(dir.path().join("lanes/main"), dir.path().join("lanes/main.old")).unwrap();
    assert_eq!(salvage(dir.path(), into.path()).salvaged.lost(), 0);
    assert_eq!(dump(into.path()), whole);
}

#[test]
fn a_copy_of_a_rotten_segment_fills_its_holes_with_the_very_events() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let whole = dump(dir.path());
    let path = &segments(dir.path())[1];
    let copy = path.with_extension("backup");
    std::fs::copy(path, &copy).unwrap();
    // Both are rotten, each at another place.
    let found = blocks(path);
    spoil(path, found[0].0 + 20);
    spoil(&copy, found[1].0 + 200);
    let done = salvage(dir.path(), into.path());
    assert_eq!((done.salvaged.lost(), done.salvaged.found, done.salvaged.renumbered), (0, 2, 0));
    assert_eq!(dump(into.path()), whole);
}

#[test]
fn found_events_that_a_reader_may_have_passed_as_lost_come_again_behind_the_log() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let path = &segments(dir.path())[1];
    std::fs::copy(path, path.with_extension("backup")).unwrap();
    let block = blocks(path)[0];
    spoil(path, block.0 + 20);
    let (_, holes) = dump(dir.path());
    let done = salvage_with(dir.path(), into.path(), false, false);
    assert_eq!((done.salvaged.found, done.salvaged.renumbered, done.salvaged.lost()), (0, 2, 2));
    let (events, still) = dump(into.path());
    assert_eq!((still, events.len()), (holes, 36));
    let behind: Vec<_> = events.iter().filter(|e| e.1 == SALVAGE.0).map(|e| e.0).collect();
    assert_eq!(behind, [37, 38], "under the run of the salvage");
}

/// A segment was away while the lane was opened: its numbers were given again, under another run.
#[test]
fn acknowledged_events_whose_numbers_were_given_again_are_salvaged_under_new_numbers() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let whole = dump(dir.path()).0;
    let last = segments(dir.path()).last().unwrap().clone();
    let away = dir.path().join("away");
    std::fs::rename(&last, &away).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "b", &[b"under a number that was given before".to_vec()]).unwrap();
    lane.close();
    let (log, _) = dump(dir.path());
    std::fs::rename(&away, last.with_extension("back")).unwrap();
    let done = salvage(dir.path(), into.path());
    let events = dump(into.path()).0;
    assert_eq!(done.salvaged.renumbered, (whole.len() + 1 - log.len()) as u64);
    assert_eq!(events[..log.len()], log[..]);
    let mut values: Vec<_> = events.iter().map(|e| e.4.clone()).collect();
    let mut expected: Vec<_> = whole.iter().chain(&log[log.len() - 1..]).map(|e| e.4.clone()).collect();
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
    assert_eq!(done.salvaged.lost(), 0);
}

#[test]
fn whole_blocks_behind_a_torn_write_are_taken_on_request_only() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    // The seal and the last two blocks go; the third last is torn: as if two unsynced writes came back in part.
    let path = segments(dir.path()).last().unwrap().clone();
    let found = blocks(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = *found.last().unwrap();
    bytes[last.0 + last.1..].fill(0);
    // The last block says, as it did when it was written, that everything before the torn one was durable.
    let torn = found[found.len() - 2];
    let header = format::BlockHeader::decode(&bytes[torn.0..]).unwrap();
    let (first, run) = (header.first, header.run);
    let block = &mut bytes[last.0..last.0 + last.1];
    let header = format::BlockHeader::decode(block).unwrap();
    let (own, segment) = (header.first, header.segment);
    format::BlockHeader::relocate(block, run, segment, own, first.prev());
    bytes[torn.0 + 30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (log, holes) = dump(dir.path());
    assert!(holes.is_empty() && log.last().unwrap().0 == first.0 - 1);

    let into = tempfile::tempdir().unwrap();
    let done = salvage(dir.path(), into.path());
    assert_eq!((done.salvaged.unproven, done.salvaged.renumbered, done.salvaged.lost()), (2, 0, 0));
    assert_eq!(dump(into.path()).0, log);

    let into = tempfile::tempdir().unwrap();
    let done = salvage_with(dir.path(), into.path(), true, true);
    assert_eq!((done.salvaged.unproven, done.salvaged.renumbered, done.salvaged.lost()), (0, 2, 0));
    let (events, holes) = dump(into.path());
    assert!(holes.is_empty());
    assert_eq!(events[..log.len()], log[..]);
    assert_eq!((events.len(), events.last().unwrap().1), (log.len() + 2, SALVAGE.0));
}

#[test]
fn salvage_of_a_salvaged_spool_changes_nothing_and_its_own_rot_is_found() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    make(dirs[0].path());
    let path = &segments(dirs[0].path())[1];
    spoil(path, blocks(path)[1].0 + 20);
    std::fs::remove_file(segments(dirs[0].path()).last().unwrap()).unwrap();
    salvage(dirs[0].path(), dirs[1].path());
    salvage(dirs[1].path(), dirs[2].path());
    assert_eq!(dump(dirs[1].path()), dump(dirs[2].path()));
    // Any block of it, the last included, proves those before it.
    let path = &segments(dirs[2].path())[0];
    let (events, holes) = dump(dirs[2].path());
    for (at, _) in blocks(path) {
        spoil(path, at + 20);
        let (left, more) = dump(dirs[2].path());
        let missing = |holes: &[(u64, u64)]| holes.iter().map(|(a, b)| b - a).sum::<u64>();
        assert_eq!(left.len() + 2, events.len());
        assert_eq!(missing(&more), missing(&holes) + 2);
        spoil(path, at + 20);
    }
}

#[test]
fn lost_numbers_at_the_end_stay_lost_and_are_not_given_again() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let spool = Old::identify(&RealFs, dir.path()).unwrap();
    let old = Old::find(&RealFs, dir.path(), spool).unwrap();
    let wishes = Wishes { at_least: Seq(50), unproven: false, may_keep: &|_| true, run: SALVAGE };
    let copy = old.copy(&lane_name(), into.path(), &wishes, &mut |_| {}).unwrap();
    finish(&RealFs, into.path(), spool).unwrap();
    assert_eq!(copy.salvaged.lost, [crate::ids::SeqRange::new(Seq(37), Seq(50))]);
    let lane = open(&RealFs, into.path(), &settings(), Seq::NONE);
    assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(50));
    lane.close();
    assert_eq!(dump(into.path()).1, [(37, 50)]);
}

#[test]
fn a_copy_of_what_was_released_long_ago_is_not_brought_back() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir.path(), &settings, Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    let first = segments(dir.path())[0].clone();
    let backup = first.with_extension("backup");
    std::fs::copy(&first, &backup).unwrap();
    lane.release(Seq(9));
    while first.exists() {
        std::thread::yield_now();
    }
    lane.close();
    let copy = salvage(dir.path(), into.path());
    same(dir.path(), into.path(), &copy);
    assert_eq!((copy.salvaged.lost(), copy.salvaged.found, copy.salvaged.renumbered), (0, 0, 0));
    assert!(copy.gone > Seq(1));
}

#[test]
fn an_unfinished_salvage_is_no_spool() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let spool = Old::identify(&RealFs, dir.path()).unwrap();
    let old = Old::find(&RealFs, dir.path(), spool).unwrap();
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    old.copy(&lane_name(), into.path(), &wishes, &mut |_| {}).unwrap();
    assert!(matches!(Snapshot::take(&RealFs, into.path()), Err(OpenError::NotASpool { .. })));
}

#[test]
fn a_block_that_gets_another_place_is_the_one_that_would_have_been_written_there() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let path = &segments(dir.path())[0];
    let (at, len) = blocks(path)[0];
    let mut block = std::fs::read(path).unwrap()[at..at + len].to_vec();
    let header = format::BlockHeader::decode(&block).unwrap();
    let (lane, stream) = (header.lane.to_owned(), header.stream.to_owned());
    let moved = format::BlockHeader {
        run: RunId(1),
        segment: SegmentId(2),
        first: Seq(3),
        synced_through: Seq(2),
        lane: &lane,
        stream: &stream,
        ..header
    };
    let mut expected = block.clone();
    moved.encode(&mut expected);
    format::BlockHeader::relocate(&mut block, RunId(1), SegmentId(2), Seq(3), Seq(2));
    assert_eq!(block, expected);
}

/// As a disk leaves it that has written sectors in the wrong places.
#[test]
fn blocks_that_stand_in_another_order_are_salvaged_as_they_are_read() {
    for order in [[1, 0, 2], [0, 2, 1], [2, 0, 1], [2, 1, 0], [1, 2, 0]] {
        for harmed in [None, Some(0), Some(1), Some(2)] {
            let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let settings = Spool { compression: SpoolCompression::None, ..settings() };
            let lane = open(&RealFs, dir.path(), &settings, Seq::NONE);
            (0..5u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000], vec![i]]).unwrap()));
            lane.close();
            let path = &segments(dir.path())[0];
            let (there, mut bytes) = (blocks(path), std::fs::read(path).unwrap());
            let mut three: Vec<_> =
                there[..3].iter().map(|(at, len)| bytes[*at..at + len].to_vec()).collect();
            if let Some(harmed) = harmed {
                three[harmed][1000] ^= 1;
            }
            let moved = order.map(|i| three[i].clone()).concat();
            bytes[there[0].0..][..moved.len()].copy_from_slice(&moved);
            std::fs::write(path, &bytes).unwrap();
            let copy = salvage(dir.path(), into.path());
            let lost = usize::from(harmed.is_some());
            assert_eq!(copy.salvaged.lost.len(), lost, "{order:?}, {harmed:?} is harmed");
            same(dir.path(), into.path(), &copy);
        }
    }
}
