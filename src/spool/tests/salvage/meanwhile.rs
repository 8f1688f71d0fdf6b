//! Salvage beside an agent that runs: what it appends meanwhile is its own, and is not taken for what was left over.

use super::*;
use crate::disk::faulty::{Faulty, Op};
use crate::spool::tests::stepped::{Site, plain, send};

/// This happens at the opening of a file after `spared` others.
fn at_opening(fs: &Faulty, spared: u64, happens: Box<dyn FnOnce() + Send>) {
    let again = fs.clone();
    fs.meanwhile(Op::Open, move || match spared {
        0 => happens(),
        _ => at_opening(&again, spared - 1, happens),
    });
}

#[test]
fn a_segment_that_goes_on_while_it_is_salvaged_is_copied_up_to_one_moment() {
    let site = Site::new();
    let mut lane = site.lane(&plain());
    (0..2).for_each(|_| assert_eq!(send(&mut lane, &[("a", 10)]), 1));
    // The mark of an idle lane, and then more.
    site.host.advance(Duration::from_millis(250));
    lane.turn();
    (0..2).for_each(|_| assert_eq!(send(&mut lane, &[("a", 10)]), 1));
    let (dir, path) = (site.dir.path(), segments(site.dir.path())[0].clone());
    let whole = std::fs::read(&path).unwrap();
    let events = dump(dir).0;
    let (second, third) = (blocks(&path)[1], blocks(&path)[2]);
    let mark = second.0 + second.1;
    assert!(mark < third.0);
    let spool = lane.lane().spool_id();
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    let mut seen = std::collections::BTreeSet::new();
    for cut in [mark, third.0, third.0 + third.1] {
        for spared in 0..6 {
            let mut early = whole.clone();
            early[cut..].fill(0);
            std::fs::write(&path, early).unwrap();
            let old = Old::find(&site.fs, dir, spool).unwrap();
            let (path, whole) = (path.clone(), whole.clone());
            at_opening(&site.fs, spared, Box::new(move || std::fs::write(path, whole).unwrap()));
            let into = tempfile::tempdir().unwrap();
            let done = old.copy(&lane_name(), into.path(), &wishes, &mut |_| {}).unwrap().salvaged;
            finish(&RealFs, into.path(), spool).unwrap();
            let copied = dump(into.path()).0;
            assert_eq!((done.renumbered, done.unproven, done.lost()), (0, 0, 0), "{cut} {spared}");
            assert_eq!(copied, events[..copied.len()], "{cut} {spared}");
            seen.insert(copied.len());
        }
    }
    assert!(seen.contains(&2) && seen.contains(&4), "{seen:?}");
}

#[test]
fn a_segment_that_was_begun_after_the_files_were_listed_is_left_to_its_agent() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let path = segments(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let spool = Old::identify(&RealFs, dir.path()).unwrap();
    std::fs::write(&path, vec![0; bytes.len()]).unwrap();
    let (log, _) = dump(dir.path());
    let old = Old::find(&RealFs, dir.path(), spool).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    let done = old.copy(&lane_name(), into.path(), &wishes, &mut |_| {}).unwrap().salvaged;
    finish(&RealFs, into.path(), spool).unwrap();
    assert_eq!((done.renumbered, done.unproven, done.lost()), (0, 0, 0));
    assert_eq!(dump(into.path()).0, log);
}
