//! What salvage makes of files: whose they are, what of them can't be opened, and what it writes.

use super::*;
use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::ids::SeqRange;
use rustix::io::Errno;

/// Everything of `dir` on a disk in memory.
fn simulated(dir: &Path) -> SimFs {
    let fs = SimFs::default();
    for (path, bytes) in tree(dir) {
        let path = Path::new("/old").join(path.strip_prefix(dir).unwrap());
        fs.create_dir(path.parent().unwrap()).unwrap();
        fs.tamper(|world| world.rot(&path, bytes)).unwrap();
    }
    fs
}

#[test]
fn a_segment_of_another_spool_takes_no_place_in_this_one_and_is_named() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    make(other.path());
    // In the place of one that is missing.
    let missing = segments(dir.path())[1].clone();
    std::fs::copy(&segments(other.path())[1], &missing).unwrap();
    let old = Old::find(&RealFs, dir.path(), Old::identify(&RealFs, dir.path()).unwrap()).unwrap();
    let name = missing.to_string_lossy();
    assert!(old.notes.iter().any(|n| n.contains(&*name) && n.contains("is of spool")), "{:?}", old.notes);
    let into = tempfile::tempdir().unwrap();
    let copy = salvage(dir.path(), into.path());
    same(dir.path(), into.path(), &copy);
    assert!(copy.salvaged.lost() > 0);
}

#[test]
fn a_file_that_may_not_be_opened_ends_it_and_one_that_can_not_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let fs = simulated(dir.path());
    let spool = Old::identify(&fs, Path::new("/old")).unwrap();
    let begun = fs.calls();
    let whole = Old::find(&fs, Path::new("/old"), spool).unwrap().bytes();
    let calls = fs.calls() - begun;
    let (mut told, mut named, mut gone) = (0, 0, 0);
    for at in 0..calls {
        for errno in [Errno::ACCESS, Errno::IO, Errno::NOENT] {
            fs.break_at(Fault { at: fs.calls() + at, errno, lasting: Lasting::Once });
            let found = Old::find(&fs, Path::new("/old"), spool);
            fs.repair();
            match (found, errno) {
                (Err(_), Errno::ACCESS) => told += 1,
                (Ok(old), Errno::IO) if !old.notes.is_empty() => {
                    assert!(
                        old.notes.len() == 1 && old.notes[0].contains("cannot be opened"),
                        "{:?}",
                        old.notes
                    );
                    named += 1;
                }
                (Ok(old), Errno::NOENT) if old.notes.is_empty() && old.bytes() < whole => gone += 1,
                _ => {}
            }
        }
    }
    let files = segments(dir.path()).len();
    // Each file is opened and asked for its size; two directories are listed.
    assert!(
        told >= 2 * files + 2 && named >= 2 * files && gone >= 2 * files,
        "{told} {named} {gone} of {files}"
    );
}

#[test]
fn what_is_there_to_be_read_is_counted_without_copies_and_told_as_it_is_read() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let files = segments(dir.path());
    let whole: u64 = files.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    std::fs::copy(&files[0], files[0].with_extension("backup")).unwrap();
    let old = Old::find(&RealFs, dir.path(), Old::identify(&RealFs, dir.path()).unwrap()).unwrap();
    assert_eq!((old.bytes(), old.lanes()), (whole, vec![lane_name()]));
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    let mut told = 0;
    old.copy(&lane_name(), into.path(), &wishes, &mut |bytes| told += bytes).unwrap();
    assert_eq!(told, whole - files.len() as u64 * format::DATA_START);
}

#[test]
fn a_lane_of_many_segments_is_written_into_one() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    salvage(dir.path(), into.path());
    assert_eq!(segments(into.path()).len(), 1);
}

#[test]
fn a_lane_without_a_file_is_salvaged_empty_above_where_readers_have_been() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let spool = Old::identify(&RealFs, dir.path()).unwrap();
    let mut old = Old::find(&RealFs, dir.path(), spool).unwrap();
    let other = LaneName::new("other").unwrap();
    old.know(&other);
    assert_eq!(old.lanes(), [lane_name(), other.clone()]);
    let wishes = Wishes { at_least: Seq(9), unproven: false, may_keep: &|_| true, run: SALVAGE };
    let copy = old.copy(&other, into.path(), &wishes, &mut |_| {}).unwrap();
    assert_eq!((copy.salvaged.lost(), copy.log_end, copy.first), (8, Seq(9), Seq(9)));
}

#[test]
fn a_spool_without_a_directory_of_lanes_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let spool = DataDir::open(RealFs, dir.path()).unwrap().spool_id();
    let old = Old::find(&RealFs, dir.path(), spool).unwrap();
    assert!(old.lanes().is_empty() && old.notes.is_empty());
}

