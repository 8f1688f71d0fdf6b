//! The store on a real and on the simulated disk.

use super::*;
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::disk::{Fs, RealFs};
use crate::event::Event;
use crate::ids::{Seq, SpoolId};
use crate::sabotage::{Bug, Sabotage};
use proptest::prelude::*;
use rustix::io::Errno;
use std::path::Path;

const SPOOL: SpoolId = SpoolId(9);

fn letter(seq: u64, value: &[u8]) -> Letter {
    let event = Event { key: Some(b"k"), value: Some(value), headers: &[("h", None)], time: Some(-5) };
    testing::letter(seq, &event)
}

fn settings() -> Settings {
    Settings { max_size: 10 << 20, max_event_size: 1000 }
}

fn open<F: Fs>(fs: &F, dir: &Path) -> Letters<F> {
    Letters::open(fs, dir, SPOOL, settings(), 0).unwrap()
}

fn ids<F: Fs>(letters: &Letters<F>) -> Vec<u64> {
    letters.find(usize::MAX, |_| true).unwrap().letters.iter().map(|s| s.id).collect()
}

#[test]
fn letters_are_read_back_by_a_later_process_under_the_same_numbers_and_new_ones_get_others() {
    let dir = tempfile::tempdir().unwrap();
    let letters = open(&RealFs, dir.path());
    assert_eq!(letters.append(&[letter(5, b"a"), letter(9, b"b")]).unwrap(), 2);
    drop(letters);
    let letters = open(&RealFs, dir.path());
    assert_eq!(letters.append(&[letter(11, b"c")]).unwrap(), 3);
    let found = letters.find(10, |s| s.letter.seq > Seq(5)).unwrap();
    assert_eq!(
        found.letters.iter().map(|s| (s.id, s.letter.clone())).collect::<Vec<_>>(),
        [(2, letter(9, b"b")), (3, letter(11, b"c"))]
    );
    let event = found.letters[0].letter.event().unwrap();
    assert_eq!((event.key, event.value, event.time), (Some(&b"k"[..]), Some(&b"b"[..]), Some(-5)));
    let looked = look(&RealFs, dir.path(), SPOOL, 10, |_| true).unwrap();
    assert_eq!(looked.letters.len(), 3);
}

#[test]
fn what_is_taken_or_gone_is_not_listed_and_files_without_letters_go_away() {
    let dir = tempfile::tempdir().unwrap();
    let files = || {
        RealFs
            .list(&dir.path().join("dead-letters"))
            .unwrap()
            .iter()
            .filter(|e| e.name.ends_with(".letters"))
            .count()
    };
    for round in 0..3 {
        open(&RealFs, dir.path()).append(&[letter(round, b"x"), letter(round, b"y")]).unwrap();
    }
    let letters = open(&RealFs, dir.path());
    letters.take(&[2]).unwrap();
    let sent = || being_sent(&RealFs, dir.path(), SPOOL).unwrap().iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(sent(), [2]);
    letters.remove(&[1, 3]).unwrap();
    assert_eq!((ids(&letters), letters.taken(), files()), (vec![4, 5, 6], vec![2], 3));
    assert_eq!(letters.load(&[2, 6]).unwrap().len(), 2);
    letters.remove(&[2]).unwrap();
    assert_eq!((ids(&letters), files()), (vec![4, 5, 6], 2));
    drop(letters);
    let letters = open(&RealFs, dir.path());
    letters.take(&[4]).unwrap();
    letters.put_back(&[4]).unwrap();
    assert_eq!(ids(&letters), [4, 5, 6]);
    letters.remove(&[4, 5, 6]).unwrap();
    drop(letters);
    let letters = open(&RealFs, dir.path());
    assert_eq!((ids(&letters), files()), (vec![], 0));
    assert_eq!(letters.append(&[letter(1, b"z")]).unwrap(), 7, "a number is never given again");
}

#[test]
fn the_room_they_may_take_is_a_bound_and_is_free_again_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_size: 5000, ..settings() };
    let letters = Letters::open(&RealFs, dir.path(), SPOOL, settings, 0).unwrap();
    let mut last = 0;
    let refused = loop {
        match letters.append(&[letter(1, &[7; 900])]) {
            Ok(id) => last = id,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, LettersError::Full { max_size: 5000 }) && last == 4, "{refused} after {last}");
    assert_eq!(ids(&letters), [1, 2, 3, 4]);
    letters.remove(&[1, 2, 3, 4]).unwrap();
    assert!(letters.append(&[letter(1, &[7; 900])]).is_ok());
}

