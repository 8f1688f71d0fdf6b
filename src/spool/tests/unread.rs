//! Whether there is more in a lane than can be read of it.

use super::*;
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::spool::inspect::Snapshot;
use crate::spool::passed_over::Why;
use crate::spool::unread::holds_unread;
use rustix::io::Errno;

const PAGE: usize = 4096;

/// A lane at rest: two segments, and a third that was prepared and not used.
fn lane() -> SimFs {
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    for value in [1, 2] {
        let lane = open(&fs, data, &settings(), Seq::NONE);
        append(&lane, "a", &[vec![value; 100]]).unwrap();
        lane.close();
    }
    fs.tamper(|world| world.rot(&path(9), vec![0; 5000])).unwrap();
    fs
}

fn path(n: u64) -> PathBuf {
    Path::new("/data/lanes/main").join(names::segment(crate::ids::SegmentId(n)))
}

fn may_hold_more(fs: &SimFs) -> bool {
    Snapshot::take(fs, Path::new("/data")).unwrap().lanes[0].may_hold_more()
}

#[test]
fn a_lane_may_hold_more_than_it_shows_where_its_end_can_not_be_read_or_a_file_is_passed_over() {
    let whole = lane();
    assert!(!may_hold_more(&whole), "{:?}", whole.world().paths());
    let bytes = whole.world().read(&path(2)).unwrap();
    let with = |harm: &dyn Fn(&SimFs)| {
        let fs = SimFs::of(whole.world());
        harm(&fs);
        may_hold_more(&fs)
    };
    assert!(with(&|fs| fs.tamper(|w| w.wear(&path(2), 2 * PAGE..2 * PAGE + 1)).unwrap()), "its blocks");
    assert!(with(&|fs| fs.tamper(|w| w.wear(&path(2), 0..3 * PAGE)).unwrap()), "all of it");
    assert!(with(&|fs| fs.tamper(|w| w.rot(&path(2), vec![0xa5; bytes.len()])).unwrap()), "garbage");
    assert!(
        with(&|fs| fs.tamper(|w| w.rot(&path(5), vec![0xa5; 5000])).unwrap()),
        "a file that is none of the log"
    );
    assert!(with(&|fs| fs.tamper(|w| w.obstruct(&path(5), true)).unwrap()), "no file at all");
    let newer = |fs: &SimFs| {
        let header = format::SegmentHeader::decode_area(&bytes).unwrap();
        let mut bytes = bytes.clone();
        bytes[..2 * PAGE]
            .copy_from_slice(&format::SegmentHeader { incompat: 1 << 5, ..header }.encode_area());
        fs.tamper(|w| w.rot(&path(2), bytes)).unwrap();
    };
    assert!(with(&newer), "a newer version's");
    // The header alone says nothing that is missed.
    assert!(!with(&|fs| fs.tamper(|w| w.wear(&path(2), 0..1)).unwrap()));
}

fn passed_over(fs: &SimFs) -> Vec<(PathBuf, Why)> {
    let lane = Snapshot::take(fs, Path::new("/data")).unwrap().lanes.remove(0);
    let told = lane.passed_over().into_iter().map(|p| (p.file, p.why));
    told.collect()
}

/// Of none of these does a number say that anything is missing, so `verify` and `inspect` called the spool whole.
#[test]
fn what_is_passed_over_is_told_one_by_one_with_the_reason() {
    let whole = lane();
    assert_eq!(passed_over(&whole), []);
    let with = |harm: &dyn Fn(&SimFs)| {
        let fs = SimFs::of(whole.world());
        harm(&fs);
        passed_over(&fs)
    };
    for pages in [2 * PAGE..2 * PAGE + 1, 0..3 * PAGE] {
        let found = with(&|fs| fs.tamper(|w| w.wear(&path(2), pages.clone())).unwrap());
        assert_eq!(found, [(path(2), Why::CannotBeRead)], "{pages:?}");
    }
    let found = with(&|fs| fs.tamper(|w| w.rot(&path(5), vec![0xa5; 5000])).unwrap());
    assert_eq!(found, [(path(5), Why::Unrecognised)]);
    let found = with(&|fs| fs.tamper(|w| w.obstruct(&path(5), true)).unwrap());
    assert_eq!(found, [(path(5), Why::NotAFile)]);
}

