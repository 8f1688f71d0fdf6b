//! What becomes of a segment of which something was lost, when everybody is past it.

use super::stepped::{Site, plain, send};
use super::*;
use crate::disk::RealFs;
use crate::disk::faulty::Op;
use crate::ids::SegmentId;
use crate::spool::inspect::Snapshot;
use crate::spool::put_aside::Contents;

fn path(site: &Site, id: u64) -> PathBuf {
    site.dir.path().join("lanes/main").join(names::segment(SegmentId(id)))
}

fn aside(site: &Site, id: u64) -> PathBuf {
    site.dir.path().join("lanes/main").join(names::damaged(SegmentId(id)))
}

/// Segments of four events each.
fn filled(site: &Site, settings: &Spool, segments: u64) {
    let mut lane = site.lane(settings);
    (0..4 * segments).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    lane.close();
}

/// The first event of a segment.
fn rot(site: &Site, id: u64) -> Vec<u8> {
    let mut bytes = std::fs::read(path(site, id)).unwrap();
    bytes[format::DATA_START as usize + 1000] ^= 1;
    std::fs::write(path(site, id), &bytes).unwrap();
    bytes
}

fn put_aside(site: &Site) -> Vec<(PathBuf, u64)> {
    let lane = &Snapshot::take(&RealFs, site.dir.path()).unwrap().lanes[0];
    lane.put_aside(true).unwrap().into_iter().map(|aside| (aside.file, aside.bytes)).collect()
}

/// First number, number after the last, whether the next segment says so, whole events, others.
type Told = (u64, u64, bool, u64, u64);

/// What is in each of them.
fn contents(site: &Site, thorough: bool) -> Vec<Option<Told>> {
    let lane = &Snapshot::take(&RealFs, site.dir.path()).unwrap().lanes[0];
    let told = |c: Contents| (c.first.0, c.end.0, c.is_all, c.events, c.lost);
    lane.put_aside(thorough).unwrap().into_iter().map(|aside| aside.contents.map(told)).collect()
}

/// It said how many bytes it had, and nothing of the events.
#[test]
fn of_a_segment_that_is_put_aside_it_is_told_which_events_are_whole_in_it_and_which_are_not() {
    let site = Site::new();
    filled(&site, &plain(), 4);
    [1, 2].iter().for_each(|id| drop(rot(&site, *id)));
    let mut lane = site.lane(&plain());
    read_all(lane.lane(), 1);
    lane.lane().release(Seq(5));
    while lane.tidy() {}
    assert_eq!(contents(&site, true), [Some((1, 5, true, 3, 1))], "the next one is in the log");
    assert_eq!(contents(&site, false), [Some((1, 5, true, 4, 0))], "its header is whole");
    lane.lane().release(Seq(13));
    while lane.tidy() {}
    lane.close();
    let both = [Some((1, 5, true, 3, 1)), Some((5, 9, false, 3, 1))];
    assert_eq!(contents(&site, true), both, "the next one is put aside too; or deleted");
    // Of the last event nothing is left but what the next segment says.
    let file = std::fs::File::options().write(true).open(aside(&site, 1)).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(format::DATA_START + 3 * 5200).unwrap();
    assert_eq!(contents(&site, true)[0], Some((1, 5, true, 2, 2)));
    file.set_len(len).unwrap();
    std::fs::write(aside(&site, 1), vec![0xa5; 9000]).unwrap();
    std::fs::write(aside(&site, 2), vec![0xa5; 9000]).unwrap();
    assert_eq!(contents(&site, true), [None, None]);
}

/// It was deleted with everything else, and `verify` found nothing wrong any more.
#[test]
fn a_damaged_segment_is_put_aside_when_it_is_needed_no_more_though_the_agent_was_started_anew_meanwhile() {
    for restarts in [false, true] {
        let site = Site::new();
        filled(&site, &plain(), 3);
        let harmed = rot(&site, 1);
        let mut lane = site.lane(&plain());
        let (events, holes) = read_all(lane.lane(), 1);
        assert_eq!((events.len(), holes.len()), (11, 1));
        assert_eq!(
            (std::fs::read(aside(&site, 1)).unwrap(), put_aside(&site)),
            (vec![], vec![]),
            "it is marked"
        );
        if restarts {
            lane.close();
            lane = site.lane(&plain());
        }
        let before = lane.lane().status().bytes;
        let second = std::fs::metadata(path(&site, 2)).unwrap().len();
        lane.lane().release(Seq(9));
        while lane.tidy() {}
        assert_eq!([1, 2, 3].map(|id| path(&site, id).exists()), [false, false, true]);
        assert!(std::fs::read(aside(&site, 1)).unwrap() == harmed && !aside(&site, 2).exists());
        assert_eq!(put_aside(&site), [(aside(&site, 1), harmed.len() as u64)]);
        assert!(Snapshot::take(&RealFs, site.dir.path()).unwrap().lanes[0].may_hold_more());
        assert_eq!(lane.lane().status().bytes, before - second, "what is put aside counts as used");
        lane.close();
        let lane = site.lane(&plain());
        assert_eq!(read_all(lane.lane(), 9).0.len(), 4);
        assert!(lane.lane().status().bytes >= harmed.len() as u64);
        lane.close();
        // In a directory of its own its events can be read, and sent again.
        let alone = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(alone.path().join("lanes/main")).unwrap();
        std::fs::copy(aside(&site, 1), alone.path().join("lanes/main").join(names::segment(SegmentId(1))))
            .unwrap();
        let found = Snapshot::take(&RealFs, alone.path()).unwrap().lanes[0].look_over(true).unwrap();
        assert_eq!((found.streams["a"], found.lost()), (3, 1));
    }
}

