//! The park on a real and on the simulated disk.

mod away;
mod carried;
mod looked;
mod read;

use super::*;
use crate::disk::faulty::{Faulty, Op, Syncs};
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::disk::{Fs, RealFs};
use crate::ids::{
    DestinationName, LaneName, RunId, SegmentId, Seq, SeqRange, SpoolId, StreamName, TopicName,
};
use proptest::prelude::*;
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SPOOL: SpoolId = SpoolId(9);

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn range(first: u64, end: u64) -> SeqRange {
    SeqRange::new(Seq(first), Seq(end))
}

fn block(first: u64, end: u64) -> Parked {
    Parked {
        range: range(first, end),
        stream: StreamName::new("s").unwrap(),
        time: 1000,
        run: RunId(3),
        segment: SegmentId(first / 10),
        payload: format!("the events from {first} on, and on, and on, and on, and on").into_bytes().into(),
    }
}

/// Bytes that can't be packed.
fn noise(seed: u64, length: usize) -> bytes::Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| roll()).collect()
}

fn try_open<F: Fs>(fs: &F, dir: &Path) -> Result<Park<F>, crate::disk::DiskError> {
    let (lane, destination) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &destination };
    let mut park = Park::open(fs, dir, whose)?.bounded(1 << 20, 0);
    park.reach.look_every = Duration::ZERO;
    Ok(park)
}

fn open<F: Fs>(fs: &F, dir: &Path) -> Arc<Park<F>> {
    Arc::new(try_open(fs, dir).unwrap())
}

/// Everything parked with a number in `range`: blocks by their first number, and damaged ones.
fn read<F: Fs>(park: &Arc<Park<F>>, of: SeqRange) -> (Vec<Parked>, Vec<SeqRange>) {
    let (mut reader, mut at, mut blocks, mut lost) = (park.reader(), of.first, Vec::new(), Vec::new());
    while let Some(first) = reader.first_in(SeqRange::new(at, of.end)).unwrap() {
        at = match reader.take(first, &mut |_, _| true).unwrap().unwrap() {
            Found::Block(block) => {
                let end = block.range.end;
                blocks.push(block);
                end
            }
            Found::Lost(range) => {
                lost.push(range);
                range.end
            }
            Found::Skipped(..) => unreachable!("everything is wanted"),
        };
    }
    (blocks, lost)
}

fn firsts<F: Fs>(park: &Arc<Park<F>>) -> Vec<u64> {
    read(park, range(1, 1000)).0.iter().map(|b| b.range.first.0).collect()
}

#[test]
fn blocks_of_several_topics_are_read_in_the_order_of_their_numbers_by_a_later_process_too() {
    let dir = tempfile::tempdir().unwrap();
    let park = open(&RealFs, dir.path());
    let (a, b) = (topic("a"), topic("b"));
    park.keep(&a, range(1, 20), &[block(1, 4), block(9, 12)]).unwrap();
    park.keep(&b, range(2, 30), &[block(4, 9), block(25, 26)]).unwrap();
    park.keep(&a, range(20, 40), &[block(31, 33)]).unwrap();
    for park in [Arc::clone(&park), open(&RealFs, dir.path())] {
        let (blocks, lost) = read(&park, range(1, 100));
        assert_eq!(blocks, [(1, 4), (4, 9), (9, 12), (25, 26), (31, 33)].map(|(f, e)| block(f, e)));
        assert_eq!(lost, []);
        assert_eq!(read(&park, range(9, 31)).0.len(), 2);
        assert_eq!([1, 19, 25].map(|from| park.covered(&a, Seq(from)).0), [40; 3]);
        assert_eq!((park.covered(&b, Seq(1)).0, park.covered(&b, Seq(2)).0), (1, 30));
        assert_eq!((park.covered(&topic("c"), Seq(7)), park.first()), (Seq(7), Some(Seq(1))));
        assert_eq!(
            [1, 30, 40].map(|seq| park.reach(Seq(seq))),
            [(true, Seq(20)), (true, Seq(40)), (false, Seq(u64::MAX))]
        );
        assert_eq!(park.segment_in(range(10, 40)).unwrap(), Some(SegmentId(2)));
    }
}

