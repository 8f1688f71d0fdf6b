//! Every sync of the spool's files is made, and none fails unnoticed but where that is said here.

use std::sync::Arc;

use super::stepped::{Site, plain, send};
use super::*;
use crate::disk::faulty::{Op, Syncs};
use crate::disk::{DiskError, RealFs};
use crate::ids::{SegmentId, SpoolId};
use crate::spool::floor::Floor;
use crate::spool::format::Root;
use crate::spool::stepped::SteppedHost;
use crate::spool::table::{FloorMark, Table};

#[test]
fn format_is_durable_with_its_name_and_a_segments_name_before_anything_is_in_it() {
    let root = Root::new(SpoolId(5));
    let written =
        Syncs::made_by(|_| {}, |fs, dir| data_dir::write_root(fs, dir, &dir.join(names::FORMAT), &root));
    assert_eq!(written, Syncs::of(1, 1));
    let prepared = Syncs::made_by(|_| {}, |fs, dir| active::prepare(fs, dir, SegmentId(1), 4096));
    assert_eq!(prepared, Syncs::of(0, 1));
}

#[test]
fn what_was_salvaged_is_durable_before_it_is_a_spool() {
    let finished = Syncs::made_by(|_| {}, |fs, dir| crate::spool::salvage::finish(fs, dir, SpoolId(5)));
    assert_eq!(finished, Syncs::of(1, 3));
}

#[test]
fn a_salvaged_lane_is_durable_with_its_floor_and_so_is_the_life_that_goes_on() {
    use crate::spool::salvage::{Old, Wishes, carry_life};
    let old = |dir: &Path| dir.join("old");
    let prepare = |dir: &Path| {
        let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
        let lane = open(&RealFs, &old(dir), &settings, Seq::NONE);
        (0..6u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
        lane.close();
        Floor::open(&RealFs, &old(dir).join("lanes/main"))
            .unwrap()
            .raise(FloorMark { dropped: Seq::NONE, released: Seq(2) })
            .unwrap();
    };
    let copied = Syncs::made_by(prepare, |fs, dir| {
        let found = Old::find(fs, &old(dir), Old::identify(fs, &old(dir))?)?;
        let wishes =
            Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: crate::ids::RunId(1) };
        found.copy(&lane_name(), &dir.join("new"), &wishes, &mut |_| {})
    });
    // The segment; the file of the floor, and what is in it; the name of the floor before, and of both after.
    assert_eq!(copied, Syncs::of(3, 2));
    let carried = Syncs::made_by(prepare, |fs, dir| {
        carry_life(fs, &old(dir), &dir.join("new"), Old::identify(fs, &old(dir))?)
    });
    assert_eq!(carried, Syncs::of(2, 1));
}

/// Its name may be lost: then the one before holds, as it did.
#[test]
fn what_the_catalogue_says_is_durable_before_it_takes_the_place_of_another() {
    let written = Syncs::made_by(
        |_| {},
        |fs, dir| crate::spool::catalogue::write(fs, dir, SpoolId(5), &Table::default()),
    );
    assert_eq!(written, Syncs::of(1, 0));
}

#[test]
fn a_floor_is_durable_before_it_is_relied_on() {
    let mark = |n| FloorMark { dropped: Seq(n), released: Seq(n) };
    let raise = |dir: &Path| Floor::open(&RealFs, dir).unwrap().raise(mark(3)).unwrap();
    let raised = Syncs::made_by(raise, |fs, dir| Floor::open(fs, dir)?.raise(mark(5)));
    // Those at the opening: who deletes for its sake asks whether it is durable.
    let passed_over = vec![(Op::SyncData, 0), (Op::SyncDir, 0)];
    assert_eq!(raised, Syncs { passed_over, ..Syncs::of(2, 1) });
    let opened = Syncs::made_by(raise, |fs, dir| {
        let floor = Floor::open(fs, dir)?;
        if floor.is_durable() {
            Ok(())
        } else {
            Err(DiskError::TooLarge { size: 0, capacity: 0, path: dir.into() })
        }
    });
    assert_eq!(opened, Syncs::of(1, 1));
}

