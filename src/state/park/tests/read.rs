//! Reading past damage, and what files of a park cover together.

use super::*;
use crate::logs::testing::said;

/// Where the only file of a park stands.
fn path(fs: &SimFs) -> std::path::PathBuf {
    fs.world().paths().into_iter().find(|p| p.extension().is_some_and(|e| e == "parked")).unwrap()
}

#[test]
fn the_next_whole_block_is_found_behind_damage_of_any_length() {
    // A window of the search is 64 KiB: the next head stands before its end, across it, behind it, and far behind.
    let window = 64 << 10;
    let lengths = (window - 340..window + 10).step_by(7).chain([1, 2 * window - 100, 5 * window]);
    for length in lengths {
        let fs = SimFs::default();
        let damaged = Parked { payload: noise(1, length), ..block(1, 4) };
        let park = Arc::new(try_open(&fs, Path::new("/data")).unwrap().bounded(1 << 30, 0));
        park.keep(&topic("a"), range(1, 20), &[damaged, block(5, 8)]).unwrap();
        let mut bytes = fs.world().read(&path(&fs)).unwrap();
        let head = bytes.windows(4).position(|magic| magic == b"SWPB").unwrap();
        bytes[head + 4] ^= 1;
        let path = path(&fs);
        fs.tamper(|world| world.rot(&path, bytes)).unwrap();
        assert_eq!(read(&park, range(1, 20)), (vec![block(5, 8)], vec![]), "{length} bytes");
    }
}

#[test]
fn a_record_that_is_none_of_the_files_numbers_is_passed_over() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(5, 9), &[block(1, 3), block(6, 8), block(20, 22)]).unwrap();
    assert_eq!(read(&park, range(1, 100)), (vec![block(6, 8)], vec![]));
}

#[test]
fn what_begins_at_the_end_of_a_range_is_not_in_it() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(1, 9), &[block(4, 6)]).unwrap();
    park.keep(&topic("a"), range(9, 20), &[block(9, 12)]).unwrap();
    let mut reader = park.reader();
    assert_eq!(reader.first_in(range(1, 4)).unwrap(), None);
    assert_eq!(reader.first_in(range(1, 5)).unwrap(), Some(Seq(4)));
    assert_eq!(reader.first_in(range(5, 9)).unwrap(), None);
    assert_eq!(reader.first_in(range(5, 10)).unwrap(), Some(Seq(9)));
    assert_eq!(park.segment_in(range(5, 9)).unwrap(), None);
    assert_eq!(park.segment_in(range(9, 10)).unwrap(), Some(SegmentId(0)));
}

#[test]
fn a_payload_that_can_not_be_read_is_asked_for_again_and_counts_as_lost_only_after_a_while() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let large = Parked { payload: noise(5, 2000), ..block(1, 3) };
    park.keep(&topic("a"), range(1, 10), std::slice::from_ref(&large)).unwrap();
    let path = path(&fs);
    let broken = || fs.tamper(|world| world.wear(&path, 1100..1101)).unwrap();
    let mut reader = park.reader();
    for _ in 0..3 {
        assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
        broken();
        // One that is read in between begins to count anew.
        assert!((0..19).all(|_| reader.take(Seq(1), &mut |_, _| true).is_err()));
        fs.tamper(|world| world.mend());
        assert_eq!(reader.take(Seq(1), &mut |_, _| true).unwrap(), Some(Found::Block(large.clone())));
    }
    broken();
    let given_up = (0..100).map(|_| reader.take(Seq(1), &mut |_, _| true)).position(|found| found.is_ok());
    assert_eq!(given_up, Some(20));
    assert_eq!(reader.take(Seq(1), &mut |_, _| true).ok(), None, "it is asked for again");
    // Whoever delivers looks for it before each try: that finds its head, and says nothing of its payload.
    let mut reader = park.reader();
    let mut found = (0..100).map(|_| {
        assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
        reader.take(Seq(1), &mut |_, _| true)
    });
    assert_eq!(found.position(|found| found.is_ok()), Some(20));
}

#[test]
fn tries_at_one_payload_do_not_count_against_another() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let large = |first| Parked { payload: noise(first, 2000), ..block(first, first + 2) };
    park.keep(&topic("a"), range(1, 10), &[large(1), large(4)]).unwrap();
    let path = path(&fs);
    for sector in [1100, 3300] {
        fs.tamper(|world| world.wear(&path, sector..sector + 1)).unwrap();
    }
    let mut reader = park.reader();
    for first in [1, 4, 1] {
        assert!((0..19).all(|_| reader.take(Seq(first), &mut |_, _| true).is_err()), "{first}");
    }
}

#[test]
fn a_good_copy_in_the_place_of_a_file_that_was_open_is_read() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let large = Parked { payload: noise(5, 2000), ..block(1, 3) };
    park.keep(&topic("a"), range(1, 10), std::slice::from_ref(&large)).unwrap();
    let path = path(&fs);
    let bytes = fs.world().read(&path).unwrap();
    let mut reader = park.reader();
    assert_eq!(reader.first_in(range(1, 100)).unwrap(), Some(Seq(1)));
    fs.tamper(|world| world.wear(&path, 1100..1101)).unwrap();
    reader.take(Seq(1), &mut |_, _| true).unwrap_err();
    let copy = path.with_file_name("copy");
    fs.tamper(|world| world.rot(&copy, bytes)).unwrap();
    fs.rename(&copy, &path).unwrap();
    assert_eq!(reader.take(Seq(1), &mut |_, _| true).unwrap(), Some(Found::Block(large)));
}

