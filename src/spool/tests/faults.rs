//! A disk that fails.

use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::intake::Refused;

/// An idle lane marks what it has; waits for that, so that the fault hits what the test does next.
fn settled(fs: &Faulty, syncs_before: u64) {
    wait_until("the idle mark", || fs.count(Op::SyncData) >= syncs_before + 2);
}

pub(super) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acked_the_descriptor_is_left_and_the_lane_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    let syncs = fs.count(Op::SyncData);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    settled(&fs, syncs);
    let (run, first_segment) = (lane.run(), lane.segment_of(Seq(1)).unwrap());
    fs.fail_next(Op::SyncData, 3);
    assert!(matches!(append(&lane, "a", &[b"lost".to_vec()]), Err(AcceptError::Unknown(_))));
    assert_eq!(lane.durable(), Seq(1));
    assert!(lane.status().failing.is_some());
    let refused = append(&lane, "a", &[b"refused".to_vec()]);
    assert!(matches!(refused, Err(AcceptError::Refused(Refused::Failing(_)))), "{refused:?}");
    assert_eq!(read_all(&lane, 1).0.len(), 1);
    wait_until("healing", || lane.status().failing.is_none());
    assert_eq!(append(&lane, "a", &[b"two".to_vec()]).unwrap().first, Seq(2));
    assert_ne!((lane.run(), lane.segment_of(Seq(2))), (run, Some(first_segment)));
    let values = |lane: &Lane<Faulty>| read_all(lane, 1).0.into_values().map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(values(&lane), [b"one".to_vec(), b"two".to_vec()]);
    lane.close();
    drop(lane);
    // What the failed sync may have left on the disk does not come back.
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    assert_eq!(values(&lane), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(lane.status().quarantined_events, 0);
    lane.close();
}

#[test]
fn a_failed_write_has_an_unknown_outcome_and_ends_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    let syncs = fs.count(Op::SyncData);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    settled(&fs, syncs);
    fs.fail_next(Op::Write, 1);
    assert!(matches!(append(&lane, "a", &[b"lost".to_vec()]), Err(AcceptError::Unknown(_))));
    wait_until("healing", || lane.status().failing.is_none());
    assert_eq!(append(&lane, "a", &[b"two".to_vec()]).unwrap().first, Seq(2));
    assert_eq!(read_all(&lane, 1).0.len(), 2);
    lane.close();
}

#[test]
fn accepted_events_that_an_interval_sync_loses_are_counted_and_their_numbers_not_reused() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_millis(30)), ..settings() };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    fs.fail_next(Op::SyncData, 1);
    append(&lane, "a", &[b"risked".to_vec(), b"risked".to_vec()]).unwrap();
    wait_until("the failed sync", || lane.status().quarantined_events == 2);
    wait_until("healing", || lane.status().failing.is_none());
    assert_eq!(append(&lane, "a", &[b"next".to_vec()]).unwrap().first, Seq(3));
    wait_until("the sync", || lane.durable() == Seq(3));
    let (events, holes) = read_all(&lane, 1);
    assert_eq!((events.len(), holes.len(), holes[0].range.len()), (1, 1, 2));
    lane.close();
}

#[test]
fn a_disk_that_can_not_be_written_at_the_start_is_read_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    let fs = Faulty::new();
    fs.error(rustix::io::Errno::ROFS);
    fs.fail_next(Op::Create, 3);
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    assert_eq!(read_all(&lane, 1).0.len(), 1);
    wait_until("healing", || fs.count(Op::Create) >= 4 && lane.status().failing.is_none());
    assert_eq!(append(&lane, "a", &[b"two".to_vec()]).unwrap().first, Seq(2));
    lane.close();
}

#[test]
fn no_room_for_a_new_segment_holds_senders_back_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &Spool { segment_size: 16 << 10, ..settings() }, Seq::NONE);
    fs.error(rustix::io::Errno::NOSPC);
    let big = vec![vec![3; 6000]];
    append(&lane, "a", &big).unwrap();
    fs.fail_next(Op::Allocate, 4);
    for i in 2..8 {
        // Waits inside, then goes on: nobody freed anything but the disk itself.
        assert_eq!(append(&lane, "a", &big).unwrap().first, Seq(i));
    }
    assert_eq!(read_all(&lane, 1).0.len(), 7);
    lane.close();
}

#[test]
fn a_file_of_which_nothing_can_be_read_for_a_while_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 100]]).unwrap();
    let mut reader = lane.reader(Seq(1));
    fs.fail_next(Op::Read, u64::MAX);
    assert!((0..3 * reader::PATIENCE).all(|_| reader.next().is_err()));
    fs.fail_next(Op::Read, 0);
    assert!(matches!(reader.next().unwrap(), Some(Item::Block(_))));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(lane.status().quarantined_events, 0);
    lane.close();
}

#[test]
fn a_segment_that_can_not_be_opened_for_want_of_descriptors_is_not_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 100]]).unwrap();
    let mut reader = lane.reader(Seq(1));
    fs.error(rustix::io::Errno::MFILE);
    fs.fail_next(Op::Open, 100);
    assert!((0..100).all(|_| reader.next().is_err()), "a sender that takes all descriptors costs no event");
    assert!(matches!(reader.next().unwrap(), Some(Item::Block(_))));
    assert_eq!(lane.status().quarantined_events, 0);
    lane.close();
}

