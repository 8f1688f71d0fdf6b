//! What becomes of the bytes of files: what fits, what is cut off, and what is not there though it stands on disk.

use std::path::PathBuf;

use super::*;

const SIZES: (u64, usize) = (FILE, 1 << 10);

fn try_open<F: Fs>(fs: &F, dir: &Path, max_size: u64, sizes: (u64, usize)) -> Letters<F> {
    let settings = Settings { max_size, max_event_size: 1000 };
    Letters::open_sized(fs, dir, SPOOL, settings, 0, sizes).unwrap()
}

fn listed<F: Fs>(letters: &Letters<F>) -> Vec<u64> {
    ids(&letters.find(usize::MAX, |_| true).unwrap())
}

fn length(letter: &Letter) -> u64 {
    let mut bytes = Vec::new();
    codec::put(&mut bytes, SPOOL, 1, letter);
    bytes.len() as u64
}

fn path(first: u64) -> PathBuf {
    file::name(Path::new("/data/dead-letters"), first)
}

fn size(fs: &SimFs, first: u64) -> u64 {
    fs.world().read(&path(first)).unwrap().len() as u64
}

#[test]
fn a_file_and_the_room_that_letters_may_take_are_filled_to_the_last_byte() {
    let one = letter(100);
    let two = 2 * length(&one);
    let letters = try_open(&disk(), Path::new("/data"), MOST, (two, 1 << 10));
    let files = [(); 3].map(|()| {
        letters.append(std::slice::from_ref(&one)).unwrap();
        letters.inner().files.len()
    });
    assert_eq!(files, [0, 0, 1]);
    let letters = try_open(&disk(), Path::new("/data"), two, SIZES);
    let fits = [(); 3].map(|()| letters.append(std::slice::from_ref(&one)).is_ok());
    assert_eq!(fits, [true, true, false]);
}

#[test]
fn what_is_reserved_behind_the_last_letter_of_a_file_is_given_back_when_the_next_one_begins() {
    let fs = disk();
    let letters = open(&fs, 0);
    let one = letter(900);
    while letters.inner().files.is_empty() {
        letters.append(std::slice::from_ref(&one)).unwrap();
    }
    let whole = FILE / length(&one) * length(&one);
    assert_eq!((size(&fs, 1), letters.inner().bytes), (whole, whole));
    // Also of a file in which there is no letter at all.
    drop(letters);
    fs.tamper(|world| world.rot(&path(70), vec![0; 100])).unwrap();
    open(&fs, 0);
    assert_eq!(size(&fs, 70), 0);
}

#[test]
fn what_looks_like_a_letter_at_the_end_of_a_file_stays_for_a_person_to_look_at() {
    let fs = disk();
    open(&fs, 0).append(&[letter(1), letter(1)]).unwrap();
    let used = usize::try_from(file::read(&fs, &path(1), SPOOL).unwrap().used).unwrap();
    for (at, letters) in [(used - 1, vec![1]), (10, vec![2])] {
        let fs = SimFs::of(fs.world());
        let mut rotten = fs.world().read(&path(1)).unwrap();
        rotten[at] ^= 1;
        fs.tamper(|world| world.rot(&path(1), rotten.clone())).unwrap();
        assert_eq!(listed(&open(&fs, 0)), letters);
        assert!(fs.world().read(&path(1)).unwrap() == rotten, "with byte {at} damaged");
    }
}

#[test]
fn a_torn_letter_about_letters_is_no_damage() {
    let mut bytes = Vec::new();
    codec::put(&mut bytes, SPOOL, 1, &letter(1));
    codec::put(&mut bytes, SPOOL, 2, &testing::letter(1, &Event::of_value(b"it began with SWDL, and so on")));
    let whole = file::parse(&bytes, SPOOL);
    assert_eq!((whole.letters.len(), whole.damaged, whole.ends_blank), (2, false, true));
    bytes.pop();
    let torn = file::parse(&bytes, SPOOL);
    assert_eq!((torn.letters.len(), torn.damaged, torn.ends_blank), (1, false, false));
}

#[test]
fn letters_whose_sync_failed_are_not_there_though_they_stand_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let letters = try_open(&fs, dir.path(), MOST, SIZES);
    let file = |first| std::fs::read(file::name(&dir.path().join("dead-letters"), first)).unwrap();
    // The first of a file are not cut off. Before their own sync there is that of the next spare file.
    fs.fail_later(Op::SyncData, 1, 1);
    letters.append(&[letter(1)]).unwrap_err();
    assert_eq!(file::parse(&file(1), SPOOL).letters.len(), 1);
    assert_eq!((listed(&letters), letters.is_there(1)), (vec![], false));
    // Others are.
    assert_eq!(letters.append(&[letter(1)]).unwrap(), 2);
    fs.fail_next(Op::SyncData, 1);
    letters.append(&[letter(1)]).unwrap_err();
    assert_eq!(file(2).len() as u64, length(&letter(1)));
    // Where that can't be said to be durable, the marks say it.
    assert_eq!(letters.append(&[letter(1)]).unwrap(), 4);
    fs.fail_next(Op::SyncData, 2);
    letters.append(&[letter(1)]).unwrap_err();
    assert_eq!([3, 4, 5].map(|id| letters.is_there(id)), [true, true, false]);
    for letters in [letters, try_open(&fs, dir.path(), MOST, SIZES)] {
        assert_eq!(listed(&letters), [2, 4]);
    }
}

