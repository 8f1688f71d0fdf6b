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

/// Ten events of 2000 bytes in segments of 16 KiB, and the lane still open.
fn several_segments(dir: &Path) -> Lane<RealFs> {
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir, &settings, Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    assert!(segments(dir).len() >= 3);
    lane
}

/// Lost numbers, and those that were deleted on purpose.
fn lost_and_gone(snapshot: &Snapshot<RealFs>) -> (u64, u64) {
    let findings = snapshot.lanes[0].look_over(true).unwrap();
    let gone = findings.holes.iter().map(|h| h.range.len()).sum::<u64>() - findings.lost();
    (findings.lost(), gone)
}

#[test]
fn a_segment_that_its_agent_deletes_meanwhile_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let lane = several_segments(dir.path());
    let snapshot = Snapshot::take(&RealFs, dir.path()).unwrap();
    let before = segments(dir.path()).len();
    lane.release(Seq(9));
    while segments(dir.path()).len() == before {
        std::thread::yield_now();
    }
    lane.close();
    let (lost, gone) = lost_and_gone(&snapshot);
    assert!(lost == 0 && gone > 0, "{lost} lost, {gone} gone");
    assert_eq!(lost_and_gone(&Snapshot::take(&RealFs, dir.path()).unwrap()), (0, 0));
}

#[test]
fn a_segment_that_somebody_else_deletes_meanwhile_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).close();
    let snapshot = Snapshot::take(&RealFs, dir.path()).unwrap();
    std::fs::remove_file(&segments(dir.path())[1]).unwrap();
    let (lost, gone) = lost_and_gone(&snapshot);
    assert!(lost > 0 && gone == 0, "{lost} lost, {gone} gone");
}

#[test]
fn a_first_segment_that_is_missing_is_lost_though_nothing_stands_before_it() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).close();
    std::fs::remove_file(&segments(dir.path())[0]).unwrap();
    let snapshot = Snapshot::take(&RealFs, dir.path()).unwrap();
    let findings = snapshot.lanes[0].look_over(false).unwrap();
    assert_eq!(findings.holes[0].range.first, Seq(1));
    assert_eq!(findings.lost() + findings.streams["a"], 10);
}

#[test]
fn an_end_that_is_missing_is_lost_if_a_reader_has_been_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).close();
    std::fs::remove_file(segments(dir.path()).last().unwrap()).unwrap();
    let lost = |at_least| {
        let snapshot = Snapshot::take_with(&RealFs, dir.path(), |_, _| Ok(at_least)).unwrap();
        snapshot.lanes[0].look_over(false).unwrap().holes
    };
    assert!(lost(Seq::NONE).is_empty());
    assert_eq!(lost(Seq(11)).last().unwrap().range.end, Seq(11));
}
