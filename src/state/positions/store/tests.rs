use super::*;
use crate::disk::RealFs;
use crate::disk::sim::SimFs;
use crate::ids::{Seq, StreamName, TopicName};
use crate::state::positions::{Counter, Partial, Passed, PassedStream, Side, Taken, TopicCounters};

fn passed(ahead: u64, dropped: bool, older: bool, change: u64) -> Passed {
    let stream = StreamName::new("s").unwrap();
    let streams =
        vec![PassedStream { stream, from: Seq(3), below: Seq(5), apart: std::sync::Arc::default() }];
    Passed { below: Seq(9), streams, waiting: -4, dropped, older, ahead, change, inexact: None }
}

fn taken() -> Taken {
    let from = DestinationName::new("other").unwrap();
    let passed = vec![passed(7, true, false, 2), passed(0, false, true, 0)];
    Taken { change: 6, from, position: Seq(11), passed, below: Seq(12), until: Seq(13), waiting: -2 }
}

/// Each alone, so that none hangs on another.
#[test]
fn whatever_changes_of_routes_leave_behind_is_found_again() {
    let fresh = || Positions::fresh(SpoolId(7), Seq(1));
    let mut all = vec![
        Positions { known: 5, ..fresh() },
        Positions { change: 5, ..fresh() },
        Positions { change: 6, taken: vec![taken(), Taken { waiting: 3, ..taken() }], ..fresh() },
        Positions { change: 6, kept: vec![Seq(20), Seq(30)], ..fresh() },
    ];
    for (ahead, dropped, older, change) in
        [(0, false, false, 0), (1, true, false, 4), (2, false, true, 0), (u64::MAX >> 2, true, true, 9)]
    {
        all.push(Positions { passed: vec![passed(ahead, dropped, older, change)], ..fresh() });
    }
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    fs.create_dir(data).unwrap();
    let open = || Store::open_sized(&fs, data, SpoolId(7), &lane, &home, 4096).unwrap();
    for positions in all {
        open().0.save(&positions).unwrap();
        assert_eq!(open().1, Restored::Positions(Box::new(positions)));
    }
}

/// So many topics are stuck, each with a name as long as can be, and of each a partition was written to.
fn stuck(topics: u64) -> Positions {
    let name = |n: u64| TopicName::new(&format!("{n:x>249}")).unwrap();
    let side = |n| Side {
        topic: name(n),
        from: Seq(1),
        position: Seq(2),
        end: None,
        waiting: 1,
        since: 3,
        dropped: false,
        missing_for: 4,
        streams: vec![(StreamName::new(name(n).as_str()).unwrap(), Seq(1))],
        apart: Vec::new(),
    };
    let counter = Counter { epoch: 5, next: 6 };
    let counters =
        |n| TopicCounters { partitions: [(0, counter)].into(), ..TopicCounters::none(name(n), [7; 16]) };
    Positions {
        sides: (0..topics).map(side).collect(),
        counters: (0..topics).map(counters).collect(),
        // As much as may be settled behind what is not.
        partial: (0..2 * 96 * 1024 / 24).map(|n| Partial::new(Seq(10 + n), 1)).collect(),
        ..Positions::fresh(SpoolId(7), Seq(1))
    }
}

fn on(fs: &SimFs) -> (Store<SimFs>, Restored) {
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    Store::open(fs, Path::new("/data"), SpoolId(7), &lane, &home).unwrap()
}

fn disk() -> SimFs {
    let fs = SimFs::default();
    fs.create_dir(Path::new("/data")).unwrap();
    fs
}

/// Found by an audit: of some hundreds what is settled of single blocks was left out, and sent again after a kill; of some thousands
/// nothing could be kept, so no segment went, and the lane filled up.
#[test]
fn however_many_topics_are_stuck_all_that_is_known_of_them_is_kept_in_a_file_that_grows_with_it() {
    let fs = disk();
    for topics in [1, 500, 1000, 3000] {
        let positions = stuck(topics);
        let (mut store, _) = on(&fs);
        store.save(&positions).unwrap();
        assert!(on(&fs).1 == Restored::Positions(Box::new(positions)), "{topics} topics");
        store.sync().unwrap();
    }
    let (mut store, _) = on(&fs);
    store.save(&stuck(1)).unwrap();
    assert!(on(&fs).1 == Restored::Positions(Box::new(stuck(1))), "in the file that it has");
}

#[test]
fn where_there_is_no_room_for_a_larger_file_what_fits_is_kept_until_there_is() {
    let fs = disk();
    let (mut store, _) = on(&fs);
    store.save(&stuck(1)).unwrap();
    store.sync().unwrap();
    fs.tamper(|world| world.fill_up_to(0));
    let positions = stuck(800);
    store.save(&positions).unwrap();
    let Restored::Positions(kept) = on(&fs).1 else { panic!("nothing is kept") };
    assert!(kept.sides == positions.sides && kept.partial.len() < positions.partial.len());
    let creates = fs.calls();
    store.save(&positions).unwrap();
    assert_eq!(fs.calls() - creates, 1, "the disk is not asked for room each time");
    assert!(store.save(&stuck(3000)).is_err(), "the least of it does not fit");
    fs.tamper(|world| world.set_capacity(u64::MAX));
    store.grows_after = None;
    store.save(&positions).unwrap();
    assert!(on(&fs).1 == Restored::Positions(Box::new(positions)));
}

