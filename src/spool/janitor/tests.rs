//! What the helper does when, and what it leaves alone.

use std::path::{Path, PathBuf};

use super::super::catalogue::WORTH;
use super::*;
use crate::disk::faulty::Op;
use crate::ids::LaneName;
use crate::metrics::Metrics;
use crate::spool::Lane;
use crate::spool::format::{SegmentHeader, Verdict};
use crate::spool::names;
use crate::spool::tests::stepped::{Site, plain, send};

/// What the helper of a lane without a segment works with.
fn chores(site: &Site) -> Chores<crate::disk::faulty::Faulty> {
    let name = LaneName::new("main").unwrap();
    Lane::assemble(&site.data, name, &plain(), Seq::NONE, &Metrics::new()).unwrap().2
}

fn segment(id: u64) -> Segment {
    Segment {
        id: SegmentId(id),
        path: PathBuf::new(),
        base: Seq(id),
        end: Seq(id + 1),
        end_offset: 0,
        bytes: 0,
        created: None,
        verdict: Verdict::Closed,
        readable: true,
    }
}

fn file(site: &Site, id: u64) -> PathBuf {
    site.dir.path().join("lanes/main").join(names::segment(SegmentId(id)))
}

#[test]
fn what_is_kept_for_a_while_or_could_not_be_deleted_is_looked_at_again_soon() {
    let site = Site::new();
    let mut chores = chores(&site);
    let hour = Duration::from_secs(3600);
    for (retained, stuck, patience) in
        [(false, false, hour), (true, false, LOOK_AGAIN), (false, true, LOOK_AGAIN)]
    {
        (chores.retained, chores.stuck) = (retained, stuck);
        assert_eq!(chores.patience(), patience, "{retained} {stuck}");
    }
}

#[test]
fn headers_are_noted_once_there_are_many_segments_and_again_when_as_many_have_come() {
    let site = Site::new();
    let mut chores = chores(&site);
    let noted = |chores: &mut Chores<_>, ids: &[u64]| {
        ids.iter().for_each(|id| chores.shared.table().segments.insert(SegmentId(*id), segment(*id)));
        chores.note_headers();
        std::fs::remove_file(site.dir.path().join("lanes/main").join(names::CATALOGUE)).is_ok()
    };
    let worth = WORTH as u64;
    // Few segments, of high numbers.
    assert!(!noted(&mut chores, &(1001..1000 + worth).collect::<Vec<_>>()));
    assert!(noted(&mut chores, &[1000 + worth]));
    assert!(!noted(&mut chores, &[]), "nothing has come");
    assert!(!noted(&mut chores, &(1001 + worth..1000 + 2 * worth).collect::<Vec<_>>()));
    assert!(noted(&mut chores, &[1000 + 2 * worth]));
    assert!(noted(&mut chores, &(1001 + 2 * worth..2000 + 3 * worth).collect::<Vec<_>>()), "and more");
}

/// Four events a segment.
fn twelve_events(site: &Site) {
    let mut lane = site.lane(&plain());
    (0..12).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    lane.close();
}

fn of_a_later_version(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = SegmentHeader::decode_area(&bytes).unwrap();
    let area = SegmentHeader { incompat: 1 << 7, ..header }.encode_area();
    bytes[..area.len()].copy_from_slice(&area);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_segment_that_this_version_can_not_read_is_left_alone_though_readers_are_past_it() {
    let site = Site::new();
    twelve_events(&site);
    of_a_later_version(&file(&site, 1));
    let mut lane = site.lane(&plain());
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    assert_eq!(lane.lane().first(), Seq(9));
    assert_eq!([1, 2, 3].map(|id| file(&site, id).exists()), [true, false, true]);
    lane.close();
}

#[test]
fn a_segment_that_can_not_be_deleted_stays_in_the_log_until_it_is_and_one_that_is_gone_does_not() {
    let site = Site::new();
    twelve_events(&site);
    let mut lane = site.lane(&plain());
    site.fs.fail_next(Op::Remove, 1);
    lane.lane().release(Seq(5));
    while lane.tidy() {}
    assert_eq!((lane.lane().first(), file(&site, 1).exists()), (Seq(1), true));
    lane.lane().release(Seq(6));
    while lane.tidy() {}
    assert_eq!((lane.lane().first(), file(&site, 1).exists()), (Seq(5), false));
    std::fs::remove_file(file(&site, 2)).unwrap();
    lane.lane().release(Seq(9));
    while lane.tidy() {}
    assert_eq!(lane.lane().first(), Seq(9));
    lane.close();
}

#[test]
fn what_may_be_dropped_is_dropped_for_room_and_for_nothing_else() {
    let site = Site::new();
    let mut lane = site.lane(&crate::config::model::Spool { max_size: Some(128 << 10), ..plain() });
    lane.lane().may_drop(Seq(9));
    lane.lane().may_drop(Seq(2));
    (0..12).for_each(|_| assert_eq!(send(&mut lane, &[("a", 5000)]), 1));
    while lane.tidy() {}
    assert_eq!(lane.lane().first(), Seq(1), "there is room");
    for first in [5, 9, 9] {
        while send(&mut lane, &[("a", 5000)]) == 1 {}
        while lane.tidy() {}
        assert_eq!(lane.lane().first(), Seq(first));
        site.host.advance(Duration::from_secs(1));
        lane.turn();
    }
    lane.close();
}

/// What is asked of the helper while it deletes waits for one deletion, not for all of them.
#[test]
fn the_next_segment_is_made_before_what_is_not_needed_is_deleted_and_between_two_deletions() {
    let site = Site::new();
    twelve_events(&site);
    let mut lane = site.lane(&plain());
    // Half of a segment: the next one is asked for, and three are to be deleted.
    assert_eq!(send(&mut lane, &[("a", 20_000)]), 1);
    lane.lane().release(Seq(13));
    let (made, handle, fs) = (site.fs.count(Op::Create), lane.lane().clone(), site.fs.clone());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
    site.fs.meanwhile(Op::Remove, move || {
        first.lock().unwrap().push(fs.count(Op::Create) - made);
        assert!(handle.janitor().take_prepared().unwrap().is_ok());
        handle.janitor().prepare(SegmentId(77));
        let at_the_next = fs.clone();
        fs.meanwhile(Op::Remove, move || {
            second.lock().unwrap().push(at_the_next.count(Op::Create) - made);
        });
    });
    while lane.tidy() {}
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
    assert_eq!((lane.lane().first(), file(&site, 77).exists()), (Seq(13), true));
}
