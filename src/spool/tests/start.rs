//! What a lane and a data directory find when they are opened.

use super::*;
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::ids::{SegmentId, SpoolId};
use crate::spool::candidates::{Candidate, Listed, candidates, start_of};
use crate::spool::recover::Access;
use crate::spool::walk::Identity;
use rustix::io::Errno;

const DIR: &str = "/data/lanes/main";
const SPOOL: SpoolId = SpoolId(5);

fn found(fs: &SimFs, access: Access) -> Result<Vec<Candidate>, OpenError> {
    let identity = Identity { spool: SPOOL, lane: lane_name(), segment: SegmentId(0) };
    candidates(fs, Path::new(DIR), &identity, access, &mut Listed::default())
}

/// A disk with files that have segments' names.
fn disk(files: &[(u64, Vec<u8>)]) -> SimFs {
    let fs = SimFs::default();
    fs.create_dir(Path::new(DIR)).unwrap();
    for (id, bytes) in files {
        let path = Path::new(DIR).join(names::segment(SegmentId(*id)));
        fs.tamper(|world| world.rot(&path, bytes.clone())).unwrap();
    }
    fs
}

fn header(spool: SpoolId, lane: &str) -> Vec<u8> {
    crate::spool::format::SegmentHeader {
        incompat: 0,
        spool,
        run: crate::ids::RunId(7),
        segment: SegmentId(1),
        base: Seq(3),
        created: 0,
        predecessor: crate::spool::format::Predecessor::NONE,
        lane: lane.to_owned(),
    }
    .encode_area()
}

fn fails(fs: &SimFs, at: u64, errno: Errno) {
    fs.break_at(Fault { at: fs.calls() + at, errno, lasting: Lasting::UntilRepaired });
}

#[test]
fn a_directory_that_is_not_there_has_no_segments_and_one_that_can_not_be_listed_is_an_error() {
    assert!(found(&SimFs::default(), Access::Owner).unwrap().is_empty());
    let fs = disk(&[(1, header(SPOOL, "main"))]);
    assert_eq!(found(&fs, Access::Owner).unwrap().len(), 1);
    fails(&fs, 0, Errno::ACCESS);
    found(&fs, Access::Owner).unwrap_err();
}

#[test]
fn a_segment_that_can_not_be_opened_is_one_of_which_nothing_is_known_only_where_its_bytes_are_gone() {
    for (access, errno, left) in [
        (Access::Owner, Errno::IO, Some(1)),
        (Access::Visitor, Errno::IO, Some(1)),
        // A link in its place.
        (Access::Owner, Errno::LOOP, Some(0)),
        (Access::Owner, Errno::ACCESS, None),
        (Access::Visitor, Errno::ACCESS, None),
        // Deleted by the agent while somebody looked on; from the agent itself nobody takes them.
        (Access::Visitor, Errno::NOENT, Some(0)),
        (Access::Owner, Errno::NOENT, None),
    ] {
        let fs = disk(&[(1, header(SPOOL, "main"))]);
        fails(&fs, 1, errno);
        assert_eq!(found(&fs, access).ok().map(|found| found.len()), left, "{access:?} {errno}");
    }
}

#[test]
fn a_segment_of_another_spool_or_lane_is_none_of_ours_and_its_header_names_it() {
    for (spool, lane, ours) in [(SPOOL, "main", 1), (SpoolId(6), "main", 0), (SPOOL, "other", 0)] {
        assert_eq!(found(&disk(&[(1, header(spool, lane))]), Access::Owner).unwrap().len(), ours, "{lane}");
    }
    let named = |id| found(&disk(&[(id, header(SPOOL, "main"))]), Access::Owner).unwrap().remove(0);
    assert_eq!((named(1).id, named(1).name_fits), (SegmentId(1), true));
    assert_eq!((named(4).id, named(4).name_fits), (SegmentId(1), false));
}

#[test]
fn a_start_is_blank_only_if_it_can_be_read_and_all_of_it_is_zero() {
    let start = |bytes: Vec<u8>, unreadable: bool| {
        let fs = disk(&[(1, bytes)]);
        let file = fs.open_read(&Path::new(DIR).join(names::segment(SegmentId(1)))).unwrap();
        if unreadable {
            fails(&fs, 0, Errno::IO);
        }
        start_of(&file).blank
    };
    assert!(start(vec![0; 20_000], false) && start(Vec::new(), false));
    assert!(!start(vec![9; 20_000], false) && !start(vec![0; 20_000], true));
    let mut late = vec![0; 20_000];
    late[5000] = 1;
    assert!(!start(late, false));
}

