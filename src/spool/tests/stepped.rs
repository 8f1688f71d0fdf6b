//! What the writer does in which turn, on a lane that is driven by hand.

use std::sync::Arc;

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::ids::SegmentId;
use crate::spool::stepped::{Heard, SteppedHost, SteppedLane};

pub(in crate::spool) struct Site {
    pub(in crate::spool) dir: tempfile::TempDir,
    pub(in crate::spool) fs: Faulty,
    pub(in crate::spool) host: Arc<SteppedHost>,
    pub(in crate::spool) metrics: Arc<Metrics>,
    pub(in crate::spool) data: DataDir<Faulty>,
}

impl Site {
    pub(in crate::spool) fn new() -> Self {
        let (dir, fs, host) = (tempfile::tempdir().unwrap(), Faulty::new(), Arc::new(SteppedHost::new(1)));
        let data = DataDir::open_on(fs.clone(), dir.path(), Arc::clone(&host) as Arc<dyn Host>).unwrap();
        Self { dir, fs, host, metrics: Metrics::new(), data }
    }

    pub(in crate::spool) fn lane(&self, settings: &Spool) -> SteppedLane<Faulty> {
        SteppedLane::open(&self.data, lane_name(), settings, Seq::NONE, &self.metrics).unwrap()
    }
}

pub(in crate::spool) fn plain() -> Spool {
    Spool { segment_size: 32 << 10, compression: SpoolCompression::None, ..settings() }
}

/// Sends one event a request, all in one commit; how many were accepted.
pub(in crate::spool) fn send(lane: &mut SteppedLane<Faulty>, requests: &[(&str, usize)]) -> usize {
    let requests = requests.iter().map(|(name, size)| (stream(name), batch(&[vec![5; *size]]))).collect();
    let heard = lane.append(requests, 1, || 0);
    heard.iter().filter(|h| matches!(h, Heard::Answer(Ok(_), _))).count()
}

#[test]
fn the_names_on_the_way_to_the_first_segment_are_made_durable_once() {
    let site = Site::new();
    site.lane(&plain()).close();
    let lane_dir = site.dir.path().join("lanes/main");
    let above = lane_dir.ancestors().skip(1).count() as u64;
    let before = site.fs.count(Op::SyncDir);
    let mut lane = site.lane(&plain());
    assert_eq!(segments(site.dir.path()).len(), 1, "ready before anything is sent");
    assert_eq!(site.fs.count(Op::SyncDir) - before, above + 1);
    (0..6).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    assert_eq!((lane.lane().status().segments, site.fs.count(Op::SyncDir) - before), (2, above + 2));
    lane.close();
}

#[test]
fn a_directory_above_that_may_not_be_read_is_none_of_ours_and_one_of_ours_is() {
    use rustix::io::Errno;
    for (errno, spared, fails) in
        [(Errno::ACCESS, 0, true), (Errno::ACCESS, 1, true), (Errno::ACCESS, 2, false), (Errno::IO, 2, true)]
    {
        let site = Site::new();
        site.lane(&plain()).close();
        site.fs.error(errno);
        // First the directory of lanes, then the data directory, then what is above it.
        site.fs.fail_later(Op::SyncDir, spared, 1);
        let lane = site.lane(&plain());
        assert_eq!(lane.lane().status().failing.is_some(), fails, "{errno} {spared}");
    }
}

#[test]
fn what_is_sent_together_is_one_write_and_one_block_a_stream() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    let counts = || (site.fs.count(Op::Write), site.fs.count(Op::SyncData));
    let before = counts();
    assert_eq!(send(&mut lane, &[("b", 10), ("a", 10), ("b", 10)]), 3);
    assert_eq!((counts().0 - before.0, counts().1 - before.1), (1, 1));
    let mut reader = lane.lane().reader(Seq::FIRST);
    let mut blocks = Vec::new();
    while let Some(Item::Block(block)) = reader.next().unwrap() {
        blocks.push((block.stream.to_string(), block.count));
    }
    assert_eq!(blocks, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let before = site.fs.count(Op::SyncData);
    lane.close();
    assert_eq!(site.fs.count(Op::SyncData) - before, 1, "that of the segment that is closed");
}