#[test]
fn what_is_accepted_at_an_interval_is_synced_also_while_there_is_no_room_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let settings = Spool {
        sync: Sync::Interval(Duration::from_millis(300)),
        segment_size: 32 << 20,
        compression: SpoolCompression::None,
        ..settings()
    };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    append(&lane, "a", &vec![vec![7; 1 << 20]; 3]).unwrap();
    wait_until("the first sync", || lane.durable() == Seq(3));
    fs.error(rustix::io::Errno::DQUOT);
    fs.fail_next(Op::Allocate, u64::MAX);
    // Fills what is reserved so far that not even a mark fits behind it.
    let left = active::ALLOCATION - lane.status().bytes;
    append(&lane, "a", &[vec![7; left as usize - 30_000]]).unwrap();
    wait_until("the second sync", || lane.durable() == Seq(4));
    let left = active::ALLOCATION - lane.status().bytes;
    append(&lane, "a", &[vec![7; left as usize - 2900]]).unwrap();
    let sent = lane.append(stream("a"), batch(&[vec![7; 4000]]), Patience::For(Duration::from_millis(50)));
    let refused = runtime().block_on(sent);
    assert!(matches!(refused, Err(AcceptError::Refused(Refused::Full(_)))), "{refused:?}");
    wait_until("the sync", || lane.durable() == Seq(5));
    fs.fail_next(Op::Allocate, 0);
    wait_until("room", || !lane.status().full);
    assert_eq!(append(&lane, "a", &[b"more".to_vec()]).unwrap().first, Seq(6));
    lane.close();
}

/// Found by an agent whose system calls failed one by one: the segment stayed until the next one was delivered, or
/// for an hour.
#[test]
fn a_segment_that_could_not_be_deleted_is_tried_again() {
    for op in [Op::Remove, Op::SyncData] {
        let dir = tempfile::tempdir().unwrap();
        let fs = Faulty::new();
        let settings = Spool { segment_size: 32 << 10, compression: SpoolCompression::None, ..settings() };
        let lane = open(&fs, dir.path(), &settings, Seq::NONE);
        (0..14).for_each(|_| drop(append(&lane, "a", &[vec![5; 5000]]).unwrap()));
        let last = append(&lane, "a", &[vec![5; 5000]]).unwrap().last;
        lane.close();
        drop(lane);
        let lane = open(&fs, dir.path(), &settings, Seq::NONE);
        assert!(lane.status().segments > 2);
        fs.fail_next(op, 1);
        // A delivery that has nothing to do says four times a second what it said before.
        wait_until("deletion", || {
            lane.release(last.next());
            lane.status().segments == 1
        });
        lane.close();
    }
}

#[test]
fn a_segment_that_may_not_be_opened_keeps_the_lane_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    let data = DataDir::open(fs.clone(), dir.path()).unwrap();
    fs.error(rustix::io::Errno::ACCESS);
    fs.fail_next(Op::Open, 1);
    let opened = Lane::open(&data, lane_name(), &settings(), Seq::NONE, Metrics::new());
    assert!(matches!(opened, Err(OpenError::Io { operation: "open", .. })), "{opened:?}");
    let lane = Lane::open(&data, lane_name(), &settings(), Seq::NONE, Metrics::new()).unwrap();
    assert_eq!(read_all(&lane, 1).0.len(), 1);
    lane.close();
}

/// Any operation may fail at any time: what was accepted is there, under its number, and the lane goes on.
#[test]
fn whatever_fails_in_between_what_was_accepted_is_read_back() {
    let ops = [Op::Create, Op::Write, Op::Allocate, Op::SyncData, Op::SyncDir, Op::Remove, Op::Open];
    for seed in 1..=5u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let dir = tempfile::tempdir().unwrap();
        let fs = Faulty::new();
        let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
        let mut lane = open(&fs, dir.path(), &settings, Seq::NONE);
        let mut accepted = Found::new();
        for step in 0..150u64 {
            match draw(12) {
                0..=2 => {
                    fs.error([rustix::io::Errno::IO, rustix::io::Errno::NOSPC][draw(2) as usize]);
                    fs.fail_next(ops[draw(7) as usize], 1 + draw(3));
                }
                3 if draw(4) == 0 => {
                    lane.close();
                    drop(lane);
                    ops.iter().for_each(|op| fs.fail_next(*op, 0));
                    lane = open(&fs, dir.path(), &settings, Seq::NONE);
                }
                _ => {
                    let name = ["a", "b"][draw(2) as usize];
                    let values: Vec<_> = (0..1 + draw(3))
                        .map(|i| {
                            format!("{seed}/{step}/{i}/{}", "x".repeat(draw(1500) as usize)).into_bytes()
                        })
                        .collect();
                    let sent =
                        lane.append(stream(name), batch(&values), Patience::For(Duration::from_secs(5)));
                    if let Ok(appended) = runtime().block_on(sent) {
                        for (seq, value) in (appended.first.0..).zip(values) {
                            assert!(
                                accepted.insert(seq, (name.to_owned(), value)).is_none(),
                                "{seq} is given twice"
                            );
                        }
                    }
                }
            }
        }
        ops.iter().for_each(|op| fs.fail_next(*op, 0));
        wait_until("healing", || lane.status().failing.is_none() && !lane.status().full);
        append(&lane, "a", &[b"last".to_vec()]).unwrap();
        let check = |lane: &Lane<Faulty>| {
            let (found, holes) = read_all(lane, 1);
            let missing: Vec<_> =
                accepted.iter().filter(|(seq, event)| found.get(seq) != Some(event)).collect();
            assert!(
                missing.is_empty() && holes.is_empty(),
                "seed {seed}: {} missing, {holes:?}",
                missing.len()
            );
        };
        check(&lane);
        lane.close();
        drop(lane);
        let lane = open(&fs, dir.path(), &settings, Seq::NONE);
        check(&lane);
        lane.close();
    }
}
