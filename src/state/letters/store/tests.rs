//! The store against a model, and what it does of its own accord with files.

mod files;

use std::path::Path;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::event::Event;
use crate::state::letters::testing;

const SPOOL: SpoolId = SpoolId(9);
/// Four or five letters of middling size fill a file.
const FILE: u64 = 4096;
const MOST: u64 = 5 * FILE / 2;

fn letter(size: usize) -> Letter {
    testing::letter(1, &Event::of_value(&vec![7; size]))
}

fn open(fs: &SimFs, at_least: u64) -> Letters<SimFs> {
    let settings = Settings { max_size: MOST, max_event_size: 1000 };
    Letters::open_sized(fs, Path::new("/data"), SPOOL, settings, at_least, (FILE, 1 << 10)).unwrap()
}

fn disk() -> SimFs {
    let fs = SimFs::default();
    fs.create_dir(Path::new("/data")).unwrap();
    fs
}

fn ids(found: &Found) -> Vec<u64> {
    found.letters.iter().map(|stored| stored.id).collect()
}

#[derive(Debug, Clone)]
enum Happening {
    Append(Vec<usize>),
    /// Letters with numbers of this rest by three.
    Take(u64),
    PutBack(u64),
    Remove(u64),
    /// All below a share of the numbers there are.
    RemoveBelow(u64),
    Start(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        6 => proptest::collection::vec(0usize..900, 1..4).prop_map(Happening::Append),
        1 => (0u64..3).prop_map(Happening::Take),
        1 => (0u64..3).prop_map(Happening::PutBack),
        1 => (0u64..3).prop_map(Happening::Remove),
        2 => (0u64..4).prop_map(Happening::RemoveBelow),
        1 => (0u64..30).prop_map(Happening::Start),
    ];
    proptest::collection::vec(one, 1..40)
}

/// What there has to be.
#[derive(Debug, Default)]
struct Model {
    there: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    next: u64,
    /// The highest number that a letter ever had.
    given: u64,
}

impl Model {
    fn of_rest(&self, rest: u64) -> Vec<u64> {
        (1..self.next).filter(|id| id % 3 == rest).collect()
    }

    fn remove(&mut self, ids: &[u64]) {
        self.there.retain(|id| !ids.contains(id));
        self.taken.retain(|id| !ids.contains(id));
    }

    fn step(&mut self, fs: &SimFs, letters: &mut Letters<SimFs>, happening: &Happening) {
        match happening {
            Happening::Append(sizes) => {
                let new: Vec<_> = sizes.iter().map(|size| letter(*size)).collect();
                let mut bytes = Vec::new();
                new.iter().for_each(|letter| codec::put(&mut bytes, SPOOL, 1, letter));
                let fits = self.bytes(fs, letters) + bytes.len() as u64 <= MOST;
                match letters.append(&new) {
                    Ok(last) => {
                        assert!(fits && last == self.next + new.len() as u64 - 1);
                        self.there.extend(self.next..=last);
                        (self.next, self.given) = (last + 1, last);
                    }
                    Err(refused) => {
                        assert!(!fits && matches!(refused, LettersError::Full { .. }), "{refused}");
                    }
                }
            }
            Happening::Take(rest) => {
                let ids: Vec<_> =
                    self.of_rest(*rest).into_iter().filter(|id| self.there.contains(id)).collect();
                letters.take(&ids).unwrap();
                self.taken.extend(ids);
            }
            Happening::PutBack(rest) => {
                letters.put_back(&self.of_rest(*rest)).unwrap();
                self.taken.retain(|id| id % 3 != *rest);
            }
            Happening::Remove(rest) => {
                let ids = self.of_rest(*rest);
                letters.remove(&ids).unwrap();
                self.remove(&ids);
            }
            Happening::RemoveBelow(share) => {
                let ids: Vec<_> = (1..self.next * (share + 1) / 4).collect();
                letters.remove(&ids).unwrap();
                self.remove(&ids);
            }
            Happening::Start(more) => {
                let at_least = self.next.saturating_sub(15) + more;
                *letters = open(fs, at_least);
                // A number that was not given to any letter may be forgotten.
                self.next = letters.last() + 1;
                assert!(self.next >= at_least && self.next > self.given, "{at_least} {self:?}");
            }
        }
    }

