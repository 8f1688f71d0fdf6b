//! Parked files, written, damaged and read again, as the input says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::script::{self, DATA, SPOOL, Script, home, lane, steps};
use crate::disk::sim::SimFs;
use crate::event::{Event, EventBatch};
use crate::ids::{RunId, SegmentId, Seq, SeqRange, StreamName, TopicName};
use crate::state::park::{Found, Park, Parked, Whose};

/// Bytes that may be parked.
const LIMIT: u64 = 16 << 10;
const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Bytes of a record before its stream, and where its length stands.
const FIXED: usize = 64;
/// No input does more than this.
const STEPS: usize = 48;

/// Bytes are steps: blocks parked and forgotten, disks that fail, kills, power cuts, damage with and without a right
/// checksum.
///
/// It opens every time, and reads the same twice, from wherever it is begun. What was kept is covered and read as it was,
/// but for blocks whose own bytes were damaged; nothing is read that was never parked.
pub fn parked(bytes: &[u8]) {
    let mut site = Site::new();
    steps(bytes, STEPS, |op, script| site.step(op % 10, script));
    site.reopen();
    site.keep(0, 1, 10);
    site.check();
}

/// A file that was kept.
struct Kept {
    topic: usize,
    covers: SeqRange,
}

struct Site {
    fs: SimFs,
    park: Arc<Park<SimFs>>,
    /// By their first number, those that were kept and whose bytes are whole.
    whole: BTreeMap<Seq, (usize, Parked)>,
    /// Every block that was ever to be parked.
    ever: BTreeMap<Seq, Parked>,
    files: Vec<Kept>,
    /// Up to where a topic was covered.
    ends: [Seq; 3],
    next: Seq,
    /// Checksums were put right over other bytes.
    forged: bool,
}

impl Site {
    fn new() -> Self {
        let fs = script::empty_disk();
        Self {
            park: open(&fs),
            fs,
            whole: BTreeMap::new(),
            ever: BTreeMap::new(),
            files: Vec::new(),
            ends: [Seq::FIRST; 3],
            next: Seq::FIRST,
            forged: false,
        }
    }

    fn step(&mut self, op: usize, script: &mut Script<'_>) {
        let mut next = || script.next();
        match op {
            0..=2 => self.keep(next(), 1 + next() % 4, next() * 4),
            3 => {
                let (topic, below) = (next() % TOPICS.len(), Seq(next() as u64 % (self.next.0 + 1)));
                self.forget(topic, below);
            }
            4 => {
                script::fail(&self.fs, next() % 10);
                self.keep(next(), 1, next() * 4);
                self.fs.repair();
            }
            5 => self.reopen(),
            6 => {
                self.fs = script::after_power_cut(&self.fs, script);
                self.reopen();
            }
            7 => {
                let (file, at) = (next(), next() * 16 + next());
                self.damage(file, at, |byte| *byte ^= 1 << (at % 8), false);
                self.check();
            }
            8 => {
                let (file, at, to) = (next(), next() * 16 + next(), next());
                self.damage(file, at, |byte| *byte = u8::try_from(to).expect("a byte"), true);
                self.check();
                self.begin_anew();
            }
            _ => self.check(),
        }
    }

    fn keep(&mut self, topic: usize, count: usize, size: usize) {
        let topic = topic % TOPICS.len();
        let blocks: Vec<Parked> = (0..count).map(|n| self.block(size, n)).collect();
        self.ever.extend(blocks.iter().map(|block| (block.range.first, block.clone())));
        let covers = SeqRange::new(self.ends[topic], self.next);
        if self.park.keep(&name(topic), covers, &blocks).is_ok() {
            self.ends[topic] = covers.end;
            self.whole.extend(blocks.into_iter().map(|block| (block.range.first, (topic, block))));
            self.files.push(Kept { topic, covers });
        }
    }

    fn block(&mut self, size: usize, n: usize) -> Parked {
        let mut batch = EventBatch::new();
        let mut value = self.next.0.to_le_bytes().to_vec();
        // Some of them can be packed and some can't.
        let noise = (0u8..=250).map(|i| i.wrapping_mul(167) | 0x80).cycle();
        let filler: Box<dyn Iterator<Item = u8>> =
            if n.is_multiple_of(2) { Box::new(std::iter::repeat(b'.')) } else { Box::new(noise) };
        value.extend(filler.take(size));
        let count = 1 + n as u64 % 3;
        (0..count).for_each(|_| batch.push(&Event::of_value(&value)));
        let first = self.next;
        self.next = first.plus(count);
        Parked {
            range: SeqRange::new(first, self.next),
            stream: StreamName::new(if n.is_multiple_of(3) { "x" } else { "yy" }).expect("a name"),
            time: 1000,
            run: RunId(3),
            segment: SegmentId(first.0 / 10 + 1),
            payload: batch.as_bytes().to_vec().into(),
        }
    }

    fn forget(&mut self, topic: usize, below: Seq) {
        let of = name(topic);
        self.park.forget(|t| if *t == of { below } else { Seq::NONE }).expect("the disk is whole");
        let goes = |kept: &Kept| kept.topic == topic && kept.covers.end <= below;
        for kept in self.files.iter().filter(|kept| goes(kept)) {
            // Of the same numbers, blocks of other topics stay.
            self.whole.retain(|first, (of, _)| *of != topic || !kept.covers.contains(*first));
        }
        self.files.retain(|kept| !goes(kept));
    }

