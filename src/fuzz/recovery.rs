//! A lane's directory, written, damaged and opened again, as the input says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::script::{self, DATA, Script, steps};
use super::settings;
use crate::disk::sim::SimFs;
use crate::event::{Event, EventBatch, EventIter, EventRef};
use crate::ids::{RunId, Seq, StreamName};
use crate::metrics::Metrics;
use crate::spool::format::{BlockHeader, DATA_START};
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};
use crate::spool::{DataDir, Item};

const DIR: &str = "/data/lanes/main";
/// No input does more than this.
const STEPS: usize = 48;

/// Pairs and triples of bytes are steps: appends, rests, ends in order and by a kill, damage behind the lane's back.
///
/// The lane must open every time. No number is given out twice under one run. What was accepted is read back, or said
/// to be lost; and it may be lost only if its own block, or its whole segment, was damaged.
pub fn recovery(bytes: &[u8]) {
    let mut site = Site::new();
    site.open();
    steps(bytes, STEPS, |op, script| site.step(op % 16, script));
    site.close();
    site.open();
    site.append(20);
    site.check();
}

/// An event that was accepted.
#[derive(Debug)]
struct Accepted {
    run: RunId,
    mark: u64,
    /// Its block was hit, so that it may be lost.
    hit: bool,
}

struct Site {
    fs: SimFs,
    lane: Option<(DataDir<SimFs>, SteppedLane<SimFs>)>,
    host: Arc<SteppedHost>,
    seed: u64,
    next_mark: u64,
    /// What has to be read back, by number.
    accepted: BTreeMap<u64, Accepted>,
    /// What was ever seen under a run and number.
    named: BTreeMap<(u64, u64), u64>,
    /// Something was damaged since the lane was opened last.
    tampered: bool,
}

impl Site {
    fn new() -> Self {
        Self {
            fs: SimFs::default(),
            lane: None,
            host: Arc::new(SteppedHost::new(1)),
            seed: 1,
            next_mark: 1,
            accepted: BTreeMap::new(),
            named: BTreeMap::new(),
            tampered: false,
        }
    }

    fn step(&mut self, op: usize, script: &mut Script<'_>) {
        let mut next = || script.next();
        match op {
            0..=2 => self.append(next() * 8),
            3 => {
                let (call, size) = (next() % 8, next() * 8);
                script::fail(&self.fs, call);
                self.append(size);
                self.heal();
            }
            4 => {
                self.host.advance(Duration::from_millis(250));
                self.lane().turn();
            }
            5 => while self.lane().tidy() {},
            6 => {
                self.close();
                self.open();
            }
            7 => {
                self.kill();
                self.open();
                self.check();
            }
            8 => {
                self.kill();
                // Nothing that was not synced is left.
                self.fs = SimFs::of(self.fs.world().after_power_cut(&[]));
                self.open();
                self.check();
            }
            op => {
                self.kill();
                let (segment, place, how) = (next(), next(), next());
                self.damage(op, segment, place, how);
                self.open();
                self.check();
            }
        }
    }

    // === the lane

    fn open(&mut self) {
        self.seed += 1;
        self.host = Arc::new(SteppedHost::new(self.seed));
        let data = DataDir::open_on(self.fs.clone(), Path::new(DATA), self.host.clone());
        let data = data.expect("damage does not keep it from opening");
        let lane = SteppedLane::open(&data, script::lane(), &settings(), Seq::NONE, &Metrics::new());
        let lane = lane.expect("damage does not keep it from opening");
        let durable = lane.lane().durable().0;
        self.lane = Some((data, lane));
        let beyond = self.accepted.split_off(&(durable + 1));
        assert!(beyond.is_empty() || self.tampered, "accepted, and beyond the end: {beyond:?}");
    }

    fn lane(&mut self) -> &mut SteppedLane<SimFs> {
        &mut self.lane.as_mut().expect("open").1
    }

    fn kill(&mut self) {
        self.lane = None;
        self.tampered = false;
    }

    fn close(&mut self) {
        let (_data, lane) = self.lane.take().expect("open");
        lane.close();
        self.tampered = false;
    }

    fn append(&mut self, size: usize) {
        let mark = self.next_mark;
        self.next_mark += 1;
        let mut value = mark.to_le_bytes().to_vec();
        value.resize(8 + size, b'.');
        let mut batch = EventBatch::new();
        batch.push(&Event::of_value(&value));
        let stream = StreamName::new(if mark.is_multiple_of(3) { "b" } else { "a" }).expect("a name");
        self.host.advance(Duration::from_millis(1));
        let heard = self.lane().append(vec![(stream, batch)], 6, || 0);
        let run = self.lane().lane().run();
        if let [Heard::Answer(Ok(appended), _)] = &heard[..] {
            let seq = appended.first.0;
            self.name(run, seq, mark);
            self.accepted.insert(seq, Accepted { run, mark, hit: false });
        }
    }

    /// The disk works again, and there is time to find out.
    fn heal(&mut self) {
        self.fs.repair();
        for _ in 0..8 {
            self.host.advance(Duration::from_secs(2));
            self.lane().turn();
            while self.lane().tidy() {}
        }
    }

    fn name(&mut self, run: RunId, seq: u64, mark: u64) {
        let before = *self.named.entry((run.0, seq)).or_insert(mark);
        assert_eq!(before, mark, "number {seq} of run {run} names two events");
    }

