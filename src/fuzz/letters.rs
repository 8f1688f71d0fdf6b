//! Dead letters, kept, marked, damaged and read again, as the input says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::script::{self, DATA, SPOOL, Script, steps};
use crate::disk::sim::SimFs;
use crate::event::Event;
use crate::state::letters::{Letter, Letters, LettersError, Settings, Stored, look, testing};

const SETTINGS: Settings = Settings { max_size: 48 << 10, max_event_size: 2 << 10 };
/// Bytes of a file of letters, and of the marks.
const SIZES: (u64, usize) = (4096, 1000);
/// Bytes before a letter, the number at the end of them.
const HEADER: usize = 32;
/// No input does more than this.
const STEPS: usize = 48;

/// Bytes are steps: letters, what becomes of them, disks that fail, kills, power cuts, damage with and without a right
/// checksum.
///
/// The store opens every time. Every letter that was kept is read as it was, unless its own bytes were damaged; none is
/// read that was never written; one that is gone stays gone; whoever looks on reads the same as the agent.
pub fn letters(bytes: &[u8]) {
    let mut site = Site::new();
    steps(bytes, STEPS, |op, script| site.step(op % 12, script));
    site.reopen();
    site.append(1, 10);
    site.check();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    There,
    Taken,
    Gone,
}

struct Site {
    fs: SimFs,
    letters: Letters<SimFs>,
    /// Those that were kept, and whose bytes are whole.
    whole: BTreeMap<u64, Letter>,
    /// What was ever to stand under a number.
    ever: BTreeMap<u64, Vec<Letter>>,
    fates: BTreeMap<u64, Fate>,
    /// The highest number that was given out for sure: what the positions say.
    counted: u64,
    /// The file of marks was damaged: what became of letters may be forgotten.
    unmarked: bool,
    /// Checksums were put right over other bytes.
    forged: bool,
    next: u64,
}

impl Site {
    fn new() -> Self {
        let fs = SimFs::default();
        Self {
            letters: open(&fs, 0),
            fs,
            whole: BTreeMap::new(),
            ever: BTreeMap::new(),
            fates: BTreeMap::new(),
            counted: 0,
            unmarked: false,
            forged: false,
            next: 1,
        }
    }

    fn step(&mut self, op: usize, script: &mut Script<'_>) {
        let mut next = || script.next();
        match op {
            0..=2 => self.append(1 + next() % 4, next() * 8),
            3 => {
                let ids = self.some(next(), next());
                self.mark(&ids, Fate::Taken);
            }
            4 => {
                let ids = self.some(next(), next());
                self.mark(&ids, Fate::There);
            }
            5 => {
                let ids = self.some(next(), next());
                self.mark(&ids, Fate::Gone);
            }
            6 => {
                script::fail(&self.fs, next() % 8);
                self.append(1, next() * 8);
                self.fs.repair();
            }
            7 => self.reopen(),
            8 => {
                self.fs = script::after_power_cut(&self.fs, script);
                self.reopen();
            }
            9 => {
                let (file, at) = (next(), next() * 16 + next());
                self.damage(file, at, |byte| *byte ^= 1 << (at % 8), false);
                self.reopen();
            }
            10 => {
                let (file, at, to) = (next(), next() * 16 + next(), next());
                self.damage(file, at, |byte| *byte = u8::try_from(to).expect("a byte"), true);
                self.go_on_from_what_is_forged();
            }
            _ => self.check(),
        }
    }

    fn append(&mut self, count: usize, size: usize) {
        let new: Vec<Letter> = (0..count).map(|_| self.letter(size)).collect();
        let first = self.letters.last() + 1;
        let attempted = (first..).zip(&new);
        attempted.for_each(|(id, letter)| self.ever.entry(id).or_default().push(letter.clone()));
        match self.letters.append(&new) {
            Ok(last) => {
                assert_eq!(last, first + count as u64 - 1);
                self.counted = last;
                self.whole.extend((first..).zip(new));
                self.fates.extend((first..=last).map(|id| (id, Fate::There)));
            }
            // Neither room nor disk: then none of them is there.
            Err(LettersError::Full { .. } | LettersError::Disk(_)) => {}
        }
    }

    fn letter(&mut self, size: usize) -> Letter {
        let number = self.next;
        self.next += 1;
        let mut value = number.to_le_bytes().to_vec();
        value.resize(8 + size, b'.');
        testing::letter(number, &Event::of_value(&value))
    }

    /// Numbers of letters, as the input says.
    fn some(&self, first: usize, count: usize) -> Vec<u64> {
        let first = 1 + first as u64 % (self.counted + 1);
        (first..=self.counted.min(first + count as u64 % 5)).collect()
    }

    fn mark(&mut self, ids: &[u64], fate: Fate) {
        let marked = match fate {
            Fate::There => self.letters.put_back(ids),
            Fate::Taken => self.letters.take(ids),
            Fate::Gone => self.letters.remove(ids),
        };
        marked.expect("the disk is whole");
        for id in ids {
            if let Some(before) = self.fates.get_mut(id).filter(|before| **before != Fate::Gone) {
                *before = fate;
            }
        }
    }

