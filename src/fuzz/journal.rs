//! A journal, written, damaged and opened again, as the input says.

use std::path::{Path, PathBuf};

use super::script::{self, DATA, SPOOL, Script, home, lane, steps};
use crate::disk::sim::SimFs;
use crate::ids::{RunId, Seq, TopicName};
use crate::state::journal::{Before, Found, Intent, Journal, JournalError, Share, directory};
use crate::state::positions::{Bits, Counter};

/// Small, so that a few windows fill it.
const CAPACITY: usize = 2048;
/// No input does more than this.
const STEPS: usize = 64;

/// Bytes are steps: generations, windows, disks that fail, kills, power cuts, damage with and without a right checksum.
///
/// It opens every time, and the same when it is opened twice. Undamaged, it says what was written last, or what was being
/// written; damaged, some of what was written, and nothing else.
pub fn journal(bytes: &[u8]) {
    let mut site = Site::new();
    steps(bytes, STEPS, |op, script| site.step(op % 10, script));
    site.reopen();
    site.begin(Vec::new());
    site.reopen();
}

struct Site {
    fs: SimFs,
    journal: Journal<SimFs>,
    /// What the disk may say: one thing, unless a call has failed.
    says: Vec<Vec<Intent>>,
    /// Everything that a generation ever said.
    ever: Vec<Vec<Intent>>,
    /// Something was damaged since it was opened last.
    tampered: bool,
    /// Something can't be read, and nothing was written since.
    damaged: bool,
    next: u64,
}

impl Site {
    fn new() -> Self {
        let fs = script::empty_disk();
        let (journal, _) = open(&fs);
        Self {
            fs,
            journal,
            says: vec![Vec::new()],
            ever: vec![Vec::new()],
            tampered: false,
            damaged: false,
            next: 1,
        }
    }

    fn step(&mut self, op: usize, script: &mut Script<'_>) {
        let mut next = || script.next();
        match op {
            0 => {
                let kept = next();
                let intents = self.says.last().cloned().unwrap_or_default();
                self.begin(intents.into_iter().take(kept).collect());
            }
            1..=3 => {
                let intents = (0..=next() % 3).map(|_| self.intent(next(), next())).collect();
                self.append(intents);
            }
            4 => script::fail(&self.fs, next() % 12),
            5 => self.reopen(),
            6 => {
                self.fs = script::after_power_cut(&self.fs, script);
                self.reopen();
            }
            7 => {
                self.damage(next(), next() * 8 + next() % 8, |byte| *byte ^= 1 << (byte.count_ones() % 8));
                self.reopen();
            }
            8 => {
                let (file, at, to) = (next(), next() * 4 + next(), next());
                self.damage(file, at, |byte| *byte = u8::try_from(to).expect("a byte"));
                self.mend(file);
                self.adopt();
            }
            _ => drop(self.journal.prepare()),
        }
    }

    fn begin(&mut self, intents: Vec<Intent>) {
        match self.journal.begin(&intents) {
            Ok(()) => (self.says, self.damaged) = (vec![intents.clone()], false),
            Err(JournalError::TooLarge { .. }) => return,
            // It may stand in the file all the same.
            Err(_) => {
                self.says.push(intents.clone());
                let appended = self.journal.append(&intents);
                assert!(matches!(appended, Err(JournalError::Full)), "behind which of the two?");
            }
        }
        self.ever.push(intents);
    }

    fn append(&mut self, intents: Vec<Intent>) {
        let result = self.journal.append(&intents);
        if matches!(result, Err(JournalError::Full)) {
            return;
        }
        let mut all = self.says.last().cloned().unwrap_or_default();
        all.extend(intents);
        self.ever.push(all.clone());
        match result {
            Ok(()) => self.says = vec![all],
            Err(_) => self.says.push(all),
        }
    }

    fn reopen(&mut self) {
        self.fs.repair();
        let (journal, found) = open(&self.fs);
        assert_eq!(found, open(&self.fs).1, "opened twice it says the same");
        if self.tampered {
            assert!(found.intents.iter().all(|intent| self.was_said(intent)), "invented: {found:?}");
        } else {
            assert!(!found.damaged || self.damaged, "{found:?}");
            assert!(self.says.contains(&found.intents), "{found:?} of {:?}", self.says);
        }
        self.go_on(journal, found);
    }