#[test]
fn a_reader_that_goes_back_finds_what_it_has_passed_and_what_is_not_wanted_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let park = open(&RealFs, dir.path());
    park.keep(&topic("a"), range(1, 20), &[block(1, 4), block(9, 12)]).unwrap();
    let mut reader = park.reader();
    assert_eq!(reader.first_in(range(5, 100)).unwrap(), Some(Seq(9)));
    assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
    assert_eq!(reader.first_in(range(12, 100)).unwrap(), None);
    let skipped = reader.take(Seq(9), &mut |_, _| false).unwrap();
    let Some(Found::Skipped(skipped, stream, segment, run)) = skipped else { panic!("{skipped:?}") };
    assert_eq!((skipped, stream.as_str(), segment, run), (range(9, 12), "s", SegmentId(0), block(9, 12).run));
    assert_eq!(reader.take(Seq(5), &mut |_, _| true).unwrap(), None);
}

#[test]
fn a_file_goes_when_nobody_needs_what_it_covers_and_its_room_is_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let park = open(&RealFs, dir.path());
    let (a, b) = (topic("a"), topic("b"));
    park.keep(&a, range(1, 10), &[block(1, 4)]).unwrap();
    park.keep(&a, range(10, 20), &[block(11, 14)]).unwrap();
    park.keep(&b, range(1, 10), &[block(5, 6)]).unwrap();
    let held = park.bytes();
    park.forget(|topic| if *topic == a { Seq(19) } else { Seq(9) }).unwrap();
    assert_eq!((firsts(&park), park.bytes() < held), (vec![5, 11], true));
    park.forget(|_| Seq(20)).unwrap();
    assert_eq!((firsts(&park), park.bytes(), park.first()), (vec![], 0, None));
    assert_eq!(firsts(&open(&RealFs, dir.path())), Vec::<u64>::new());
}

#[test]
fn the_quota_and_the_reserve_are_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let park = try_open(&RealFs, dir.path()).unwrap().bounded(400, 0);
    park.keep(&topic("a"), range(1, 10), &[block(1, 4)]).unwrap();
    let refused = park.keep(&topic("a"), range(10, 20), &[block(11, 14), block(15, 16)]).unwrap_err();
    assert!(matches!(refused, ParkError::Full { limit: 400, .. }), "{refused}");
    assert_eq!(park.covered(&topic("a"), Seq(1)), Seq(10));
    let park = try_open(&RealFs, dir.path()).unwrap().bounded(1 << 20, u64::MAX);
    let refused = park.keep(&topic("a"), range(10, 20), &[block(11, 14)]).unwrap_err();
    assert!(matches!(refused, ParkError::Reserve { .. }), "{refused}");
}

#[test]
fn what_could_not_be_parked_takes_no_room() {
    let fs = SimFs::default();
    let dir = Path::new("/data");
    let park = open(&fs, dir);
    park.keep(&topic("a"), range(1, 10), &[block(1, 4)]).unwrap();
    let began = fs.calls();
    park.keep(&topic("b"), range(1, 10), &[block(5, 6)]).unwrap();
    let calls = fs.calls() - began;
    let parked = |fs: &SimFs| {
        let paths = fs.world().paths();
        paths.iter().filter(|path| path.extension().is_some_and(|e| e == "parked")).count()
    };
    assert_eq!(parked(&fs), 2);
    for call in 0..calls {
        fs.break_at(Fault { at: fs.calls() + call, errno: Errno::IO, lasting: Lasting::Once });
        let held = park.bytes();
        let kept = park.keep(
            &topic("c"),
            range(10 * call + 1, 10 * call + 10),
            &[block(10 * call + 2, 10 * call + 3)],
        );
        fs.repair();
        assert_eq!(kept.is_ok(), park.bytes() > held, "call {call}");
    }
    assert_eq!(open(&fs, dir).bytes(), park.bytes(), "a later process finds what this one knows of");
    // What took the place of something that counts, stays.
    let again = || park.keep(&topic("a"), range(1, 10), &[block(1, 4)]);
    let began = fs.calls();
    again().unwrap();
    let last = fs.calls() - began - 1;
    fs.break_at(Fault { at: fs.calls() + last, errno: Errno::IO, lasting: Lasting::Once });
    assert!(again().is_err());
    fs.repair();
    assert!(firsts(&open(&fs, dir)).contains(&1));
}