    fn reopen(&mut self) {
        self.park = open(&self.fs);
        self.check();
    }

    /// What was forged is put away, so that what follows can be told again.
    fn begin_anew(&mut self) {
        let next = self.next;
        *self = Self { ends: [next; 3], next, ..Self::new() };
    }

    fn check(&self) {
        let found = read(&self.park, Seq::FIRST);
        assert_eq!(found, read(&self.park, Seq::FIRST), "reading twice gives the same");
        if self.forged {
            return;
        }
        let middle = found.get(found.len() / 2).map_or(Seq::FIRST, first_of);
        let later: Vec<Found> = found.iter().filter(|one| first_of(one) >= middle).cloned().collect();
        assert_eq!(later, read(&self.park, middle), "begun in the middle, it reads the same");
        for kept in &self.files {
            let upto = self.park.covered(&name(kept.topic), kept.covers.first);
            assert!(upto >= kept.covers.end, "{} is not covered", kept.covers);
        }
        let mut seen = BTreeMap::new();
        for one in found {
            match one {
                Found::Block(block) => {
                    assert_eq!(self.ever.get(&block.range.first), Some(&block), "it was never parked");
                    seen.insert(block.range.first, block);
                }
                Found::Lost(range) => {
                    let whole = self.whole.get(&range.first);
                    assert!(whole.is_none(), "{range} is not damaged");
                }
                Found::Skipped(..) => panic!("everything is wanted"),
            }
        }
        for (first, (_, block)) in &self.whole {
            assert_eq!(seen.get(first), Some(block), "it was kept, and is not read");
        }
    }

    fn damage(&mut self, file: usize, at: usize, change: impl FnOnce(&mut u8), mends: bool) {
        let is_parked = |path: &Path| path.extension().is_some_and(|e| e == "parked");
        let Some((path, mut bytes)) = script::some_file(&self.fs, file, is_parked) else { return };
        let at = at % bytes.len().max(1);
        let hit: Vec<Seq> =
            records(&bytes).filter(|(_, p)| p.contains(&at)).map(|(first, _)| first).collect();
        let Some(byte) = bytes.get_mut(at) else { return };
        change(byte);
        hit.iter().for_each(|first| drop(self.whole.remove(first)));
        if mends {
            self.forged = true;
            mend(&mut bytes);
        }
        script::rot(&self.fs, &path, bytes);
    }
}

fn name(topic: usize) -> TopicName {
    TopicName::new(TOPICS[topic]).expect("a name")
}

fn open(fs: &SimFs) -> Arc<Park<SimFs>> {
    let (lane, home) = (lane(), home());
    let whose = Whose { spool: SPOOL, lane: &lane, destination: &home };
    let park = Park::open(fs, Path::new(DATA), whose).expect("damage does not keep it from opening");
    Arc::new(park.bounded(LIMIT, 0))
}

fn first_of(found: &Found) -> Seq {
    match found {
        Found::Block(block) => block.range.first,
        Found::Lost(range) | Found::Skipped(range, ..) => range.first,
    }
}

/// Everything with numbers from `from` on.
fn read(park: &Arc<Park<SimFs>>, from: Seq) -> Vec<Found> {
    let (mut reader, mut at, mut found) = (park.reader(), from, Vec::new());
    let end = Seq(u64::MAX);
    while at < end
        && let Some(first) = reader.first_in(SeqRange::new(at, end)).expect("the disk answers")
    {
        assert!(first >= at);
        let one = reader.take(first, &mut |_, _| true).expect("the disk answers").expect("it was just seen");
        at = match &one {
            Found::Block(block) => block.range.end,
            Found::Lost(range) | Found::Skipped(range, ..) => range.end,
        };
        assert!(at > first && first_of(&one) == first);
        found.push(one);
    }
    found
}

/// Everything that begins like a record: its first number and where it stands.
fn records(bytes: &[u8]) -> impl Iterator<Item = (Seq, std::ops::Range<usize>)> + '_ {
    memchr::memmem::find_iter(bytes, b"SWPB").filter_map(|at| {
        let head = bytes.get(at..=at + FIXED)?;
        let stored = u32::from_le_bytes(head[12..16].try_into().expect("four bytes")) as usize;
        let first = u64::from_le_bytes(head[32..40].try_into().expect("eight bytes"));
        let name = usize::from(head[FIXED]);
        Some((Seq(first), at..(at + FIXED + 1 + name).checked_add(stored)?))
    })
}

/// Makes of everything that begins like a record one whose checksums hold.
fn mend(bytes: &mut [u8]) {
    let places: Vec<_> = records(bytes).map(|(_, place)| place).collect();
    for place in places {
        let Some(record) = bytes.get_mut(place) else { continue };
        let head = FIXED + 1 + usize::from(record[FIXED]);
        let payload = crc32fast::hash(record.get(head..).unwrap_or_default());
        record[8..12].copy_from_slice(&payload.to_le_bytes());
        record[24..32].copy_from_slice(&SPOOL.0.to_le_bytes());
        let Some(covered) = record.get(8..head) else { continue };
        let crc = crc32fast::hash(covered);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}