/// A write to a segment fails, and the next one leaves it out; or a start cannot open it, and it was whole.
#[test]
fn a_segment_that_is_left_out_was_lost_if_anything_in_it_was_durable_and_else_never_was() {
    let (fs, data) = (lane(), Path::new("/data"));
    fs.tamper(|world| world.lose(&path(9))).unwrap();
    let lane = open(&fs, data, &settings(), Seq::NONE);
    append(&lane, "a", &[vec![3; 100]]).unwrap();
    lane.close();
    let mut third = fs.world().read(&path(3)).unwrap();
    let header = format::SegmentHeader::decode_area(&third).unwrap();
    let segment = crate::ids::SegmentId(1);
    let predecessor = format::Predecessor { segment, end: Seq(2), ..header.predecessor };
    let area = format::SegmentHeader { predecessor, ..header }.encode_area();
    third[..area.len()].copy_from_slice(&area);
    fs.tamper(|w| w.rot(&path(3), third)).unwrap();
    assert_eq!(passed_over(&fs), [(path(2), Why::LeftOut)], "its seal says that its event was durable");
    let mut second = fs.world().read(&path(2)).unwrap();
    let block = format::BlockHeader::decode(&second[2 * PAGE..]).unwrap();
    let behind = 2 * PAGE + (block.len() + block.payload_len as usize).next_multiple_of(8);
    second[behind..].fill(0);
    fs.tamper(|w| w.rot(&path(2), second)).unwrap();
    assert_eq!(passed_over(&fs), [(path(2), Why::WriteFailed)]);
    // What can't be read may be anything; what is gone meanwhile is nothing.
    let snapshot = Snapshot::take(&fs, data).unwrap();
    let told = || snapshot.lanes[0].passed_over().into_iter().map(|passed| passed.why).collect::<Vec<_>>();
    fs.break_at(Fault { at: fs.calls(), errno: Errno::ACCESS, lasting: Lasting::Once });
    assert_eq!(told(), [Why::LeftOut]);
    fs.repair();
    assert_eq!(told(), [Why::WriteFailed]);
    fs.remove(&path(2)).unwrap();
    assert_eq!(told(), [Why::WriteFailed]);
    assert!(Why::LeftOut.is_damage() && !Why::WriteFailed.is_damage());
}

/// The bytes of a segment's file that was found damaged by a start and is whole again.
#[test]
fn what_came_back_in_an_older_segment_after_it_was_given_up_may_be_more_than_the_lane_shows() {
    let (fs, data) = (SimFs::default(), Path::new("/data"));
    let lane = open(&fs, data, &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 100]]).unwrap();
    lane.close();
    drop(lane);
    let whole = fs.world().read(&path(1)).unwrap();
    let mut bytes = whole.clone();
    bytes[2 * PAGE..].fill(0xa5);
    fs.tamper(|w| w.rot(&path(1), bytes)).unwrap();
    let lane = open(&fs, data, &settings(), Seq(2));
    append(&lane, "a", &[vec![2; 100]]).unwrap();
    lane.close();
    assert!(!may_hold_more(&fs), "its end is known, and there is nothing behind it");
    assert_eq!(passed_over(&fs), []);
    fs.tamper(|w| w.rot(&path(1), whole)).unwrap();
    assert!(may_hold_more(&fs));
    assert_eq!(passed_over(&fs), [(path(1), Why::GivenUp)]);
}

#[test]
fn a_lane_whose_last_segment_is_damaged_may_hold_more_though_nothing_stands_behind_its_end() {
    let fs = lane();
    let mut bytes = fs.world().read(&path(2)).unwrap();
    // Its event; the seal behind it says that it was there.
    let header = format::BlockHeader::decode(&bytes[2 * PAGE..]).unwrap().len();
    bytes[2 * PAGE + header] ^= 1;
    fs.tamper(|w| w.rot(&path(2), bytes)).unwrap();
    let snapshot = Snapshot::take(&fs, Path::new("/data")).unwrap();
    let last = snapshot.lanes[0].segments().last().unwrap();
    assert_eq!((last.verdict, last.readable), (format::Verdict::Rotten, true));
    assert!(!holds_unread(snapshot.lanes[0].log(), last));
    assert!(may_hold_more(&fs));
}

#[test]
fn a_segment_holds_unread_what_a_newer_version_wrote_or_what_stands_whole_behind_a_damaged_place() {
    use format::Verdict;
    let fs = lane();
    let snapshot = Snapshot::take(&fs, Path::new("/data")).unwrap();
    let (log, whole) = (snapshot.lanes[0].log(), snapshot.lanes[0].segments().next().unwrap());
    assert_eq!((whole.verdict, whole.end), (Verdict::Closed, Seq(2)));
    // It ends behind its event and its seal; or at its beginning, and these stand behind it.
    let (behind, beginning) = ((whole.end_offset, whole.end), (2 * PAGE as u64, Seq(1)));
    for (verdict, readable, (end_offset, end), holds) in [
        (Verdict::Closed, true, behind, false),
        // A write that failed has left it.
        (Verdict::Failed, true, beginning, false),
        (Verdict::Rotten, true, behind, false),
        (Verdict::Rotten, true, beginning, true),
        (Verdict::Unknown(9), true, behind, false),
        (Verdict::Unknown(9), true, beginning, true),
        (Verdict::Closed, false, behind, true),
        (Verdict::Rotten, false, behind, true),
    ] {
        let segment = Segment { verdict, readable, end_offset, end, ..whole.clone() };
        assert_eq!(holds_unread(log, &segment), holds, "{segment:?}");
    }
    let rotten = Segment { verdict: Verdict::Rotten, ..whole.clone() };
    fs.tamper(|w| w.wear(&path(1), 2 * PAGE..2 * PAGE + 1)).unwrap();
    let from_its_beginning = Segment { end_offset: 2 * PAGE as u64, ..rotten.clone() };
    assert!(holds_unread(log, &from_its_beginning), "what can not be read may be anything");
    fs.tamper(|w| w.lose(&path(1))).unwrap();
    assert!(!holds_unread(log, &rotten), "it is gone");
    fs.tamper(|w| w.obstruct(&path(1), true)).unwrap();
    assert!(holds_unread(log, &rotten), "it can not be opened");
}
