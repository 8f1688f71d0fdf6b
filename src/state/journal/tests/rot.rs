//! What has rotted is told from what a power cut tears.

use super::*;
use crate::disk::Fs as _;

const CURRENT: &str = "/data/journal/main/home.0";

/// Whether these are some of those, in their order, whatever they say of the windows before them.
pub(super) fn are_some_of(some: &[Intent], all: &[Intent]) -> bool {
    let is_same = |a: &Intent, b: &Intent| Intent { before: b.before, ..a.clone() } == *b;
    let mut rest = all.iter();
    some.iter().all(|one| rest.any(|other| is_same(one, other)))
}

fn one(partition: i32, block: u64) -> Intent {
    intent(partition, block, &[true, false, true])
}

/// A generation of some groups, and the next with a snapshot and two groups of two and one. What the first says, the snapshot, and
/// what the groups say.
fn two_generations(fs: &SimFs) -> (Vec<Intent>, Vec<Intent>, Vec<Intent>) {
    let (mut journal, _) = open(fs);
    let old = vec![one(0, 1), one(1, 4), one(0, 7)];
    journal.begin([]).unwrap();
    old.iter().for_each(|intent| journal.append([intent]).unwrap());
    let snapshot = vec![one(0, 7), one(1, 10)];
    journal.begin(&snapshot).unwrap();
    let groups = vec![one(0, 13), one(1, 16), one(0, 19)];
    journal.append(&groups[..2]).unwrap();
    journal.append(&groups[2..]).unwrap();
    (old, snapshot, groups)
}

fn with(fs: &SimFs, bytes: Vec<u8>) -> SimFs {
    let fs = SimFs::of(fs.world());
    fs.tamper(|world| world.rot(Path::new(CURRENT), bytes)).unwrap();
    fs
}

fn head(snapshot: &[Intent]) -> usize {
    let mut bytes = vec![0; 48];
    snapshot.iter().for_each(|intent| codec::put(&mut bytes, intent));
    bytes.len()
}

fn copies(fs: &SimFs) -> Vec<Vec<u8>> {
    let directory = Path::new("/data/journal/main");
    let names = fs.list(directory).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|n| n.contains(".aside-")).map(|n| fs.world().read(&directory.join(n)).unwrap()).collect()
}

/// Found by an audit: the generation before it counted without a word, and what was in flight arrived twice, uncounted.
#[test]
fn a_bit_that_rots_in_the_head_of_the_newest_generation_is_said_and_its_groups_count() {
    let fs = disk();
    let (old, snapshot, groups) = two_generations(&fs);
    let bytes = fs.world().read(Path::new(CURRENT)).unwrap();
    for bit in 0..head(&snapshot) * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        let fs = with(&fs, rotten.clone());
        let (mut journal, found) = open(&fs);
        assert!(found.damaged, "bit {bit}");
        assert_eq!(found.intents[..old.len()], old, "bit {bit}");
        let read = &found.intents[old.len()..];
        assert!(read.len() == 3 && are_some_of(read, &groups), "bit {bit}: {read:?}");
        let before: Vec<Before> = read.iter().map(|intent| intent.before).collect();
        assert_eq!(before, [Before::Nothing, Before::Nothing, Before::Appended], "bit {bit}");
        journal.prepare().unwrap();
        journal.begin(&found.intents).unwrap();
        assert_eq!(open(&fs).1, Found { damaged: false, ..found }, "bit {bit}");
        assert_eq!(copies(&fs), [rotten], "bit {bit}");
    }
}

