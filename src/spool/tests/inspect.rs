//! Looking on from outside.

use super::*;
use crate::disk::RealFs;
use crate::spool::inspect::{LaneSnapshot, Snapshot};

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

#[test]
fn what_was_deleted_on_purpose_is_told_apart_by_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let lane = several_segments(dir.path());
    let before = segments(dir.path()).len();
    lane.release(Seq(5));
    while segments(dir.path()).len() == before {
        std::thread::yield_now();
    }
    lane.close();
    let taken = Snapshot::take(&RealFs, dir.path()).unwrap();
    let seen = &taken.lanes[0];
    assert_eq!((seen.name(), seen.dropped_below()), (&lane_name(), Seq::NONE));
    assert!(seen.released_below() > Seq(1));
    assert_eq!((seen.begin(), seen.first()), (seen.released_below(), seen.released_below()));
    let other = tempfile::tempdir().unwrap();
    several_segments(other.path()).close();
    let fresh = Snapshot::take(&RealFs, other.path()).unwrap();
    let marks = |lane: &LaneSnapshot<RealFs>| (lane.begin(), lane.released_below(), lane.dropped_below());
    assert_eq!(marks(&fresh.lanes[0]), (Seq(1), Seq::NONE, Seq::NONE));
    let dropping = tempfile::tempdir().unwrap();
    let small = Spool {
        segment_size: 16 << 10,
        max_size: Some(48 << 10),
        when_full: WhenFull::DropOldest,
        ..settings()
    };
    let lane =
        open(&RealFs, dropping.path(), &Spool { compression: SpoolCompression::None, ..small }, Seq::NONE);
    (0..40u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    lane.close();
    let taken = Snapshot::take(&RealFs, dropping.path()).unwrap();
    let first = taken.lanes[0].first();
    assert!(first > Seq(1));
    assert_eq!(marks(&taken.lanes[0]), (first, Seq::NONE, first));
}

#[test]
fn each_segment_is_called_by_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let lane = several_segments(dir.path());
    let states = |dir: &Path| {
        let taken = Snapshot::take(&RealFs, dir).unwrap();
        let seen = &taken.lanes[0];
        seen.segments().map(|segment| seen.state(segment)).collect::<Vec<_>>()
    };
    let running = states(dir.path());
    let (last, before) = running.split_last().unwrap();
    assert!(*last == "open" && before.iter().all(|state| *state == "closed"), "{running:?}");
    // Killed in the middle of a write, it is told when the next process has begun its own.
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), killed.path());
    lane.close();
    assert!(states(dir.path()).iter().all(|state| *state == "closed"));
    let lane = open(&RealFs, killed.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1]]).unwrap();
    lane.close();
    let ended = states(killed.path());
    assert_eq!(ended[ended.len() - 2..], ["torn", "closed"], "{ended:?}");
    let path = &segments(killed.path())[ended.len() - 1];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[format::DATA_START as usize + 40] ^= 1;
    std::fs::write(path, bytes).unwrap();
    assert_eq!(states(killed.path()).last(), Some(&"damaged"));
}

#[test]
fn how_far_it_has_come_and_how_many_bytes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).close();
    let taken = Snapshot::take(&RealFs, dir.path()).unwrap();
    let mut told = Vec::new();
    let findings = taken.lanes[0].look_over_with(true, |seq| told.push(seq.0)).unwrap();
    assert_eq!(told, (1..=11).collect::<Vec<_>>());
    assert!(findings.bytes > 10 * 2000 && findings.bytes < 10 * 2010, "{}", findings.bytes);
    assert_eq!(taken.lanes[0].look_over(false).unwrap().bytes, 0, "headers only");
    assert_eq!(findings.segments.values().sum::<u64>(), 10);
    let by_segment: Vec<_> = taken.lanes[0].segments().map(|s| (s.id, s.end.0 - s.base.0)).collect();
    assert_eq!(findings.segments.into_iter().collect::<Vec<_>>(), by_segment);
}

#[test]
fn an_event_that_can_not_be_decoded_is_lost_though_its_block_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Spool { compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir.path(), &plain, Seq::NONE);
    append(&lane, "a", &[vec![1; 50], vec![2; 50], vec![3; 50]]).unwrap();
    lane.close();
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let block = &mut bytes[format::DATA_START as usize..];
    let header = format::BlockHeader::decode(block).unwrap();
    let (len, stored) = (header.len(), header.payload_len as usize);
    // Flags that no version knows, of the second event; and the checksums put right.
    block[len + 53] = 0x80;
    let crc = crc32fast::hash(&block[len..len + stored]).to_le_bytes();
    block[12..16].copy_from_slice(&crc);
    let crc = crc32fast::hash(&block[8..len]).to_le_bytes();
    block[4..8].copy_from_slice(&crc);
    std::fs::write(path, bytes).unwrap();
    let taken = Snapshot::take(&RealFs, dir.path()).unwrap();
    let findings = taken.lanes[0].look_over(true).unwrap();
    // The one behind it can't be found either.
    assert_eq!((findings.undecodable, findings.lost(), findings.holes.len()), (2, 2, 0));
}
