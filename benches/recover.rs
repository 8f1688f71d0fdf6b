//! How long a start takes with a large spool: from opening the data directory to the first event accepted.
//!
//! `cargo bench --bench recover [-- GIB SEGMENT_MIB DIR]` (default: 10 GiB in segments of 64 MiB, then the same in
//! segments of 1 MiB, in the build directory). Beside it, in the same run, the bare cost of opening each of the files
//! and reading the pages that hold its header. With the page cache as the writing left it, and, where the kernel lets us
//! (root), with an empty one; each with the lane's catalogue, which a lane of many segments has, and without it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench stops at the first surprise"
)]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spoolway::config::model::{Spool, SpoolCompression, Sync, WhenFull};
use spoolway::disk::RealFs;
use spoolway::event::{Event, EventBatch};
use spoolway::ids::{LaneName, Seq, StreamName};
use spoolway::intake::Patience;
use spoolway::metrics::Metrics;
use spoolway::spool::{DataDir, Lane};

fn settings(segment_size: u64) -> Spool {
    Spool {
        segment_size,
        max_size: Some(1 << 40),
        max_event_size: 1 << 20,
        reserve: 0,
        park_size: None,
        when_full: WhenFull::Block,
        sync: Sync::Always,
        commit_delay: Duration::ZERO,
        compression: SpoolCompression::None,
        retain_delivered: Duration::ZERO,
        max_streams: 100,
    }
}

fn open(dir: &Path, settings: &Spool) -> Lane {
    let data = DataDir::open(RealFs, dir).unwrap();
    Lane::open(&data, LaneName::new("main").unwrap(), settings, Seq::NONE, Metrics::new()).unwrap()
}

fn append(runtime: &tokio::runtime::Runtime, lane: &Lane, batch: EventBatch) {
    let stream = StreamName::new("bench").unwrap();
    runtime.block_on(lane.append(stream, batch, Patience::Forever)).unwrap();
}

fn batch(bytes: usize) -> EventBatch {
    let mut batch = EventBatch::new();
    (0..bytes / 1000).for_each(|_| batch.push(&Event::of_value(&[b'x'; 990])));
    batch
}

fn fill(runtime: &tokio::runtime::Runtime, dir: &Path, settings: &Spool, bytes: u64) {
    let lane = open(dir, settings);
    let chunk = usize::try_from(settings.segment_size / 2).unwrap().min(512 << 10);
    while lane.status().bytes < bytes {
        append(runtime, &lane, batch(chunk));
    }
    // As a kill leaves it: nobody closes it in order.
    std::mem::forget(lane);
}

fn start(runtime: &tokio::runtime::Runtime, dir: &Path, settings: &Spool) -> Duration {
    let began = Instant::now();
    let lane = open(dir, settings);
    append(runtime, &lane, batch(1000));
    let took = began.elapsed();
    lane.close();
    took
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let lane = dir.join("lanes/main");
    let paths = std::fs::read_dir(lane).unwrap().map(|e| e.unwrap().path());
    paths.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect()
}

fn bare(dir: &Path) -> Duration {
    let began = Instant::now();
    let mut area = vec![0; 8192];
    for path in segments(dir) {
        std::fs::File::open(path).unwrap().read_at(&mut area, 0).unwrap();
    }
    began.elapsed()
}

fn forget_pages() -> bool {
    std::process::Command::new("sync").status().is_ok_and(|s| s.success())
        && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let home = std::env::args().skip(1).find(|a| a.starts_with('/')).map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let gib = numbers.first().copied().unwrap_or(10);
    let sizes = numbers.get(1).map_or(vec![64, 1], |one| vec![*one]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for mib in sizes {
        let dir = home.join(format!("recover-{}-{mib}", std::process::id()));
        let settings = settings(mib << 20);
        fill(&runtime, &dir.join("filled"), &settings, gib << 30);
        // The lane of this process holds its lock for ever; the next process has another path to the same files.
        let copy = dir.join("copy");
        std::fs::create_dir_all(copy.join("lanes")).unwrap();
        std::fs::rename(dir.join("filled/lanes/main"), copy.join("lanes/main")).unwrap();
        std::fs::copy(dir.join("filled/FORMAT"), copy.join("FORMAT")).unwrap();
        let count = segments(&copy).len();
        let catalogue = copy.join("lanes/main/catalogue");
        for (cold, kept) in [(false, true), (true, true), (false, false), (true, false)] {
            // Each start writes the catalogue afresh, if the lane is one that has it.
            if !kept && std::fs::remove_file(&catalogue).is_err() {
                continue;
            }
            if cold && !forget_pages() {
                println!(
                    "{gib} GiB in {count} segments of {mib} MiB, empty page cache: not run, only root can empty it"
                );
                continue;
            }
            let started = start(&runtime, &copy, &settings);
            if cold {
                forget_pages();
            }
            let bare = bare(&copy);
            println!(
                "{gib} GiB in {count} segments of {mib} MiB{}, {} page cache: {:.1} ms to the first event accepted, {:.1} ms bare, ratio {:.2}",
                if kept { "" } else { " without a catalogue" },
                if cold { "empty" } else { "warm" },
                started.as_secs_f64() * 1e3,
                bare.as_secs_f64() * 1e3,
                started.as_secs_f64() / bare.as_secs_f64(),
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
