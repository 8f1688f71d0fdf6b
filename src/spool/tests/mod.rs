//! Tests of the room as a whole.
#![allow(clippy::cast_possible_truncation)]

mod admission;
mod append;
mod astray;
mod beside;
mod catalogue;
mod damage;
mod faults;
mod handle;
mod hung;
mod identity;
mod inspect;
mod judge;
mod kept;
mod live;
mod looks;
mod model;
mod nospace;
mod pasts;
mod reading;
mod room;
mod salvage;
mod scanning;
mod seeking;
mod sim;
mod start;
pub(super) mod stepped;
mod syncs;
mod unread;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::model::{Spool, SpoolCompression, Sync, WhenFull};
use crate::disk::Fs;
use crate::event::{Event, EventBatch};
use crate::ids::{LaneName, Seq, StreamName};
use crate::intake::{AcceptError, Appended, Patience};
use crate::metrics::Metrics;

use super::*;

fn settings() -> Spool {
    Spool {
        segment_size: 64 << 10,
        max_size: Some(1 << 30),
        max_event_size: 1 << 20,
        reserve: 0,
        park_size: None,
        when_full: WhenFull::Block,
        sync: Sync::Always,
        commit_delay: Duration::ZERO,
        compression: SpoolCompression::Lz4,
        retain_delivered: Duration::ZERO,
        max_streams: 100,
    }
}

fn lane_name() -> LaneName {
    LaneName::new("main").unwrap()
}

fn open<F: Fs>(fs: &F, dir: &Path, settings: &Spool, at_least: Seq) -> Lane<F> {
    let data = DataDir::open(fs.clone(), dir).unwrap();
    Lane::open(&data, lane_name(), settings, at_least, Metrics::new()).unwrap()
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn batch(values: &[Vec<u8>]) -> EventBatch {
    let mut batch = EventBatch::new();
    values.iter().for_each(|v| batch.push(&Event::of_value(v)));
    batch
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn append<F: Fs>(lane: &Lane<F>, name: &str, values: &[Vec<u8>]) -> Result<Appended, AcceptError> {
    runtime().block_on(lane.append(stream(name), batch(values), Patience::For(Duration::from_secs(20))))
}

type Found = BTreeMap<u64, (String, Vec<u8>)>;

/// Everything a reader gives: events by number, and holes.
fn read_all<F: Fs>(lane: &Lane<F>, from: u64) -> (Found, Vec<Hole>) {
    let mut reader = lane.reader(Seq(from));
    let (mut events, mut holes) = (Found::new(), Vec::new());
    let mut expected = reader.position();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Block(block) => {
                assert_eq!(block.first, expected);
                expected = block.range().end;
                let read: Vec<_> = block.events().collect::<Result<_, _>>().unwrap();
                assert_eq!(read.len(), block.count as usize);
                for (i, event) in read.iter().enumerate() {
                    let value = event.value.unwrap().to_vec();
                    events.insert(block.first.0 + i as u64, (block.stream.to_string(), value));
                }
            }
            Item::Hole(hole) => {
                assert_eq!(hole.range.first, expected);
                expected = hole.range.end;
                holes.push(hole);
            }
            Item::Skipped(..) => panic!("nothing was to be skipped"),
        }
    }
    assert_eq!(expected, lane.durable().next());
    (events, holes)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir.join("lanes/main"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    paths.sort();
    paths
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            // A file that the live lane has just deleted is one that a crash would not have left either.
            match std::fs::copy(entry.path(), target) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{e}"),
                _ => {}
            }
        }
    }
}
