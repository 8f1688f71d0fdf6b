//! Appending and reading against the bare system calls, in one run on one machine; prints ratios.
//!
//! `cargo bench --bench append [-- SECONDS DIR]`: each measurement takes about SECONDS (default 2), in DIR
//! (default: the build directory, so that it is a real file system).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spoolway::config::model::{Spool, SpoolCompression, Sync, WhenFull};
use spoolway::disk::{File, Fs, RealFile, RealFs, Space, Version};
use spoolway::event::{Event, EventBatch};
use spoolway::ids::{LaneName, Seq, StreamName};
use spoolway::intake::Patience;
use spoolway::metrics::Metrics;
use spoolway::spool::{DataDir, Item, Lane};

/// The real disk, counting what the bare loop has to repeat.
#[derive(Debug, Clone, Default)]
struct Counting(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct CountingFile(RealFile, Counting);

impl Fs for Counting {
    type File = CountingFile;
    type Lock = <RealFs as Fs>::Lock;
    fn create(&self, path: &Path) -> std::io::Result<CountingFile> {
        Ok(CountingFile(RealFs.create(path)?, self.clone()))
    }
    fn open(&self, path: &Path) -> std::io::Result<CountingFile> {
        Ok(CountingFile(RealFs.open(path)?, self.clone()))
    }
    fn open_read(&self, path: &Path) -> std::io::Result<CountingFile> {
        Ok(CountingFile(RealFs.open_read(path)?, self.clone()))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealFs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        RealFs.create_dir(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<spoolway::disk::Entry>> {
        RealFs.list(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        RealFs.sync_dir(path)
    }
    fn space(&self, path: &Path) -> std::io::Result<Space> {
        RealFs.space(path)
    }
    fn version(&self, path: &Path) -> std::io::Result<Version> {
        RealFs.version(path)
    }
    fn lock(&self, path: &Path) -> std::io::Result<Self::Lock> {
        RealFs.lock(path)
    }
}

impl File for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> std::io::Result<()> {
        self.1.0.writes.fetch_add(1, Ordering::Relaxed);
        self.1.0.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.0.write_at(data, offset)
    }
    fn allocate(&self, len: u64) -> std::io::Result<()> {
        self.0.allocate(len)
    }
    fn truncate(&self, len: u64) -> std::io::Result<()> {
        self.0.truncate(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.1.0.syncs.fetch_add(1, Ordering::Relaxed);
        self.0.sync_data()
    }
    fn forget_cached(&self) -> std::io::Result<()> {
        self.0.forget_cached()
    }
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
}

fn settings(compression: SpoolCompression) -> Spool {
    Spool {
        segment_size: 64 << 20,
        max_size: Some(64 << 30),
        max_event_size: 1 << 20,
        reserve: 0,
        park_size: None,
        when_full: WhenFull::Block,
        sync: Sync::Always,
        commit_delay: Duration::ZERO,
        compression,
        retain_delivered: Duration::ZERO,
        max_streams: 100,
    }
}

/// 200 bytes that look like a log line.
fn event(n: u64) -> Vec<u8> {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = format!("{{\"n\":{n},\"level\":\"info\",\"service\":\"checkout\",\"trace\":\"");
    while text.len() < 198 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        text.push_str(&format!("{x:016x} "));
    }
    text.truncate(198);
    text.push_str("\"}");
    text.into_bytes()
}

struct Measured {
    events: u64,
    seconds: f64,
    commits: u64,
    bytes: u64,
    p50: Duration,
    p99: Duration,
}

/// `senders` tasks, each appending batches of `per` events, one at a time.
fn lane_append(
    dir: &Path,
    senders: usize,
    per: u64,
    time: Duration,
    compression: SpoolCompression,
) -> Measured {
    let fs = Counting::default();
    let data = DataDir::open(fs.clone(), dir).unwrap();
    let main = LaneName::new("main").unwrap();
    let lane = Lane::open(&data, main, &settings(compression), Seq::NONE, Metrics::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stream = StreamName::new("app").unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..senders)
        .map(|s| {
            let (lane, stream) = (lane.clone(), stream.clone());
            runtime.spawn(async move {
                let values: Vec<Vec<u8>> = (0..per.max(64)).map(|i| event(s as u64 * 1000 + i)).collect();
                let (mut n, mut latencies) = (0u64, Vec::new());
                while start.elapsed() < time {
                    let mut batch = EventBatch::with_capacity(per as usize * 210);
                    for i in 0..per {
                        batch.push(&Event::of_value(&values[(n + i) as usize % values.len()]));
                    }
                    let at = Instant::now();
                    lane.append(stream.clone(), batch, Patience::Forever).await.unwrap();
                    latencies.push(at.elapsed());
                    n += per;
                }
                (n, latencies)
            })
        })
        .collect();
    let done: Vec<_> = tasks.into_iter().map(|t| runtime.block_on(t).unwrap()).collect();
    let seconds = start.elapsed().as_secs_f64();
    let mut latencies: Vec<_> = done.iter().flat_map(|(_, l)| l.iter().copied()).collect();
    latencies.sort_unstable();
    let (commits, bytes) = (fs.0.syncs.load(Ordering::Relaxed), fs.0.bytes.load(Ordering::Relaxed));
    lane.close();
    let at = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    let events = done.iter().map(|(n, _)| n).sum();
    Measured { events, seconds, commits, bytes, p50: at(0.5), p99: at(0.99) }
}

/// The same bytes in as many writes and syncs, in files reserved in the same way.
fn bare_loop(dir: &Path, commits: u64, bytes: u64) -> f64 {
    std::fs::create_dir_all(dir).unwrap();
    let size = (bytes / commits.max(1)).max(1);
    let data: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
    let (segment, step) = (64 << 20, 4 << 20);
    let mut file = std::fs::File::create(dir.join("0")).unwrap();
    let (mut offset, mut allocated, mut n) = (0u64, 0u64, 0);
    let start = Instant::now();
    for _ in 0..commits {
        if offset + size > segment {
            n += 1;
            file = std::fs::File::create(dir.join(n.to_string())).unwrap();
            (offset, allocated) = (0, 0);
        }
        if offset + size > allocated {
            allocated = (offset + size).next_multiple_of(step);
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, allocated).unwrap();
        }
        file.write_all_at(&data, offset).unwrap();
        rustix::fs::fdatasync(&file).unwrap();
        offset += size;
    }
    start.elapsed().as_secs_f64()
}

fn read(dir: &Path) -> (u64, u64, f64) {
    let data = DataDir::open(RealFs, dir).unwrap();
    let main = LaneName::new("main").unwrap();
    let opening = Instant::now();
    let lane = Lane::open(&data, main, &settings(SpoolCompression::Lz4), Seq::NONE, Metrics::new()).unwrap();
    println!("  opened in {:?} ({} MB)", opening.elapsed(), lane.status().bytes / 1_000_000);
    let mut reader = lane.reader(Seq::FIRST);
    let (mut events, mut bytes) = (0u64, 0u64);
    let start = Instant::now();
    while let Some(item) = reader.next().unwrap() {
        let Item::Block(block) = item else { panic!("{item:?}") };
        bytes += block.payload.len() as u64;
        events += block.events().map(|e| e.unwrap().value.map_or(0, |_| 1)).sum::<u64>();
    }
    let seconds = start.elapsed().as_secs_f64();
    lane.close();
    (events, bytes, seconds)
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let seconds = args.next().and_then(|a| a.parse().ok()).unwrap_or(2.0);
    let base = args.next().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").to_owned());
    let time = Duration::from_secs_f64(seconds);
    let root = tempfile::tempdir_in(base).unwrap();
    println!(
        "append, 200-byte events, fsync before the answer; bare = same bytes, same writes and fdatasyncs"
    );
    let cases = [
        (1, 1, SpoolCompression::Lz4),
        (16, 1, SpoolCompression::Lz4),
        (256, 1, SpoolCompression::Lz4),
        (16, 100, SpoolCompression::Lz4),
        (16, 100, SpoolCompression::None),
        (4, 2000, SpoolCompression::Lz4),
        (4, 2000, SpoolCompression::None),
    ];
    for (i, (senders, per, compression)) in cases.into_iter().enumerate() {
        let dir = root.path().join(i.to_string());
        let lane = lane_append(&dir, senders, per, time, compression);
        let bare = bare_loop(&root.path().join(format!("bare{i}")), lane.commits, lane.bytes);
        println!(
            "  {senders:>3} senders x {per:>4} {compression:?}: {:>9.0} events/s, {:>6.0} commits/s, {:>5.1} events a commit, \
             p50 {:?} p99 {:?}; bare loop {:>6.0} commits/s; ratio {:.2}",
            lane.events as f64 / lane.seconds,
            lane.commits as f64 / lane.seconds,
            lane.events as f64 / lane.commits as f64,
            lane.p50,
            lane.p99,
            lane.commits as f64 / bare,
            bare / lane.seconds,
        );
    }
    for i in [3, 4, 5] {
        let (events, bytes, seconds) = read(&root.path().join(i.to_string()));
        println!(
            "  read: {events} events, {:.2} M events/s, {:.0} MB/s of events",
            events as f64 / seconds / 1e6,
            bytes as f64 / seconds / 1e6
        );
    }
}