#[test]
fn of_a_start_with_unreadable_pages_the_others_say_what_it_is() {
    use super::reading::common;
    use crate::spool::encoder::Encoder;
    let mut bytes = header(SPOOL, "main");
    let mut encoder = Encoder::new(false);
    encoder.push(&common(1), &stream("a"), Seq(9), batch(&[vec![1; 30]]).as_bytes(), 1).unwrap();
    encoder.finish_block(&common(1));
    bytes.extend(encoder.bytes());
    let start = |bad: std::ops::Range<usize>| {
        let fs = disk(&[(1, bytes.clone())]);
        let path = Path::new(DIR).join(names::segment(SegmentId(1)));
        fs.tamper(|world| world.wear(&path, bad)).unwrap();
        start_of(&fs.open_read(&path).unwrap())
    };
    let ours = Some((SPOOL, "main".to_owned(), SegmentId(1)));
    for (bad, header, begins) in
        [(0..1, true, Seq(3)), (4096..4097, true, Seq(3)), (4000..5000, false, Seq(9))]
    {
        let found = start(bad);
        assert_eq!((found.header.is_some(), found.begins), (header, Some(begins)));
        assert_eq!((found.owner, found.blank), (ours.clone(), false));
    }
    // Nothing can be read of it, or all but the block: it is nobody's, and no blank file.
    let found = start(0..bytes.len());
    assert_eq!((found.owner, found.begins, found.blank), (None, None, false));
    assert!(start(8192..8193).header.is_some());
}

/// Found whole by those who ask what was written: and it is nothing but what the kernel had in memory.
#[test]
fn what_a_failed_sync_has_left_in_memory_alone_is_not_what_a_start_goes_on_from() {
    use crate::disk::sim::Call;
    use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
    let mut tried = 0;
    for at in 0.. {
        let fs = SimFs::default();
        let started = |seed| {
            let host = std::sync::Arc::new(SteppedHost::new(seed));
            let data = DataDir::open_on(fs.clone(), Path::new("/data"), host).unwrap();
            SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap()
        };
        let mut lane = started(1);
        let send = |lane: &mut SteppedLane<SimFs>| {
            let heard = lane.append(vec![(stream("a"), batch(&[vec![7; 9]]))], 1, || 0).pop();
            matches!(heard, Some(Heard::Answer(Ok(_), _)))
        };
        assert!(send(&mut lane));
        fs.break_at(Fault { at: fs.calls() + at, errno: Errno::IO, lasting: Lasting::Once });
        let sent = send(&mut lane);
        drop(lane);
        let hits = fs.repair();
        if hits.is_empty() {
            break;
        }
        if hits[0].1 == Call::SyncData {
            assert!(!sent);
            tried += 1;
            let mut lane = started(2);
            assert_eq!(lane.lane().durable(), Seq(1));
            assert_eq!(read_all(lane.lane(), 1).0.len(), 1);
            assert!(send(&mut lane));
            let after = fs.world().after_power_cut(&[]);
            drop(lane);
            let fs = SimFs::of(after);
            let lane = open(&fs, Path::new("/data"), &settings(), Seq::NONE);
            let (events, holes) = read_all(&lane, 1);
            assert_eq!((events.len(), holes.len()), (2, 0));
            lane.close();
        }
    }
    assert_eq!(tried, 1);
}

