//! Who a data directory is: what says it, what may be lost of that, and what keeps it from being opened.

use std::sync::Arc;

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::{Call, Fault, Lasting, SimFs};
use crate::ids::SpoolId;
use crate::spool::inspect::Snapshot;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
use rustix::io::Errno;

const DATA: &str = "/data";

fn opened(fs: &SimFs, seed: u64) -> Result<DataDir<SimFs>, OpenError> {
    DataDir::open_on(fs.clone(), Path::new(DATA), Arc::new(SteppedHost::new(seed)))
}

/// A directory with a lane with an event in it, on the disk to stay; and who it is.
fn made() -> (SimFs, SpoolId) {
    let fs = SimFs::default();
    let data = opened(&fs, 1).unwrap();
    let mut lane = SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap();
    let heard = lane.append(vec![(stream("a"), batch(&[vec![1]]))], 1, || 0);
    assert!(matches!(heard[..], [Heard::Answer(Ok(_), _)]));
    lane.close();
    let id = data.spool_id();
    (fs, id)
}

fn lose(fs: &SimFs, path: &str) {
    fs.tamper(|world| world.lose(&Path::new(DATA).join(path))).unwrap();
}

fn refused<T>(result: Result<T, OpenError>) -> bool {
    matches!(result, Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied)
}

#[test]
fn a_directory_is_who_it_was_as_long_as_anything_of_it_says_so() {
    for left in 0..8 {
        let (fs, id) = made();
        let life = opened(&fs, 2).unwrap().life();
        let all = [names::FORMAT, names::INCARNATION, names::LANES];
        let stays = |n: usize| left & (1 << n) != 0;
        (0..3).filter(|n| !stays(*n)).for_each(|n| lose(&fs, all[n]));
        let seen = Snapshot::take(&fs, Path::new(DATA)).ok().map(|snapshot| snapshot.spool);
        assert_eq!(seen, (stays(0) || stays(2)).then_some(id), "{left:03b}");
        let is_held = hold(&fs, Path::new(DATA)).is_ok();
        assert_eq!(is_held, stays(0) || stays(2), "{left:03b}: what its next start judges by stays as it is");
        let data = opened(&fs, 3).unwrap();
        assert_eq!(data.spool_id() == id, left != 0, "{left:03b}");
        let cause = match (stays(1), left) {
            (true, _) => None,
            (_, 0) => Some(Cause::New),
            _ => Some(Cause::Unmarked),
        };
        assert_eq!(data.is_renewed(), cause == Some(Cause::Unmarked), "{left:03b}");
        assert_eq!(data.life().cause, cause.unwrap_or(life.cause), "{left:03b}");
        // From then on FORMAT says that there has been a mark, whatever it was before.
        drop(data);
        lose(&fs, names::INCARNATION);
        assert_eq!(opened(&fs, 4).unwrap().life().cause, Cause::Unmarked, "{left:03b}");
    }
}

#[test]
fn an_identity_is_looked_for_in_segments_and_in_nothing_else() {
    let (fs, id) = made();
    lose(&fs, names::FORMAT);
    lose(&fs, names::INCARNATION);
    let lane = Path::new(DATA).join("lanes/main");
    let segment = lane.join("00000000000000000001.seg");
    let foreign = crate::spool::format::SegmentHeader {
        incompat: 0,
        spool: SpoolId(id.0 ^ 1),
        run: crate::ids::RunId(1),
        segment: crate::ids::SegmentId(1),
        base: Seq(1),
        created: 0,
        predecessor: format::Predecessor::NONE,
        lane: "main".to_owned(),
    };
    let bytes = fs.world().read(&segment).unwrap();
    fs.tamper(|world| {
        // A file that sorts before it, a directory with a segment's name, a segment of which nothing is left.
        world.rot(&lane.join("0.backup"), foreign.encode_area()).unwrap();
        world.rot(&segment, vec![0xff; 20_000]).unwrap();
        world.rot(&lane.join("00000000000000000003.seg"), bytes).unwrap();
        world.obstruct(&lane.join("00000000000000000002.seg"), false).unwrap();
    });
    assert_eq!(opened(&fs, 2).unwrap().spool_id(), id);
    assert_eq!(crate::spool::salvage::Old::identify(&fs, Path::new(DATA)).unwrap(), id);
}

