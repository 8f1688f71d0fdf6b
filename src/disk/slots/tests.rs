//! What a file of slots promises.

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};

mod syncs;

fn reopen(path: &Path) -> (Slots<RealFs>, Option<Vec<u8>>) {
    Slots::open(&RealFs, path, 100).unwrap()
}

#[test]
fn the_last_value_saved_is_the_one_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, value) = reopen(&path);
    assert_eq!((value, slots.damaged()), (None, false));
    for i in 0..10u8 {
        slots.save(&[i; 50]).unwrap();
        assert_eq!(reopen(&path).1, Some(vec![i; 50]));
    }
    assert!(matches!(slots.save(&[0; 5000]), Err(DiskError::TooLarge { .. })));
    assert_eq!(reopen(&path).1, Some(vec![9; 50]));
}

#[test]
fn a_torn_save_leaves_the_one_before_it_and_the_last_synced_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = reopen(&path);
    slots.save(b"synced").unwrap();
    slots.sync().unwrap();
    slots.save(b"saved").unwrap();
    let before = std::fs::read(&path).unwrap();
    slots.save(b"torn").unwrap();
    let after = std::fs::read(&path).unwrap();
    let changed: Vec<_> = (0..before.len()).filter(|i| before[*i] != after[*i]).collect();
    // Whatever part of the last save reached the disk, "saved" or "torn" is read.
    for cut in 0..changed.len() {
        let mut bytes = before.clone();
        changed[..cut].iter().for_each(|i| bytes[*i] = after[*i]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(reopen(&path).1.as_deref(), Some(&b"saved"[..]), "cut after {cut}");
    }
    // And if both unsynced saves are lost, the synced one.
    let (mut slots, _) = reopen(&dir.path().join("other"));
    slots.save(b"synced").unwrap();
    slots.sync().unwrap();
    let durable = slots.durable.unwrap();
    for _ in 0..5 {
        slots.save(b"unsynced").unwrap();
        assert_ne!(slots.saved.unwrap(), durable);
    }
}

#[test]
fn damage_in_every_slot_is_told_and_does_not_stop_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = reopen(&path);
    slots.save(b"value").unwrap();
    std::fs::write(&path, vec![7; 3 * 4096]).unwrap();
    let (mut slots, value) = reopen(&path);
    assert_eq!((value, slots.damaged()), (None, true));
    slots.save(b"again").unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"again"[..]));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(reopen(&path).1, None);
    std::fs::write(&path, b"short").unwrap();
    assert_eq!(reopen(&path).1, None);
}

#[test]
fn one_that_was_damaged_has_been_so_though_it_has_grown_since() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = reopen(&path);
    slots.grow(9000, b"whole", false).unwrap();
    assert!(!slots.damaged());
    std::fs::write(&path, vec![7; 3 * 4096]).unwrap();
    let (mut slots, _) = reopen(&path);
    slots.grow(9000, b"again", false).unwrap();
    assert!(slots.damaged() && slots.capacity() >= 9000);
}

/// Found by a mutant: it was made anew, so what it held was gone before the next value was durable.
#[test]
fn a_file_that_could_not_be_opened_is_written_on_once_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let fs = Faulty::new();
    let mut late = Slots::unmade(&fs, &path, 100);
    let (mut slots, _) = reopen(&path);
    slots.save(b"known").unwrap();
    slots.sync().unwrap();
    late.save(b"late").unwrap();
    assert_eq!((fs.count(Op::Create), reopen(&path).1.as_deref()), (0, Some(&b"late"[..])));
}

