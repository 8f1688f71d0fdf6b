//! Appending, reading, reopening, sharing syncs.

use std::sync::Arc;

use super::faults::wait_until;
use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::{Faulty, Op};
use crate::ids::SegmentId;
use crate::intake::Refused;

#[test]
fn what_is_appended_is_read_back_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    let done = append(&lane, "a", &[b"one".to_vec(), b"two".to_vec()]).unwrap();
    assert_eq!((done.first, done.last), (Seq(1), Seq(2)));
    append(&lane, "b", &[vec![7; 200_000]]).unwrap();
    let (events, holes) = read_all(&lane, 1);
    assert_eq!(holes, []);
    assert_eq!(events[&2], ("a".to_owned(), b"two".to_vec()));
    assert_eq!(events[&3], ("b".to_owned(), vec![7; 200_000]));
    let run = lane.run();
    lane.close();
    assert_eq!(append(&lane, "a", &[vec![]]), Err(AcceptError::Refused(Refused::ShuttingDown)));
    drop(lane);
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert_ne!(lane.run(), run);
    assert_eq!(read_all(&lane, 1).0, events);
    assert_eq!(append(&lane, "a", &[b"x".to_vec()]).unwrap().first, Seq(4));
    assert_eq!(read_all(&lane, 4).0[&4].1, b"x");
    lane.close();
}

#[test]
fn waiting_senders_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let lane = open(&fs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"warm".to_vec()]).unwrap();
    let before = fs.count(Op::SyncData);
    let runtime = runtime();
    let tasks: Vec<_> = (0..200)
        .map(|i: u32| {
            let lane = lane.clone();
            runtime.spawn(async move {
                let values = [i.to_le_bytes().to_vec()];
                lane.append(stream("a"), batch(&values), Patience::Forever).await.unwrap()
            })
        })
        .collect();
    let mut seqs: Vec<u64> = tasks.into_iter().map(|t| runtime.block_on(t).unwrap().first.0).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (2..202).collect::<Vec<_>>());
    let syncs = fs.count(Op::SyncData) - before;
    assert!(syncs < 150, "{syncs} syncs for 200 appends");
    lane.close();
}

#[test]
fn commit_delay_lets_senders_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let settings = Spool { commit_delay: Duration::from_millis(100), ..settings() };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    let before = fs.count(Op::SyncData);
    let runtime = runtime();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let lane = lane.clone();
            runtime.spawn(async move { lane.append(stream("a"), batch(&[vec![1]]), Patience::Forever).await })
        })
        .collect();
    tasks.into_iter().for_each(|t| drop(runtime.block_on(t).unwrap().unwrap()));
    assert!(fs.count(Op::SyncData) - before <= 3);
    lane.close();
}

#[test]
fn blocks_hold_one_stream_and_keep_each_streams_order() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Spool { commit_delay: Duration::from_millis(50), ..settings() };
    let lane = open(&RealFs, dir.path(), &settings, Seq::NONE);
    runtime().block_on(async {
        let appends = (0..40u8).map(|i| {
            let name = if i % 2 == 0 { "even" } else { "odd" };
            lane.append(stream(name), batch(&[vec![i], vec![i, i]]), Patience::Forever)
        });
        let mut pinned: Vec<_> = appends.map(Box::pin).collect();
        // Polled in order, so queued in order; answered in any.
        std::future::poll_fn(|cx| {
            pinned.retain_mut(|f| f.as_mut().poll(cx).is_pending());
            if pinned.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
    let (events, holes) = read_all(&lane, 1);
    assert_eq!((events.len(), holes.len()), (80, 0));
    for (name, parity) in [("even", 0), ("odd", 1)] {
        let values: Vec<u8> = events.values().filter(|(s, _)| s == name).map(|(_, v)| v[0]).collect();
        assert!(values.is_sorted() && values.iter().all(|v| v % 2 == parity), "{name}: {values:?}");
    }
    lane.close();
}

#[test]
fn a_reader_may_begin_inside_a_block_and_skip_streams() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    let values: Vec<Vec<u8>> = (0..50u8).map(|i| vec![i; 10]).collect();
    append(&lane, "a", &values).unwrap();
    append(&lane, "b", &values).unwrap();
    let (events, _) = read_all(&lane, 31);
    assert_eq!(events.keys().copied().collect::<Vec<_>>(), (31..=100).collect::<Vec<_>>());
    assert_eq!(events[&31].1, vec![30; 10]);
    let mut reader = lane.reader(Seq(20));
    let first = reader.next_where(|s, _| s.as_str() == "b").unwrap();
    assert_eq!(first, Some(Item::Skipped(crate::ids::SeqRange::new(Seq(20), Seq(51)), lane.run())));
    let Some(Item::Block(block)) = reader.next_where(|s, _| s.as_str() == "b").unwrap() else { panic!() };
    assert_eq!((block.first, block.count), (Seq(51), 50));
    assert_eq!(reader.next().unwrap(), None);
    lane.close();
}

#[test]
fn a_second_opening_of_a_data_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(RealFs, dir.path()).unwrap();
    assert!(matches!(DataDir::open(RealFs, dir.path()), Err(OpenError::Locked { .. })));
    let id = first.spool_id();
    drop(first);
    assert_eq!(DataDir::open(RealFs, dir.path()).unwrap().spool_id(), id);
}

#[test]
fn a_newer_format_is_refused_and_a_damaged_one_made_anew_with_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1]]).unwrap();
    let id = lane.spool_id();
    lane.close();
    drop(lane);
    let format = dir.path().join("FORMAT");
    let root = format::Root { incompat: 1 << 40, ..format::Root::new(id) };
    std::fs::write(&format, root.encode()).unwrap();
    assert!(
        matches!(DataDir::open(RealFs, dir.path()), Err(OpenError::Newer { bits, .. }) if bits == 1 << 40)
    );
    std::fs::write(&format, b"rubbish").unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert_eq!(lane.spool_id(), id);
    assert_eq!(read_all(&lane, 1).0.len(), 1);
    assert!(dir.path().join("FORMAT.aside-1").exists());
    lane.close();
}