#[test]
fn every_damaged_byte_costs_at_most_the_block_it_is_in() {
    let fs = SimFs::default();
    let dir = Path::new("/data");
    let blocks = [block(1, 4), block(5, 8), block(9, 12)];
    open(&fs, dir).keep(&topic("a"), range(1, 20), &blocks).unwrap();
    let path = fs.world().paths().into_iter().find(|p| p.extension().is_some_and(|e| e == "parked")).unwrap();
    let bytes = fs.world().read(&path).unwrap();
    let mut whole = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs.tamper(|world| world.rot(&path, damaged)).unwrap();
        let (found, _) = read(&open(&fs, dir), range(1, 100));
        assert!(found.len() >= 2 && found.iter().all(|b| blocks.contains(b)), "byte {at}: {found:?}");
        whole += usize::from(found.len() == 3);
    }
    assert!(
        whole > 0 && whole < bytes.len() / 2,
        "{whole} of {}: only the header can be done without",
        bytes.len()
    );
    for cut in 0..bytes.len() {
        fs.tamper(|world| world.rot(&path, bytes[..cut].to_vec())).unwrap();
        let (found, _) = read(&open(&fs, dir), range(1, 100));
        assert!(found.iter().all(|b| blocks.contains(b)), "cut at {cut}");
    }
}

#[test]
fn a_file_that_is_gone_or_no_file_is_no_end_of_the_others() {
    let fs = SimFs::default();
    let dir = Path::new("/data");
    let park = open(&fs, dir);
    for first in [1, 11, 21] {
        park.keep(&topic("a"), range(first, first + 10), &[block(first, first + 2)]).unwrap();
    }
    let path = fs.world().paths().into_iter().find(|p| p.to_string_lossy().contains("00011-")).unwrap();
    fs.tamper(|world| world.lose(&path)).unwrap();
    assert_eq!(firsts(&park), [1, 21]);
    fs.tamper(|world| world.obstruct(&path, true)).unwrap();
    assert_eq!(firsts(&open(&fs, dir)), [1, 21]);
}

/// Parks, forgets and parks again; after each step, with the calls done so far, what has to be covered and read.
fn work(fs: &SimFs) -> Vec<(u64, Seq)> {
    let (mut log, a) = (Vec::new(), topic("a"));
    let Ok(park) = try_open(fs, Path::new("/data")) else { return log };
    for first in [1, 11, 21] {
        if park
            .keep(&a, range(first, first + 10), &[block(first, first + 3), block(first + 5, first + 8)])
            .is_err()
        {
            return log;
        }
        log.push((fs.calls(), Seq(first + 10)));
    }
    let _ = park.forget(|_| Seq(11));
    log
}

fn check(fs: &SimFs, due: Seq, when: &str) {
    let park = open(fs, Path::new("/data"));
    let covered = park.covered(&topic("a"), Seq(11).min(due));
    // What was forgotten may be there or not.
    assert!(covered >= due || due <= Seq(11), "{when}: {covered} of {due}");
    let blocks = read(&park, range(11, covered.0)).0;
    let expected = (11..covered.0).step_by(10).flat_map(|f| [block(f, f + 3), block(f + 5, f + 8)]);
    assert_eq!(blocks, expected.collect::<Vec<_>>(), "{when}");
    park.keep(&topic("b"), range(1, 5), &[block(1, 2)]).expect(when);
}

fn cuts(fs: &SimFs, early: u64) -> u64 {
    let log = work(fs);
    assert_eq!(log.len(), 3);
    let mut tried = 0;
    for moment in fs.moments() {
        let due = log
            .iter()
            .rev()
            .find(|(calls, _)| *calls <= moment.calls + early)
            .map_or(Seq(1), |(_, due)| *due);
        for choices in moment.world.cuts(64) {
            let when = format!("before {:?} after {} calls", moment.before, moment.calls);
            check(&SimFs::of(moment.world.after_power_cut(&choices)), due, &when);
            tried += 1;
        }
    }
    tried
}

#[test]
fn after_a_power_cut_at_any_moment_everything_confirmed_is_covered_and_read() {
    let fs = SimFs::default();
    fs.record();
    assert!(cuts(&fs, 0) > 50);
}