    /// Bytes of all files but the one that is written, of which only those that are used count.
    fn bytes(&self, fs: &SimFs, letters: &Letters<SimFs>) -> u64 {
        let inner = letters.inner();
        let world = fs.world();
        let size = |path: &Path| world.read(path).unwrap().len() as u64;
        let of_files: u64 = inner.files.iter().map(|known| size(&known.path)).sum();
        assert_eq!(inner.bytes, of_files);
        let of_active = inner.active.as_ref().map_or(0, |active| {
            let content = file::read(fs, &active.known.path, SPOOL).unwrap();
            assert_eq!(active.at, content.used);
            assert_eq!(size(&active.known.path), FILE);
            content.used
        });
        of_files + of_active
    }

    fn check(&self, fs: &SimFs, letters: &Letters<SimFs>) {
        let listed: Vec<_> = self.there.difference(&self.taken).copied().collect();
        assert_eq!(ids(&letters.find(usize::MAX, |_| true).unwrap()), listed);
        assert_eq!(ids(&look(fs, Path::new("/data"), SPOOL, usize::MAX, |_| true).unwrap()), listed);
        for (after, limit) in [(0, 3), (self.next / 2, 2), (self.next, 9), (self.next.saturating_sub(3), 9)] {
            let some = listed.iter().copied().filter(|id| *id > after).take(limit).collect::<Vec<_>>();
            assert_eq!(ids(&letters.find_after(after, limit, |_| true).unwrap()), some);
        }
        let there: Vec<_> = self.there.iter().copied().collect();
        let loaded = letters.load(&there).unwrap();
        assert_eq!(loaded.iter().map(|stored| stored.id).collect::<Vec<_>>(), there);
        assert_eq!(letters.taken(), self.taken.iter().copied().collect::<Vec<_>>());
        assert!(there.iter().all(|id| letters.is_there(*id) == listed.contains(id)));
        assert_eq!(letters.last(), self.next - 1);
        self.bytes(fs, letters);
        // No file stays that has nothing in it any more.
        let inner = letters.inner();
        for known in &inner.files {
            let content = file::read(fs, &known.path, SPOOL).unwrap();
            assert!(content.letters.iter().any(|stored| self.there.contains(&stored.id)), "{known:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_it_holds_what_a_set_of_letters_would_hold_in_the_room_it_says(story in happenings()) {
        let fs = disk();
        let (mut letters, mut model) = (open(&fs, 0), Model { next: 1, ..Model::default() });
        for happening in story {
            model.step(&fs, &mut letters, &happening);
            model.check(&fs, &letters);
        }
    }
}

#[test]
fn a_file_has_room_for_two_of_the_largest_events_and_for_a_megabyte_at_least() {
    let size = |max_event_size| Settings { max_size: 0, max_event_size }.file_size();
    assert_eq!([0, 1000, 1 << 19].map(size), [1 << 20; 3]);
    assert_eq!(size((1 << 19) + 1), (1 << 20) + 4096);
    assert_eq!(size(3 << 20), 6 << 20);
}

#[test]
fn numbers_of_letters_that_could_not_be_kept_are_not_given_again() {
    let fs = disk();
    let letters = open(&fs, 0);
    assert_eq!(letters.append(&[letter(1), letter(1)]).unwrap(), 2);
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::UntilRepaired });
    letters.append(&[letter(1), letter(1), letter(1)]).unwrap_err();
    fs.repair();
    assert_eq!((letters.last(), letters.append(&[letter(1)]).unwrap()), (5, 6));
    assert_eq!(ids(&letters.find(9, |_| true).unwrap()), [1, 2, 6]);
}

#[test]
fn the_first_letters_of_a_file_that_could_not_be_kept_are_not_there_either() {
    for lasting in [Lasting::Once, Lasting::UntilRepaired] {
        let mut failed = 0;
        for call in 0..9 {
            let fs = disk();
            let letters = open(&fs, 0);
            fs.break_at(Fault { at: fs.calls() + call, errno: Errno::IO, lasting });
            let first = letters.append(&[letter(1), letter(1)]);
            fs.repair();
            failed += u32::from(first.is_err());
            let kept: Vec<u64> = first.iter().flat_map(|last| 1..=*last).collect();
            assert_eq!(ids(&letters.find(9, |_| true).unwrap()), kept, "{lasting:?} {call}");
            // Whatever is said of letters next says that these are none.
            assert_eq!(letters.append(&[letter(1)]).unwrap(), 3);
            letters.take(&[3]).unwrap();
            drop(letters);
            assert_eq!(ids(&open(&fs, 0).find(9, |_| true).unwrap()), kept, "{lasting:?} {call}");
        }
        assert!(failed >= 3, "{lasting:?}: {failed}");
    }
}