#[test]
fn what_the_disk_can_still_read_moves_to_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = reopen(&path);
    ["one", "two", "three"].iter().for_each(|v| slots.save(v.as_bytes()).unwrap());
    let fs = Faulty::new();
    // Every try of the first slot.
    fs.fail_next(Op::Read, 3);
    let (mut slots, value) = Slots::open(&fs, &path, 100).unwrap();
    // "three" stands in the first slot, which can't be read.
    assert_eq!((value.as_deref(), slots.damaged()), (Some(&b"two"[..]), false));
    assert!(dir.path().join("slots.aside-1").exists());
    slots.save(b"four").unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"four"[..]));
    fs.fail_next(Op::Read, 9);
    let (slots, value) = Slots::open(&fs, &path, 100).unwrap();
    assert_eq!((value, slots.damaged()), (None, true));
}

/// Found by reading: the new file had its name, empty, before it had the value.
#[test]
fn a_kill_at_any_moment_of_a_rescue_leaves_what_could_be_read() {
    let mut stopped = 0;
    for op in [Op::Create, Op::Write, Op::SyncData, Op::SyncDir, Op::Rename] {
        for spared in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("slots");
            let (mut slots, _) = reopen(&path);
            ["one", "two", "three"].iter().for_each(|v| slots.save(v.as_bytes()).unwrap());
            let fs = Faulty::new();
            fs.fail_next(Op::Read, 3);
            fs.fail_later(op, spared, u64::MAX);
            stopped += u32::from(Slots::open(&fs, &path, 100).is_err());
            let value = reopen(&path).1;
            assert!(
                value.as_deref().is_some_and(|v| [&b"two"[..], b"three"].contains(&v)),
                "{op:?} {spared}: {value:?}"
            );
        }
    }
    assert!(stopped >= 7, "{stopped} moments");
}

#[test]
fn a_file_that_may_not_be_written_is_read_and_used_again_once_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"one").unwrap();
    let fs = Faulty::new();
    fs.error(rustix::io::Errno::ACCESS);
    fs.fail_next(Op::OpenWrite, 2);
    let (mut slots, value) = Slots::open(&fs, &path, 100).unwrap();
    assert_eq!((value.as_deref(), slots.damaged()), (Some(&b"one"[..]), false));
    assert!(slots.save(b"two").is_err());
    slots.save(b"three").unwrap();
    slots.sync().unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"three"[..]));
}

#[test]
fn more_capacity_keeps_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"value").unwrap();
    let (mut slots, value) = Slots::open(&RealFs, &path, 100_000).unwrap();
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    slots.save(&[3; 100_000]).unwrap();
    assert_eq!(reopen(&path).1, Some(vec![3; 100_000]));
}

#[test]
fn after_a_failed_sync_the_slot_that_was_durable_is_spared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let fs = Faulty::new();
    let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
    slots.save(b"one").unwrap();
    slots.sync().unwrap();
    let durable = slots.durable;
    slots.save(b"two").unwrap();
    fs.fail_next(Op::SyncData, 1);
    assert!(slots.sync().is_err());
    assert_eq!(slots.durable, durable);
    slots.save(b"three").unwrap();
    assert_ne!(slots.saved, durable);
    slots.sync().unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"three"[..]));
}

/// Found by long random stories: the first sync after opening failed, the slot that had been found (and was durable)
/// was no longer spared, and a save cut short took the only good value with it.
#[test]
fn what_was_found_is_spared_until_a_sync_has_succeeded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = reopen(&path);
    for value in [b"one", b"two"] {
        slots.save(value).unwrap();
        slots.sync().unwrap();
    }
    let newest = slots.durable;
    drop(slots);
    let fs = Faulty::new();
    let (mut slots, value) = Slots::open(&fs, &path, 100).unwrap();
    assert_eq!(value.as_deref(), Some(&b"two"[..]));
    for attempt in [b"a", b"b", b"c"] {
        assert_ne!(Some(slots.free()), newest);
        fs.fail_next(Op::SyncData, 1);
        assert!(slots.sync().is_err());
        assert_ne!(Some(slots.free()), newest);
        slots.save(attempt).unwrap();
    }
    slots.sync().unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"c"[..]));
    slots.save(b"four").unwrap();
    slots.save(b"five").unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"five"[..]));
}

