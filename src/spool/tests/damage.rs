//! Torn tails and rot.

use super::*;
use crate::disk::RealFs;
use crate::ids::SeqRange;

/// A spool of a few segments whose last one a crash has left unsealed; the directory, and what was accepted.
fn crashed(root: &Path, marked: bool) -> (PathBuf, Found) {
    let dir = root.join("live");
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, &dir, &settings, Seq::NONE);
    for i in 0..12u8 {
        append(&lane, if i % 3 == 0 { "a" } else { "b" }, &[vec![i; 900], vec![i; 3]]).unwrap();
    }
    let (events, holes) = read_all(&lane, 1);
    assert_eq!((events.len(), holes.len()), (24, 0));
    let copy = root.join("crashed");
    let (fewer, more) = (blocks_of(&dir), |n: usize| move |now: usize| now > n);
    if marked {
        wait_for_blocks(&dir, more(fewer));
    }
    copy_dir(&dir, &copy);
    lane.close();
    (copy, events)
}

fn blocks_of(dir: &Path) -> usize {
    let last = segments(dir).into_iter().rfind(|p| !file_blocks(p).is_empty()).unwrap();
    file_blocks(&last).len()
}

/// The idle mark is written by a timer; its coming is the event that is waited for.
fn wait_for_blocks(dir: &Path, enough: impl Fn(usize) -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !enough(blocks_of(dir)) {
        assert!(std::time::Instant::now() < end, "no mark was written");
        std::thread::yield_now();
    }
}

/// Offset, end and numbers of every block of a file.
fn file_blocks(path: &Path) -> Vec<(usize, usize, SeqRange)> {
    // An unused segment goes away when the lane is opened.
    let bytes = std::fs::read(path).unwrap_or_default();
    let (mut at, mut found) = (format::DATA_START as usize, Vec::new());
    while let Some(block) = bytes.get(at..).and_then(format::BlockHeader::decode) {
        let end = at + block.block_len() as usize;
        found.push((at, end, SeqRange::new(block.first, block.end())));
        at = end;
    }
    found
}

fn last_written(dir: &Path) -> PathBuf {
    segments(dir).into_iter().rfind(|p| !file_blocks(p).is_empty()).unwrap()
}

fn reopened(dir: &Path, at_least: u64) -> Lane {
    let settings = Spool { segment_size: 16 << 10, ..settings() };
    open(&RealFs, dir, &settings, Seq(at_least))
}

#[test]
fn a_last_block_torn_at_any_byte_ends_the_log_before_it() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), false);
    let last = last_written(&dir);
    let whole = std::fs::read(&last).unwrap();
    let (start, end, lost) = file_blocks(&last).into_iter().rfind(|b| !b.2.is_empty()).unwrap();
    let kept: Found = events.range(..lost.first.0).map(|(k, v)| (*k, v.clone())).collect();
    let step = 13;
    for cut in (start..end - 8).step_by(step).chain([start + 1, end - 9]) {
        let copy = root.path().join(format!("torn-{cut}"));
        copy_dir(&dir, &copy);
        // Torn by zeros in the file that was reserved, and torn by the file's end.
        let mut bytes = whole.clone();
        if cut % 2 == 0 {
            bytes[cut..].fill(0);
        } else {
            bytes.truncate(cut);
        }
        std::fs::write(copy.join("lanes/main").join(last.file_name().unwrap()), &bytes).unwrap();
        let lane = reopened(&copy, 0);
        assert_eq!(read_all(&lane, 1), (kept.clone(), vec![]), "cut at {cut}");
        assert_eq!(lane.status().quarantined_events, 0);
        // The number is given again, to another event of another run; the torn one never comes back.
        assert_eq!(append(&lane, "c", &[b"new".to_vec()]).unwrap().first, lost.first);
        lane.close();
        drop(lane);
        std::fs::write(copy.join("lanes/main").join(last.file_name().unwrap()), &whole).unwrap();
        let lane = reopened(&copy, 0);
        let (read, holes) = read_all(&lane, 1);
        assert_eq!((read[&lost.first.0].1.as_slice(), holes), (&b"new"[..], vec![]), "cut at {cut}");
        lane.close();
    }
}

#[test]
fn recovery_writes_nothing_and_is_repeatable() {
    let root = tempfile::tempdir().unwrap();
    let (dir, _) = crashed(root.path(), false);
    let last = last_written(&dir);
    let (_, end, _) = *file_blocks(&last).last().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[end - 20..].fill(0);
    std::fs::write(&last, &bytes).unwrap();
    let lane_dir = dir.join("lanes/main");
    let id = DataDir::open(RealFs, &dir).unwrap().spool_id();
    let contents = || -> Vec<_> { segments(&dir).iter().map(|p| std::fs::read(p).unwrap()).collect() };
    let before = contents();
    let once =
        recover::recover(&RealFs, &lane_dir, id, &lane_name(), Seq::NONE, recover::Access::Owner).unwrap();
    let twice =
        recover::recover(&RealFs, &lane_dir, id, &lane_name(), Seq::NONE, recover::Access::Owner).unwrap();
    assert_eq!(once.predecessor, twice.predecessor);
    assert_eq!(once.table.segments, twice.table.segments);
    assert_eq!(before, contents());
}

