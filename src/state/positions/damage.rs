//! Every byte of a positions file, damaged: what is read then is a record that was saved, or none.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Positions, Restored, Store, Unusable};
use crate::disk::RealFs;
use crate::ids::{DestinationName, LaneName, Seq, SpoolId};
use crate::sabotage::{Bug, Sabotage};

const SPOOL: SpoolId = SpoolId(7);
const SLOT: usize = (512 << 10) + 4096;

fn open(dir: &Path) -> (Store<RealFs>, Restored) {
    let (lane, name) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
    Store::open(&RealFs, dir, SPOOL, &lane, &name).unwrap()
}

/// Three records of growing positions in three slots, and the file with them.
fn written(dir: &Path) -> (Vec<Positions>, PathBuf, Vec<u8>) {
    let (mut store, _) = open(dir);
    let mut saved = Vec::new();
    for position in 100..103 {
        let positions = Positions { position: Seq(position), ..super::codec::sample() };
        store.save(&positions).unwrap();
        if position == 100 {
            store.sync().unwrap();
        }
        saved.push(positions);
    }
    let path = dir.join("readers/main/home");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 3 * SLOT);
    (saved, path, bytes)
}

/// Bytes of a slot that mean something: its header and the record.
fn used(bytes: &[u8], slot: usize) -> std::ops::Range<usize> {
    let at = slot * SLOT;
    let len = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
    // The four behind the length are covered too, and 8 beyond the end mean nothing.
    at..at + 24 + len + 8
}

#[test]
fn every_damaged_byte_leaves_a_record_that_was_saved() {
    assert_eq!(damaged_bytes(), Ok(()));
}

#[test]
fn control_a_slot_that_is_not_compared_with_its_checksum_is_noticed() {
    let _wrong = Sabotage::begin(Bug::SlotUnchecked);
    assert!(damaged_bytes().is_err());
}

/// The first byte after which something else is read.
fn damaged_bytes() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let (saved, path, bytes) = written(dir.path());
    let newest = Restored::Positions(Box::new(saved[2].clone()));
    let before = Restored::Positions(Box::new(saved[1].clone()));
    assert_eq!(open(dir.path()).1, newest);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let mut cases = 0;
    for at in (0..3).flat_map(|slot| used(&bytes, slot)) {
        for flip in [0x01, 0x80, 0xff] {
            file.write_all_at(&[bytes[at] ^ flip], at as u64).unwrap();
            let read = open(dir.path()).1;
            let newest_is_hit = used(&bytes, 2).contains(&at);
            if !(read == newest || newest_is_hit && read == before) {
                return Err(format!("byte {at} ^ {flip}: {read:?}"));
            }
            cases += 1;
        }
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    assert!(cases > 3 * 3 * 400, "{cases}");
    Ok(())
}

#[test]
fn the_same_byte_damaged_in_every_slot_is_told_and_nothing_is_taken_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path, bytes) = written(dir.path());
    let used = used(&bytes, 0);
    for at in 0..used.len() - 8 {
        let mut harmed = bytes.clone();
        (0..3).for_each(|slot| harmed[slot * SLOT + at] ^= 0x10);
        std::fs::write(&path, &harmed).unwrap();
        let (mut store, read) = open(dir.path());
        assert_eq!(read, Restored::Unusable(Unusable::Damaged), "byte {at}");
        let positions = Positions::fresh(SPOOL, Seq(5));
        store.save(&positions).unwrap();
        assert_eq!(open(dir.path()).1, Restored::Positions(Box::new(positions)));
    }
}

#[test]
fn every_truncation_leaves_a_record_that_was_saved_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (saved, path, bytes) = written(dir.path());
    let edges = (0..=3).flat_map(|slot| {
        let at = slot * SLOT;
        at.saturating_sub(40)..(at + 40).min(bytes.len() + 1)
    });
    for len in edges.chain((0..bytes.len()).step_by(50_021)) {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let (mut store, read) = open(dir.path());
        match read {
            Restored::Positions(read) => assert!(saved.contains(&read), "{len}"),
            Restored::Unusable(why) => assert_eq!(why, Unusable::Damaged, "{len}"),
            Restored::Nothing => assert_eq!(len, 0, "an empty file says nothing"),
        }
        store.save(&saved[0]).unwrap();
        assert_eq!(open(dir.path()).1, Restored::Positions(Box::new(saved[0].clone())), "{len}");
    }
}