    /// What stands in the files, whether it counts or not, is named once too.
    fn check_names(&mut self) {
        let world = self.fs.world();
        for path in world.paths().iter().filter(|p| p.extension().is_some_and(|e| e == "seg")) {
            let bytes = world.read(path).expect("a file");
            for block in blocks(&bytes) {
                let header = BlockHeader::decode(&bytes[block.start..]).expect("it was just decoded");
                let Some(payload) = bytes.get(block.start + header.len()..block.end) else { continue };
                let payload =
                    payload.get(..usize::try_from(header.payload_len).expect("small")).unwrap_or_default();
                if crc32fast::hash(payload) == header.payload_crc {
                    let events = EventIter::new(payload).map(|event| mark_of(&event.expect("our own event")));
                    (block.first..).zip(events).for_each(|(seq, mark)| self.name(header.run, seq, mark));
                }
            }
        }
    }

    /// Reads everything.
    fn check(&mut self) {
        self.check_names();
        let mut reader = self.lane().lane().reader(Seq::FIRST);
        let mut expected = Seq::FIRST;
        while let Some(item) = reader.next().expect("the disk answers") {
            match item {
                Item::Block(block) => {
                    assert_eq!(block.first, expected);
                    expected = block.range().end;
                    for (seq, event) in (block.first.0..).zip(block.events()) {
                        let mark = mark_of(&event.expect("our own event"));
                        self.name(block.run, seq, mark);
                        // The segment that said where the one before it ends may be lost: then what a failed sync
                        // has left behind cannot be told from what was accepted (`spool-format.md`, "Limit").
                        if let Some(accepted) = self.accepted.get(&seq).filter(|e| !e.hit) {
                            assert_eq!((block.run, mark), (accepted.run, accepted.mark), "of number {seq}");
                        }
                    }
                }
                Item::Hole(hole) => {
                    assert_eq!(hole.range.first, expected);
                    expected = hole.range.end;
                    let whole =
                        self.accepted.range(hole.range.first.0..hole.range.end.0).find(|(_, e)| !e.hit);
                    assert!(whole.is_none(), "{hole:?} has a whole event in it: {whole:?}");
                    self.accepted.retain(|seq, _| !(hole.range.first.0..hole.range.end.0).contains(seq));
                }
                Item::Skipped(..) => panic!("nothing was to be skipped"),
            }
        }
        assert_eq!(expected, self.lane().lane().durable().next());
    }

    // === damage

    fn damage(&mut self, op: usize, segment: usize, place: usize, how: usize) {
        let is_segment = |path: &Path| path.extension().is_some_and(|e| e == "seg");
        let Some((path, mut bytes)) = script::some_file(&self.fs, segment, is_segment) else { return };
        let world = self.fs.world();
        let blocks = blocks(&bytes);
        self.tampered = true;
        match op {
            // A bit of a block, or of the headers.
            9 | 10 => {
                let block = blocks.get(place % blocks.len().max(1)).filter(|_| op == 9);
                let within = block.map(|block| (block.start, block.end));
                let (start, end) = within.unwrap_or((0, bytes.len().min(8192)));
                let at = start + how * 7 % (end - start).max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (place % 8);
                    self.hit(&blocks, at, at + 1);
                    script::rot(&self.fs, &path, bytes);
                }
            }
            // A sector of zeros.
            11 => {
                let at = (place * 512).min(bytes.len());
                let end = (at + 512 * (1 + how % 4)).min(bytes.len());
                bytes[at..end].fill(0);
                self.hit(&blocks, at, end);
                script::rot(&self.fs, &path, bytes);
            }
            12 => {
                let at = bytes.len().min(place * 64);
                bytes.truncate(at);
                self.hit(&blocks, at, usize::MAX);
                script::rot(&self.fs, &path, bytes);
            }
            13 => {
                self.hit(&blocks, 0, usize::MAX);
                self.fs.tamper(|world| world.lose(&path)).expect("a file");
            }
            // Under a name of its own, and under that of another.
            14 => {
                let to = Path::new(DIR).join(format!("{:020}.seg", 1 + how % 12));
                if let Some(over) = world.read(&to).filter(|_| to != path) {
                    self.hit(&self::blocks(&over), 0, usize::MAX);
                }
                self.fs.tamper(|world| world.rot(&to, bytes)).expect("a directory");
            }
            _ => {
                let floor = Path::new(DIR).join("floor");
                if world.read(&floor).is_some() {
                    self.fs.tamper(|world| world.lose(&floor)).expect("a file");
                }
            }
        }
    }

    /// Events of blocks that overlap these bytes may be lost.
    fn hit(&mut self, blocks: &[Place], from: usize, to: usize) {
        for block in blocks.iter().filter(|block| block.start < to && from < block.end) {
            self.accepted.range_mut(block.first..=block.last).for_each(|(_, event)| event.hit = true);
        }
    }
}

fn mark_of(event: &EventRef<'_>) -> u64 {
    let value = event.value.expect("a value");
    u64::from_le_bytes(value[..8].try_into().expect("eight bytes"))
}

/// A block with events: where it is, and their numbers.
struct Place {
    start: usize,
    end: usize,
    first: u64,
    last: u64,
}

/// Every block with events whose header is whole and that ends within the file.
fn blocks(bytes: &[u8]) -> Vec<Place> {
    let mut at = usize::try_from(DATA_START).expect("small");
    let mut found = Vec::new();
    while at + 104 <= bytes.len() {
        let Some(block) = bytes.get(at..).and_then(BlockHeader::decode) else {
            at += 8;
            continue;
        };
        let end = at + usize::try_from(block.block_len()).expect("small");
        if block.count > 0 {
            found.push(Place { start: at, end, first: block.first.0, last: block.end().prev().0 });
        }
        at = end;
    }
    found
}