#[test]
fn what_is_sent_together_and_does_not_fit_goes_on_in_the_next_segment() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    (0..4).for_each(|_| assert_eq!(send(&mut lane, &[("a", 100)]), 1));
    assert_eq!(lane.lane().status().segments, 1);
    assert_eq!(send(&mut lane, &[("a", 5000); 12]), 12);
    assert_eq!(read_all(lane.lane(), 1).0.len(), 16);
    lane.close();
    let sizes: Vec<_> =
        segments(site.dir.path()).iter().map(|p| std::fs::metadata(p).unwrap().len()).collect();
    assert!(sizes.len() > 2 && sizes.iter().all(|s| *s <= 32 << 10), "{sizes:?}");
}

/// The blocks that streams end in the middle say the segment they stand in.
#[test]
fn what_is_sent_together_by_several_streams_goes_on_in_the_next_segment_too() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    assert_eq!(send(&mut lane, &[[("a", 5000); 6], [("b", 5000); 6], [("c", 5000); 6]].concat()), 18);
    let (events, holes) = read_all(lane.lane(), 1);
    assert_eq!((events.len(), holes.len()), (18, 0));
    assert!(lane.lane().status().segments > 3);
    lane.close();
}

#[test]
fn the_next_segment_is_made_ready_when_half_of_this_one_is_written() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    let files = || segments(site.dir.path()).len();
    send(&mut lane, &[("a", 1000)]);
    while lane.tidy() {}
    assert_eq!(files(), 1);
    send(&mut lane, &[("a", 10_000)]);
    while lane.tidy() {}
    assert_eq!((files(), lane.lane().status().segments), (2, 1));
    let made = site.fs.count(Op::Create);
    send(&mut lane, &[("a", 100)]);
    while lane.tidy() {}
    assert_eq!(site.fs.count(Op::Create), made, "it is asked for once");
    send(&mut lane, &[("a", 20_000)]);
    assert_eq!((site.fs.count(Op::Create), lane.lane().segment_of(Seq(4))), (made, Some(SegmentId(2))));
    lane.close();
    assert_eq!(files(), 2);
}

#[test]
fn a_lane_that_is_closed_stays_closed_whatever_fails_then() {
    let site = Site::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_millis(100)), ..plain() };
    let mut lane = site.lane(&settings);
    assert_eq!(send(&mut lane, &[("a", 10)]), 1);
    let handle = lane.lane().clone();
    let syncs = site.fs.count(Op::SyncData);
    site.fs.fail_next(Op::SyncData, 1);
    lane.close();
    assert!(site.fs.count(Op::SyncData) > syncs);
    let status = handle.status();
    assert!(status.failing.is_none() && !status.full, "{status:?}");
}

#[test]
fn a_full_lane_is_told_in_the_metrics() {
    let site = Site::new();
    let settings = Spool { max_size: Some(64 << 10), ..plain() };
    let label = crate::metrics::Lane { lane: lane_name().to_string() };
    let full = || site.metrics.spool_full.get_or_create(&label).get();
    let mut lane = site.lane(&settings);
    let mut sent = 0;
    while send(&mut lane, &[("a", 5000)]) == 1 {
        sent += 1;
        assert_eq!(full(), 0);
    }
    assert_eq!(full(), 1);
    lane.lane().release(Seq(sent));
    while lane.tidy() {}
    site.host.advance(Duration::from_secs(1));
    lane.turn();
    assert_eq!(full(), 0);
    lane.close();
}

#[test]
fn what_is_lost_is_counted_in_the_metrics_once() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    (0..12).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    lane.close();
    std::fs::remove_file(&segments(site.dir.path())[1]).unwrap();
    let label = crate::metrics::Lane { lane: lane_name().to_string() };
    let counted = || site.metrics.quarantined.get_or_create(&label).get();
    assert_eq!(counted(), 0);
    let lane = site.lane(&plain());
    for _ in 0..2 {
        let (_, holes) = read_all(lane.lane(), 1);
        let lost: u64 = holes.iter().map(|h| h.range.len()).sum();
        assert_eq!((lost, counted(), lane.lane().status().quarantined_events), (4, 4, 4));
    }
    lane.close();
}