#[test]
fn what_can_not_be_read_holds_up_nothing_that_comes_before_it() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(10, 20), &[block(15, 16)]).unwrap();
    let bad = path(&fs);
    park.keep(&topic("b"), range(1, 20), &[block(5, 6), block(8, 9), block(17, 18)]).unwrap();
    fs.tamper(|world| world.wear(&bad, 0..1 << 20)).unwrap();
    let mut reader = park.reader();
    for first in [5, 8] {
        assert_eq!(reader.first_in(range(first, 100)).unwrap(), Some(Seq(first)));
    }
    reader.first_in(range(9, 100)).unwrap_err();
    fs.tamper(|world| world.mend());
    for first in [15, 17] {
        assert_eq!(reader.first_in(range(first, 100)).unwrap(), Some(Seq(first)));
    }
}

#[test]
fn of_files_that_overlap_the_one_that_reaches_furthest_counts() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let a = topic("a");
    park.keep(&a, range(1, 30), &[block(2, 4)]).unwrap();
    park.keep(&a, range(10, 20), &[block(11, 12)]).unwrap();
    assert_eq!([1, 10, 19, 20, 29].map(|from| park.covered(&a, Seq(from)).0), [30; 5]);
    assert_eq!(park.covered(&a, Seq(30)), Seq(30));
    assert_eq!([10, 20, 29].map(|seq| park.reach(Seq(seq))), [(true, Seq(30)); 3]);
    park.keep(&a, range(20, 40), &[block(35, 36)]).unwrap();
    assert_eq!(park.covered(&a, Seq(1)), Seq(40));
    assert_eq!(park.reach(Seq(25)), (true, Seq(40)));
}

#[test]
fn what_takes_the_place_of_a_file_takes_no_more_room_than_it_has() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let a = topic("a");
    for blocks in [&[block(1, 4), block(5, 6)][..], &[block(1, 4)], &[block(1, 4), block(5, 6)]] {
        park.keep(&a, range(1, 10), blocks).unwrap();
        assert_eq!(park.bytes(), fs.world().read(&path(&fs)).unwrap().len() as u64);
        assert_eq!(open(&fs, Path::new("/data")).bytes(), park.bytes());
    }
}

#[test]
fn there_is_room_for_as_much_as_quota_and_disk_have_left_to_the_byte() {
    let fs = SimFs::default();
    let park = try_open(&fs, Path::new("/data")).unwrap().bounded(400, 50);
    assert_eq!((park.limit(), park.room(0).unwrap(), park.room(400).unwrap()), (400, 400, 400));
    assert!(matches!(park.room(401), Err(ParkError::Full { bytes: 0, more: 401, limit: 400 })));
    park.keep(&topic("a"), range(1, 10), &[block(1, 4)]).unwrap();
    let left = 400 - park.bytes();
    assert_eq!(park.room(left).unwrap(), left);
    assert!(matches!(park.room(left + 1), Err(ParkError::Full { .. })));
    fs.tamper(|world| world.fill_up_to(150));
    assert_eq!(park.room(100).unwrap(), 100);
    assert!(matches!(park.room(101), Err(ParkError::Reserve { available: 150, reserve: 50 })));
}

#[test]
fn what_is_called_like_no_file_of_a_park_is_none() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(5, 9), &[block(6, 8)]).unwrap();
    let there = Path::new("/data/parked/main/home/a");
    for name in ["00000000000000000007-00000000000000000007.parked", "9-3.parked", "3.parked", "1-4", "new"] {
        fs.tamper(|world| world.rot(&there.join(name), vec![1; 100])).unwrap();
    }
    fs.create_dir(&there.join("1-4.parked")).unwrap();
    // Where a topic's directory could stand.
    fs.tamper(|world| world.rot(Path::new("/data/parked/main/home/b"), vec![1; 100])).unwrap();
    let again = open(&fs, Path::new("/data"));
    assert_eq!((again.bytes(), again.first()), (park.bytes(), Some(Seq(5))));
}

#[test]
fn a_directory_where_files_are_written_is_set_aside() {
    let fs = SimFs::default();
    let there = Path::new("/data/parked/main/home/a");
    fs.create_dir(&there.join("new")).unwrap();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(1, 10), &[block(1, 4)]).unwrap();
    assert_eq!(firsts(&open(&fs, Path::new("/data"))), [1]);
}

#[test]
fn a_file_that_can_not_be_deleted_is_kept_in_mind_and_one_that_is_gone_is_not() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let a = topic("a");
    for first in [11, 21] {
        park.keep(&a, range(first, first + 10), &[block(first, first + 3)]).unwrap();
    }
    let held = park.bytes();
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::UntilRepaired });
    park.forget(|_| Seq(21)).unwrap_err();
    fs.repair();
    assert_eq!((park.bytes(), park.covered(&a, Seq(11))), (held, Seq(31)));
    let path = path(&fs);
    fs.tamper(|world| world.lose(&path)).unwrap();
    park.forget(|_| Seq(21)).unwrap();
    assert_eq!((park.bytes(), park.covered(&a, Seq(11)), park.first()), (held / 2, Seq(11), Some(Seq(21))));
}

#[test]
fn of_damage_is_spoken_only_where_there_is_some() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(1, 20), &[block(1, 4), block(5, 8), block(9, 12)]).unwrap();
    let (found, lines) = said(|| read(&park, range(1, 20)));
    assert_eq!((found.0.len(), lines), (3, vec![]));
    let mut bytes = fs.world().read(&path(&fs)).unwrap();
    let head = bytes.windows(4).position(|magic| magic == b"SWPB").unwrap();
    bytes[head + 4] ^= 1;
    let path = path(&fs);
    fs.tamper(|world| world.rot(&path, bytes)).unwrap();
    let (found, lines) = said(|| read(&park, range(1, 20)));
    assert_eq!((found.0.len(), lines.len()), (2, 1), "{lines:?}");
}
