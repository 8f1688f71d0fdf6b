//! Makes golden spools: `cargo run --features simulation --example golden -- DIR [NAME…]`.
//!
//! They are written by the lane that `spoolway run` opens, on a simulated disk with a clock that stands still, so that
//! the same program makes the same bytes. What has to be in them is written down by the second reader
//! (`tests/reader`), not by the program, and compared with what the lane has accepted. A golden spool that is there is
//! never made again: see `README.md` beside this file.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a maker of test data stops at the first surprise"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use spoolway::config::model::{Spool, SpoolCompression, Sync, WhenFull};
use spoolway::disk::sim::{Fault, Lasting, SimFs};
use spoolway::event::{Event, EventBatch};
use spoolway::ids::{LaneName, Seq, StreamName};
use spoolway::metrics::Metrics;
use spoolway::spool::DataDir;
use spoolway::spool::format::{BlockHeader, DATA_START};
use spoolway::spool::stepped::{Heard, SteppedHost, SteppedLane};

const DATA: &str = "/data";
const TURNS: usize = 4;

type Step = fn(&mut Maker);

const SPOOLS: [(&str, Step); 13] = [
    ("closed", closed),
    ("killed", killed),
    ("torn", torn),
    ("runs", runs),
    ("failed-sync", failed_sync),
    ("rot", rot),
    ("two-rotten-at-the-end", two_rotten_at_the_end),
    ("missing-segment", missing_segment),
    ("released", released),
    ("dropped", dropped),
    ("headers-gone", headers_gone),
    ("format-damaged", format_damaged),
    ("leftovers-headers-gone", leftovers_headers_gone),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (to, names) = arguments.split_first().expect("usage: golden DIR [NAME…]");
    for (number, (name, make)) in (1..).zip(SPOOLS) {
        let dir = Path::new(to).join(name);
        if (names.is_empty() || names.iter().any(|n| n == name)) && !dir.exists() {
            let mut maker = Maker::new(number);
            make(&mut maker);
            maker.keep(&dir);
        }
    }
}

/// Every kind of event, five streams, two lanes, several segments, closed in order.
fn closed(maker: &mut Maker) {
    maker.settings.compression = SpoolCompression::Lz4;
    "second".clone_into(&mut maker.lane);
    maker.start();
    maker.send("elsewhere", &[Event::of_value(b"in another lane")]);
    maker.close();
    "main".clone_into(&mut maker.lane);
    maker.start();
    every_kind(maker);
    for n in 0..9 {
        maker.send(["orders", "a.b_c-D9"][n % 2], &[value(n, 600), value(n + 100, 20), value(n, 600)]);
        maker.tidy();
    }
    maker.close();
}

/// The same without compression, killed after a mark.
fn killed(maker: &mut Maker) {
    maker.start();
    every_kind(maker);
    for n in 0..6 {
        maker.send("orders", &[value(n, 600), value(n, 600)]);
        maker.tidy();
    }
    maker.idle();
    maker.kill();
}

/// Killed in mid-write: half of the last block is there, and a whole one of the same commit behind it.
fn torn(maker: &mut Maker) {
    maker.start();
    maker.send("a", &[value(1, 300)]);
    maker.send("a", &[value(2, 300)]);
    maker.send_all(&[("a", vec![value(3, 700)]), ("b", vec![value(4, 100)])]);
    maker.kill();
    let blocks = maker.blocks(1);
    let (start, end) = blocks[blocks.len() - 2];
    maker.tamper(1, |bytes| bytes[start + 256..end].fill(0));
    maker.forget(3..5);
}

/// Five runs: an orderly end, a kill, a torn tail that the next run leaves behind, a run without an event.
fn runs(maker: &mut Maker) {
    maker.start();
    maker.send("a", &[value(1, 100), value(2, 100)]);
    maker.close();
    maker.start();
    maker.send("b", &[value(3, 100)]);
    maker.idle();
    maker.kill();
    maker.start();
    maker.send("a", &[value(4, 100)]);
    maker.send("a", &[value(5, 600)]);
    maker.kill();
    let (_, end) = *maker.blocks(3).last().expect("a block");
    maker.tamper(3, |bytes| bytes[end - 64..].fill(0));
    maker.forget(5..6);
    maker.start();
    maker.kill();
    maker.start();
    maker.send("a", &[value(6, 100)]);
    maker.send("c", &[value(7, 100)]);
    maker.close();
}