#[test]
fn there_is_always_room_reserved_for_a_seal_behind_what_is_written() {
    let site = Site::new();
    let mut lane = site.lane(&Spool { segment_size: 32 << 20, ..plain() });
    for size in [1 << 20; 3].into_iter().chain([900_000, 100_000]).chain([10; 400]) {
        assert_eq!(send(&mut lane, &[("a", size)]), 1);
        let file = std::fs::metadata(&segments(site.dir.path())[0]).unwrap().len();
        assert!(lane.lane().status().bytes + 1024 <= file);
    }
    assert!(lane.lane().status().bytes > active::ALLOCATION);
    lane.close();
}

#[test]
fn a_file_in_which_nothing_became_durable_goes_and_its_number_is_not_used_again() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    site.fs.fail_next(Op::SyncData, 1);
    assert_eq!(send(&mut lane, &[("a", 10)]), 0);
    assert!(segments(site.dir.path()).is_empty());
    site.host.advance(Duration::from_millis(100));
    lane.turn();
    assert_eq!(send(&mut lane, &[("a", 10)]), 1);
    let files = segments(site.dir.path());
    assert!(files.len() == 1 && files[0].ends_with(names::segment(SegmentId(2))), "{files:?}");
    lane.close();
}

#[test]
fn a_full_lane_opens_when_there_is_room_for_two_steps_or_for_one_where_nothing_can_be_deleted() {
    for (events, free, opens) in [(6, 33, false), (6, 64, true), (1, 31, false), (1, 33, true)] {
        let site = Site::new();
        let mut lane = site.lane(&plain());
        let space = |kib: u64| Some(crate::disk::Space { available: kib << 10, total: 1 << 40 });
        (0..events).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
        site.fs.set_space(space(0));
        site.host.advance(Duration::from_secs(1));
        while send(&mut lane, &[("a", 5000)]) == 1 {}
        assert!(lane.lane().status().full);
        if events == 1 {
            lane.lane().release(lane.lane().durable().next());
            while lane.tidy() {}
            assert_eq!(lane.lane().status().segments, 1);
        }
        site.fs.set_space(space(free));
        site.host.advance(Duration::from_secs(1));
        lane.turn();
        assert_eq!(lane.lane().status().full, !opens, "{events} {free}");
    }
}

#[test]
fn a_disk_that_fails_is_tried_again_ever_more_seldom() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    site.fs.fail_next(Op::SyncData, 1);
    site.fs.fail_next(Op::Create, u64::MAX);
    let before = site.fs.count(Op::Create);
    assert_eq!(send(&mut lane, &[("a", 10)]), 0);
    let mut tried_at = Vec::new();
    for tick in 0..=250 {
        let tried = site.fs.count(Op::Create);
        lane.turn();
        if site.fs.count(Op::Create) > tried {
            tried_at.push(tick);
        }
        site.host.advance(Duration::from_millis(100));
    }
    // In tenths of a second: doubled up to five seconds.
    assert_eq!(tried_at, [1, 3, 7, 15, 31, 63, 113, 163, 213]);
    assert_eq!(site.fs.count(Op::Create) - before, 9);
}

#[test]
fn a_lane_is_open_again_only_once_a_block_was_written_and_synced() {
    for op in [Op::SyncData, Op::Write] {
        let site = Site::new();
        let mut lane = site.lane(&plain());
        site.fs.fail_next(op, 2);
        assert_eq!(send(&mut lane, &[("a", 10)]), 0);
        site.host.advance(Duration::from_millis(100));
        lane.turn();
        assert!(lane.lane().status().failing.is_some(), "the first try fails");
        let syncs = site.fs.count(Op::SyncData);
        site.host.advance(Duration::from_millis(200));
        lane.turn();
        assert!(lane.lane().status().failing.is_none());
        assert_eq!(site.fs.count(Op::SyncData), syncs + 1);
        assert_eq!(send(&mut lane, &[("a", 10)]), 1);
        lane.close();
    }
}