#[test]
fn many_letters_fill_files_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let letters = open(&RealFs, dir.path());
    for seq in 0..40 {
        letters.append(&[letter(seq, &[1; 60_000])]).unwrap();
    }
    assert_eq!(ids(&letters), (1..=40).collect::<Vec<_>>());
    drop(letters);
    assert_eq!(ids(&open(&RealFs, dir.path())).len(), 40);
}

#[test]
fn a_damaged_letter_costs_itself_alone_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let letters = open(&RealFs, dir.path());
    for seq in 0..3 {
        letters.append(&[letter(seq, b"value")]).unwrap();
    }
    drop(letters);
    let path = dir.path().join("dead-letters/00000000000000000001.letters");
    let bytes = std::fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    let size = used / 3;
    for at in 0..used {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let found = look(&RealFs, dir.path(), SPOOL, 10, |_| true).unwrap();
        let expected: Vec<u64> = (1..=3).filter(|id| at / size != *id as usize - 1).collect();
        assert_eq!(found.letters.iter().map(|s| s.id).collect::<Vec<_>>(), expected, "byte {at}");
        assert_eq!(found.damaged.is_empty(), at / size == 2, "a torn end is no damage: byte {at}");
    }
}

/// Appends, takes and removes; returns, by the number of calls the disk had seen by then, which letters have to be there,
/// and the highest number given out.
fn work(fs: &SimFs, log: &mut Vec<(u64, Vec<u64>, u64)>) {
    let Ok(letters) = Letters::open(fs, Path::new("/data"), SPOOL, settings(), 0) else { return };
    let (mut kept, mut highest) =
        log.last().map_or((Vec::new(), 0), |(_, kept, highest)| (kept.clone(), *highest));
    for round in 0..3u64 {
        if let Ok(id) = letters.append(&[letter(round, &[round as u8; 700])]) {
            kept.push(id);
            highest = id;
            log.push((fs.calls(), kept.clone(), highest));
        }
        if round == 1 && kept.len() > 1 {
            let first = kept.remove(0);
            log.push((fs.calls(), kept.clone(), highest));
            let _ = letters.take(&[first]).and_then(|()| letters.remove(&[first]));
        }
    }
}

/// Opens what a crash left: the next letter has a number of its own. Which letters are missing that have to be there.
fn check(fs: &SimFs, due: &[u64], highest: u64, when: &str) -> Result<(), String> {
    let letters = Letters::open(fs, Path::new("/data"), SPOOL, settings(), 0).expect(when);
    let there = ids(&letters);
    let missing: Vec<_> = due.iter().filter(|id| !there.contains(id)).collect();
    let next = letters.append(&[letter(1, b"new")]).expect(when);
    match missing[..] {
        [] if next > highest => Ok(()),
        [] => Err(format!("{when}: {next} after {highest}")),
        _ => Err(format!("{when}: {missing:?} are missing")),
    }
}

fn disk() -> SimFs {
    let fs = SimFs::default();
    fs.create_dir(Path::new("/data")).unwrap();
    fs
}

/// Power cuts at every moment: how many, or what is wrong after one.
fn power_cuts() -> Result<u32, String> {
    let (fs, mut log) = (disk(), Vec::new());
    fs.record();
    work(&fs, &mut log);
    work(&fs, &mut log);
    assert_eq!(log.last().unwrap().2, 6);
    let mut tried = 0;
    for moment in fs.moments() {
        let due = log.iter().rev().find(|(calls, ..)| *calls <= moment.calls);
        let (due, highest) = due.map_or((&[][..], 0), |(_, kept, highest)| (kept, *highest));
        // One that is being removed may be there or not.
        for choices in moment.world.cuts(64) {
            let fs = SimFs::of(moment.world.after_power_cut(&choices));
            check(&fs, due, highest, &format!("before {:?} after {} calls", moment.before, moment.calls))?;
            tried += 1;
        }
    }
    Ok(tried)
}

#[test]
fn a_power_cut_at_any_moment_loses_no_confirmed_letter_and_no_number_is_given_twice() {
    let tried = power_cuts().unwrap();
    assert!(tried > 100, "{tried}");
}

#[test]
fn control_letters_that_are_not_synced_are_caught_by_a_power_cut() {
    let _wrong = Sabotage::begin(Bug::LetterUnsynced);
    let caught = power_cuts().unwrap_err();
    assert!(caught.contains("are missing"), "{caught}");
}