    fn reopen(&mut self) {
        self.letters = open(&self.fs, self.counted);
        self.check();
        let found = self.letters.find(usize::MAX, |_| true).expect("the disk answers").letters;
        if self.unmarked {
            let taken = self.letters.taken();
            let there: BTreeSet<u64> = found.iter().map(|stored| stored.id).collect();
            for (id, fate) in &mut self.fates {
                if there.contains(id) {
                    *fate = Fate::There;
                } else if taken.contains(id) {
                    *fate = Fate::Taken;
                } else {
                    let lost = *fate == Fate::There && self.whole.contains_key(id);
                    assert!(!lost, "{id} was kept, and what its marks were does not let it go");
                }
            }
        }
        self.unmarked = false;
    }

    /// Where checksums were put right it may say anything, but it works. Then all begins anew, since nothing can be told of it.
    fn go_on_from_what_is_forged(&mut self) {
        // Also where there was nothing to forge: what is kept below is kept without being noted.
        self.forged = true;
        self.letters = open(&self.fs, self.counted);
        self.check();
        let letter = self.letters.find(1, |_| true).expect("the disk answers").letters.pop();
        if let Some(Stored { letter, .. }) = letter {
            let _fits = self.letters.append(&[letter]);
            self.letters = open(&self.fs, self.counted);
            self.check();
        }
        *self = Self::new();
    }

    fn check(&self) {
        let read = || self.letters.find(usize::MAX, |_| true).expect("the disk answers").letters;
        let found = read();
        assert_eq!(found, read(), "reading twice gives the same");
        let seen = look(&self.fs, Path::new(DATA), SPOOL, usize::MAX, |_| true).expect("the disk answers");
        assert_eq!(found, seen.letters, "a tool reads what the agent reads");
        if self.forged {
            return;
        }
        for Stored { id, letter } in &found {
            assert!(self.ever.get(id).is_some_and(|ever| ever.contains(letter)), "{id} was never written");
            let fate = self.fates.get(id).copied().unwrap_or(Fate::There);
            assert!(fate == Fate::There || self.unmarked, "{id} is {fate:?}");
        }
        let found: BTreeSet<u64> = found.iter().map(|stored| stored.id).collect();
        let is_there = |id: &&u64| self.fates.get(id) == Some(&Fate::There);
        for id in self.whole.keys().filter(is_there).filter(|_| !self.unmarked) {
            assert!(found.contains(id), "{id} was kept, and is not there");
        }
    }

    fn damage(&mut self, file: usize, at: usize, change: impl FnOnce(&mut u8), mends: bool) {
        let is_one = |path: &Path| path.starts_with("/data/dead-letters");
        let Some((path, mut bytes)) = script::some_file(&self.fs, file, is_one) else { return };
        let at = at % bytes.len().max(1);
        let hit: Vec<u64> =
            records(&bytes).filter(|(_, place)| place.contains(&at)).map(|(id, _)| id).collect();
        let Some(byte) = bytes.get_mut(at) else { return };
        change(byte);
        hit.iter().for_each(|id| drop(self.whole.remove(id)));
        self.unmarked |= path.ends_with("marks");
        if mends {
            self.forged = true;
            if path.ends_with("marks") { mend_slots(&mut bytes) } else { mend(&mut bytes) }
        }
        script::rot(&self.fs, &path, bytes);
    }
}

fn open(fs: &SimFs, counted: u64) -> Letters<SimFs> {
    let opened = Letters::open_sized(fs, Path::new(DATA), SPOOL, SETTINGS, counted + 1, SIZES);
    opened.expect("damage does not keep it from opening")
}

/// Everything that begins like a letter: its number and where it stands.
fn records(bytes: &[u8]) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> + '_ {
    memchr::memmem::find_iter(bytes, b"SWDL").filter_map(|at| {
        let header = bytes.get(at..at + HEADER)?;
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
        let id = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
        Some((id, at..(at + HEADER).checked_add(length)?))
    })
}

/// Makes of everything that begins like a letter one whose checksum holds.
fn mend(bytes: &mut [u8]) {
    let places: Vec<_> = records(bytes).map(|(_, place)| place).collect();
    for place in places {
        let Some(record) = bytes.get_mut(place) else { continue };
        record[16..24].copy_from_slice(&SPOOL.0.to_le_bytes());
        let crc = crc32fast::hash(&record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Makes of every slot of a file of slots one whose checksum holds.
fn mend_slots(bytes: &mut [u8]) {
    let size = (bytes.len() / 3).max(1);
    for slot in bytes.chunks_exact_mut(size).filter(|slot| slot.starts_with(b"SWSL")) {
        let length = u32::from_le_bytes(slot[16..20].try_into().expect("four bytes")) as usize;
        let Some(covered) = 24usize.checked_add(length).and_then(|end| slot.get(8..end)) else { continue };
        let crc = crc32fast::hash(covered);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}