/// The first that said one was believed: then every segment of its own was another spool's, and nothing of it was delivered.
#[test]
fn one_segment_of_another_spool_does_not_say_who_a_directory_is_that_has_lost_its_format() {
    let (fs, id) = made();
    let data = opened(&fs, 3).unwrap();
    let mut lane = SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap();
    lane.append(vec![(stream("a"), batch(&[vec![2]]))], 1, || 0);
    lane.close();
    drop(data);
    let (other, theirs) = {
        let fs = SimFs::default();
        let data = opened(&fs, 7).unwrap();
        let mut lane =
            SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap();
        lane.append(vec![(stream("a"), batch(&[vec![3]]))], 1, || 0);
        lane.close();
        (
            fs.world().read(&Path::new(DATA).join("lanes/main/00000000000000000001.seg")).unwrap(),
            data.spool_id(),
        )
    };
    assert_ne!(id, theirs);
    // Before its own by the name of its lane.
    let first = Path::new(DATA).join("lanes/a");
    fs.create_dir(&first).unwrap();
    fs.tamper(|world| world.rot(&first.join("00000000000000000001.seg"), other)).unwrap();
    lose(&fs, names::FORMAT);
    assert_eq!(Snapshot::take(&fs, Path::new(DATA)).unwrap().spool, id);
    let data = opened(&fs, 4).unwrap();
    assert_eq!(data.spool_id(), id);
    let lane = SteppedLane::open(&data, lane_name(), &settings(), Seq::NONE, &Metrics::new()).unwrap();
    assert_eq!(read_all(lane.lane(), 1).0.len(), 2);
}

#[test]
fn what_may_not_be_read_is_not_taken_for_absent_or_damaged() {
    let (fs, id) = made();
    let path = Path::new(DATA);
    let broken = |at: u64, errno: Errno| {
        let fs = SimFs::of(fs.world());
        fs.break_at(Fault { at, errno, lasting: Lasting::Once });
        fs
    };
    // FORMAT is opened first by who looks on and by who holds it; after the lock by its owner.
    assert!(refused(hold(&broken(0, Errno::ACCESS), path)));
    assert!(refused(Snapshot::take(&broken(0, Errno::ACCESS), path)));
    let whole = opened(&fs, 2).unwrap();
    drop(whole);
    let mut refusals = Vec::new();
    for at in 0..6 {
        let fs = broken(at, Errno::ACCESS);
        let result = opened(&fs, 2);
        refusals.extend(fs.hits().first().map(|(_, call)| *call).filter(|_| refused(result)));
    }
    assert!(refusals.starts_with(&[Call::Lock, Call::Open]), "{refusals:?}");
    // Bytes that are gone, and what stands in its place, keep nobody out.
    for errno in [Errno::IO, Errno::LOOP] {
        let fs = SimFs::of(fs.world());
        fs.break_at(Fault { at: 0, errno, lasting: Lasting::UntilRepaired });
        // It is known to be there: what can't be done then is to lock it.
        assert!(!matches!(hold(&fs, path), Err(OpenError::NotASpool { .. })), "{errno}");
    }
    fs.tamper(|world| world.obstruct(&path.join(names::FORMAT), false)).unwrap();
    assert_eq!(opened(&fs, 3).unwrap().spool_id(), id);
    assert!(fs.world().read(&path.join(names::FORMAT)).is_some(), "it is made anew");
}

#[test]
fn what_stands_in_the_place_of_the_lock_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(names::LOCK)).unwrap();
    let data = DataDir::open(RealFs, dir.path()).unwrap();
    assert!(matches!(DataDir::open(RealFs, dir.path()), Err(OpenError::Locked { .. })));
    drop(data);
    assert!(dir.path().join("LOCK.aside-1").is_dir() && dir.path().join(names::LOCK).is_file());
}

#[test]
fn lanes_are_directories_with_a_lanes_name_and_not_being_told_of_them_is_an_error() {
    let (fs, _) = made();
    let lanes = Path::new(DATA).join(names::LANES);
    fs.tamper(|world| {
        world.rot(&lanes.join("file"), vec![1]).unwrap();
        world.obstruct(&lanes.join("other"), false).unwrap();
        world.obstruct(&lanes.join("no lane"), false).unwrap();
    });
    let data = opened(&fs, 2).unwrap();
    let found = data.lane_names().unwrap();
    assert_eq!(found.iter().map(LaneName::as_str).collect::<Vec<_>>(), ["main", "other"]);
    fs.break_at(Fault { at: fs.calls(), errno: Errno::ACCESS, lasting: Lasting::Once });
    assert!(refused(data.lane_names()));
    lose(&fs, names::LANES);
    assert_eq!(data.lane_names().unwrap(), []);
}

/// A program that copies what has changed since it came last looks at times and lengths, or at bytes.
#[test]
fn every_opening_by_an_agent_changes_the_mark() {
    let (fs, _) = made();
    let mark = || fs.world().read(&Path::new(DATA).join(names::INCARNATION)).unwrap();
    let mut before = mark();
    for seed in 2..6 {
        let data = opened(&fs, seed).unwrap();
        assert_eq!(mark(), before, "a look changes nothing");
        data.note_opening();
        assert_ne!(mark(), before);
        before = mark();
        let kept = crate::disk::look_at_slots(&fs, &Path::new(DATA).join(names::INCARNATION)).unwrap();
        let kept = incarnation::decode(&kept.unwrap()).unwrap();
        assert_eq!(kept.openings, seed - 1);
    }
}