#[test]
fn the_last_block_is_rot_once_a_mark_proves_it_durable() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), true);
    let last = last_written(&dir);
    let (start, _, lost) = file_blocks(&last).into_iter().rfind(|b| !b.2.is_empty()).unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[start + 200] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    let lane = reopened(&dir, 0);
    let (read, holes) = read_all(&lane, 1);
    assert_eq!(holes, [Hole { range: lost, cause: HoleCause::Damaged }]);
    assert_eq!(read.len() as u64, events.len() as u64 - lost.len());
    assert_eq!(lane.status().quarantined_events, lost.len());
    assert_eq!(append(&lane, "c", &[vec![1]]).unwrap().first, lost.end);
    lane.close();
}

#[test]
fn a_readers_position_proves_what_was_durable() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), false);
    let last = last_written(&dir);
    let (start, _, lost) = file_blocks(&last).into_iter().rfind(|b| !b.2.is_empty()).unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.truncate(start);
    std::fs::write(&last, bytes).unwrap();
    let lane = reopened(&dir, lost.end.0 + 5);
    let (read, holes) = read_all(&lane, 1);
    assert_eq!(read.len() as u64, events.len() as u64 - lost.len());
    assert_eq!(
        holes,
        [Hole { range: SeqRange::new(lost.first, Seq(lost.end.0 + 5)), cause: HoleCause::Missing }]
    );
    assert_eq!(append(&lane, "c", &[vec![1]]).unwrap().first, Seq(lost.end.0 + 5));
    assert_eq!(lane.status().quarantined_events, lost.len() + 5);
    lane.close();
}

#[test]
fn a_flipped_bit_costs_the_block_it_hit_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), true);
    let files = segments(&dir);
    let mut tried = 0;
    for path in files.iter().filter(|p| !file_blocks(p).is_empty()) {
        let whole = std::fs::read(path).unwrap();
        let used = file_blocks(path).last().unwrap().1;
        for bit in (0..used * 8).step_by(4093) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, &bytes).unwrap();
            let hit = file_blocks_at(&whole, bit / 8);
            let lane = reopened(&dir, 0);
            let (read, holes) = read_all(&lane, 1);
            for hole in &holes {
                assert_eq!(
                    (Some(hole.range), hole.cause),
                    (hit, HoleCause::Damaged),
                    "bit {bit} of {path:?}"
                );
            }
            let lost: u64 = holes.iter().map(|h| h.range.len()).sum();
            assert_eq!(read.len() as u64 + lost, events.len() as u64, "bit {bit} of {path:?}");
            assert!(read.iter().all(|(seq, event)| events[seq] == *event));
            lane.close();
            drop(lane);
            std::fs::write(path, &whole).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried} bits");
}

fn file_blocks_at(bytes: &[u8], offset: usize) -> Option<SeqRange> {
    let mut at = format::DATA_START as usize;
    while let Some(block) = bytes.get(at..).and_then(format::BlockHeader::decode) {
        let end = at + block.block_len() as usize;
        if (at..end).contains(&offset) {
            return Some(SeqRange::new(block.first, block.end()));
        }
        at = end;
    }
    None
}

#[test]
fn a_missing_segment_is_a_hole_and_strange_files_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), true);
    let files: Vec<_> = segments(&dir).into_iter().filter(|p| !file_blocks(p).is_empty()).collect();
    assert!(files.len() >= 3, "{files:?}");
    let lost: Vec<_> = file_blocks(&files[1]).iter().map(|b| b.2).filter(|r| !r.is_empty()).collect();
    let lost = SeqRange::new(lost[0].first, lost.last().unwrap().end);
    std::fs::remove_file(&files[1]).unwrap();
    let lane_dir = dir.join("lanes/main");
    std::fs::create_dir(&files[1]).unwrap();
    std::fs::write(lane_dir.join("00000000000000000900.seg"), b"rubbish").unwrap();
    std::fs::write(lane_dir.join("notes.txt"), b"rubbish").unwrap();
    std::fs::copy(&files[0], lane_dir.join("00000000000000000800.seg")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let fifo = lane_dir.join("00000000000000000700.seg");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let lane = reopened(&dir, 0);
    let (read, holes) = read_all(&lane, 1);
    assert_eq!(holes, [Hole { range: lost, cause: HoleCause::Missing }]);
    assert_eq!(read.len() as u64 + lost.len(), events.len() as u64);
    assert_eq!(append(&lane, "c", &[vec![1]]).unwrap().first.0, events.len() as u64 + 1);
    assert_eq!(read_all(&lane, 1).1.len(), 1);
    lane.close();
}

