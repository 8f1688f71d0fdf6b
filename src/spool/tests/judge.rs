//! What recovery makes of what headers say: candidates made by hand, without bytes behind them.

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::{SimFs, World};
use crate::ids::{RunId, SegmentId, SeqRange, SpoolId};
use crate::spool::candidates::Candidate;
use crate::spool::format::{Predecessor, SegmentHeader, Verdict};
use crate::spool::given::Refused;
use crate::spool::recover::{Access, Recovered, judge};
use crate::spool::walk::Identity;
use rustix::io::Errno;

const SPOOL: SpoolId = SpoolId(1);

fn says(segment: u64, end: u64, verdict: Verdict) -> Predecessor {
    Predecessor { segment: SegmentId(segment), end_offset: 9000, end: Seq(end), verdict }
}

fn candidate(dir: &Path, id: u64, base: u64, predecessor: Predecessor) -> Candidate {
    let header = SegmentHeader {
        incompat: 0,
        spool: SPOOL,
        run: RunId(1),
        segment: SegmentId(id),
        base: Seq(base),
        created: 0,
        predecessor,
        lane: "main".to_owned(),
    };
    Candidate {
        id: SegmentId(id),
        name_fits: true,
        path: dir.join(names::segment(SegmentId(id))),
        len: 20_000,
        begins: Some(header.base),
        header: Some(header),
        blank: false,
        refused: Refused::default(),
    }
}

fn blank(dir: &Path, id: u64) -> Candidate {
    Candidate { header: None, begins: None, blank: true, ..candidate(dir, id, 1, Predecessor::NONE) }
}

/// Files that are not there are taken for rotten: who looks on has no other choice.
fn judged(found: &[Candidate]) -> Recovered {
    let identity = Identity { spool: SPOOL, lane: lane_name(), segment: SegmentId(0) };
    let highest = found.last().unwrap().id;
    judge(&Faulty::new(), found, &identity, (Seq(1), highest), Access::Visitor).unwrap()
}

fn ends(recovered: &Recovered) -> Vec<(u64, u64, u64, Verdict)> {
    recovered.table.segments.values().map(|s| (s.id.0, s.base.0, s.end.0, s.verdict)).collect()
}

#[test]
fn a_segment_ends_where_the_next_one_says_and_what_the_next_one_passes_over_does_not_count() {
    let dir = Path::new("nowhere");
    let recovered = judged(&[
        candidate(dir, 4, 10, Predecessor::NONE),
        candidate(dir, 5, 30, says(4, 20, Verdict::Failed)),
        blank(dir, 6),
        candidate(dir, 7, 40, says(5, 40, Verdict::Closed)),
        candidate(dir, 8, 40, says(7, 40, Verdict::Closed)),
        // Says that what stands in segment 8 does not count.
        candidate(dir, 9, 40, says(7, 40, Verdict::Closed)),
    ]);
    assert_eq!(
        ends(&recovered),
        [
            (4, 10, 20, Verdict::Failed),
            (5, 30, 40, Verdict::Closed),
            (7, 40, 40, Verdict::Closed),
            (9, 40, 40, Verdict::Rotten)
        ]
    );
    // Nothing is missing before the first, whatever its number; between the first and the second there is.
    assert_eq!(recovered.holes, [SeqRange::new(Seq(20), Seq(30))]);
    // The one with events in it is left where it is.
    assert_eq!(recovered.void.iter().map(|s| s.id.0).collect::<Vec<_>>(), [6]);
    assert_eq!((recovered.next_segment, recovered.end()), (SegmentId(10), Some(Seq(40))));
}

#[test]
fn a_segment_never_begins_behind_the_end_that_is_recorded_of_it() {
    let dir = Path::new("nowhere");
    let recovered =
        judged(&[candidate(dir, 1, 10, Predecessor::NONE), candidate(dir, 2, 5, says(1, 5, Verdict::Torn))]);
    assert_eq!(ends(&recovered)[0], (1, 5, 5, Verdict::Torn));
}

