//! What a journal does with its files.

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::SimFs;
use crate::state::journal::tests::intent;

const SPOOL: SpoolId = SpoolId(7);
const SIZE: usize = 4096;

fn open<F: Fs>(fs: &F, dir: &Path, capacity: usize) -> (Journal<F>, Found) {
    let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    Journal::open_sized(fs, dir, SPOOL, &lane, &home, capacity)
}

fn disk() -> (SimFs, &'static Path) {
    let (fs, dir) = (SimFs::default(), Path::new("/data"));
    fs.create_dir(dir).unwrap();
    (fs, dir)
}

#[test]
fn files_that_are_too_small_by_now_are_made_larger_but_not_the_one_that_says_something() {
    let (fs, dir) = disk();
    let sizes = || {
        ["0", "1"].map(|n| fs.world().read(&dir.join("journal/main/home").with_extension(n)).unwrap().len())
    };
    let (mut journal, _) = open(&fs, dir, SIZE);
    journal.prepare().unwrap();
    journal.begin([&intent(0, 1, &[true])]).unwrap();
    let (journal, found) = open(&fs, dir, 2 * SIZE);
    journal.prepare().unwrap();
    assert_eq!((sizes(), found.intents.len()), ([2 * SIZE, SIZE], 1));
    assert_eq!(open(&fs, dir, 2 * SIZE).1, found);
    // What is left of one that is kept no more is an empty file.
    journal.discard().unwrap();
    open(&fs, dir, SIZE).0.prepare().unwrap();
    assert_eq!(sizes(), [SIZE; 2]);
}

#[test]
fn what_is_written_may_fill_its_file_to_the_last_byte() {
    let one = intent(0, 1, &[true]);
    let mut bytes = Vec::new();
    codec::put(&mut bytes, &one);
    for (short, fits) in [(0, true), (1, false)] {
        let (fs, dir) = disk();
        let mut journal = open(&fs, dir, HEADER + bytes.len() - short).0;
        assert_eq!(journal.begin([&one]).is_ok(), fits);
        let (fs, dir) = disk();
        let capacity = HEADER + GROUP + bytes.len() - short;
        let mut journal = open(&fs, dir, capacity).0;
        journal.begin([]).unwrap();
        assert_eq!(journal.append([&one]).is_ok(), fits);
        assert_eq!(open(&fs, dir, capacity).1.intents.len(), usize::from(fits));
    }
}

#[test]
fn a_file_that_can_not_be_opened_or_removed_is_not_taken_for_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let one = intent(0, 1, &[true]);
    let (mut journal, _) = open(&RealFs, dir.path(), SIZE);
    journal.prepare().unwrap();
    journal.begin([&one]).unwrap();
    let fs = Faulty::new();
    let (mut journal, _) = open(&fs, dir.path(), SIZE);
    fs.fail_next(Op::OpenWrite, 100);
    journal.begin([]).unwrap_err();
    assert_eq!(fs.count(Op::Create), 0);
    fs.fail_next(Op::Remove, 1);
    journal.discard().unwrap_err();
    assert_eq!(open(&RealFs, dir.path(), SIZE).1.intents, [one]);
}

#[test]
fn a_generation_behind_which_there_is_no_number_is_none() {
    let read = |number| {
        let mut bytes = vec![0; HEADER];
        seal_header(&mut bytes, SPOOL, number);
        Generation::read(&bytes, SPOOL).map(|generation| generation.number)
    };
    assert_eq!([1, u64::MAX - 1, u64::MAX].map(read), [Some(1), Some(u64::MAX - 1), None]);
}