#[test]
fn both_header_copies_gone_cost_nothing_that_blocks_can_say() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), true);
    for path in segments(&dir).into_iter().filter(|p| !file_blocks(p).is_empty()) {
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.clone();
        bytes[..format::DATA_START as usize].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let lane = reopened(&dir, 0);
        assert_eq!(read_all(&lane, 1), (events.clone(), vec![]), "{path:?}");
        lane.close();
        drop(lane);
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_last_segment_that_one_start_could_not_open_is_not_deleted_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), true);
    let (last, elsewhere) = (last_written(&dir), root.path().join("elsewhere"));
    std::fs::rename(&last, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &last).unwrap();
    let lane = reopened(&dir, 1);
    append(&lane, "a", &[b"new".to_vec()]).unwrap();
    lane.close();
    drop(lane);
    std::fs::rename(&elsewhere, &last).unwrap();
    let lane = reopened(&dir, 1);
    append(&lane, "a", &[b"newer".to_vec()]).unwrap();
    lane.release(Seq(4));
    lane.close();
    assert!(last.exists(), "it holds {} events", events.len());
}

/// Found by the second reader in `tests/reader`: recovery judged such a place to be rotten, looked for a whole block
/// to go on with, found none, and ended the log before it without a word, though the header behind the damage still
/// proved that the event had been accepted.
#[test]
fn two_rotten_blocks_at_the_end_are_lost_as_far_as_the_second_ones_header_proves() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), false);
    let last = last_written(&dir);
    let blocks: Vec<_> = file_blocks(&last).into_iter().filter(|b| !b.2.is_empty()).collect();
    let [.., (start, _, lost), (_, end, unproven)] = blocks[..] else { panic!("{blocks:?}") };
    let mut bytes = std::fs::read(&last).unwrap();
    bytes[start + 20] ^= 1;
    bytes[end - 9] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    let lane = reopened(&dir, 0);
    let (read, holes) = read_all(&lane, 1);
    assert_eq!(holes, [Hole { range: lost, cause: HoleCause::Damaged }]);
    assert_eq!(read.len() as u64, events.len() as u64 - lost.len() - unproven.len());
    assert_eq!(lane.status().quarantined_events, lost.len());
    assert_eq!(append(&lane, "c", &[vec![1]]).unwrap().first, lost.end);
    lane.close();
}

/// Found by the second reader too. What a failed sync left behind was read in place of the events that were accepted
/// under the same numbers afterwards, once the next segment's header was damaged: it alone said where this one ends.
#[test]
fn leftovers_stay_dead_when_both_headers_of_the_next_segment_are_damaged() {
    let root = tempfile::tempdir().unwrap();
    let (dir, events) = crashed(root.path(), false);
    let torn = last_written(&dir);
    let blocks: Vec<_> = file_blocks(&torn).into_iter().filter(|b| !b.2.is_empty()).collect();
    let (start, _, dead) = *blocks.last().unwrap();
    let whole = std::fs::read(&torn).unwrap();
    let mut bytes = whole.clone();
    bytes[start] ^= 1;
    std::fs::write(&torn, bytes).unwrap();
    let lane = reopened(&dir, 0);
    assert_eq!(append(&lane, "c", &[b"kept".to_vec(), b"kept too".to_vec()]).unwrap().first, dead.first);
    lane.close();
    drop(lane);
    std::fs::write(&torn, whole).unwrap();
    let next = last_written(&dir);
    let mut bytes = std::fs::read(&next).unwrap();
    bytes[..format::DATA_START as usize].fill(0xa5);
    std::fs::write(&next, bytes).unwrap();
    let lane = reopened(&dir, 0);
    let (read, holes) = read_all(&lane, 1);
    assert_eq!(holes, []);
    assert_eq!(read.len(), events.len());
    assert_eq!(read[&dead.first.0].1, b"kept");
    lane.close();
}

#[test]
fn more_segments_than_one_thread_looks_at_are_all_found_and_a_damaged_one_among_them_too() {
    let root = tempfile::tempdir().unwrap();
    let settings = Spool { segment_size: 16 << 10, compression: SpoolCompression::None, ..settings() };
    let lane = open(&RealFs, root.path(), &settings, Seq::NONE);
    for i in 0..300u16 {
        append(&lane, "a", &[vec![i as u8; 9000]]).unwrap();
    }
    lane.close();
    drop(lane);
    let files = segments(root.path());
    assert!(files.len() >= 300, "{}", files.len());
    for (n, file) in files.iter().enumerate().skip(1).step_by(37) {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        // The first copy of the header, or both: then its blocks speak for it.
        let copies = if n % 2 == 0 { 512 } else { format::DATA_START };
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; copies as usize], 0).unwrap();
    }
    let lane = reopened(root.path(), 0);
    let (events, holes) = read_all(&lane, 1);
    assert_eq!((events.len(), holes.len()), (300, 0));
    assert!(events.iter().all(|(seq, (_, value))| value == &vec![(seq - 1) as u8; 9000]));
    assert_eq!(append(&lane, "a", &[vec![1]]).unwrap().first, Seq(301));
    lane.close();
}