#[test]
fn what_is_confirmed_before_its_name_is_durable_is_caught() {
    let fs = SimFs::default();
    fs.record();
    // The last calls are the syncs of the names on the way: five directories.
    assert!(std::panic::catch_unwind(|| cuts(&fs, 5)).is_err());
}

#[test]
fn what_is_kept_in_a_directory_that_an_earlier_failure_left_survives_a_power_cut() {
    for at in 0..16 {
        let fs = SimFs::default();
        fs.create_dir(Path::new("/data")).unwrap();
        let park = open(&fs, Path::new("/data"));
        fs.break_at(Fault { at: fs.calls() + at, errno: Errno::IO, lasting: Lasting::Once });
        let _may_fail = park.keep(&topic("a"), range(1, 10), &[block(1, 4)]);
        fs.repair();
        park.keep(&topic("a"), range(1, 20), &[block(1, 4), block(11, 14)]).unwrap();
        let cut = SimFs::of(fs.world().after_power_cut(&[]));
        assert_eq!(firsts(&open(&cut, Path::new("/data"))), [1, 11], "with call {at} failing");
    }
}

#[test]
fn a_disk_that_fails_at_any_call_costs_nothing_that_was_confirmed() {
    let calls = {
        let fs = SimFs::default();
        work(&fs);
        fs.calls()
    };
    for at in 1..=calls {
        for (errno, lasting) in
            [(Errno::IO, Lasting::Once), (Errno::NOSPC, Lasting::Once), (Errno::IO, Lasting::UntilRepaired)]
        {
            let fs = SimFs::default();
            fs.break_at(Fault { at, errno, lasting });
            let due = work(&fs).last().map_or(Seq(1), |(_, due)| *due);
            fs.repair();
            let world = fs.world();
            for choices in world.cuts(64) {
                let fs = SimFs::of(world.after_power_cut(&choices));
                check(&fs, due, &format!("{errno:?} {lasting:?} at call {at}"));
            }
        }
    }
}

#[test]
fn under_another_name_every_topic_is_durable_and_under_the_old_one_gone() {
    let name = |name| DestinationName::new(name).unwrap();
    let prepare = |dir: &Path| {
        let park = open(&RealFs, dir);
        park.keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
        park.keep(&topic("b"), range(8, 20), &[block(9, 10)]).unwrap();
    };
    let renamed = Syncs::made_by(prepare, |fs, dir| {
        rename(fs, dir, &LaneName::new("main").unwrap(), (&name("home"), &name("away")))
    });
    // Of each topic the names on the way, from its own directory to the data directory, then the old one's.
    assert_eq!(renamed, Syncs::of(0, 2 * (5 + 1)));
}

#[test]
fn a_park_is_brought_into_another_directory_goes_to_another_name_and_goes_away() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let park = open(&RealFs, dir.path());
    park.keep(&topic("a"), range(5, 20), &[block(6, 9)]).unwrap();
    park.keep(&topic("b"), range(8, 20), &[block(9, 10)]).unwrap();
    let (lane, home, away) = (
        LaneName::new("main").unwrap(),
        DestinationName::new("home").unwrap(),
        DestinationName::new("away").unwrap(),
    );
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &home };
    assert_eq!(copy(&RealFs, dir.path(), other.path(), whose).unwrap(), (Some(Seq(5)), 0));
    assert_eq!(firsts(&open(&RealFs, other.path())), [6, 9]);
    for _ in 0..2 {
        rename(&RealFs, other.path(), &lane, (&home, &away)).unwrap();
    }
    assert_eq!(firsts(&open(&RealFs, other.path())), Vec::<u64>::new());
    rename(&RealFs, other.path(), &lane, (&away, &home)).unwrap();
    assert_eq!(firsts(&open(&RealFs, other.path())), [6, 9]);
    remove(&RealFs, other.path(), whose).unwrap();
    assert_eq!((firsts(&open(&RealFs, other.path())), firsts(&park)), (vec![], vec![6, 9]));
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_parked_events(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = super::codec::MAGIC.to_vec();
        framed.extend(&bytes);
        prop_assert_eq!(super::codec::head(&framed, SPOOL), None);
    }
}