#[test]
fn every_file_that_is_not_in_its_place_is_named_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let files = segments(dir.path());
    let backup = files[0].with_extension("backup");
    std::fs::copy(&files[0], &backup).unwrap();
    let swapped = files[1].with_file_name(names::segment(SegmentId(99)));
    std::fs::rename(&files[1], &swapped).unwrap();
    let other = dir.path().join("lanes/other");
    std::fs::create_dir(&other).unwrap();
    let moved = other.join(files[2].file_name().unwrap());
    std::fs::rename(&files[2], &moved).unwrap();
    let old = Old::find(&RealFs, dir.path(), Old::identify(&RealFs, dir.path()).unwrap()).unwrap();
    for (path, id) in [(&backup, 1), (&swapped, 2), (&moved, 3)] {
        let note = format!("{} holds segment {id} of lane main", path.display());
        assert!(old.notes.contains(&note), "{note}: {:?}", old.notes);
    }
    assert_eq!(old.notes.len(), 3);
}

/// A spool of five events of 100 kB each, in one segment.
fn five(dir: &Path) -> PathBuf {
    let settings = Spool { segment_size: 1 << 20, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir, &settings, Seq::NONE);
    (0..5u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 100_000]]).unwrap()));
    lane.close();
    segments(dir)[0].clone()
}

/// Zeros are what a file system leaves that has lost the beginning of a file.
#[test]
fn a_file_whose_beginning_is_gone_is_known_by_the_first_whole_block_in_it_under_any_name() {
    let whole = tempfile::tempdir().unwrap();
    let path = five(whole.path());
    let (events, _) = dump(whole.path());
    for (fill, first) in [(0, 1), (0, 3), (0xff, 1), (0xff, 3)] {
        let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy_dir(whole.path(), dir.path());
        let file = &segments(dir.path())[0];
        let mut bytes = std::fs::read(file).unwrap();
        bytes[..blocks(&path)[first].0].fill(fill);
        std::fs::write(file, bytes).unwrap();
        std::fs::rename(file, dir.path().join("lanes/#1234")).unwrap();
        let copy = salvage(dir.path(), into.path());
        assert_eq!(dump(into.path()).0, events[first..], "{fill} {first}");
        assert_eq!(copy.salvaged.lost, [SeqRange::new(Seq(1), Seq(1 + first as u64))]);
    }
}

/// Sets bits of a later version in both headers of a segment.
fn of_a_later_version(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = format::SegmentHeader::decode_area(&bytes).unwrap();
    let area = format::SegmentHeader { incompat: 1 << 7, ..header }.encode_area();
    bytes[..area.len()].copy_from_slice(&area);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_segment_of_a_later_version_is_not_read_and_its_events_count_as_lost() {
    let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path());
    let all = dump(dir.path()).0.len();
    of_a_later_version(&segments(dir.path())[1]);
    let copy = salvage(dir.path(), into.path());
    same(dir.path(), into.path(), &copy);
    let there = dump(into.path()).0.len();
    assert!(there < all && copy.salvaged.lost() == (all - there) as u64);
    assert_eq!((copy.salvaged.renumbered, copy.salvaged.found, copy.salvaged.unproven), (0, 0, 0));
}

#[test]
fn an_old_segment_that_was_released_is_not_read_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir.path(), &settings, Seq::NONE);
    (0..10u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 2000]]).unwrap()));
    let first = segments(dir.path())[0].clone();
    let before: Vec<_> =
        segments(dir.path()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    lane.release(Seq(9));
    while first.exists() {
        std::thread::yield_now();
    }
    lane.close();
    // Deletions that were not durable: what was released came back.
    let kept = segments(dir.path());
    let lengths = kept.iter().map(|path| std::fs::metadata(path).unwrap().len() - format::DATA_START);
    let expected: u64 = lengths.sum();
    for (bytes, path) in before.iter().filter(|(_, path)| !path.exists()) {
        std::fs::write(path, bytes).unwrap();
    }
    let old = Old::find(&RealFs, dir.path(), Old::identify(&RealFs, dir.path()).unwrap()).unwrap();
    let into = tempfile::tempdir().unwrap();
    let wishes = Wishes { at_least: Seq::NONE, unproven: false, may_keep: &|_| true, run: SALVAGE };
    let mut told = 0;
    let copy = old.copy(&lane_name(), into.path(), &wishes, &mut |bytes| told += bytes).unwrap();
    assert_eq!(told, expected);
    finish(&RealFs, into.path(), old.spool).unwrap();
    let events = dump(into.path()).0;
    assert_eq!((events[0].0, copy.first), (copy.gone.0, copy.gone));
    assert_eq!(copy.salvaged.lost(), 0);
}

