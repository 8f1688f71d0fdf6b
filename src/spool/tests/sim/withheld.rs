//! A disk that gives nothing of the log's end for as long as a start waits, and gives it again later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::parallel;
use super::rot::segments_with_bytes;
use super::site::{Site, Step, small};
use super::verify::Tried;
use super::witness::Witness;
use crate::config::model::Spool;
use crate::disk::Fs as _;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::{Fault, Lasting, SimFs, World};
use crate::ids::{RunId, SegmentId, Seq};
use crate::metrics::Metrics;
use crate::spool::inspect::Snapshot;
use crate::spool::salvage::{Old, Wishes, finish};
use crate::spool::{DataDir, Lane, OpenError, format, names};

const NEXT: &str = "which number comes next";
const WHOSE: &str = "whose data directory this is";

/// With room for several blocks in a segment.
fn roomy() -> Spool {
    Spool { segment_size: 64 << 10, ..small() }
}

/// What a killed agent has left: five segments, the last one with several blocks, and nothing that was delivered.
fn left(metrics: &Arc<Metrics>) -> (World, Witness) {
    let (settings, fs, mut witness) = (roomy(), SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, &settings, metrics);
    site.start().unwrap();
    let steps = [Step::Large, Step::Reopen].repeat(4);
    steps.into_iter().for_each(|step| site.step(step, &mut witness).unwrap());
    site.append(&[("a", &[6000])], &mut witness).unwrap();
    [Step::Small, Step::Idle].into_iter().for_each(|step| site.step(step, &mut witness).unwrap());
    site.kill();
    assert_eq!(segments_with_bytes(&fs.world()).len(), 5);
    (fs.world(), witness)
}

fn withhold(world: &mut World, path: &Path) {
    let len = world.read(path).unwrap().len();
    world.wear(path, 0..len).unwrap();
}

fn files(world: &World) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    world.paths().into_iter().map(|path| (path.clone(), world.read(&path))).collect()
}

/// A start on that disk fails and says why, and has changed nothing; the next one, to which the disk gives everything, has everything.
fn fails_and_changes_nothing(world: &World, witness: &Witness, metrics: &Arc<Metrics>, told: [&str; 2]) {
    let (fs, before, mut witness) = (SimFs::of(world.clone()), files(world), witness.clone());
    let mut site = Site::new(fs.clone(), 9, &roomy(), metrics);
    for _ in 0..2 {
        let said = site.start().unwrap_err();
        assert!(told.iter().all(|part| said.contains(part)) && said.contains("see to the disk"), "{said}");
        assert!(files(&fs.world()) == before, "{said}");
    }
    fs.tamper(World::mend);
    site.start().unwrap();
    let (found, holes) = site.read_with_holes(&mut witness).unwrap();
    assert_eq!((witness.missing(&found), holes), (Vec::new(), Vec::new()));
    site.lives_on(&mut witness).unwrap();
}

/// Found by the random stories, once their errors last over several starts: such a start began again at number 1, or at the end of
/// what it could read. What it accepted was hidden by older numbers when the disk gave those again.
#[test]
fn a_start_to_which_the_disk_gives_nothing_of_the_last_segments_fails_and_changes_nothing() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let segments: Vec<_> = segments_with_bytes(&world).into_iter().collect();
    let path = |name: &str| Path::new("/data").join(name);
    for last in 1..=segments.len() {
        let withheld = &segments[segments.len() - last..];
        let first = withheld[0].display().to_string();
        let all = last == segments.len();
        let beside: [(&[&str], [&str; 2]); 4] = [
            (&[], [NEXT, &first]),
            (&["incarnation", "position", "lanes/main/floor"], [NEXT, &first]),
            (&["FORMAT"], [if all { WHOSE } else { NEXT }, &first]),
            (&["FORMAT", "incarnation", "position"], [if all { WHOSE } else { NEXT }, &first]),
        ];
        for (others, told) in beside {
            let mut world = world.clone();
            withheld.iter().for_each(|segment| withhold(&mut world, segment));
            others.iter().for_each(|other| withhold(&mut world, &path(other)));
            fails_and_changes_nothing(&world, &witness, &metrics, told);
        }
    }
}

/// Found by reading: the header of the last segment came from the page cache, and nothing else came from anywhere. It counted as read, and
/// the first event that was accepted cut all of its events off for good.
#[test]
fn a_header_that_the_page_cache_alone_gives_does_not_say_that_the_disk_gives_the_segment() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let last = segments_with_bytes(&world).into_iter().next_back().unwrap();
    let (data, len) = (usize::try_from(format::DATA_START).unwrap(), world.read(&last).unwrap().len());
    for in_memory in [data, len] {
        let mut world = world.clone();
        world.wear(&last, in_memory..len).unwrap();
        world.wear_below_cache(&last, 0..in_memory).unwrap();
        fails_and_changes_nothing(&world, &witness, &metrics, [NEXT, &last.display().to_string()]);
    }
}

