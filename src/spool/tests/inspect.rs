//! Looking on from outside.

use super::*;
use crate::disk::RealFs;
use crate::spool::inspect::Snapshot;

fn bytes_of(dir: &Path) -> Vec<Vec<u8>> {
    segments(dir).iter().map(|p| std::fs::read(p).unwrap()).collect()
}

#[test]
fn a_running_spool_is_inspected_without_a_lock_and_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir.path(), &settings, Seq::NONE);
    for i in 0..10u8 {
        append(&lane, if i % 2 == 0 { "a" } else { "b" }, &[vec![i; 2000], vec![i]]).unwrap();
    }
    let snapshot = Snapshot::take(&RealFs, dir.path()).unwrap();
    assert_eq!(snapshot.spool, lane.spool_id());
    let seen = &snapshot.lanes[0];
    assert_eq!((seen.first(), seen.end()), (Seq(1), Seq(21)));
    for thorough in [false, true] {
        let findings = seen.look_over(thorough).unwrap();
        assert_eq!(
            findings.streams.iter().map(|(s, n)| (s.as_str(), *n)).collect::<Vec<_>>(),
            [("a", 10), ("b", 10)]
        );
        assert_eq!((findings.lost(), findings.segments.values().sum::<u64>()), (0, 20));
    }
    lane.close();
    let before = bytes_of(dir.path());
    Snapshot::take(&RealFs, dir.path()).unwrap().lanes[0].look_over(true).unwrap();
    assert_eq!(before, bytes_of(dir.path()));
}

#[test]
fn a_damaged_block_is_found_with_its_exact_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 50], vec![2; 50]]).unwrap();
    append(&lane, "b", &[vec![3; 50]]).unwrap();
    lane.close();
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[format::DATA_START as usize + 130] ^= 4;
    std::fs::write(path, bytes).unwrap();
    let snapshot = Snapshot::take(&RealFs, dir.path()).unwrap();
    let findings = snapshot.lanes[0].look_over(true).unwrap();
    assert_eq!(findings.lost(), 2);
    assert_eq!(findings.holes[0].range, crate::ids::SeqRange::new(Seq(1), Seq(3)));
    assert_eq!(findings.streams.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_directory_that_is_no_spool_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Snapshot::take(&RealFs, dir.path()), Err(OpenError::NotASpool { .. })));
}