#[test]
fn watchers_hear_of_every_move_of_the_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    lane.on_durable(Box::new(move |seq| hears.lock().unwrap().push(seq)));
    append(&lane, "a", &[vec![1], vec![2]]).unwrap();
    append(&lane, "a", &[vec![3]]).unwrap();
    lane.close();
    assert_eq!(*heard.lock().unwrap(), [Seq(2), Seq(3)]);
}

#[test]
fn with_an_interval_events_are_accepted_before_the_sync_and_seen_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_secs(3600)), ..settings() };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    let before = fs.count(Op::SyncData);
    assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(1));
    assert_eq!((lane.durable(), fs.count(Op::SyncData)), (Seq::NONE, before));
    assert_eq!(lane.reader(Seq(1)).next().unwrap(), None);
    lane.close();
    assert_eq!(lane.durable(), Seq(1));
    drop(lane);
    let settings = Spool { sync: Sync::Interval(Duration::from_millis(5)), ..settings };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    let (sender, receiver) = std::sync::mpsc::sync_channel(10);
    lane.on_durable(Box::new(move |seq| assert!(sender.try_send(seq).is_ok())));
    append(&lane, "a", &[vec![1]]).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).unwrap(), Seq(2));
    lane.close();
}

#[test]
fn disk_blocks_are_reserved_a_step_ahead_of_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Faulty::new();
    let settings = Spool { segment_size: 32 << 20, compression: SpoolCompression::None, ..settings() };
    let lane = open(&fs, dir.path(), &settings, Seq::NONE);
    let segment = dir.path().join("lanes/main").join(names::segment(SegmentId(1)));
    for (events, steps) in [(1, 1), (2, 1), (1, 2), (3, 2), (1, 3)] {
        append(&lane, "a", &vec![vec![7; 1 << 20]; events]).unwrap();
        let size = std::fs::metadata(&segment).unwrap().len();
        assert_eq!((size, fs.count(Op::Allocate)), (steps * active::ALLOCATION, steps));
    }
    lane.close();
    assert!(std::fs::metadata(&segment).unwrap().len() < 9 << 20, "what was not used is given back");
}

#[test]
fn a_file_that_was_made_ready_and_never_used_is_deleted_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[b"one".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    let left = dir.path().join("lanes/main").join(names::segment(SegmentId(9)));
    std::fs::write(&left, [0; 4096]).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    wait_until("deletion", || !left.exists());
    assert_eq!(append(&lane, "a", &[b"two".to_vec()]).unwrap().first, Seq(2));
    lane.close();
    drop(lane);
    // One that could not be deleted, and that a later segment has passed over.
    std::fs::write(&left, [0; 4096]).unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    wait_until("deletion", || !left.exists());
    assert_eq!(read_all(&lane, 1).0.len(), 2);
    lane.close();
}

#[test]
fn a_lane_whose_last_handle_is_dropped_closes_and_lets_go_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1]]).unwrap();
    drop(lane);
    super::faults::wait_until("its threads end", || DataDir::open(RealFs, dir.path()).is_ok());
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    assert_eq!(read_all(&lane, 1).0.len(), 1);
    lane.close();
}