#[test]
fn values_up_to_the_capacity_fit_and_the_capacity_is_at_least_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for (asked, given) in [(1, 4072), (4072, 4072), (4073, 8168)] {
        let path = dir.path().join(asked.to_string());
        let (mut slots, _) = Slots::open(&RealFs, &path, asked).unwrap();
        assert_eq!(slots.capacity(), given);
        slots.save(&vec![7; given]).unwrap();
        assert_eq!(Slots::open(&RealFs, &path, asked).unwrap().1, Some(vec![7; given]));
        assert!(matches!(slots.save(&vec![7; given + 1]), Err(DiskError::TooLarge { .. })));
        // A file with more room than is wanted stays as it is.
        let (slots, value) = Slots::open(&RealFs, &path, 1).unwrap();
        assert_eq!((slots.capacity(), value), (given, Some(vec![7; given])));
    }
}

#[test]
fn who_looks_on_reads_the_newest_value_of_whatever_length_the_file_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let (mut slots, _) = Slots::open(&RealFs, &path, 5000).unwrap();
    assert_eq!(newest_slot(&std::fs::read(&path).unwrap()), None);
    for i in 0..7u8 {
        slots.save(&[i; 5000]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(newest_slot(&bytes), Some(vec![i; 5000]));
        // Something at the end is not ours, and moves no slot.
        bytes.extend([1; 3 * 4095]);
        assert_eq!(newest_slot(&bytes), Some(vec![i; 5000]));
        let longer = dir.path().join("longer");
        std::fs::write(&longer, &bytes).unwrap();
        let (slots, value) = Slots::open(&RealFs, &longer, 5000).unwrap();
        assert_eq!((slots.capacity(), value), (8168, Some(vec![i; 5000])));
    }
    assert_eq!(newest_slot(&[]), None);
    assert_eq!(newest_slot(&[1; 3 * 4096 - 1]), None);
}

#[test]
fn an_error_that_says_nothing_of_the_bytes_stops_the_opening_and_nothing_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"value").unwrap();
    let fs = Faulty::new();
    for (errno, op) in [(rustix::io::Errno::NOMEM, Op::Read), (rustix::io::Errno::MFILE, Op::OpenWrite)] {
        fs.error(errno);
        fs.fail_next(op, 1);
        assert!(matches!(Slots::open(&fs, &path, 100), Err(DiskError::Io { .. })), "{errno}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    // What the disk has lost is another thing, by whatever name it says so.
    use rustix::io::Errno;
    for errno in [Errno::UCLEAN, Errno::BADMSG, Errno::ILSEQ, Errno::NODATA, Errno::REMOTEIO] {
        let (mut slots, _) = reopen(&path);
        (0..3).for_each(|_| slots.save(b"value").unwrap());
        fs.error(errno);
        fs.fail_next(Op::Read, u64::from(crate::disk::TRIES));
        assert_eq!(Slots::open(&fs, &path, 100).unwrap().1.as_deref(), Some(&b"value"[..]), "{errno}");
    }
}

#[test]
fn a_file_that_may_not_be_written_has_to_have_the_room_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"value").unwrap();
    let fs = Faulty::new();
    fs.error(rustix::io::Errno::ROFS);
    fs.fail_next(Op::OpenWrite, 3);
    assert!(Slots::open(&fs, &path, 4073).is_err());
    for wanted in [1, 4072] {
        let (slots, value) = Slots::open(&fs, &path, wanted).unwrap();
        assert_eq!((slots.capacity(), value.as_deref()), (4072, Some(&b"value"[..])));
    }
    // And whatever else keeps it from being opened.
    fs.error(rustix::io::Errno::MFILE);
    fs.fail_next(Op::OpenWrite, 1);
    assert!(Slots::open(&fs, &path, 1).is_err());
}