#[test]
fn the_last_file_counts_unless_there_is_nothing_in_it() {
    let dir = Path::new("nowhere");
    let first = candidate(dir, 1, 1, Predecessor::NONE);
    let second = candidate(dir, 2, 9, says(1, 9, Verdict::Closed));
    let recovered = judged(&[first.clone(), second.clone(), blank(dir, 3)]);
    assert_eq!((recovered.table.segments.len(), recovered.void.len()), (2, 1));
    assert_eq!(recovered.predecessor.segment, SegmentId(2));
    assert_eq!(recovered.next_segment, SegmentId(4), "its number is not used again");
    // With a header it was begun, though none of its blocks can be read.
    let recovered = judged(&[first, second]);
    assert_eq!((recovered.table.segments.len(), recovered.void.len()), (2, 0));
}

#[test]
fn an_error_that_says_nothing_of_the_bytes_stops_the_owner_and_no_one_else() {
    let dir = tempfile::tempdir().unwrap();
    let found = [candidate(dir.path(), 1, 1, Predecessor::NONE)];
    std::fs::write(&found[0].path, [0; 20_000]).unwrap();
    let identity = Identity { spool: SPOOL, lane: lane_name(), segment: SegmentId(0) };
    let fs = Faulty::new();
    for (errno, access, starts) in [
        (Errno::MFILE, Access::Owner, false),
        (Errno::MFILE, Access::Visitor, true),
        (Errno::IO, Access::Owner, true),
        (Errno::IO, Access::Visitor, true),
    ] {
        fs.error(errno);
        fs.fail_next(Op::Open, 3);
        let judged = judge(&fs, &found, &identity, (Seq(1), SegmentId(1)), access);
        fs.fail_next(Op::Open, 0);
        let verdict = judged.ok().map(|r| ends(&r)[0].3);
        assert_eq!(verdict, starts.then_some(Verdict::Rotten), "{errno} {access:?}");
    }
}

#[test]
fn what_nobody_closed_is_made_durable_and_then_read_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    let id = DataDir::open(fs.clone(), dir.path()).unwrap().spool_id();
    let lanes = dir.path().join("lanes/main");
    let syncs = |access| {
        let before = fs.count(Op::SyncData);
        recover::recover(&fs, &lanes, id, &lane_name(), Seq::NONE, access).unwrap();
        fs.count(Op::SyncData) - before
    };
    assert_eq!((syncs(Access::Visitor), syncs(Access::Owner)), (0, 1));
}

fn segment_at(id: u64) -> PathBuf {
    Path::new("/data/lanes/main").join(names::segment(SegmentId(id)))
}

/// Nothing is synced, but what a start finds.
fn hourly() -> Spool {
    Spool { sync: Sync::Interval(Duration::from_hours(1)), ..settings() }
}

/// What a process leaves that has accepted these, one by one, and is killed.
fn killed(fs: &SimFs, values: &[u8], at_least: Seq) -> SimFs {
    let lane = open(fs, Path::new("/data"), &hourly(), at_least);
    values.iter().for_each(|value| drop(append(&lane, "a", &[vec![*value; 100]]).unwrap()));
    let left = SimFs::of(fs.world());
    lane.close();
    left
}

/// Of the first segment's blocks the second one never came to the disk.
fn tear_the_second(fs: &SimFs) {
    let mut bytes = fs.world().read(&segment_at(1)).unwrap();
    let blocks = (usize::try_from(format::DATA_START).unwrap()..bytes.len()).step_by(8);
    let blocks: Vec<_> = blocks.filter(|at| format::BlockHeader::decode(&bytes[*at..]).is_some()).collect();
    let [_, second, third] = blocks[..] else { panic!("{blocks:?}") };
    bytes[second..third].fill(0);
    fs.tamper(|world| world.rot(&segment_at(1), bytes)).unwrap();
}

