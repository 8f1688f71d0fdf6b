//! What a lane says of itself to those that hold it.

use super::stepped::{Site, plain, send};
use super::*;
use crate::disk::RealFs;
use crate::disk::Space;
use crate::disk::faulty::Faulty;
use crate::ids::SegmentId;

#[test]
fn a_position_beyond_the_end_that_was_found_is_of_another_past() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert!(!lane.was_behind(Seq(1)) && lane.was_behind(Seq(2)));
    append(&lane, "a", &[vec![1], vec![2], vec![3]]).unwrap();
    assert!(lane.was_behind(Seq(4)), "it was found empty");
    lane.close();
    drop(lane);
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert!(!lane.was_behind(Seq(4)) && lane.was_behind(Seq(5)));
    assert!(!lane.was_behind_its_floor());
    lane.close();
    drop(lane);
    // Of what a newer version wrote nobody knows where it ends.
    let path = &segments(dir.path())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let header = format::SegmentHeader::decode_area(&bytes).unwrap();
    let area = format::SegmentHeader { incompat: 1, ..header }.encode_area();
    bytes[..area.len()].copy_from_slice(&area);
    std::fs::write(path, bytes).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert!(!lane.was_behind(Seq(100)));
    lane.close();
}

#[test]
fn a_log_that_ends_before_what_was_deleted_of_it_is_of_another_past() {
    let dir = tempfile::tempdir().unwrap();
    let small = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir.path(), &small, Seq::NONE);
    (0..20u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    let old = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), old.path());
    (0..20u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    lane.release(Seq(38));
    super::faults::wait_until("the deletion", || lane.first() > Seq(30));
    lane.close();
    drop(lane);
    let lane = open(&RealFs, dir.path(), &small, Seq::NONE);
    assert!(!lane.was_behind_its_floor());
    lane.close();
    drop(lane);
    // The older segments are put back beside the newer floor.
    segments(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    for path in segments(old.path()) {
        std::fs::copy(&path, dir.path().join("lanes/main").join(path.file_name().unwrap())).unwrap();
    }
    let lane = open(&RealFs, dir.path(), &small, Seq::NONE);
    assert!(lane.was_behind_its_floor());
    // Those that had been deleted are put away again, but for the last, which says where the log ends.
    assert_eq!(lane.status().segments, 1);
    assert!(append(&lane, "a", &[vec![1]]).unwrap().first > Seq(30), "no number is given again");
    lane.close();
}

#[test]
fn how_much_may_be_parked_and_whether_half_is_taken_follow_from_the_quota() {
    let site = Site::new();
    let small = Spool { max_size: Some(80_000), ..plain() };
    let mut lane = site.lane(&small);
    assert_eq!((lane.lane().park_size(), lane.lane().is_half_full()), (20_000, false));
    let mut bytes = 0;
    while bytes < 40_000 {
        assert!(!lane.lane().is_half_full(), "{bytes}");
        send(&mut lane, &[("a", 1000)]);
        bytes = lane.lane().status().bytes;
    }
    assert!(lane.lane().is_half_full(), "{bytes}");
    lane.close();
    let parked = Site::new();
    let lane = parked.lane(&Spool { park_size: Some(7), ..plain() });
    assert_eq!(lane.lane().park_size(), 7);
    lane.close();
    // Exactly half of it.
    let exact = Site::new();
    let lane = exact.lane(&Spool { max_size: Some(0), ..plain() });
    assert!(lane.lane().is_half_full());
    lane.close();
}

#[test]
fn without_a_quota_it_is_half_of_the_file_system_and_no_more_than_ten_gib() {
    let limit = |total| {
        let site = Site::new();
        site.fs.set_space(Some(Space { available: total, total }));
        let lane = site.lane(&Spool { max_size: None, ..plain() });
        let limit = lane.lane().status().limit_bytes;
        lane.close();
        limit
    };
    assert_eq!((limit(6 << 30), limit(100 << 30)), (3 << 30, 10 << 30));
}

#[test]
fn a_lane_tells_the_time_the_segment_of_an_event_and_what_it_was_opened_with() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    (0..8).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    site.host.advance(Duration::from_secs(3));
    let handle = lane.lane();
    assert_eq!(handle.now(), site.host.now());
    assert_eq!((handle.name(), handle.settings().segment_size), (&lane_name(), 32 << 10));
    assert_eq!(handle.spool_id(), site.data.spool_id());
    let at = |seq| handle.segment_of(Seq(seq));
    assert_eq!([at(0), at(1), at(8), at(9)], [None, Some(SegmentId(1)), Some(SegmentId(2)), None]);
    let status = handle.status();
    assert_eq!((status.name.as_str(), status.first_seq, status.durable_seq), ("main", Seq(1), Seq(8)));
    assert_eq!((status.segments, status.draining, status.full, status.failing), (2, false, false, None));
    assert!(status.bytes > 40_000 && status.full_reason.is_none());
    lane.close();
}