#[test]
fn until_a_sync_has_made_its_name_durable_a_file_that_was_found_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let fs = Faulty::new();
    let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
    assert_eq!(fs.count(Op::SyncDir), 1);
    slots.save(b"value").unwrap();
    slots.sync().unwrap();
    assert_eq!(fs.count(Op::SyncDir), 1, "it made the name itself");
    let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
    assert_eq!(fs.count(Op::SyncDir), 1, "a look costs no sync");
    slots.sync().unwrap();
    slots.sync().unwrap();
    assert_eq!(fs.count(Op::SyncDir), 2, "and one is enough");
}

/// What was saved since may stand in the page cache alone, and a save may be torn: then the one before both is what a power
/// cut leaves.
#[test]
fn the_last_durable_save_is_spared_by_the_process_after_a_kill() {
    use crate::disk::sim::SimFs;
    let path = Path::new("/slots");
    // Several sectors each.
    let value = |of: u8| vec![of; 2000];
    for count in 1..=3u8 {
        let fs = SimFs::default();
        let (mut slots, _) = Slots::open(&fs, path, 2000).unwrap();
        for synced in 1..=count {
            slots.save(&value(synced)).unwrap();
            slots.sync().unwrap();
        }
        slots.save(&value(count + 1)).unwrap();
        drop(slots);
        let (mut slots, found) = Slots::open(&fs, path, 2000).unwrap();
        assert_eq!(found, Some(value(count + 1)));
        slots.save(&value(count + 2)).unwrap();
        let world = fs.world();
        for choices in world.cuts(500) {
            let (_, found) = Slots::open(&SimFs::of(world.after_power_cut(&choices)), path, 2000).unwrap();
            assert!((count..=count + 2).any(|of| found == Some(value(of))), "{count}: {choices:?}");
        }
    }
}

#[test]
fn what_was_rescued_and_can_not_be_given_its_name_is_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"value").unwrap();
    std::fs::rename(&path, rescued_slots(&path)).unwrap();
    let fs = Faulty::new();
    fs.fail_next(Op::Rename, 1);
    assert!(matches!(Slots::open(&fs, &path, 100), Err(DiskError::Io { .. })));
    assert_eq!(Slots::open(&fs, &path, 100).unwrap().1.as_deref(), Some(&b"value"[..]));
}

/// Found by an audit: the rescued file was taken for a destination's own, for ever; and had the original gone later, it would
/// have been its successor, with what had been true long ago.
#[test]
fn what_was_rescued_of_a_file_that_can_be_read_again_goes_and_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    for larger in [100, 5000, 10_000] {
        let (mut slots, _) = reopen(&path);
        ["one", "two", "three"].iter().for_each(|v| slots.save(v.as_bytes()).unwrap());
        // It is killed before the unreadable file is out of the way.
        let fs = Faulty::new();
        fs.fail_next(Op::Read, u64::from(crate::disk::TRIES));
        fs.fail_later(Op::Rename, 1, 1);
        assert!(Slots::open(&fs, &path, 100).is_err());
        assert!(rescued_slots(&path).exists());
        // The disk refuses to delete it: it goes on all the same, and the next opening tries again.
        fs.fail_next(Op::Remove, 1);
        assert_eq!(Slots::open(&fs, &path, 100).unwrap().1.as_deref(), Some(&b"three"[..]));
        assert!(rescued_slots(&path).exists());
        let (_, value) = Slots::open(&RealFs, &path, larger).unwrap();
        assert_eq!(value.as_deref(), Some(&b"three"[..]));
        assert!(!rescued_slots(&path).exists());
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(reopen(&path).1, None, "deleted on purpose");
}