    /// Whether it was ever written; behind what has rotted it says nothing of the window before it.
    fn was_said(&self, intent: &Intent) -> bool {
        let is_same = |said: &Intent| Intent { before: said.before, ..intent.clone() } == *said;
        self.ever.iter().flatten().any(is_same)
    }

    /// Where checksums were put right, it may say anything that can be written again.
    fn adopt(&mut self) {
        let (journal, found) = open(&self.fs);
        assert_eq!(found, open(&self.fs).1, "opened twice it says the same");
        let size: usize = found.intents.iter().map(Intent::size).sum();
        self.go_on(journal, Found { intents: found.intents.clone(), ..found });
        if size + 64 <= CAPACITY {
            self.fs.repair();
            self.begin(found.intents.clone());
            assert_eq!(open(&self.fs).1.intents, found.intents, "what was read is written and read the same");
        }
    }

    fn go_on(&mut self, journal: Journal<SimFs>, found: Found) {
        self.ever.push(found.intents.clone());
        // What was being written and is read now may be gone after a power cut: nothing of it was sent.
        let tells_all = self.tampered || self.says.len() == 1;
        let mut says = if tells_all { Vec::new() } else { std::mem::take(&mut self.says) };
        says.retain(|said| *said != found.intents);
        says.push(found.intents);
        (self.journal, self.says) = (journal, says);
        (self.tampered, self.damaged) = (false, found.damaged);
    }

    fn intent(&mut self, shape: usize, length: usize) -> Intent {
        let number = self.next;
        self.next += 1;
        let share = |n: usize| {
            let len = u32::try_from(length % 80 + 1).expect("small");
            let words = match (shape + n) % 3 {
                0 => [u64::MAX; 2],
                1 => [0b0111_1000; 2],
                _ => [0x9249_2492_4924_9249; 2],
            };
            let events = Bits::from_words(len, words);
            Share { block: Seq(number * 100 + n as u64), run: RunId(3), events }
        };
        Intent {
            cluster_id: "cluster".get(..shape % 8).unwrap_or_default().to_owned(),
            topic: TopicName::new(if shape.is_multiple_of(2) { "a" } else { "b" }).expect("a name"),
            topic_id: [9; 16],
            partition: i32::try_from(shape % 4).expect("small"),
            producer_id: 1000,
            epoch: 1,
            base_sequence: i32::try_from(number).expect("small"),
            before: [Before::Nothing, Before::Appended, Before::Withdrawn][shape % 3],
            acked_offset: -1,
            counter: Counter { epoch: 1, next: number },
            by_time_of_sending: shape > 128,
            sent_at: 0,
            shares: (0..shape % 4).map(share).collect(),
        }
    }

    fn damage(&mut self, file: usize, at: usize, change: impl FnOnce(&mut u8)) {
        let path = path(file);
        let Some(mut bytes) = self.fs.world().read(&path) else { return };
        let at = at % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            change(byte);
            self.tampered = true;
            script::rot(&self.fs, &path, bytes);
        }
    }

    fn mend(&mut self, file: usize) {
        let path = path(file);
        let Some(mut bytes) = self.fs.world().read(&path) else { return };
        if mend(&mut bytes).is_some() {
            script::rot(&self.fs, &path, bytes);
        }
    }
}

fn open(fs: &SimFs) -> (Journal<SimFs>, Found) {
    Journal::open_sized(fs, Path::new(DATA), SPOOL, &lane(), &home(), CAPACITY)
}

fn path(file: usize) -> PathBuf {
    directory(Path::new(DATA), &lane()).join(format!("home.{}", file % 2))
}

/// Puts the checksums of the header and of every group right.
fn mend(bytes: &mut [u8]) -> Option<()> {
    let number = |at: usize, bytes: &[u8]| {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().expect("four bytes")) as usize)
    };
    let generation: [u8; 8] = bytes.get(24..32)?.try_into().expect("eight bytes");
    let snapshot = 48usize.checked_add(number(12, bytes)?)?;
    let crc = crc32fast::hash(bytes.get(8..snapshot)?);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let mut at = snapshot;
    while let Some(length) = number(at, bytes).filter(|length| *length > 0) {
        let end = (at + 8).checked_add(length)?;
        let place = (at as u64).to_le_bytes();
        let group = [generation.as_slice(), place.as_slice(), bytes.get(at + 8..end)?].concat();
        bytes[at + 4..at + 8].copy_from_slice(&crc32fast::hash(&group).to_le_bytes());
        at = end;
    }
    Some(())
}