/// A sync fails: what was written then stays behind, its numbers are given again in the next segment.
fn failed_sync(maker: &mut Maker) {
    maker.start();
    maker.send("a", &[value(1, 100)]);
    maker.send("a", &[value(2, 100)]);
    let at = maker.fs.calls() + 1;
    maker.fs.break_at(Fault { at, errno: Errno::IO, lasting: Lasting::Once });
    maker.send("a", &[value(3, 100)]);
    assert_eq!(maker.fs.repair().len(), 1, "the sync fails");
    for _ in 0..8 {
        maker.host.advance(Duration::from_secs(2));
        maker.turn();
        maker.tidy();
    }
    maker.send("a", &[value(4, 100), value(5, 100)]);
    maker.idle();
    maker.kill();
}

/// A payload, a header, and one bit of compressed bytes are rotten, in three segments.
fn rot(maker: &mut Maker) {
    maker.settings.compression = SpoolCompression::Lz4;
    maker.start();
    for n in 0..12 {
        maker.send(["a", "b"][n % 2], &[noise(n, 700), value(n, 300)]);
        maker.tidy();
    }
    maker.idle();
    maker.kill();
    let (_, end) = maker.blocks(1)[1];
    maker.tamper(1, |bytes| bytes[end - 40] ^= 0x10);
    let (start, _) = maker.blocks(2)[0];
    maker.tamper(2, |bytes| bytes[start + 57] ^= 0x80);
    let (start, end) = maker.blocks(3)[0];
    maker.tamper(3, |bytes| bytes[usize::midpoint(start, end)] ^= 1);
    let (start, end) = maker.blocks(3)[1];
    maker.tamper(3, |bytes| bytes[start..end].fill(0));
}

/// Nothing whole follows, and a header proves what is lost all the same.
fn two_rotten_at_the_end(maker: &mut Maker) {
    maker.start();
    (0..4).for_each(|n| maker.send("a", &[value(n, 100), value(n, 20)]));
    maker.kill();
    let blocks = maker.blocks(1);
    maker.tamper(1, |bytes| {
        bytes[blocks[2].0 + 20] ^= 1;
        bytes[blocks[3].1 - 9] ^= 1;
    });
    maker.forget(7..9);
}

fn missing_segment(maker: &mut Maker) {
    maker.start();
    for n in 0..12 {
        maker.send("a", &[value(n, 600), value(n, 600)]);
        maker.tidy();
    }
    maker.close();
    maker.lose(2);
}

/// Delivered segments are gone, and the floor says so.
fn released(maker: &mut Maker) {
    maker.start();
    for n in 0..12 {
        maker.send("a", &[value(n, 600), value(n, 600)]);
        maker.tidy();
    }
    maker.open.as_ref().expect("open").1.lane().release(Seq(14));
    maker.tidy();
    maker.turn();
    maker.tidy();
    maker.kill();
    maker.forget_below_first();
}

/// A full lane that drops its oldest segment, and goes on after a restart.
fn dropped(maker: &mut Maker) {
    maker.settings.when_full = WhenFull::DropOldest;
    maker.settings.max_size = Some(50 << 10);
    maker.start();
    for n in 0..20 {
        maker.send("a", &[value(n, 600), value(n, 600)]);
        maker.tidy();
        maker.turn();
    }
    maker.close();
    maker.start();
    maker.send("b", &[value(99, 50)]);
    maker.close();
    maker.forget_below_first();
}

/// Both copies of a header are rotten: first, middle, and last segment.
fn headers_gone(maker: &mut Maker) {
    maker.start();
    for n in 0..10 {
        maker.send("a", &[value(n, 600), value(n, 600)]);
        maker.tidy();
    }
    maker.idle();
    maker.kill();
    let last = maker.segments();
    assert!(last >= 4, "{last} segments");
    [1, 3, last].into_iter().for_each(|n| maker.tamper(n, |bytes| bytes[..DATA_START as usize].fill(0xa5)));
}

fn format_damaged(maker: &mut Maker) {
    maker.start();
    maker.send("a", &[value(1, 100)]);
    maker.close();
    let format = Path::new(DATA).join("FORMAT");
    let mut bytes = maker.fs.world().read(&format).expect("FORMAT");
    bytes[30] ^= 1;
    maker.fs.tamper(|world| world.rot(&format, bytes)).expect("a file");
}

/// Only the next segment's first block still says that what a failed sync left behind does not count.
fn leftovers_headers_gone(maker: &mut Maker) {
    failed_sync(maker);
    maker.tamper(2, |bytes| bytes[..DATA_START as usize].fill(0));
}