#[test]
fn what_is_damaged_or_no_file_at_the_name_of_format_is_a_damaged_root_and_what_may_not_be_opened_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (fs, format) = (Faulty::new(), dir.path().join(names::FORMAT));
    let damaged =
        || data_dir::read_root(&fs, dir.path()).map(|found| matches!(found, data_dir::FoundRoot::Damaged(_)));
    assert!(!damaged().unwrap(), "absent");
    std::fs::write(&format, "").unwrap();
    for (errno, expected) in [(Errno::IO, Some(true)), (Errno::NXIO, Some(true)), (Errno::ACCESS, None)] {
        fs.error(errno);
        fs.fail_next(Op::Open, 10);
        assert_eq!(damaged().ok(), expected, "{errno}");
    }
}

#[test]
fn a_directory_of_which_only_the_mark_is_left_has_had_one_though_it_can_not_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let id = DataDir::open(RealFs, dir.path()).unwrap().spool_id();
    std::fs::remove_file(dir.path().join(names::FORMAT)).unwrap();
    let fs = Faulty::new();
    fs.fail_next(Op::OpenWrite, 10);
    let data = DataDir::open(fs, dir.path()).unwrap();
    assert_eq!((data.spool_id(), data.life().cause), (id, Cause::Unmarked));
}

/// Before there was a mark, no bit of FORMAT said that there should be one.
#[test]
fn a_mark_that_can_not_be_read_is_missed_whatever_format_says() {
    for damage in [vec![0xff; 20_000], {
        let other = SimFs::default();
        let (mut slots, _) = crate::disk::Slots::open(&other, Path::new("/file"), 64).unwrap();
        slots.save(&[7; 64]).unwrap();
        other.world().read(Path::new("/file")).unwrap()
    }] {
        let (fs, id) = made();
        let before = format::Root::new(id).encode().into_bytes();
        fs.tamper(|world| {
            world.rot(&Path::new(DATA).join(names::FORMAT), before).unwrap();
            world.rot(&Path::new(DATA).join(names::INCARNATION), damage).unwrap();
        });
        assert_eq!(opened(&fs, 2).unwrap().life().cause, Cause::Unmarked);
    }
}

#[test]
fn a_mark_that_could_not_be_made_at_the_first_start_is_not_missed_at_the_next() {
    let mut refused = 0;
    for at in 0..60 {
        let fs = SimFs::default();
        fs.break_at(Fault { at, errno: Errno::ACCESS, lasting: Lasting::Once });
        let first = opened(&fs, 1);
        let hits = fs.repair();
        if first.is_ok() && matches!(hits[..], [(_, Call::Create)]) {
            drop(first);
            assert_eq!(opened(&fs, 2).unwrap().life().cause, Cause::New, "call {at}");
            refused += 1;
        }
    }
    // That of the mark, and that of FORMAT.
    assert_eq!(refused, 2);
}

#[test]
fn who_looks_on_is_told_under_which_incarnation_a_directory_lives() {
    let (fs, id) = made();
    let data = opened(&fs, 2).unwrap();
    let told = |spool| crate::spool::inspect::incarnation(&fs, Path::new(DATA), spool);
    assert_eq!(told(id), data.life().incarnation);
    data.note_rolled_back().unwrap();
    assert!(data.life().incarnation.0 != id.0 && told(id) == data.life().incarnation);
    assert_eq!(told(SpoolId(9)).0, 9, "a mark of another spool says nothing");
}

#[test]
fn what_a_newer_version_wrote_is_looked_at_only_if_its_bits_allow_it() {
    let (fs, id) = made();
    let path = Path::new(DATA);
    for (root, readable) in [
        (format::Root { incompat: 1, ..format::Root::new(id) }, false),
        (format::Root { read_only: 1, ..format::Root::new(id) }, true),
    ] {
        let bytes = root.encode().into_bytes();
        fs.tamper(|world| world.rot(&path.join(names::FORMAT), bytes)).unwrap();
        assert!(matches!(opened(&fs, 2), Err(OpenError::Newer { bits: 1, .. })));
        assert!(
            matches!(hold(&fs, path), Err(OpenError::Newer { bits: 1, .. })),
            "to change something of it"
        );
        let seen = Snapshot::take(&fs, path).map(|snapshot| snapshot.spool);
        let salvaged = crate::spool::salvage::Old::identify(&fs, path);
        for told in [seen, salvaged] {
            match told {
                Ok(told) => assert!(readable && told == id),
                Err(e) => assert!(!readable && matches!(e, OpenError::Newer { bits: 1, .. }), "{e}"),
            }
        }
    }
}

#[test]
fn whatever_is_wrong_is_said_with_what_follows_from_it() {
    for cause in [Cause::Copied, Cause::OtherHost, Cause::RolledBack, Cause::Unmarked] {
        let advice = cause.advice().unwrap();
        assert!(advice.len() > 80 && advice.contains("lost") | advice.contains("both send"), "{advice}");
    }
    assert_eq!(Cause::New.advice(), None);
}