#[test]
fn who_a_directory_is_is_synced_when_it_is_made_and_a_disk_that_refuses_keeps_nobody_from_it() {
    let opened = Syncs::made_by(
        |_| {},
        |fs, dir| {
            let host = Arc::new(SteppedHost::new(1));
            DataDir::open_on(fs.clone(), dir, host as Arc<dyn Host>).map(drop)
        },
    );
    // The file of the incarnation, what is in it, and FORMAT; of the first and the last the names, too.
    let files = (0..3).map(|n| (Op::SyncData, n));
    let passed_over = files.chain((0..2).map(|n| (Op::SyncDir, n))).collect();
    assert_eq!(opened, Syncs { passed_over, ..Syncs::of(3, 2) });
}

#[test]
fn a_deletion_is_recorded_durably_and_then_made_durable_itself() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    (0..12).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    while lane.tidy() {}
    let counts = || [Op::Remove, Op::SyncData, Op::SyncDir].map(|op| site.fs.count(op));
    let before = counts();
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    let made: Vec<u64> = counts().iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(made, [2, 2, 2], "of two segments");
    lane.close();
}

#[test]
fn a_closed_segment_that_can_not_be_synced_is_counted() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    let label = crate::metrics::Lane { lane: lane_name().to_string() };
    let errors = || site.metrics.fsync_errors.get_or_create(&label).get();
    (0..6).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    assert_eq!(errors(), 0);
    site.fs.fail_next(Op::SyncData, 1);
    while lane.tidy() {}
    assert_eq!(errors(), 1);
    lane.close();
}

#[test]
fn a_segment_whose_last_sync_fails_is_not_followed_by_another_of_the_same_run() {
    let site = Site::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_secs(3600)), ..plain() };
    let mut lane = site.lane(&settings);
    (0..4).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    while lane.tidy() {}
    let (created, run) = (site.fs.count(Op::Create), lane.lane().run());
    site.fs.fail_next(Op::SyncData, 1);
    while lane.lane().status().failing.is_none() {
        send(&mut lane, &[("a", 5000)]);
    }
    assert_eq!((site.fs.count(Op::Create), lane.lane().status().segments), (created, 0));
    site.host.advance(Duration::from_secs(1));
    lane.turn();
    assert!(lane.lane().status().failing.is_none() && lane.lane().run() != run);
    lane.close();
}

#[test]
fn the_mark_of_an_idle_lane_is_synced_and_that_it_can_not_be_is_believed() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    for fails in [false, true] {
        assert_eq!(send(&mut lane, &[("a", 10)]), 1);
        let counts = || (site.fs.count(Op::Write), site.fs.count(Op::SyncData));
        let before = counts();
        site.fs.fail_next(Op::SyncData, fails.into());
        site.host.advance(Duration::from_millis(250));
        lane.turn();
        assert_eq!(counts(), (before.0 + 1, before.1 + 1));
        assert_eq!(lane.lane().status().failing.is_some(), fails);
    }
    lane.close();
}

#[test]
fn what_was_accepted_at_an_interval_and_can_not_be_synced_is_counted_as_lost() {
    let site = Site::new();
    let settings = Spool { sync: Sync::Interval(Duration::from_secs(1)), ..plain() };
    let mut lane = site.lane(&settings);
    assert_eq!(send(&mut lane, &[("a", 100), ("a", 100)]), 2);
    site.fs.fail_next(Op::SyncData, 1);
    site.host.advance(Duration::from_secs(1));
    lane.turn();
    let status = lane.lane().status();
    assert_eq!((status.failing.is_some(), status.quarantined_events), (true, 2));
    lane.close();
}