#[test]
fn a_generation_of_which_a_part_has_been_written_over_an_older_one_is_no_damage() {
    let fs = disk();
    let (_, snapshot, groups) = two_generations(&fs);
    let (mut journal, _) = open(&fs);
    journal.begin(&groups).unwrap();
    let (due, before) = (open(&fs).1, fs.world().read(Path::new(CURRENT)).unwrap());
    journal.begin(&snapshot).unwrap();
    let (next, after) = (open(&fs).1, fs.world().read(Path::new(CURRENT)).unwrap());
    let (end, mut torn) = (head(&snapshot), 0);
    for cut in 0..end {
        for mixed in [[&after[..cut], &before[cut..]].concat(), [&before[..cut], &after[cut..]].concat()] {
            // Here and there both have the same bytes.
            let is_whole = mixed[..end] == after[..end];
            torn += u32::from(!is_whole);
            assert_eq!(open(&with(&fs, mixed)).1, *(if is_whole { &next } else { &due }), "cut at {cut}");
        }
    }
    assert!(torn > 300, "{torn}");
}

#[test]
fn a_bit_that_rots_in_a_group_hides_none_of_those_behind_it() {
    let fs = disk();
    let (_, snapshot, groups) = two_generations(&fs);
    let bytes = fs.world().read(Path::new(CURRENT)).unwrap();
    let (first, second) = (head(&snapshot), head(&snapshot) + 8 + head(&groups[..2]) - 48);
    let end = second + 8 + head(&groups[2..]) - 48;
    for at in first..end {
        let mut rotten = bytes.clone();
        rotten[at] ^= 1;
        let fs = with(&fs, rotten);
        let (mut journal, found) = open(&fs);
        assert_eq!(found.intents[..2], snapshot);
        // The last one may as well have been torn.
        let (read, kept) = if at < second { (&groups[2..], 1) } else { (&groups[..2], 0) };
        assert!(found.intents.len() == 2 + read.len(), "at {at}: {found:?}");
        assert!(are_some_of(&found.intents[2..], read), "at {at}: {found:?}");
        assert_eq!(found.damaged, at < second, "at {at}");
        journal.begin(&found.intents).unwrap();
        journal.begin(&found.intents).unwrap();
        assert_eq!((open(&fs).1.damaged, copies(&fs).len()), (false, kept), "at {at}");
    }
}

#[test]
fn what_can_be_read_of_a_damaged_generation_is_there_after_a_power_cut_at_any_moment() {
    let fs = disk();
    let (_, _, groups) = two_generations(&fs);
    let mut bytes = fs.world().read(Path::new(CURRENT)).unwrap();
    bytes[60] ^= 1;
    let fs = with(&fs, bytes);
    let (mut journal, found) = open(&fs);
    fs.record();
    journal.prepare().unwrap();
    journal.begin(&found.intents).unwrap();
    let mut tried = 0;
    for moment in fs.moments() {
        for choices in moment.world.cuts(CUTS) {
            let found = open(&SimFs::of(moment.world.after_power_cut(&choices))).1;
            let read = &found.intents[found.intents.len() - 3..];
            assert!(are_some_of(read, &groups), "before {:?}: {found:?}", moment.before);
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn a_full_disk_has_no_room_for_a_copy_and_the_journal_goes_on() {
    let fs = disk();
    two_generations(&fs);
    let mut bytes = fs.world().read(Path::new(CURRENT)).unwrap();
    bytes[60] ^= 1;
    let fs = with(&fs, bytes);
    fs.tamper(|world| world.fill_up_to(0));
    let (mut journal, found) = open(&fs);
    journal.begin(&found.intents).unwrap();
    assert_eq!((open(&fs).1.intents, copies(&fs).len()), (found.intents, 0));
}

#[test]
fn of_two_generations_that_can_not_be_read_copies_are_kept() {
    let fs = disk();
    two_generations(&fs);
    for path in [CURRENT, "/data/journal/main/home.1"] {
        let bytes = fs.world().read(Path::new(path)).unwrap().into_iter().map(|byte| !byte).collect();
        fs.tamper(|world| world.rot(Path::new(path), bytes)).unwrap();
    }
    let (mut journal, found) = open(&fs);
    assert_eq!((found.damaged, found.intents.len()), (true, 0));
    journal.begin([]).unwrap();
    assert_eq!((open(&fs).1.damaged, copies(&fs).len()), (false, 2));
}
