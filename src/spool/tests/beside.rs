//! Every byte of `FORMAT`, `floor` and `incarnation`, damaged: the directory opens, and nothing is taken from them
//! that was not written.

use std::path::{Path, PathBuf};

use super::*;
use crate::disk::RealFs;
use crate::spool::floor::Floor;
use crate::spool::table::FloorMark;

/// What can become of one byte.
const FLIPS: [u8; 3] = [0x01, 0x80, 0xff];

/// A directory with a segment in it, so that its identity can be found again.
fn lived(dir: &Path) -> Life {
    let lane = open(&RealFs, dir, &settings(), Seq::NONE);
    append(&lane, "s", &[vec![1; 100]]).unwrap();
    lane.close();
    drop(lane);
    DataDir::open(RealFs, dir).unwrap().life()
}

fn harmed(path: &Path, bytes: &[u8], at: usize, flip: u8) {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= flip;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_damaged_byte_of_format_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let life = lived(dir.path());
    let id = DataDir::open(RealFs, dir.path()).unwrap().spool_id();
    let path = dir.path().join("FORMAT");
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 120);
    for at in 0..bytes.len() {
        for flip in FLIPS {
            harmed(&path, &bytes, at, flip);
            let data = DataDir::open(RealFs, dir.path()).unwrap();
            assert_eq!((data.spool_id(), data.life()), (id, life), "byte {at} ^ {flip}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is whole again");
            let aside = dir.path().join("FORMAT.aside-1");
            let _whole = std::fs::remove_file(aside); // a flip of a digit's case changes nothing
        }
    }
    for len in 0..bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let data = DataDir::open(RealFs, dir.path()).unwrap();
        assert_eq!((data.spool_id(), data.life()), (id, life), "cut at {len}");
        std::fs::remove_file(dir.path().join("FORMAT.aside-1")).unwrap();
    }
}

/// The bytes that mean something of a file with three slots of a page each.
fn used(bytes: &[u8]) -> Vec<usize> {
    assert_eq!(bytes.len(), 3 * 4096);
    let slot = |at: usize| {
        let len = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
        at..at + 24 + len
    };
    [0, 4096, 8192].into_iter().flat_map(slot).collect()
}

#[test]
fn every_damaged_byte_of_the_floor_leaves_a_mark_that_was_made_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut floor = Floor::open(&RealFs, dir.path()).unwrap();
    let mut marks = vec![FloorMark::default()];
    for n in 1..6 {
        let mark = FloorMark { dropped: Seq(n), released: Seq(10 * n) };
        floor.raise(mark).unwrap();
        marks.push(mark);
    }
    let path: PathBuf = dir.path().join("floor");
    let bytes = std::fs::read(&path).unwrap();
    for at in used(&bytes) {
        for bit in 0..8 {
            harmed(&path, &bytes, at, 1 << bit);
            let found = Floor::open(&RealFs, dir.path()).unwrap().mark();
            assert!(marks[4..].contains(&found), "byte {at} bit {bit}: {found:?}");
        }
        // In every slot at once.
        let mut all = bytes.clone();
        (0..3).for_each(|slot| all[slot * 4096 + at % 4096] ^= 1);
        std::fs::write(&path, all).unwrap();
        let found = Floor::open(&RealFs, dir.path()).unwrap().mark();
        assert!(found == marks[0] || at % 4096 >= 24 + 24, "byte {at}: {found:?}");
    }
}

#[test]
fn no_damaged_byte_of_the_incarnation_brings_an_earlier_one_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = lived(dir.path());
    let data = DataDir::open(RealFs, dir.path()).unwrap();
    data.note_rolled_back().unwrap();
    let life = data.life();
    drop(data);
    assert_ne!(life.incarnation, first.incarnation);
    let path = dir.path().join("incarnation");
    let bytes = std::fs::read(&path).unwrap();
    for at in used(&bytes) {
        for flip in FLIPS {
            harmed(&path, &bytes, at, flip);
            let found = DataDir::open(RealFs, dir.path()).unwrap().life();
            assert_eq!(found, life, "byte {at} ^ {flip}: the slot before it has the same");
        }
        let mut all = bytes.clone();
        (0..3).for_each(|slot| all[slot * 4096 + at % 4096] ^= 1);
        std::fs::write(&path, all).unwrap();
        let found = DataDir::open(RealFs, dir.path()).unwrap().life();
        assert_eq!(found.cause, Cause::Unmarked, "byte {at} of every slot");
        assert!(found.incarnation != life.incarnation && found.incarnation != first.incarnation);
    }
}

#[test]
fn a_lock_deleted_under_a_running_agent_lets_no_second_one_in() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(RealFs, dir.path()).unwrap();
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    assert!(matches!(DataDir::open(RealFs, dir.path()), Err(OpenError::Locked { .. })));
    drop(data);
    DataDir::open(RealFs, dir.path()).unwrap();
}

#[test]
fn a_first_start_that_was_cut_off_between_incarnation_and_format_gives_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(RealFs, dir.path()).unwrap();
    let (id, life) = (data.spool_id(), data.life());
    drop(data);
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    let data = DataDir::open(RealFs, dir.path()).unwrap();
    assert_eq!((data.spool_id(), data.life(), life.cause), (id, life, Cause::New));
}