#[test]
fn a_disk_that_fails_at_any_call_costs_no_confirmed_letter() {
    let calls = {
        let (fs, mut log) = (disk(), Vec::new());
        work(&fs, &mut log);
        fs.calls()
    };
    for at in 2..=calls {
        for (errno, lasting) in
            [(Errno::IO, Lasting::Once), (Errno::NOSPC, Lasting::Once), (Errno::IO, Lasting::UntilRepaired)]
        {
            let (fs, mut log) = (disk(), Vec::new());
            fs.break_at(Fault { at, errno, lasting });
            work(&fs, &mut log);
            fs.repair();
            let (due, highest) =
                log.last().map_or((Vec::new(), 0), |(_, kept, highest)| (kept.clone(), *highest));
            let world = fs.world();
            for choices in world.cuts(64) {
                let fs = SimFs::of(world.after_power_cut(&choices));
                check(&fs, &due, highest, &format!("{errno:?} {lasting:?} at call {at}")).unwrap();
            }
        }
    }
}

#[test]
fn a_write_or_sync_that_fails_costs_the_letters_before_it_nothing_in_the_same_process() {
    let mut failed = Vec::new();
    for call in 0..7 {
        let fs = disk();
        let letters = open(&fs, Path::new("/data"));
        let first = letters.append(&[letter(1, b"first")]).unwrap();
        fs.break_at(Fault { at: fs.calls() + call, errno: Errno::IO, lasting: Lasting::Once });
        let second = letters.append(&[letter(2, b"second")]);
        fs.repair();
        let third = letters.append(&[letter(3, b"third")]).unwrap();
        let expected: Vec<u64> =
            [first].into_iter().chain(second.as_ref().ok().copied()).chain([third]).collect();
        failed.extend(second.as_ref().err().map(|e| (call, e.to_string())));
        assert_eq!(ids(&letters), expected, "call {call}");
        letters.take(&[first]).unwrap();
        letters.remove(&[first]).unwrap();
        drop(letters);
        assert_eq!(ids(&open(&fs, Path::new("/data"))), expected[1..], "call {call}, and after a restart");
    }
    assert!(failed.len() >= 2, "{failed:?}");
}

#[test]
fn more_ranges_than_the_marks_have_room_for_take_a_larger_file() {
    let dir = tempfile::tempdir().unwrap();
    let letters = open(&RealFs, dir.path());
    let all: Vec<Letter> = (0..12_000).map(|seq| letter(seq, b"")).collect();
    let last = letters.append(&all).unwrap();
    let odd: Vec<u64> = (1..=last).filter(|id| id % 2 == 1).collect();
    letters.take(&odd).unwrap();
    letters.remove(&odd).unwrap();
    drop(letters);
    let there = ids(&open(&RealFs, dir.path()));
    assert_eq!((there.len(), there[0]), (6_000, 2));
    assert_eq!(look(&RealFs, dir.path(), SPOOL, 10_000, |_| true).unwrap().letters.len(), 6_000);
}

#[test]
fn what_stands_in_the_place_of_a_file_of_letters_keeps_nobody_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    open(&RealFs, dir.path()).append(&[letter(1, b"a")]).unwrap();
    std::fs::create_dir(dir.path().join("dead-letters/00000000000000000009.letters")).unwrap();
    std::fs::write(dir.path().join("dead-letters/00000000000000000007.letters"), b"no letters").unwrap();
    let letters = open(&RealFs, dir.path());
    assert_eq!(ids(&letters), [1]);
    assert!(letters.append(&[letter(2, b"b")]).unwrap() > 7);
}

#[test]
fn letters_that_are_confirmed_before_they_are_synced_are_caught() {
    // The control of the power cuts: what counts as confirmed two calls early is not there.
    let (fs, mut log) = (disk(), Vec::new());
    fs.record();
    work(&fs, &mut log);
    let early =
        |calls: u64| log.iter().rev().find(|(at, ..)| at - 1 <= calls).map(|(_, kept, _)| kept.clone());
    let broken = fs.moments().iter().any(|moment| {
        moment.world.cuts(64).any(|cut| {
            let letters = open(&SimFs::of(moment.world.after_power_cut(&cut)), Path::new("/data"));
            let there = ids(&letters);
            !early(moment.calls).unwrap_or_default().iter().all(|id| there.contains(id))
        })
    });
    assert!(broken);
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_letters(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = super::codec::MAGIC.to_vec();
        framed.extend(&bytes);
        prop_assert!(super::file::parse(&framed, SPOOL).letters.is_empty());
    }
}

#[test]
fn where_nothing_can_be_made_letters_are_opened_all_the_same() {
    for (errno, opens) in [(Errno::NOSPC, true), (Errno::ROFS, true), (Errno::IO, false)] {
        let (fs, dir) = (SimFs::default(), Path::new("/data"));
        fs.create_dir(dir).unwrap();
        fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
        assert_eq!(Letters::open(&fs, dir, SPOOL, settings(), 0).is_ok(), opens, "{errno}");
    }
}