fn every_kind(maker: &mut Maker) {
    let none: &[u8] = b"";
    let some = Event { value: Some(b"value"), ..Event::default() };
    maker.send_all(&[
        (
            "orders",
            vec![
                some,
                Event { key: Some(b"k"), ..some },
                Event { key: Some(none), value: Some(none), ..some },
                Event { key: Some(b"gone"), value: None, ..some },
                Event { value: None, ..some },
            ],
        ),
        (
            "times",
            vec![
                Event { time: Some(0), ..some },
                Event { time: Some(-5), ..some },
                Event { time: Some(1_699_999_999_999), ..some },
                Event { time: Some(1_700_000_000_000 - (1 << 32)), ..some },
            ],
        ),
        (
            "headers",
            vec![
                Event { headers: &[("h", Some(b"1")), ("h", Some(b"2")), ("h", Some(b"1"))], ..some },
                Event { headers: &[("null", None), ("empty", Some(b"")), ("", Some(b"no name"))], ..some },
                Event {
                    headers: &[("snow ☃", Some("né".as_bytes())), ("bytes", Some(&[0, 255, 1]))],
                    value: None,
                    ..some
                },
                Event {
                    headers: &[("all", Some(b"x"))],
                    key: Some(&[0xff, 0]),
                    time: Some(1_699_999_000_000),
                    value: Some(none),
                },
            ],
        ),
        (
            "bytes",
            vec![
                Event::of_value(&[0, 1, 0x1f, 0x7f, b'"', b'\\', b'/', 8, 9, 10, 12, 13]),
                Event::of_value(&[0xff, 0xfe, 0x80]),
                Event::of_value("\u{7f}\u{80}\u{2028}😀 äöü <&>\u{1b}[31m".as_bytes()),
            ],
        ),
    ]);
}

fn value(n: usize, size: usize) -> Event<'static> {
    let text: String = format!("{{\"n\":{n},\"size\":{size}}} ").chars().cycle().take(size).collect();
    Event {
        value: Some(text.leak().as_bytes()),
        key: Some(n.to_string().leak().as_bytes()),
        ..Event::default()
    }
}

/// Bytes that do not compress.
fn noise(n: usize, size: usize) -> Event<'static> {
    let mut x = n as u64 + 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    Event {
        value: Some(std::iter::repeat_with(next).take(size).collect::<Vec<_>>().leak()),
        ..Event::default()
    }
}

/// A host, its disk, and what its senders were told.
struct Maker {
    fs: SimFs,
    host: Arc<SteppedHost>,
    seed: u64,
    settings: Spool,
    lane: String,
    open: Option<(DataDir<SimFs>, SteppedLane<SimFs>)>,
    /// Lane, run, number, value.
    accepted: Vec<(String, String, u64, Option<Vec<u8>>)>,
}

impl Maker {
    fn new(number: u64) -> Self {
        let settings = Spool {
            segment_size: 13 << 10,
            max_size: Some(1 << 30),
            max_event_size: 8 << 10,
            reserve: 0,
            park_size: None,
            when_full: WhenFull::Block,
            sync: Sync::Always,
            commit_delay: Duration::ZERO,
            compression: SpoolCompression::None,
            retain_delivered: Duration::ZERO,
            max_streams: 100,
        };
        let (fs, host) = (SimFs::default(), Arc::new(SteppedHost::new(number)));
        Self { fs, host, seed: number, settings, lane: "main".to_owned(), open: None, accepted: Vec::new() }
    }

    fn start(&mut self) {
        let data = DataDir::open_on(self.fs.clone(), Path::new(DATA), self.host.clone()).expect("it opens");
        let name = LaneName::new(&self.lane).expect("a name");
        let lane = SteppedLane::open(&data, name, &self.settings, Seq::NONE, &Metrics::new());
        self.open = Some((data, lane.expect("it opens")));
    }

    fn kill(&mut self) {
        self.open = None;
        self.seed += 1000;
        self.host = Arc::new(SteppedHost::new(self.seed));
    }

    fn close(&mut self) {
        let (_data, lane) = self.open.take().expect("open");
        lane.close();
        self.kill();
    }

    fn lane(&mut self) -> &mut SteppedLane<SimFs> {
        &mut self.open.as_mut().expect("open").1
    }

    fn turn(&mut self) {
        self.lane().turn();
    }

    fn tidy(&mut self) {
        while self.lane().tidy() {}
    }

    fn idle(&mut self) {
        self.host.advance(Duration::from_millis(250));
        self.turn();
    }