#[test]
fn what_ended_where_the_log_was_deleted_to_on_purpose_is_not_lost() {
    use crate::ids::SeqRange;
    use crate::spool::floor::Floor;
    use crate::spool::format::{Predecessor, Verdict};
    use crate::spool::lane::start_above;
    use crate::spool::recover::Recovered;
    use crate::spool::table::{FloorMark, Segment, Table};
    let dir = tempfile::tempdir().unwrap();
    let mut floor = Floor::open(&crate::disk::RealFs, dir.path()).unwrap();
    floor.raise(FloorMark { dropped: Seq(5), released: Seq(10) }).unwrap();
    let segment = |id, base, end| Segment {
        id: SegmentId(id),
        path: dir.path().join(names::segment(SegmentId(id))),
        base: Seq(base),
        end: Seq(end),
        end_offset: 9000,
        bytes: 9000,
        created: Some(0),
        verdict: Verdict::Closed,
        readable: true,
    };
    let lost = |first, end| SeqRange::new(Seq(first), Seq(end));
    for (at_least, next, holes) in [
        (0, 30, vec![lost(9, 11), lost(20, 22)]),
        (30, 30, vec![lost(9, 11), lost(20, 22)]),
        (31, 31, vec![lost(9, 11), lost(20, 22), lost(30, 31)]),
    ] {
        let mut table = Table::default();
        // The first came back after it was deleted.
        for segment in [segment(1, 1, 10), segment(2, 10, 20), segment(3, 20, 30)] {
            table.segments.insert(segment.id, segment);
        }
        let mut found = Recovered {
            table,
            predecessor: Predecessor {
                segment: SegmentId(3),
                end_offset: 9000,
                end: Seq(30),
                verdict: Verdict::Closed,
            },
            next_segment: SegmentId(4),
            holes: vec![lost(2, 4), lost(8, 10), lost(9, 11), lost(20, 22)],
            void: Vec::new(),
            left_alone: Vec::new(),
            doubts: crate::spool::given::Doubts::default(),
        };
        assert_eq!(start_above(&mut found, &floor, Seq(at_least)), Seq(next));
        assert_eq!(found.holes, holes, "{at_least}");
        assert_eq!(found.table.segments.keys().map(|id| id.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(found.void.iter().map(|s| s.id.0).collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn a_directory_that_was_put_back_goes_on_under_another_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let before = DataDir::open(crate::disk::RealFs, dir.path()).unwrap().life();
    let data = DataDir::open(crate::disk::RealFs, dir.path()).unwrap();
    assert!(!data.is_renewed() && data.life() == before);
    data.note_rolled_back().unwrap();
    assert!(data.is_renewed() && data.life().incarnation != before.incarnation);
    let life = data.life();
    drop(data);
    assert_eq!(DataDir::open(crate::disk::RealFs, dir.path()).unwrap().life(), life);
}

/// With a file system that says how much is free, asked at most once a second unless blocks are to be reserved.
#[test]
fn how_full_the_file_system_is_is_asked_again_after_a_second_and_before_blocks_are_reserved() {
    use super::stepped::{Site, plain, send};
    use crate::disk::Space;
    let settings = Spool { reserve: 1 << 20, ..plain() };
    let low = Some(Space { available: 100, total: 1 << 40 });
    let site = Site::new();
    site.fs.set_space(Some(Space { available: 1 << 30, total: 1 << 40 }));
    let mut lane = site.lane(&settings);
    assert_eq!(send(&mut lane, &[("a", 10)]), 1);
    site.fs.set_space(low);
    assert_eq!(send(&mut lane, &[("a", 10)]), 1, "it was asked just now");
    site.host.advance(Duration::from_secs(1));
    assert_eq!(send(&mut lane, &[("a", 10)]), 0);
    let other = Site::new();
    other.fs.set_space(Some(Space { available: 1 << 30, total: 1 << 40 }));
    let mut reserving = other.lane(&settings);
    assert_eq!(send(&mut reserving, &[("a", 10)]), 1);
    other.fs.set_space(low);
    let sent = (0..10).map(|_| send(&mut reserving, &[("a", 10_000)])).sum::<usize>();
    assert!(sent < 5, "{sent} without a look");
    lane.close();
    reserving.close();
}

#[test]
fn a_name_alone_makes_a_segment_up_to_a_number_and_no_number_of_a_name_is_given_again() {
    let last = names::LAST_BY_NAME.0;
    let fs = disk(&[1, last, last + 1, last + 2].map(|id| (id, vec![0x55; 9000])));
    let ids = |found: Vec<Candidate>| found.iter().map(|c| c.id.0).collect::<Vec<_>>();
    let looked = |fs: &SimFs| {
        let identity = Identity { spool: SPOOL, lane: lane_name(), segment: SegmentId(0) };
        let mut listed = Listed::default();
        let found = candidates(fs, Path::new(DIR), &identity, Access::Owner, &mut listed).unwrap();
        (ids(found), listed.left_alone.len(), listed.highest.0)
    };
    assert_eq!(looked(&fs), (vec![1, last], 2, last));
    // What is none has the name all the same.
    let fs = disk(&[(1, vec![0x55; 9000])]);
    for id in [7, last + 1] {
        fs.create_dir(&Path::new(DIR).join(names::segment(SegmentId(id)))).unwrap();
    }
    assert_eq!(looked(&fs), (vec![1], 2, 7));
}