#[test]
fn where_a_file_is_damaged_by_now_or_something_else_stands_in_its_place_what_was_rescued_of_it_counts() {
    let harms: [fn(&Path); 2] = [
        |path| std::fs::write(path, vec![7; 3 * 4096]).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for harm in harms {
        for (rescued, damaged) in [(Some(&b"value"[..]), false), (None, true)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("slots");
            rescued.into_iter().for_each(|value| reopen(&rescued_slots(&path)).0.save(value).unwrap());
            drop(reopen(&rescued_slots(&path)));
            std::fs::write(&path, "").unwrap();
            harm(&path);
            let (slots, value) = reopen(&path);
            assert_eq!((value.as_deref(), slots.damaged()), (rescued, damaged));
            assert!(!rescued_slots(&path).exists());
        }
    }
}

#[test]
fn who_looks_on_between_two_steps_of_a_rescue_sees_what_was_rescued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&rescued_slots(&path)).0.save(b"value").unwrap();
    assert_eq!(look_at_slots(&RealFs, &path).unwrap().as_deref(), Some(&b"value"[..]));
    reopen(&path).0.save(b"newer").unwrap();
    assert_eq!(look_at_slots(&RealFs, &path).unwrap().as_deref(), Some(&b"newer"[..]));
}

/// Found by an audit: positions, floors and marks were those of a moment before, without a word.
#[test]
fn that_a_slot_has_rotted_is_said_and_what_a_power_cut_may_have_torn_is_not_called_damage() {
    use crate::logs::testing::said;
    let (damaged, torn) = ("is damaged: if it was the newest", "is torn, as by a power cut");
    for (size, wrong, expected) in
        [(100, None, [0, 0]), (100, Some(30), [1, 0]), (2000, None, [0, 0]), (2000, Some(600), [0, 1])]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let open = || Slots::open(&RealFs, &path, 4000).unwrap();
        let mut slots = open().0;
        (1..=3).for_each(|value| slots.save(&vec![value; size]).unwrap());
        let newest = usize::try_from(slots.saved.unwrap() * slots.slot_size).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = wrong {
            bytes[newest + at] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
        let ((slots, value), lines) = said(open);
        assert_eq!((value, slots.damaged()), (Some(vec![if wrong.is_some() { 2 } else { 3 }; size]), false));
        let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
        assert_eq!([count(damaged), count(torn)], expected, "{size} {wrong:?}: {lines:?}");
    }
}

/// Found by an audit: what could not be made kept the agent from starting, and only an agent that runs makes room.
#[test]
fn a_file_that_can_not_be_made_for_now_is_made_by_the_first_save_that_can() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    use rustix::io::Errno;
    let path = Path::new("/slots");
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO] {
        let fs = SimFs::default();
        fs.break_at(Fault { at: fs.calls() + 2, errno, lasting: Lasting::UntilRepaired });
        let opened = Slots::open(&fs, path, 100);
        if errno == Errno::IO {
            assert!(opened.is_err(), "that passes for nothing else");
            continue;
        }
        let (mut slots, value) = opened.unwrap();
        assert_eq!((value, slots.damaged()), (None, false), "{errno}");
        assert!(slots.save(b"one").is_err(), "{errno}");
        drop(slots.sync());
        fs.repair();
        slots.save(b"two").unwrap();
        slots.sync().unwrap();
        let world = fs.world();
        for choices in world.cuts(50) {
            let (_, found) = Slots::open(&SimFs::of(world.after_power_cut(&choices)), path, 100).unwrap();
            assert_eq!(found.as_deref(), Some(&b"two"[..]), "{errno}: {choices:?}");
        }
    }
}

