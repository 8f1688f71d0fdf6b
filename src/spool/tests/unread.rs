//! Whether there is more in a lane than can be read of it.

use super::*;
use crate::disk::sim::SimFs;
use crate::spool::inspect::Snapshot;

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