#[test]
fn no_number_that_a_file_may_hold_is_given_again_though_it_can_not_be_read() {
    let fs = disk();
    let letters = open(&fs, 5);
    letters.append(&[letter(1), letter(1), letter(1)]).unwrap();
    drop(letters);
    let there = Path::new("/data/dead-letters");
    let path = file::name(there, 5);
    let size = fs.world().read(&path).unwrap().len() as u64;
    fs.tamper(|world| world.lose(&there.join("marks"))).unwrap();
    let next = |fs: &SimFs| open(fs, 0).append(&[letter(1)]).unwrap();
    assert_eq!(next(&SimFs::of(fs.world())), 8);
    fs.tamper(|world| world.wear(&path, 0..1)).unwrap();
    assert_eq!(next(&fs), 5 + size / codec::HEADER as u64, "no more letters than that have room in it");
    fs.tamper(|world| world.mend());
    // What has no letter in it still has a number.
    fs.tamper(|world| world.rot(&file::name(there, 700), vec![0; 100])).unwrap();
    assert_eq!(open(&fs, 0).append(&[letter(1)]).unwrap(), 701);
    assert_eq!(open(&fs, 900).append(&[letter(1)]).unwrap(), 900);
}

/// The last letter of a file rots while the agent is dead: it was taken for the torn end of a write, and its number was given
/// to another letter, which the marks, or what was copied already, then took for the first.
#[test]
fn a_letter_that_rots_keeps_its_number_for_itself() {
    let fs = disk();
    open(&fs, 5).append(&[letter(1), letter(300), letter(1)]).unwrap();
    let path = file::name(Path::new("/data/dead-letters"), 5);
    let whole = fs.world().read(&path).unwrap();
    let used = usize::try_from(file::read(&fs, &path, SPOOL).unwrap().used).unwrap();
    for at in 0..used {
        // One byte, and everything from there on.
        let mut flipped = whole.clone();
        flipped[at] ^= 0x41;
        let mut gone = whole.clone();
        gone[at..used].fill(0xee);
        for bytes in [flipped, gone] {
            let fs = SimFs::of(fs.world());
            fs.tamper(|world| world.rot(&path, bytes)).unwrap();
            let next = open(&fs, 0).append(&[letter(1)]).unwrap();
            assert!((8..60).contains(&next), "{next} is given with byte {at} damaged");
        }
    }
}

#[test]
fn what_is_said_of_letters_is_not_taken_back_by_a_disk_that_refuses() {
    let prepared = || {
        let fs = disk();
        let letters = open(&fs, 0);
        letters.append(&[letter(1), letter(1), letter(1)]).unwrap();
        (fs, letters)
    };
    // What is written, and its sync.
    for failing in 0..2 {
        let (fs, letters) = prepared();
        fs.break_at(Fault { at: fs.calls() + failing, errno: Errno::IO, lasting: Lasting::Once });
        letters.take(&[2]).unwrap_err();
        fs.repair();
        assert_eq!((letters.taken(), letters.is_there(2)), (Vec::<u64>::new(), true), "{failing}");
    }
    let (fs, letters) = prepared();
    letters.take(&[2]).unwrap();
    let calls = fs.calls();
    letters.take(&[2]).unwrap();
    assert_eq!(fs.calls(), calls, "it is said already");
    letters.remove(&[2]).unwrap();
    letters.take(&[2]).unwrap();
    assert_eq!(letters.taken(), Vec::<u64>::new(), "it is gone");
}