/// Found by reading: the lane filled up on a disk with room for the larger file, since it had not room for two.
#[test]
fn a_larger_file_takes_most_of_the_room_only_where_nothing_can_be_kept_in_the_one_that_there_is() {
    let fs = disk();
    let (mut store, _) = on(&fs);
    store.save(&stuck(1)).unwrap();
    store.sync().unwrap();
    let room = |positions| 3 * ((codec::needs(positions) + LEFT).next_power_of_two() as u64 + 8192);
    let [fits, does_not] = [stuck(800), stuck(3000)];
    fs.tamper(|world| world.fill_up_to(room(&fits)));
    store.save(&fits).unwrap();
    let Restored::Positions(kept) = on(&fs).1 else { panic!("nothing is kept") };
    assert!(kept.sides == fits.sides && kept.partial.len() < fits.partial.len());
    fs.tamper(|world| world.fill_up_to(room(&does_not)));
    store.save(&does_not).unwrap();
    assert!(on(&fs).1 == Restored::Positions(Box::new(does_not)));
}

#[test]
fn while_a_file_grows_a_power_cut_leaves_what_was_saved_before_or_what_is_being_saved_and_then_that() {
    let fs = disk();
    let (mut store, _) = on(&fs);
    let [before, after] = [stuck(1), stuck(500)];
    store.save(&before).unwrap();
    store.sync().unwrap();
    fs.record();
    store.save(&after).unwrap();
    store.sync().unwrap();
    let moments = fs.moments();
    assert!(moments.len() > 5, "{}", moments.len());
    for moment in &moments {
        for choices in moment.world.cuts(32) {
            let Restored::Positions(read) = on(&SimFs::of(moment.world.after_power_cut(&choices))).1 else {
                panic!("before {:?}", moment.before)
            };
            assert!(*read == before || *read == after, "before {:?}", moment.before);
        }
        let Restored::Positions(read) = on(&SimFs::of(moment.world.clone())).1 else { panic!("killed") };
        assert!(*read == before || *read == after, "killed before {:?}", moment.before);
    }
    for choices in fs.world().cuts(32) {
        let cut = SimFs::of(fs.world().after_power_cut(&choices));
        assert!(on(&cut).1 == Restored::Positions(Box::new(after.clone())));
    }
}

#[test]
fn what_is_taken_over_leaves_room_for_what_changes_by_itself() {
    let fresh = Positions { change: 1, ..Positions::fresh(SpoolId(7), Seq(1)) };
    let each = 8;
    let most = (CAPACITY - LEFT - codec::least(&fresh)) / each;
    let with = |kept: usize| Positions { kept: vec![Seq(1); kept], ..fresh.clone() };
    assert!(leave_room(&fresh) && leave_room(&with(most)) && !leave_room(&with(most + 1)));
    assert!(most * each > 200 << 10, "{most}");
    // Found by a review: what is known of blocks did not count.
    let block = Partial::new(Seq(1), 64);
    let taken = 24 / each;
    let and_a_block = |kept| Positions { partial: vec![block.clone()], ..with(kept) };
    assert!(leave_room(&and_a_block(most - taken)) && !leave_room(&and_a_block(most - taken + 1)));
}

#[test]
fn what_is_replaced_is_durable_or_nobody_reads_it_again() {
    use crate::disk::sim::{Fault, Lasting};
    use rustix::io::Errno;
    let [old, new] = [stuck(1), Positions::fresh(SpoolId(7), Seq(9))];
    let fs = disk();
    let (mut store, _) = on(&fs);
    store.save(&old).unwrap();
    store.sync().unwrap();
    store.replace(&new).unwrap();
    for choices in fs.world().cuts(64) {
        let cut = SimFs::of(fs.world().after_power_cut(&choices));
        assert!(on(&cut).1 == Restored::Positions(Box::new(new.clone())));
    }
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::Once });
    store.replace(&old).unwrap();
    assert_eq!(fs.repair().len(), 1);
    assert!(on(&fs).1 != Restored::Positions(Box::new(new)));
}

#[test]
fn a_file_that_was_never_written_and_one_that_is_damaged_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    let open = || Store::open(&RealFs, dir.path(), SpoolId(7), &lane, &home).unwrap().1;
    assert_eq!([open(), open()], [Restored::Nothing, Restored::Nothing]);
    let path = directory(dir.path(), &lane).join("home");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] = 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(open(), Restored::Unusable(Unusable::Damaged));
}

#[test]
fn where_nothing_can_be_made_it_opens_and_knows_that_it_has_no_file_until_it_has() {
    use crate::disk::sim::{Fault, Lasting};
    use rustix::io::Errno;
    for (errno, opens) in [(Errno::NOSPC, true), (Errno::ROFS, true), (Errno::IO, false)] {
        let (fs, dir) = (SimFs::default(), Path::new("/data"));
        fs.create_dir(dir).unwrap();
        fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let opened = Store::open(&fs, dir, SpoolId(7), &lane, &home);
        assert_eq!(opened.is_ok(), opens, "{errno}");
        let Ok((mut store, _)) = opened else { continue };
        assert!(!store.is_made(), "{errno}");
        fs.repair();
        store.save(&Positions::fresh(SpoolId(7), Seq(1))).unwrap();
        assert!(store.is_made(), "{errno}");
    }
}