#[test]
fn a_file_system_without_room_costs_the_oldest_segment_only_where_that_is_wanted() {
    for (when_full, first) in [(WhenFull::Block, 1), (WhenFull::DropOldest, 5)] {
        let site = Site::new();
        let mut lane = site.lane(&Spool { when_full, ..plain() });
        (0..8).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
        site.fs.error(rustix::io::Errno::NOSPC);
        // All that a segment reserves, and as little as it can be begun with.
        site.fs.fail_next(Op::Allocate, 2);
        assert_eq!(send(&mut lane, &[("a", 5000)]), 0);
        assert!(lane.lane().status().full);
        while lane.tidy() {}
        assert_eq!(lane.lane().first(), Seq(first), "{when_full:?}");
    }
}

/// `ulimit -f`, below what a segment may take.
#[test]
fn a_file_that_may_not_grow_is_closed_and_the_next_one_has_room() {
    let site = Site::new();
    let mut lane = site.lane(&Spool { segment_size: 16 << 20, ..plain() });
    (0..4).for_each(|_| assert_eq!(send(&mut lane, &[("a", 1_000_000)]), 1));
    site.fs.error(rustix::io::Errno::FBIG);
    site.fs.fail_next(Op::Allocate, 1);
    (0..3).for_each(|_| assert_eq!(send(&mut lane, &[("a", 1_000_000)]), 1));
    let status = lane.lane().status();
    assert_eq!((status.segments, status.full, status.failing), (2, false, None));
    assert_eq!(read_all(lane.lane(), 1).0.len(), 7);
    // Where none may take anything, the lane is full, not broken.
    site.fs.fail_next(Op::Allocate, 1_000_000);
    while send(&mut lane, &[("a", 1_000_000)]) == 1 {}
    let status = lane.lane().status();
    assert_eq!((status.full, status.failing), (true, None));
}

#[test]
fn what_is_accepted_at_an_interval_is_synced_before_its_segment_is_closed() {
    let site = Site::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_secs(3600)), ..plain() };
    let mut lane = site.lane(&settings);
    (0..12).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    assert_eq!((lane.lane().durable(), lane.lane().status().segments), (Seq(8), 2));
    lane.close();
    let lane = site.lane(&settings);
    let (events, holes) = read_all(lane.lane(), 1);
    assert_eq!((events.len(), holes.len()), (12, 0));
    lane.close();
}

#[test]
fn a_segments_name_that_is_taken_is_passed_over() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    let taken = site.dir.path().join("lanes/main").join(names::segment(SegmentId(2)));
    std::fs::write(&taken, "not ours").unwrap();
    let mut accepted = 0;
    for _ in 0..10 {
        accepted += send(&mut lane, &[("a", 5000)]);
        site.host.advance(Duration::from_millis(100));
        lane.turn();
    }
    assert_eq!(lane.lane().segment_of(Seq(5)), Some(SegmentId(3)), "{accepted} accepted");
    assert_eq!(std::fs::read(&taken).unwrap(), b"not ours");
    lane.close();
}

#[test]
fn what_is_accepted_at_an_interval_is_synced_though_more_comes_all_the_time() {
    let site = Site::new();
    let mut lane = site.lane(&Spool { sync: Sync::Interval(Duration::from_millis(100)), ..plain() });
    for durable in [0, 0, 3, 3, 3, 6] {
        assert_eq!(send(&mut lane, &[("a", 10)]), 1);
        assert_eq!(lane.lane().durable(), Seq(durable));
        site.host.advance(Duration::from_millis(60));
    }
    lane.close();
}

/// The helper can't be made to go on; the lane says that it has died, and its writer is not held up.
#[test]
fn a_writer_does_not_wait_for_a_segment_whose_making_has_panicked() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    assert_eq!(send(&mut lane, &[("a", 20_000)]), 1);
    site.fs.meanwhile(Op::Create, || panic!("on purpose"));
    let tidied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lane.tidy()));
    assert!(tidied.is_err());
    let (done, goes_on) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let sent = send(&mut lane, &[("a", 20_000)]);
        done.send((sent, lane.lane().segment_of(Seq(2)))).unwrap();
    });
    let (sent, segment) = goes_on.recv_timeout(Duration::from_secs(20)).expect("the writer waits");
    assert_eq!((sent, segment), (1, Some(SegmentId(2))));
}