/// Found by the random stories: the power went under events that were accepted at an interval. The last of them but one was torn; the
/// number of the torn one was given again, in a segment whose header was torn as well when the power went once more; and between them
/// stood a file that was made ready. A position proved that number, so the last one was read, and came in the way of new ones.
#[test]
fn numbers_that_a_later_segment_gave_again_do_not_come_back_though_its_header_is_torn_and_a_blank_file_lies_between()
 {
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    let blank = |fs: &SimFs| fs.tamper(|world| world.rot(&segment_at(5), vec![0; 5000])).unwrap();
    let fs = killed(&fs, &[1, 2, 3], Seq::NONE);
    tear_the_second(&fs);
    blank(&fs);
    let fs = killed(&fs, &[9], Seq::NONE);
    let mut bytes = fs.world().read(&segment_at(6)).unwrap();
    bytes[..usize::try_from(format::DATA_START).unwrap()].fill(0);
    fs.tamper(|world| world.rot(&segment_at(6), bytes)).unwrap();
    blank(&fs);
    let lane = open(&fs, data, &hourly(), Seq(3));
    let (events, holes) = read_all(&lane, 1);
    let values: Vec<_> = events.into_iter().map(|(number, (_, value))| (number, value[0])).collect();
    assert_eq!((values, holes), (vec![(1, 1), (2, 9)], Vec::new()));
    lane.close();
}

/// Found by reading: as above, and the segment that had given these numbers again is missing. A position proves a number, and not whose.
#[test]
fn numbers_that_a_missing_segment_gave_again_do_not_come_back_from_before_a_blank_file() {
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    let fs = killed(&fs, &[1, 2, 3], Seq::NONE);
    tear_the_second(&fs);
    fs.tamper(|world| world.rot(&segment_at(5), vec![0; 5000])).unwrap();
    let fs = killed(&killed(&fs, &[8, 9], Seq::NONE), &[7], Seq::NONE);
    fs.tamper(|world| world.lose(&segment_at(6))).unwrap();
    fs.tamper(|world| world.rot(&segment_at(5), vec![0; 5000])).unwrap();
    for position in [Seq::NONE, Seq(5)] {
        let lane = open(&SimFs::of(fs.world()), data, &hourly(), position);
        let (events, holes) = read_all(&lane, 1);
        let values: Vec<_> = events.into_iter().map(|(number, (_, value))| (number, value[0])).collect();
        let lost: Vec<_> = holes.into_iter().map(|hole| hole.range).collect();
        let expected = (vec![(1, 1), (4, 7)], vec![SeqRange::new(Seq(2), Seq(4))]);
        assert_eq!((values, lost), expected, "{position:?}");
        lane.close();
    }
}

/// Found by the random stories (`SPOOLWAY_SEED=83117`): without a header to say where it begins, the segment behind one that was dropped
/// seemed to begin with the first number that ever was, and what had been dropped on purpose counted as lost.
#[test]
fn what_was_dropped_is_not_lost_though_the_segment_behind_it_does_not_say_where_it_begins() {
    use crate::spool::floor::Floor;
    use crate::spool::table::FloorMark;
    let fs = killed(&killed(&SimFs::default(), &[1], Seq::NONE), &[2, 3], Seq::NONE);
    let begun = |fs: &SimFs| {
        let world = fs.world();
        let headed = |path: &PathBuf| world.read(path).is_some_and(|bytes| bytes.starts_with(b"SPOOLWY1"));
        world.paths().into_iter().filter(headed).collect::<Vec<_>>()
    };
    let [first, second] = &begun(&fs)[..] else { panic!("{:?}", begun(&fs)) };
    let fs = killed(&fs, &[4], Seq::NONE);
    for worn in [false, true] {
        let fs = SimFs::of(fs.world());
        let mut bytes = fs.world().read(second).unwrap();
        let header = 0..usize::try_from(format::DATA_START).unwrap();
        if worn {
            fs.tamper(|world| world.wear(second, header)).unwrap();
        } else {
            bytes[header].fill(0xa5);
            fs.tamper(|world| world.rot(second, bytes)).unwrap();
        }
        let mut floor = Floor::open(&fs, Path::new("/data/lanes/main")).unwrap();
        floor.raise(FloorMark { dropped: Seq(2), released: Seq::NONE }).unwrap();
        fs.tamper(|world| world.lose(first)).unwrap();
        let lane = open(&fs, Path::new("/data"), &hourly(), Seq::NONE);
        let (events, holes) = read_all(&lane, 1);
        let dropped = Hole { range: SeqRange::new(Seq(1), Seq(2)), cause: HoleCause::Dropped };
        assert_eq!((events.into_keys().collect::<Vec<_>>(), holes), (vec![2, 3, 4], vec![dropped]));
        assert_eq!(lane.status().quarantined_events, 0);
        lane.close();
    }
}