#[test]
fn an_intact_segment_that_could_not_be_read_for_too_long_is_put_aside_as_it_is() {
    let site = Site::new();
    filled(&site, &plain(), 3);
    let bytes = std::fs::read(path(&site, 1)).unwrap();
    let mut lane = site.lane(&plain());
    let mut reader = lane.lane().reader(Seq(1));
    site.fs.fail_next(Op::Open, 1_000_000);
    assert!((0..reader::PATIENCE).all(|_| reader.next().is_err()));
    site.host.advance(reader::WHOLE_PATIENCE);
    assert!(matches!(reader.next(), Ok(Some(Item::Hole(hole))) if hole.range.len() == 4));
    site.fs.fail_next(Op::Open, 0);
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    assert_eq!([1, 2].map(|id| path(&site, id).exists()), [false, false]);
    assert!(std::fs::read(aside(&site, 1)).unwrap() == bytes);
    lane.close();
}

#[test]
fn a_power_cut_that_takes_the_new_name_of_a_damaged_segment_back_costs_nothing() {
    let site = Site::new();
    filled(&site, &plain(), 3);
    let harmed = rot(&site, 1);
    let mut lane = site.lane(&plain());
    read_all(lane.lane(), 1);
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    lane.close();
    std::fs::rename(aside(&site, 1), path(&site, 1)).unwrap();
    std::fs::write(aside(&site, 1), []).unwrap();
    let mut lane = site.lane(&plain());
    while lane.tidy() {}
    assert!(std::fs::read(aside(&site, 1)).unwrap() == harmed && !path(&site, 1).exists());
    assert!(lane.lane().status().bytes >= harmed.len() as u64);
    lane.close();
}

#[test]
fn what_is_put_aside_takes_an_eighth_of_the_quota_and_the_newest_stays_in_any_case() {
    // About 29 KB a segment: none fits, one, two and a half.
    for (quota, stay) in [(128 << 10, 1), (300 << 10, 1), (600 << 10, 2)] {
        let (site, settings) = (Site::new(), Spool { max_size: Some(quota), ..plain() });
        filled(&site, &settings, 4);
        (1..=4).for_each(|id| drop(rot(&site, id)));
        let mut lane = site.lane(&settings);
        assert_eq!(read_all(lane.lane(), 1).1.len(), 4);
        lane.lane().release(Seq(17));
        while lane.tidy() {}
        let kept: Vec<u64> = (1..=4).filter(|id| aside(&site, *id).exists()).collect();
        // The last segment is never deleted.
        assert_eq!(kept.into_iter().filter(|id| *id < 4).count(), stay, "{quota}");
        assert!(aside(&site, 3).exists(), "{quota}");
        assert_eq!(put_aside(&site).len(), stay);
        assert_eq!(send(&mut lane, &[("a", 5000)]), 1, "{quota}");
        lane.close();
    }
}

#[test]
fn a_damaged_segment_that_is_dropped_for_lack_of_room_is_deleted_with_its_mark() {
    let site = Site::new();
    let settings = Spool { max_size: Some(128 << 10), when_full: WhenFull::DropOldest, ..plain() };
    filled(&site, &settings, 3);
    rot(&site, 1);
    let mut lane = site.lane(&settings);
    read_all(lane.lane(), 1);
    assert!(aside(&site, 1).exists());
    while send(&mut lane, &[("a", 5000)]) == 1 {}
    while lane.tidy() {}
    assert_eq!(lane.lane().first(), Seq(5));
    assert!(!path(&site, 1).exists() && !aside(&site, 1).exists());
    lane.close();
}

#[test]
fn a_mark_is_durable_before_the_loss_is_told_and_that_it_can_not_be_made_is_said() {
    use crate::logs::testing::said;
    for (op, fails, stands) in [
        (Op::SyncDir, false, false),
        (Op::SyncDir, true, false),
        (Op::Create, true, false),
        // Somebody else has made it.
        (Op::Create, false, true),
    ] {
        let site = Site::new();
        filled(&site, &plain(), 3);
        rot(&site, 1);
        let lane = site.lane(&plain());
        if stands {
            std::fs::write(aside(&site, 1), []).unwrap();
        }
        let before = site.fs.count(Op::SyncDir);
        site.fs.fail_next(op, fails.into());
        let ((_, holes), lines) = said(|| read_all(lane.lane(), 1));
        let is_said = lines.iter().any(|line| line.contains("can't be marked"));
        assert_eq!((holes.len(), is_said), (1, fails), "{op:?}: {lines:?}");
        assert_eq!(site.fs.count(Op::SyncDir) - before, u64::from(op == Op::SyncDir || stands));
        lane.close();
    }
}

#[test]
fn what_was_delivered_or_dropped_is_no_loss_to_who_comes_later() {
    let site = Site::new();
    filled(&site, &plain(), 3);
    let mut lane = site.lane(&plain());
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    let ((events, holes), lines) = crate::logs::testing::said(|| read_all(lane.lane(), 1));
    assert_eq!((events.len(), holes.len()), (4, 1));
    assert_eq!((lane.lane().status().quarantined_events, lines), (0, vec![]));
    lane.close();
}

/// On a full disk it is recorded afterwards; on one that has failed it may never be.
#[test]
fn a_delivered_segment_whose_deletion_a_failing_disk_can_not_record_stays() {
    let site = Site::new();
    filled(&site, &plain(), 3);
    let mut lane = site.lane(&plain());
    lane.lane().release(Seq(5));
    site.fs.fail_next(Op::SyncData, 1);
    while lane.tidy() {}
    assert!(path(&site, 1).exists());
    while lane.tidy() {}
    lane.close();
}