    fn send(&mut self, stream: &str, events: &[Event<'_>]) {
        self.send_all(&[(stream, events.to_vec())]);
    }

    /// One commit.
    fn send_all(&mut self, requests: &[(&str, Vec<Event<'_>>)]) {
        self.host.advance(Duration::from_millis(7));
        let batches = requests.iter().map(|(stream, events)| {
            let mut batch = EventBatch::new();
            events.iter().for_each(|event| batch.push(event));
            (StreamName::new(stream).expect("a name"), batch)
        });
        let heard = self.open.as_mut().expect("open").1.append(batches.collect(), TURNS, || 0);
        let run = self.lane().lane().run().to_string();
        for ((_, events), heard) in requests.iter().zip(heard) {
            let Heard::Answer(Ok(appended), _) = heard else { continue };
            for (seq, event) in (appended.first.0..).zip(events) {
                self.accepted.push((self.lane.clone(), run.clone(), seq, event.value.map(<[u8]>::to_vec)));
            }
        }
    }

    /// What is done to these numbers cannot be told from a write that was never answered.
    fn forget(&mut self, numbers: std::ops::Range<u64>) {
        let last = self.accepted.last().expect("events").1.clone();
        self.accepted.retain(|(_, run, seq, _)| *run != last || !numbers.contains(seq));
    }

    fn forget_below_first(&mut self) {
        let first = (1..).find(|n| self.fs.world().read(&self.path(*n)).is_some()).expect("a segment");
        let bytes = self.fs.world().read(&self.path(first)).expect("a segment");
        let first = BlockHeader::decode(&bytes[DATA_START as usize..]).expect("a block").first.0;
        assert!(first > 1, "something is gone");
        self.accepted.retain(|(.., seq, _)| *seq >= first);
    }

    // === behind its back

    fn path(&self, segment: u64) -> PathBuf {
        Path::new(DATA).join("lanes").join(&self.lane).join(format!("{segment:020}.seg"))
    }

    /// How many segments have something in them.
    fn segments(&self) -> u64 {
        let used = |n: &u64| self.fs.world().read(&self.path(*n)).is_some_and(|b| b.iter().any(|b| *b != 0));
        (1..).take_while(used).last().unwrap_or(0)
    }

    /// Start and end of every block of a segment.
    fn blocks(&self, segment: u64) -> Vec<(usize, usize)> {
        let bytes = self.fs.world().read(&self.path(segment)).expect("a segment");
        let (mut at, mut found) = (DATA_START as usize, Vec::new());
        while let Some(block) = bytes.get(at..).and_then(BlockHeader::decode) {
            found.push((at, at + block.block_len() as usize));
            at += block.block_len() as usize;
        }
        found
    }

    fn tamper(&self, segment: u64, work: impl FnOnce(&mut [u8])) {
        let path = self.path(segment);
        let mut bytes = self.fs.world().read(&path).expect("a segment");
        work(&mut bytes);
        self.fs.tamper(|world| world.rot(&path, bytes)).expect("a file");
    }

    fn lose(&self, segment: u64) {
        let path = self.path(segment);
        self.fs.tamper(|world| world.lose(&path)).expect("a file");
    }

    // === keeping it

    fn keep(&self, dir: &Path) {
        let data = dir.join("data");
        let world = self.fs.world();
        for path in world.paths() {
            let to = data.join(path.strip_prefix(DATA).expect("all of it is below"));
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("a writable place");
            std::fs::write(to, world.read(&path).expect("a file")).expect("a writable place");
        }
        let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/spool_reader.py");
        let create = |name| File::create(dir.join(name)).expect("a writable place");
        let mut read = Command::new("python3");
        read.arg(reader).arg(&data).stdout(create("events.ndjson")).stderr(create("lost.ndjson"));
        let code = read.status().expect("python3 starts").code();
        assert!(matches!(code, Some(0 | 3)), "the second reader ends with {code:?}: see {}", dir.display());
        self.check(dir);
        let mut pack = Command::new("tar");
        pack.args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-I",
            "gzip -9n",
            "-cf",
        ]);
        pack.arg(dir.join("spool.tar.gz")).arg("-C").arg(&data).arg(".");
        assert!(pack.status().expect("tar starts").success());
        std::fs::remove_dir_all(data).expect("it was just made");
    }

    /// What was accepted is read back or said to be lost.
    fn check(&self, dir: &Path) {
        let rows = |name| -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(dir.join(name)).expect("just written");
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        let (events, lost) = (rows("events.ndjson"), rows("lost.ndjson"));
        for (lane, run, seq, value) in &self.accepted {
            let there = events.iter().any(|row| {
                let text = value.as_deref().map(std::str::from_utf8);
                row["lane"] == *lane
                    && row["run"] == *run
                    && row["seq"] == *seq
                    && match text {
                        None => row["value"].is_null(),
                        Some(Ok(text)) => row["value"] == text,
                        Some(Err(_)) => row["value_base64"].is_string(),
                    }
            });
            let said = lost.iter().any(|hole| {
                let (first, last) = (hole["first_seq"].as_u64(), hole["last_seq"].as_u64());
                hole["lane"] == *lane && first <= Some(*seq) && Some(*seq) <= last
            });
            assert!(there != said, "{}: event {seq} of run {run}: there {there}, lost {said}", dir.display());
        }
    }
}