#[test]
fn a_disk_that_goes_away_in_the_middle_of_a_start_costs_the_start_and_no_event() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let calls = |fs: &SimFs| {
        Site::new(fs.clone(), 9, &roomy(), &metrics).start().unwrap();
        fs.calls()
    };
    let all = calls(&SimFs::of(world.clone()));
    let mut failed = 0;
    for at in 0..all {
        let (fs, mut witness) = (SimFs::of(world.clone()), witness.clone());
        fs.break_at(Fault { at, errno: Errno::IO, lasting: Lasting::UntilRepaired });
        let mut site = Site::new(fs.clone(), 9, &roomy(), &metrics);
        let started = site.start();
        fs.repair();
        if started.is_err() {
            failed += 1;
            site.kill();
            site.start().unwrap();
        }
        let (found, _) = site.read_with_holes(&mut witness).unwrap();
        assert!(witness.missing(&found).is_empty(), "from call {at} of {all} on: {started:?}");
    }
    assert!(failed > 0 && failed < all, "{failed} of {all}");
}

/// Found by reading: a disk that came back just before it was asked whether it was there counted as one that was there all the time, and
/// what it had not given until then as damage.
#[test]
fn a_disk_that_comes_back_at_any_call_of_a_start_costs_the_start_or_nothing() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let fs = SimFs::of(world.clone());
    Site::new(fs.clone(), 9, &roomy(), &metrics).start().unwrap();
    // A start that reads again what was not given at first makes more calls.
    let all = fs.calls() + 40;
    let pairs: Vec<_> = (0..all).flat_map(|from| (from + 3..=all).map(move |upto| (from, upto))).collect();
    let (failed, _) = parallel(pairs.len(), |n| {
        let (from, upto) = pairs[n];
        let (fs, mut witness) = (SimFs::of(world.clone()), witness.clone());
        fs.break_at(Fault { at: from, errno: Errno::IO, lasting: Lasting::Before(upto) });
        let mut site = Site::new(fs.clone(), 9, &roomy(), &metrics);
        let started = site.start();
        fs.repair();
        if started.is_err() {
            site.kill();
            site.start()?;
        }
        let (found, _) = site.read_with_holes(&mut witness)?;
        match &witness.missing(&found)[..] {
            [] => Ok((u64::from(started.is_err()), Tried::default())),
            missing => Err(format!(
                "away for the calls {from} to {upto} of {all}: {started:?}, missing: {missing:?}"
            )),
        }
    })
    .unwrap();
    println!("{failed} of {} starts failed while the disk was away for some calls", pairs.len());
    assert!(failed > 0 && failed < pairs.len() as u64);
}

/// Found by reading: its events counted as lost at once, and were passed over though the disk gave them later.
#[test]
fn a_segment_in_the_middle_that_can_not_be_opened_is_waited_for_by_its_readers() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let segments: Vec<_> = segments_with_bytes(&world).into_iter().collect();
    let [middle @ .., last] = &segments[..] else { panic!("{segments:?}") };
    for path in middle {
        let (fs, mut witness) = (SimFs::of(world.clone()), witness.clone());
        fs.tamper(|world| world.shut(path)).unwrap();
        let mut site = Site::new(fs.clone(), 9, &roomy(), &metrics);
        site.start().unwrap();
        let (found, holes) = site.read_with_holes(&mut witness).unwrap();
        assert!(holes.is_empty() && !witness.missing(&found).is_empty(), "{}: {holes:?}", path.display());
        assert_eq!(site.lane().unwrap().lane().status().quarantined_events, 0);
        let seen = Snapshot::take(&fs, Path::new("/data")).unwrap().lanes.remove(0).passed_over();
        assert!(seen.iter().any(|passed| passed.file == *path), "who looks on hears of it: {seen:?}");
        fs.tamper(World::mend);
        let (found, holes) = site.read_with_holes(&mut witness).unwrap();
        assert_eq!((witness.missing(&found), holes), (Vec::new(), Vec::new()), "{}", path.display());
    }
    let mut world = world;
    world.shut(last).unwrap();
    fails_and_changes_nothing(&world, &witness, &metrics, [NEXT, &last.display().to_string()]);
}