/// Found by reading: what was left over behind a torn block took the numbers of the segment behind, while the disk gave nothing of that.
#[test]
fn what_is_left_over_takes_no_numbers_of_a_segment_that_the_disk_does_not_give() {
    let data = Path::new("/data");
    let tried = |fs: &SimFs, at_least| {
        let dir = DataDir::open(fs.clone(), data)?;
        Lane::open(&dir, lane_name(), &hourly(), at_least, Metrics::new())
    };
    for (torn, starts) in [(true, false), (false, true)] {
        let fs = killed(&SimFs::default(), &[1, 2, 3], Seq::NONE);
        if torn {
            tear_the_second(&fs);
        }
        let fs = killed(&killed(&fs, &[8, 9], Seq::NONE), &[7], Seq::NONE);
        let begun =
            |path: &PathBuf| fs.world().read(path).is_some_and(|bytes| bytes.starts_with(b"SPOOLWY1"));
        let third = fs
            .world()
            .paths()
            .into_iter()
            .rfind(|path| path.starts_with("/data/lanes") && begun(path))
            .unwrap();
        let header = format::SegmentHeader::decode_area(&fs.world().read(&third).unwrap()).unwrap();
        let second = segment_at(header.predecessor.segment.0);
        let len = fs.world().read(&second).unwrap().len();
        fs.tamper(|world| world.wear(&second, 0..len)).unwrap();
        match tried(&fs, Seq(3)) {
            Ok(lane) => {
                assert!(starts);
                lane.close();
            }
            Err(OpenError::Withheld { path, .. }) => {
                assert!(!starts && path == second, "{}", path.display());
                // The way out, if the disk never gives it.
                let moved = SimFs::of(fs.world());
                moved.tamper(|world| world.lose(&second)).unwrap();
                tried(&moved, Seq(3)).unwrap().close();
            }
            Err(other) => panic!("{other}"),
        }
        fs.tamper(World::mend);
        let lane = tried(&fs, Seq(3)).unwrap();
        let values: Vec<_> = read_all(&lane, 1).0.into_values().map(|(_, value)| value[0]).collect();
        assert_eq!(values, if torn { vec![1, 8, 9, 7] } else { vec![1, 2, 3, 8, 9, 7] });
        lane.close();
    }
}

#[test]
fn who_looks_on_reads_a_segment_whose_header_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&Faulty::new(), dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    [0, format::SEGMENT_COPY as usize].into_iter().for_each(|at| bytes[at..at + 64].fill(0xff));
    std::fs::write(path, bytes).unwrap();
    let fs = crate::disk::RealFs;
    let id = DataDir::open(fs, dir.path()).unwrap().spool_id();
    let lanes = dir.path().join("lanes/main");
    let seen = recover::recover(&fs, &lanes, id, &lane_name(), Seq::NONE, Access::Visitor).unwrap();
    assert_eq!((seen.table.segments.len(), seen.end()), (1, Some(Seq(2))));
}