#[test]
fn nothing_sent_is_accepted_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&Faulty::new(), dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1]]).unwrap();
    let nothing = append(&lane, "a", &[]).unwrap();
    assert_eq!((nothing.first, nothing.last, lane.durable()), (Seq(2), Seq(1), Seq(1)));
    assert!(!lane.has_died());
    lane.close();
}

#[test]
fn numbers_go_on_above_where_readers_have_been_and_what_is_missing_below_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq(5));
    // A new lane has lost nothing, whatever its readers have.
    assert_eq!((lane.status().quarantined_events, lane.first()), (0, Seq(5)));
    assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(5));
    lane.close();
    drop(lane);
    for (at_least, next, lost) in [(6, 6, 0), (9, 9, 3)] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let lane = open(&RealFs, copy.path(), &settings(), Seq(at_least));
        assert_eq!((lane.status().quarantined_events, lane.durable().next()), (lost, Seq(next)));
        assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(next));
        lane.close();
    }
}

#[test]
fn a_hole_that_is_found_at_the_start_is_counted_unless_it_was_deleted_on_purpose() {
    let small = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    for released in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let lane = open(&RealFs, dir.path(), &small, Seq::NONE);
        (0..30u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
        let files = segments(dir.path());
        let lost = (1..=30).filter(|seq| lane.segment_of(Seq(*seq)) == Some(SegmentId(2))).count() as u64;
        let kept = std::fs::read(&files[0]).unwrap();
        if released {
            lane.release(Seq(20));
            super::faults::wait_until("the deletion", || lane.first() > Seq(2 * lost));
        }
        lane.close();
        drop(lane);
        // The first comes back, the second does not.
        std::fs::write(&files[0], kept).unwrap();
        let _gone = std::fs::remove_file(&files[1]);
        let lane = open(&RealFs, dir.path(), &small, Seq::NONE);
        assert_eq!(lane.status().quarantined_events, if released { 0 } else { lost });
        lane.close();
    }
}

#[test]
fn a_lane_whose_writer_has_panicked_says_that_it_has_died() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    lane.on_durable(Box::new(|_| panic!("on purpose: a watcher of a test")));
    assert!(matches!(append(&lane, "a", &[vec![1]]), Err(AcceptError::Unknown(_))));
    super::faults::wait_until("its death", || lane.has_died());
    lane.close();
}

#[test]
fn a_lane_that_is_full_or_failing_says_why() {
    let site = Site::new();
    let mut lane = site.lane(&Spool { max_size: Some(40_000), ..plain() });
    while !lane.lane().status().full {
        send(&mut lane, &[("a", 1000)]);
    }
    let status = lane.lane().status();
    assert!(status.full_reason.unwrap().contains("40000") && status.failing.is_none());
    lane.close();
    let site = Site::new();
    let mut lane = site.lane(&plain());
    site.fs.fail_next(crate::disk::faulty::Op::Write, 1);
    assert_eq!(send(&mut lane, &[("a", 1000)]), 0);
    let status = lane.lane().status();
    assert!(status.failing.unwrap().contains("cannot write") && !status.full && status.full_reason.is_none());
    lane.close();
}