/// Two blocks of one commit, of which the disk gives only the second: by itself that does not prove the first, and a position does.
#[test]
fn a_last_segment_without_its_beginning_is_given_if_a_position_says_that_its_numbers_were_durable() {
    let (metrics, fs, mut witness) = (Metrics::new(), SimFs::default(), Witness::default());
    let mut site = Site::new(fs.clone(), 1, &roomy(), &metrics);
    site.start().unwrap();
    [Step::Large, Step::Reopen].into_iter().for_each(|step| site.step(step, &mut witness).unwrap());
    site.append(&[("a", &[6000]), ("b", &[100])], &mut witness).unwrap();
    let mut worlds = vec![fs.world()];
    site.step(Step::Consume, &mut witness).unwrap();
    worlds.push(fs.world());
    site.kill();
    let last = segments_with_bytes(&fs.world()).into_iter().next_back().unwrap();
    for (mut world, starts) in worlds.into_iter().zip([false, true]) {
        world.wear(&last, 0..usize::try_from(format::DATA_START).unwrap() + 1).unwrap();
        let mut site = Site::new(SimFs::of(world), 9, &roomy(), &metrics);
        match site.start() {
            Ok(()) => assert!(starts),
            Err(told) => assert!(!starts && told.contains(NEXT), "{told}"),
        }
    }
}

/// Under the highest name stands a copy of another lane's segment, which says nothing of this lane's end.
#[test]
fn a_segment_of_another_lane_does_not_let_a_start_begin_that_can_only_fail() {
    let metrics = Metrics::new();
    let (mut world, _) = left(&metrics);
    let last = segments_with_bytes(&world).into_iter().next_back().unwrap();
    let header = format::SegmentHeader::decode_area(&world.read(&last).unwrap()).unwrap();
    let header = format::SegmentHeader { lane: "other".to_owned(), segment: SegmentId(90), ..header };
    world.rot(&last.with_file_name(names::segment(SegmentId(90))), header.encode_area()).unwrap();
    assert!(DataDir::open(SimFs::of(world.clone()), Path::new("/data")).is_ok());
    withhold(&mut world, &last);
    let refused = DataDir::open(SimFs::of(world), Path::new("/data")).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Withheld { path, unknown: NEXT, .. } if *path == last),
        "{refused}"
    );
}

#[test]
fn a_directory_gets_no_other_identity_because_the_disk_does_not_give_its_own() {
    let metrics = Metrics::new();
    let (mut without, witness) = left(&metrics);
    // FORMAT is gone for good, and for now so is all that says what stood in it.
    without.lose(Path::new("/data/FORMAT")).unwrap();
    segments_with_bytes(&without).iter().for_each(|segment| withhold(&mut without, segment));
    fails_and_changes_nothing(&without, &witness, &metrics, [WHOSE, ".seg"]);
    // There is no segment, and the disk gives neither of the others.
    let fs = SimFs::default();
    let mut site = Site::new(fs.clone(), 1, &roomy(), &metrics);
    let id = DataDir::open(fs.clone(), Path::new("/data")).unwrap().spool_id();
    fs.tamper(|world| {
        ["FORMAT", "incarnation"].iter().for_each(|name| withhold(world, &Path::new("/data").join(name)));
    });
    let said = site.start().unwrap_err();
    assert!(said.contains(WHOSE) && said.contains("/data/FORMAT"), "{said}");
    fs.tamper(World::mend);
    assert_eq!(DataDir::open(fs, Path::new("/data")).unwrap().spool_id(), id);
}

/// Damage, and sectors that stay bad, cost what they hold. They cost the start where no number is left behind the end.
#[test]
fn a_start_goes_on_where_the_disk_gives_a_number_of_the_last_segment_or_of_one_behind() {
    let metrics = Metrics::new();
    let (world, witness) = left(&metrics);
    let segments: Vec<_> = segments_with_bytes(&world).into_iter().collect();
    let [.., fourth, last] = &segments[..] else { panic!("{segments:?}") };
    let len = world.read(last).unwrap().len();
    let data = usize::try_from(format::DATA_START).unwrap();
    let missing = |harm: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        harm(&mut world);
        let (fs, mut witness) = (SimFs::of(world), witness.clone());
        let mut site = Site::new(fs, 9, &roomy(), &metrics);
        site.damaged = true;
        site.start().unwrap();
        let (found, _) = site.read_with_holes(&mut witness).unwrap();
        let missing = witness.missing(&found).len();
        site.lives_on(&mut witness.without_acknowledgements()).unwrap();
        missing
    };
    assert_eq!(missing(&|w| w.wear(last, 0..data).unwrap()), 0, "both copies of the header");
    assert_eq!(missing(&|w| w.wear(last, 0..1).unwrap()), 0, "one of them");
    assert_eq!(missing(&|w| w.wear(last, data..len).unwrap()), 2, "all but the header");
    let garbage = |w: &mut World| w.rot(last, vec![0xa5; len]).unwrap();
    assert_eq!(missing(&garbage), 2, "garbage");
    assert_eq!(missing(&|w| w.obstruct(last, true).unwrap()), 2, "no file at all");
    // Of one the next says where it ends; of the other the second event is read, behind the first, which is larger than a page.
    // Readers wait for what they can't read.
    for (path, worn) in [(fourth, 0..world.read(fourth).unwrap().len()), (last, 0..data + 1)] {
        let mut world = world.clone();
        world.wear(path, worn).unwrap();
        let mut site = Site::new(SimFs::of(world), 9, &roomy(), &metrics);
        site.start().unwrap();
        assert_eq!(site.lane().unwrap().lane().durable(), Seq(6));
    }
}