#[test]
fn a_file_that_has_its_name_counts_though_that_is_not_durable() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let letters = try_open(&fs, dir.path(), MOST, SIZES);
    fs.fail_next(Op::SyncDir, 1);
    letters.append(&[letter(1)]).unwrap_err();
    assert_eq!(letters.inner().files.len(), 1);
    assert_eq!(letters.inner().bytes, FILE);
    assert_eq!(letters.append(&[letter(1)]).unwrap(), 2);
}

#[test]
fn room_that_could_not_be_reserved_durably_is_not_reserved() {
    let dir = tempfile::tempdir().unwrap();
    for op in [Op::Create, Op::Allocate, Op::SyncData, Op::SyncDir] {
        let fs = Faulty::new();
        fs.fail_next(op, 1);
        file::reserve(&fs, dir.path(), FILE).unwrap_err();
        std::fs::remove_file(dir.path().join("spare")).ok();
    }
}

#[test]
fn more_marks_than_their_file_has_room_for_take_a_larger_one_with_room_for_as_many_again() {
    let fs = disk();
    let letters = open(&fs, 0);
    for count in [600u64, 10_000] {
        letters.take(&(1..=count).collect::<Vec<_>>()).unwrap();
        assert_eq!(open(&fs, 0).taken().len() as u64, count);
    }
    let capacity = letters.inner().slots.as_ref().unwrap().capacity();
    assert!(capacity > 2 * 8 * 10_000, "{capacity}");
}

/// Each in a file of its own.
fn in_three_files(fs: &SimFs) -> Letters<SimFs> {
    for id in 1..=3 {
        assert_eq!(open(fs, 0).append(&[letter(1)]).unwrap(), id);
    }
    open(fs, 0)
}

#[test]
fn letters_that_are_gone_do_not_come_back_with_their_file() {
    // What a file is removed with, and its directory's sync among it, fails in turn.
    let mut came_back = 0;
    for call in 0..14 {
        let fs = disk();
        let letters = in_three_files(&fs);
        fs.break_at(Fault { at: fs.calls() + call, errno: Errno::IO, lasting: Lasting::Once });
        let gone = letters.remove(&[1]).is_ok();
        fs.repair();
        letters.take(&[2]).unwrap();
        let fs = SimFs::of(fs.world().after_power_cut(&[]));
        came_back += u32::from(gone && fs.world().read(&path(1)).is_some());
        let expected = if gone { vec![3] } else { vec![1, 3] };
        assert_eq!(listed(&open(&fs, 0)), expected, "call {call}");
    }
    assert!(came_back > 0);
}

#[test]
fn files_that_are_gone_are_passed_over_and_those_that_can_not_be_read_are_told() {
    let fs = disk();
    let letters = in_three_files(&fs);
    fs.tamper(|world| world.lose(&path(1))).unwrap();
    fs.tamper(|world| world.wear(&path(2), 0..1)).unwrap();
    let found = letters.find(9, |_| true).unwrap();
    assert_eq!((ids(&found), found.damaged), (vec![3], vec![path(2)]));
}

#[test]
fn without_marks_letters_are_there_and_with_marks_that_can_not_be_read_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let marks = dir.path().join("dead-letters/marks");
    let looked = |fs: &Faulty| look(fs, dir.path(), SPOOL, 9, |_| true).map(|found| ids(&found)).ok();
    assert_eq!(looked(&Faulty::new()), Some(vec![]));
    let letters = try_open(&RealFs, dir.path(), MOST, SIZES);
    letters.append(&[letter(1), letter(1)]).unwrap();
    letters.remove(&[1]).unwrap();
    assert_eq!(looked(&Faulty::new()), Some(vec![2]));
    let fs = Faulty::new();
    // Asked for three times.
    fs.fail_next(Op::Open, 3);
    assert_eq!(looked(&fs), None);
    std::fs::write(&marks, b"damaged").unwrap();
    assert_eq!(looked(&Faulty::new()), Some(vec![1, 2]));
    std::fs::remove_file(&marks).unwrap();
    assert_eq!(looked(&Faulty::new()), Some(vec![1, 2]));
}