#[test]
fn on_a_full_disk_nothing_is_left_of_a_file_that_could_not_be_made_and_one_with_less_room_goes_on() {
    use crate::disk::sim::SimFs;
    let (fs, path, small) = (SimFs::default(), Path::new("/slots"), Path::new("/small"));
    Slots::open(&fs, small, 100).unwrap().0.save(b"value").unwrap();
    fs.tamper(|world| world.fill_up_to(5000));
    Slots::open(&fs, path, 100).unwrap();
    assert_eq!(fs.list(Path::new("/")).unwrap().len(), 1, "half of it takes room");
    let (mut slots, value) = Slots::open(&fs, small, 5000).unwrap();
    assert_eq!((value.as_deref(), slots.capacity()), (Some(&b"value"[..]), 4072));
    slots.save(b"more").unwrap();
    fs.tamper(|world| world.set_capacity(u64::MAX));
    let (slots, value) = Slots::open(&fs, small, 5000).unwrap();
    assert_eq!((value.as_deref(), slots.capacity()), (Some(&b"more"[..]), 8168));
}

/// Found by an audit: where the directory could not be synced, saves went on to the file that had been set aside.
#[test]
fn what_is_set_aside_is_written_to_no_more_and_an_empty_file_keeps_its_place() {
    let prepared = || {
        let dir = tempfile::tempdir().unwrap();
        let (path, fs) = (dir.path().join("slots"), Faulty::new());
        let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
        slots.save(b"old").unwrap();
        slots.sync().unwrap();
        (dir, path, fs, slots)
    };
    let (_dir, path, _, mut slots) = prepared();
    slots.begin_anew().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"", "who looks sees that there was something");
    let (reopened, value) = reopen(&path);
    assert_eq!((value, reopened.damaged()), (None, true));
    let (_dir, path, _, mut slots) = prepared();
    slots.begin_anew().unwrap();
    slots.save(b"new").unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"new"[..]), "in a file that has its room");
    for (op, spared, is_aside) in
        [(Op::Create, 0, false), (Op::Rename, 0, false), (Op::Rename, 1, true), (Op::SyncDir, 0, true)]
    {
        let (dir, path, fs, mut slots) = prepared();
        fs.fail_later(op, spared, 1);
        assert!(slots.begin_anew().is_err(), "{op:?}");
        let (found, value) = reopen(&path);
        assert_eq!((value.is_none(), found.damaged()), (is_aside, is_aside), "{op:?} {spared}: a kill");
        drop(found);
        slots.save(b"new").unwrap();
        slots.sync().unwrap();
        assert_eq!(reopen(&path).1.as_deref(), Some(&b"new"[..]), "{op:?} {spared}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * 4096, "{op:?} {spared}");
        if is_aside {
            let aside = std::fs::read(dir.path().join("slots.aside-1")).unwrap();
            assert_eq!(newest_slot(&aside).as_deref(), Some(&b"old"[..]), "{op:?} {spared}");
        }
    }
}

/// Found by an audit: it stayed until the next growth.
#[test]
fn nothing_is_left_of_a_larger_file_that_could_not_take_over() {
    for (op, spared) in [(Op::Write, 1), (Op::SyncData, 1), (Op::Rename, 0), (Op::Rename, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let (path, fs) = (dir.path().join("slots"), Faulty::new());
        let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
        slots.save(b"old").unwrap();
        fs.fail_later(op, spared, 1);
        assert!(slots.grow(10_000, b"new", true).is_err(), "{op:?} {spared}");
        let names: Vec<_> = RealFs.list(dir.path()).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["slots"], "{op:?} {spared}");
        assert_eq!(reopen(&path).1.as_deref(), Some(&b"old"[..]), "{op:?} {spared}");
    }
}