#[test]
fn a_file_that_was_made_ready_holds_nothing_only_if_the_disk_says_so() {
    let metrics = Metrics::new();
    let (mut world, witness) = left(&metrics);
    let ready = Path::new("/data/lanes/main").join(names::segment(SegmentId(70)));
    world.rot(&ready, vec![0; 20_000]).unwrap();
    for worn in [0..1, 4096..4097, 8192..20_000] {
        let mut world = world.clone();
        world.wear(&ready, worn).unwrap();
        let mut site = Site::new(SimFs::of(world), 9, &roomy(), &metrics);
        site.start().unwrap();
        site.lives_on(&mut witness.clone()).unwrap();
    }
    world.wear(&ready, 0..8192).unwrap();
    fails_and_changes_nothing(&world, &witness, &metrics, [NEXT, &ready.display().to_string()]);
}

/// The other way out than to move that file away.
#[test]
fn a_log_with_which_no_start_goes_on_is_salvaged_but_for_the_file_that_the_disk_does_not_give() {
    let metrics = Metrics::new();
    let (mut world, witness) = left(&metrics);
    let last = segments_with_bytes(&world).into_iter().next_back().unwrap();
    withhold(&mut world, &last);
    let (fs, data, new) = (SimFs::of(world), Path::new("/data"), Path::new("/new"));
    Site::new(fs.clone(), 9, &roomy(), &metrics).start().unwrap_err();
    let spool = Old::identify(&fs, data).unwrap();
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: RunId(9) };
    fs.create_dir(new).unwrap();
    let old = Old::find(&fs, data, spool).unwrap();
    old.copy(&super::super::lane_name(), new, &wishes, &mut |_| {}).unwrap();
    finish(&fs, new, spool).unwrap();
    let (mut site, mut witness) = (Site::new(fs, 9, &roomy(), &metrics), witness.without_acknowledgements());
    site.place = new;
    site.start().unwrap();
    let (found, holes) = site.read_with_holes(&mut witness).unwrap();
    assert_eq!((found.len(), holes), (4, Vec::new()));
    site.lives_on(&mut witness).unwrap();
}

#[test]
fn who_looks_on_sees_what_there_is_to_see() {
    let metrics = Metrics::new();
    let (mut world, _) = left(&metrics);
    let segments: Vec<_> = segments_with_bytes(&world).into_iter().collect();
    segments[3..].iter().for_each(|segment| withhold(&mut world, segment));
    let (fs, data) = (SimFs::of(world), Path::new("/data"));
    let snapshot = Snapshot::take(&fs, data).unwrap();
    let passed_over: Vec<_> = snapshot.lanes[0].passed_over().into_iter().map(|passed| passed.file).collect();
    assert_eq!((snapshot.lanes[0].end(), &passed_over[..]), (Seq(4), &segments[3..]));
    let old = Old::find(&fs, data, Old::identify(&fs, data).unwrap()).unwrap();
    assert!(old.bytes() > 0);
}

#[test]
fn a_segment_that_the_disk_does_not_let_be_opened_is_waited_for_and_one_that_is_no_file_is_not() {
    let (dir, fs) = (tempfile::tempdir().unwrap(), Faulty::new());
    let open = || {
        let data = DataDir::open(fs.clone(), dir.path())?;
        Lane::open(&data, super::super::lane_name(), &roomy(), Seq::NONE, Metrics::new())
    };
    let lane = open().unwrap();
    super::super::append(&lane, "a", &[vec![1; 100]]).unwrap();
    lane.close();
    drop(lane);
    // All but FORMAT, which is opened first.
    fs.fail_later(Op::Open, 1, u64::MAX);
    let refused = open().unwrap_err();
    let path = dir.path().join("lanes/main").join(names::segment(SegmentId(1)));
    assert!(
        matches!(&refused, OpenError::Withheld { path: told, unknown: NEXT, .. } if *told == path),
        "{refused}"
    );
    // As by a link in its place.
    fs.error(Errno::LOOP);
    fs.fail_later(Op::Open, 1, u64::MAX);
    open().unwrap().close();
    fs.fail_next(Op::Open, 0);
    let lane = open().unwrap();
    assert_eq!(super::super::read_all(&lane, 1).0.len(), 1);
    lane.close();
}