/// The spool of one event in one whole block, whose header says something else of its payload.
fn one_block(dir: &Path, change: impl Fn(&mut [u8])) {
    let plain = Spool { compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, dir, &plain, Seq::NONE);
    append(&lane, "a", &[vec![1; 50], vec![2; 50]]).unwrap();
    lane.close();
    let path = &segments(dir)[0];
    let mut bytes = std::fs::read(path).unwrap();
    let block = &mut bytes[format::DATA_START as usize..];
    let header = format::BlockHeader::decode(block).unwrap();
    let (len, stored) = (header.len(), header.payload_len as usize);
    change(block);
    let crc = crc32fast::hash(&block[len..len + stored]).to_le_bytes();
    block[12..16].copy_from_slice(&crc);
    let crc = crc32fast::hash(&block[8..len]).to_le_bytes();
    block[4..8].copy_from_slice(&crc);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_can_not_be_read_of_a_whole_block_is_counted_and_the_block_kept_as_it_is() {
    let name_at = 100 + "main".len();
    type Change<'a> = &'a dyn Fn(&mut [u8]);
    let cases: [(&str, Change<'_>, (u64, u64)); 4] = [
        ("a kind of a later version", &|block| block[10] = 9, (2, 0)),
        ("a name that is none", &|block| block[name_at] = b'/', (2, 0)),
        ("an encryption key", &|block| block[28] = 1, (2, 0)),
        ("an event with unknown flags", &|block| block[112 + 53] = 0x80, (0, 1)),
    ];
    for (what, change, expected) in cases {
        let (dir, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        one_block(dir.path(), change);
        let copy = salvage(dir.path(), into.path());
        let Salvaged { events, unread, undecodable, .. } = copy.salvaged;
        assert_eq!((events, (unread, undecodable)), (2, expected), "{what}");
        assert_eq!(copy.salvaged.lost(), unread + undecodable, "{what}");
        let stored = |dir: &Path| {
            std::fs::read(&segments(dir)[0]).unwrap()[format::DATA_START as usize..][80..168].to_vec()
        };
        assert_eq!(stored(dir.path()), stored(into.path()), "{what}");
    }
}

#[test]
fn what_is_lost_are_the_numbers_without_an_event_and_the_events_that_can_not_be_read() {
    let lost = vec![SeqRange::new(Seq(2), Seq(5)), SeqRange::new(Seq(9), Seq(10))];
    let salvaged = Salvaged { lost, undecodable: 10, unread: 100, unproven: 1000, ..Salvaged::default() };
    assert_eq!(salvaged.lost(), 114);
}

#[test]
fn what_is_salvaged_goes_on_under_the_incarnation_that_the_old_one_lived_under() {
    use crate::spool::Cause;
    use crate::spool::salvage::carry_life;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("old");
    let data = DataDir::open(RealFs, &dir).unwrap();
    data.note_rolled_back().unwrap();
    let (spool, life) = (data.spool_id(), data.life());
    assert_eq!(life.cause, Cause::RolledBack);
    drop(data);
    let repaired = |name: &str| {
        let into = root.path().join(name);
        carry_life(&RealFs, &dir, &into, spool).unwrap();
        finish(&RealFs, &into, spool).unwrap();
        let data = DataDir::open(RealFs, &into).unwrap();
        data.note_opening();
        assert_eq!(data.spool_id(), spool);
        (into, data.life(), data.is_renewed())
    };
    let (into, lived, renewed) = repaired("whole");
    assert_eq!((lived, renewed), (life, false));
    // From its first start on it is told from its copies.
    copy_dir(&into, &root.path().join("copy"));
    assert_eq!(DataDir::open(RealFs, &root.path().join("copy")).unwrap().life().cause, Cause::Copied);
    // What was carried stands there twice; and if both are lost before the first start, that is told.
    carry_life(&RealFs, &dir, &root.path().join("carried"), spool).unwrap();
    finish(&RealFs, &root.path().join("carried"), spool).unwrap();
    let mark = root.path().join("carried/incarnation");
    let bytes = std::fs::read(&mark).unwrap();
    assert_eq!(bytes.chunks(4096).filter(|slot| slot.starts_with(b"SWSL")).count(), 2);
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(DataDir::open(RealFs, &root.path().join("carried")).unwrap().life().cause, Cause::Unmarked);
    // A record that is lost does not bring the first life back.
    std::fs::remove_file(dir.join("incarnation")).unwrap();
    let (_, lived, renewed) = repaired("unmarked");
    assert_eq!((lived.cause, renewed), (Cause::Unmarked, true));
    // One of a version that kept none has had none to lose.
    std::fs::write(dir.join("FORMAT"), crate::spool::format::Root::new(spool).encode()).unwrap();
    let (_, lived, renewed) = repaired("before");
    assert_eq!((lived.cause, lived.incarnation.0, renewed), (Cause::New, spool.0, false));
}