/// Found by an audit: it took what room there was, again and again, before it was refused.
#[test]
fn where_a_larger_file_would_take_most_of_the_room_nothing_of_it_is_written() {
    use crate::disk::Space;
    let dir = tempfile::tempdir().unwrap();
    let (path, fs) = (dir.path().join("slots"), Faulty::new());
    let (mut slots, _) = Slots::open(&fs, &path, 100).unwrap();
    let needed = 3 * slot_size(10_000);
    fs.set_space(Some(Space { available: 2 * needed - 1, total: u64::MAX }));
    let before = fs.count(Op::Create);
    assert!(slots.grow(10_000, b"new", true).unwrap_err().is_for_want_of_room());
    assert_eq!(fs.count(Op::Create), before);
    fs.set_space(Some(Space { available: 2 * needed, total: u64::MAX }));
    slots.grow(10_000, b"new", true).unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"new"[..]));
    // Nothing can be kept in the one that there is: it is given what there is.
    let needed = 3 * slot_size(20_000);
    fs.set_space(Some(Space { available: needed - 1, total: u64::MAX }));
    assert!(slots.grow(20_000, b"more", false).unwrap_err().is_for_want_of_room());
    fs.set_space(Some(Space { available: needed, total: u64::MAX }));
    slots.grow(20_000, b"more", false).unwrap();
    assert_eq!(reopen(&path).1.as_deref(), Some(&b"more"[..]));
}

#[test]
fn a_file_with_the_room_that_is_wanted_and_no_whole_value_is_damaged_and_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    let size = usize::try_from(3 * slot_size(100)).unwrap();
    for (harmed, is_aside) in [(vec![0xa5; size], false), (vec![0xa5; size / 3], true)] {
        std::fs::write(&path, harmed).unwrap();
        let (mut slots, value) = reopen(&path);
        assert_eq!((value, slots.damaged()), (None, true));
        assert_eq!(dir.path().join("slots.aside-1").exists(), is_aside);
        slots.save(b"new").unwrap();
        assert_eq!(reopen(&path).1.as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn zeros_fill_a_file_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let (path, fs) = (dir.path().join("slots"), Faulty::new());
    make(&fs, &path, 3 << 20).unwrap();
    assert_eq!((fs.count(Op::Write), std::fs::metadata(&path).unwrap().len()), (5, 9 << 20));
}

#[test]
fn what_can_be_read_in_part_goes_on_where_it_is_while_nothing_can_be_made() {
    use crate::disk::sim::{Fault, Lasting, SimFs};
    use rustix::io::Errno;
    for (errno, opens) in [(Errno::NOSPC, true), (Errno::ROFS, true), (Errno::IO, false)] {
        let (fs, path) = (SimFs::default(), Path::new("/slots"));
        let (mut slots, _) = Slots::open(&fs, path, 100).unwrap();
        for value in [b"one", b"two"] {
            slots.save(value).unwrap();
            slots.sync().unwrap();
        }
        let spare = usize::try_from(slots.free() * slots.slot_size).unwrap();
        drop(slots);
        fs.tamper(|world| world.wear(path, spare..spare + 1)).unwrap();
        // Opened and read it is before.
        let before = fs.calls();
        let whole = SimFs::of(fs.world());
        Slots::open(&whole, path, 100).unwrap();
        let first_change = (0..whole.calls()).find(|at| {
            let fs = SimFs::of(fs.world());
            fs.break_at(Fault { at: *at, errno: Errno::ROFS, lasting: Lasting::Once });
            drop(Slots::open(&fs, path, 100));
            fs.is_broken()
        });
        let at = before + first_change.unwrap();
        fs.break_at(Fault { at, errno, lasting: Lasting::UntilRepaired });
        let opened = Slots::open(&fs, path, 100);
        assert_eq!(opened.is_ok(), opens, "{errno}");
        let Ok((_, value)) = opened else { continue };
        assert_eq!(value.as_deref(), Some(&b"two"[..]), "{errno}");
    }
}

#[test]
fn what_was_rescued_is_not_asked_because_a_disk_refuses_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slots");
    reopen(&path).0.save(b"newer").unwrap();
    Slots::open(&RealFs, &rescued_slots(&path), 100).unwrap().0.save(b"older").unwrap();
    let fs = Faulty::new();
    fs.fail_next(Op::Open, u64::from(crate::disk::TRIES));
    look_at_slots(&fs, &path).unwrap_err();
    assert_eq!(look_at_slots(&fs, &path).unwrap().as_deref(), Some(&b"newer"[..]));
}