#[test]
fn a_spare_file_is_used_again_if_nothing_stands_in_it_and_made_anew_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let there = dir.path().join("dead-letters");
    let spare = there.join("spare");
    let settings = Settings { max_size: MOST, max_event_size: 1000 };
    let made = || {
        let fs = Faulty::new();
        Letters::open_sized(&fs, dir.path(), SPOOL, settings, 0, (FILE, 1 << 10)).unwrap();
        let bytes = std::fs::read(&spare).unwrap();
        assert!(bytes.len() >= 4096 && bytes.iter().all(|byte| *byte == 0));
        fs.count(Op::Create)
    };
    // The marks are made too.
    assert_eq!((made(), made()), (2, 0));
    for left in [vec![0; 4095], vec![0; 4097], [vec![0; 4095], vec![1]].concat(), vec![]] {
        std::fs::write(&spare, &left).unwrap();
        let made = made();
        assert!(made == 1 || left.len() == 4097, "{made} for {} bytes", left.len());
    }
    std::fs::remove_file(&spare).unwrap();
    std::fs::create_dir(&spare).unwrap();
    assert_eq!(made(), 1);
    assert!(there.join("spare.aside-1").is_dir());
    // A disk that does not open it says nothing of it.
    let fs = Faulty::new();
    fs.fail_next(Op::OpenWrite, 100);
    file::reserve(&fs, &there, FILE).unwrap_err();
    assert_eq!(fs.count(Op::Create), 0);
}

#[test]
fn only_files_that_are_called_like_files_of_letters_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["00000000000000000007.letters", "3.letters", "x.letters", "5", "9.letters.old", ".letters"];
    names.iter().for_each(|name| std::fs::write(dir.path().join(name), b"").unwrap());
    std::fs::write(file::name(dir.path(), codec::LAST), b"").unwrap();
    std::fs::write(file::name(dir.path(), codec::LAST + 1), b"").unwrap();
    std::fs::create_dir(dir.path().join("8.letters")).unwrap();
    let listed: Vec<_> = file::list(&RealFs, dir.path()).unwrap().iter().map(|known| known.first).collect();
    assert_eq!(listed, [3, 7, codec::LAST]);
    assert!(file::list(&RealFs, &dir.path().join("none")).unwrap().is_empty());
    let fs = disk();
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::UntilRepaired });
    assert!(file::list(&fs, Path::new("/data")).is_err());
}

/// A record with something in it changed, and its sum made to fit.
fn forged(change: impl Fn(&mut Vec<u8>)) -> Option<(Stored, usize)> {
    let mut bytes = Vec::new();
    codec::put(&mut bytes, SPOOL, 5, &letter(3));
    change(&mut bytes);
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    codec::take(&bytes, SPOOL)
}

#[test]
fn a_letter_is_believed_only_of_this_spool_and_version_and_with_a_number_that_there_can_be() {
    let (stored, length) = forged(|_| {}).unwrap();
    assert_eq!((stored.id, stored.letter), (5, letter(3)));
    let set = |at: usize, value: u64| {
        forged(move |bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()))
            .map(|(stored, _)| stored.id)
    };
    assert_eq!(forged(|bytes| bytes[12] = 2), None, "a later version's");
    assert_eq!(set(16, 8), None, "another spool's");
    assert_eq!(
        [0, 1, codec::LAST, codec::LAST + 1].map(|id| set(24, id)),
        [None, Some(1), Some(codec::LAST), None]
    );
    assert_eq!(forged(|bytes| bytes[8..12].fill(0xff)), None, "longer than anything");
    let mut two = Vec::new();
    codec::put(&mut two, SPOOL, 5, &letter(3));
    codec::put(&mut two, SPOOL, 6, &letter(4));
    let (second, _) = codec::take(&two[length..], SPOOL).unwrap();
    assert_eq!((second.id, second.letter), (6, letter(4)));
}

#[test]
fn what_was_said_is_kept_up_to_a_bound_and_cut_between_letters() {
    let kept = |message: String| {
        let mut bytes = Vec::new();
        codec::put(&mut bytes, SPOOL, 5, &Letter { message, ..letter(3) });
        codec::take(&bytes, SPOOL).unwrap().0.letter.message
    };
    assert_eq!(kept("x".repeat(1000)).len(), 1000);
    assert_eq!(kept("x".repeat(1001)).len(), 1000);
    assert_eq!(kept("ü".repeat(500)).len(), 1000);
    assert_eq!(kept(format!("x{}", "ü".repeat(500))).len(), 999);
}
