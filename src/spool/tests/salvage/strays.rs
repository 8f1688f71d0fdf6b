//! Blocks that the log does not reach: each is taken once, and at its own number only where that is safe.

use super::*;
use crate::ids::SeqRange;

/// Writes a file that no header explains, with one block of another file under another run and segment.
fn stray(from: &Path, block: (usize, usize), to: &Path, (run, segment): (u64, u64)) {
    let mut bytes = std::fs::read(from).unwrap()[block.0..block.0 + block.1].to_vec();
    let first = format::BlockHeader::decode(&bytes).unwrap().first;
    format::BlockHeader::relocate(&mut bytes, RunId(run), SegmentId(segment), first, Seq::NONE);
    let mut file = vec![0xff; format::DATA_START as usize];
    file.extend(bytes);
    std::fs::write(to, file).unwrap();
}

#[test]
fn of_several_copies_of_what_rotted_in_segments_that_follow_each_other_each_event_is_taken_once() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let whole = dump(dir.path());
    let mut rotten = 0;
    for path in segments(dir.path()) {
        for name in ["one", "two"] {
            std::fs::copy(&path, path.with_extension(name)).unwrap();
        }
        let Some((at, _)) = blocks(&path).first().copied() else { continue };
        spoil(&path, at + 20);
        rotten += 2;
    }
    let done = salvage(dir.path(), into.path()).salvaged;
    assert_eq!((done.found, done.renumbered, done.unproven, done.lost()), (rotten, 0, 0, 0));
    assert_eq!(dump(into.path()), whole);
}

#[test]
fn a_copy_that_has_lost_its_beginning_fills_the_holes_of_the_log() {
    for fill in [0, 0xff] {
        let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(dir.path());
        let whole = dump(dir.path());
        let path = &segments(dir.path())[1];
        let found = blocks(path);
        let mut copy = std::fs::read(path).unwrap();
        copy[..found[1].0].fill(fill);
        std::fs::write(path.with_extension("backup"), copy).unwrap();
        spoil(path, found[1].0 + 20);
        let done = salvage(dir.path(), into.path()).salvaged;
        assert_eq!((done.found, done.renumbered, done.lost()), (2, 0, 0), "{fill}");
        assert_eq!(dump(into.path()), whole);
    }
}

#[test]
fn what_nothing_proves_takes_no_number_that_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let path = &segments(dir.path())[1];
    let block = blocks(path)[1];
    stray(path, block, &dir.path().join("lanes/main/stray"), (77, 1));
    spoil(path, block.0 + 20);
    let (log, holes) = dump(dir.path());
    let hole = SeqRange::new(Seq(holes[0].0), Seq(holes[0].1));
    for (wanted, counts) in [(false, (0, 0, 2)), (true, (0, 2, 0))] {
        let into = tempfile::tempdir().unwrap();
        let done = salvage_with(dir.path(), into.path(), wanted, true).salvaged;
        assert_eq!((done.found, done.renumbered, done.unproven), counts);
        assert_eq!(done.lost, [hole]);
        assert_eq!(dump(into.path()).0[..log.len()], log[..]);
    }
}

/// Such as a write leaves that came back in part, where the space had been used before.
#[test]
fn a_block_right_behind_the_log_that_does_not_go_on_from_it_is_counted() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let path = segments(dir.path()).pop().unwrap();
    let found = blocks(&path);
    let (at, len) = found[0];
    let mut bytes = std::fs::read(&path).unwrap();
    let mut other = bytes[at..at + len].to_vec();
    let header = format::BlockHeader::decode(&other).unwrap();
    let (segment, first) = (header.segment, header.first);
    format::BlockHeader::relocate(&mut other, RunId(77), segment, first, Seq::NONE);
    bytes.truncate(at + len);
    bytes.extend(other);
    std::fs::write(&path, bytes).unwrap();
    let (log, _) = dump(dir.path());
    let done = salvage(dir.path(), into.path()).salvaged;
    assert_eq!((done.found, done.renumbered, done.unproven, done.lost()), (0, 0, 2, 0));
    assert_eq!(dump(into.path()).0, log);
}
