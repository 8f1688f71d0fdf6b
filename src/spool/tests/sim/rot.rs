//! Rot: every bit, every truncation, every sector of a small spool, and files that are not where they were.
//!
//! Whatever it is: the agent starts, everything but the blocks that were touched is read, what is not read is said to
//! be lost to the exact number, and a new event is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parallel;
use super::site::{Site, Step, small};
use super::soaking;
use super::verify::Tried;
use super::witness::{Mark, Witness};
use crate::config::model::Spool;
use crate::disk::sim::{SimFs, World};
use crate::ids::{Seq, SeqRange};
use crate::metrics::Metrics;
use crate::sabotage::{Bug, Sabotage};
use crate::spool::format::{BlockHeader, DATA_START, Root, SegmentHeader};
use crate::spool::{DataDir, HoleCause, OpenError};

/// A spool at rest: an agent has been stopped and what was accepted is on disk.
pub(super) struct Specimen {
    pub(super) world: World,
    witness: Witness,
    events: BTreeMap<Mark, Seq>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    begin: usize,
    end: usize,
    range: SeqRange,
}

fn segment(n: u64) -> PathBuf {
    Path::new("/data/lanes/main").join(format!("{n:020}.seg"))
}

/// Segments that are there and have more than zeros in them.
pub(super) fn segments_with_bytes(world: &World) -> BTreeSet<PathBuf> {
    let has_bytes = |path: &PathBuf| world.read(path).is_some_and(|bytes| bytes.iter().any(|b| *b != 0));
    world.paths().into_iter().filter(|path| is_segment(path) && has_bytes(path)).collect()
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "seg")
}

/// Blocks with events in a segment's bytes.
fn blocks(bytes: &[u8]) -> Vec<Place> {
    let (mut at, mut found) = (usize::try_from(DATA_START).unwrap(), Vec::new());
    while let Some(block) = bytes.get(at..).and_then(BlockHeader::decode) {
        let end = at + usize::try_from(block.block_len()).unwrap();
        found.push(Place { begin: at, end, range: SeqRange::new(block.first, block.end()) });
        at = end;
    }
    found
}

impl Specimen {
    /// About 64 KiB: delivered and deleted segments below, a floor and a position, four segments that nobody has read,
    /// and two openings.
    pub(super) fn new() -> Self {
        Self::of(
            &small(),
            |site, witness| {
                let steps = "LLLCTGLSIL".chars().chain("RGSSLGSL".chars()).chain("RGSIR".chars());
                for letter in steps {
                    let step = match letter {
                        'L' => Step::Large,
                        'S' => Step::Small,
                        'G' => Step::Group,
                        'C' => Step::Consume,
                        'T' => Step::Tidy,
                        'I' => Step::Idle,
                        _ => Step::Reopen,
                    };
                    site.step(step, witness).unwrap();
                }
            },
            Site::close,
        )
    }

    /// What a story has left, and how its last process ends.
    pub(super) fn of(
        settings: &Spool,
        story: impl FnOnce(&mut Site, &mut Witness),
        end: fn(&mut Site),
    ) -> Self {
        let (fs, metrics, mut witness) = (SimFs::default(), Metrics::new(), Witness::default());
        let mut site = Site::new(fs.clone(), 1, settings, &metrics);
        site.start().unwrap();
        story(&mut site, &mut witness);
        let (events, _) = site.read(&mut witness).unwrap();
        end(&mut site);
        let world = fs.world();
        let files: Vec<_> = world.paths().into_iter().map(|p| (p.clone(), world.read(&p).unwrap())).collect();
        Self { world, witness, events, files, metrics }
    }

    fn size(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Numbers whose block overlaps bytes `begin..end` of a file.
    pub(super) fn touched(&self, path: &Path, begin: usize, end: usize) -> BTreeSet<u64> {
        let Some((_, bytes)) = self.files.iter().find(|(p, _)| p == path).filter(|(p, _)| is_segment(p))
        else {
            return BTreeSet::new();
        };
        let hit = blocks(bytes).into_iter().filter(|b| b.begin < end && b.end > begin);
        hit.flat_map(|b| b.range.first.0..b.range.end.0).collect()
    }

    /// Starts an agent on a damaged copy. `may_lose`: what may be gone. What is gone has to be said, except `unsaid`.
    pub(super) fn judge(
        &self,
        world: World,
        may_lose: &BTreeSet<u64>,
        unsaid: &BTreeSet<u64>,
    ) -> Result<(), String> {
        let before = segments_with_bytes(&world);
        let mut witness = self.witness.clone();
        let mut site = Site::new(SimFs::of(world), 77, &small(), &self.metrics);
        site.damaged = true;
        site.start()?;
        site.step(Step::Tidy, &mut witness)?;
        let after = segments_with_bytes(&site.fs.world());
        if !before.is_subset(&after) {
            return Err(format!("of {before:?} only {after:?} are left"));
        }
        let (found, holes) = site.read_with_holes(&mut witness)?;
        let gone: BTreeSet<u64> =
            self.events.iter().filter(|(mark, _)| !found.contains_key(mark)).map(|(_, seq)| seq.0).collect();
        if !gone.is_subset(may_lose) {
            return Err(format!("gone are {gone:?}, touched were {may_lose:?}"));
        }
        let lost = |cause| matches!(cause, HoleCause::Damaged | HoleCause::Missing);
        let said: BTreeSet<u64> =
            holes.iter().filter(|h| lost(h.cause)).flat_map(|h| h.range.first.0..h.range.end.0).collect();
        let unread: BTreeSet<u64> = gone.difference(unsaid).copied().collect();
        if !unread.is_subset(&said) || !said.is_subset(may_lose) {
            return Err(format!("gone are {gone:?}, said to be lost {said:?}"));
        }
        let counted = site.lane()?.lane().status().quarantined_events;
        if counted != said.len() as u64 {
            return Err(format!("{said:?} are lost and {counted} are counted"));
        }
        // Their numbers are free: nobody could know of them.
        gone.intersection(unsaid)
            .for_each(|seq| witness.drop_numbers(SeqRange::new(Seq(*seq), Seq(*seq + 1))));
        site.lives_on(&mut witness)
    }

    /// [`Specimen::judge`] of the numbers from `from` on, for a destination that has what is below. The next event gets none that is
    /// another's.
    pub(super) fn judge_above(
        &self,
        world: World,
        from: u64,
        (may_lose, unsaid): (&BTreeSet<u64>, &BTreeSet<u64>),
    ) -> Result<(), String> {
        let mut witness = self.witness.clone();
        let mut site = Site::new(SimFs::of(world), 77, &small(), &self.metrics);
        site.damaged = true;
        site.start()?;
        let (found, holes) = site.read_with_holes(&mut witness)?;
        let above: Vec<_> = self.events.iter().filter(|(_, seq)| seq.0 >= from).collect();
        if above.is_empty() {
            return Err("there is nothing to judge".to_owned());
        }
        let gone: BTreeSet<u64> =
            above.into_iter().filter(|(mark, _)| !found.contains_key(mark)).map(|(_, seq)| seq.0).collect();
        let lost = |cause| matches!(cause, HoleCause::Damaged | HoleCause::Missing);
        let said: BTreeSet<u64> =
            holes.iter().filter(|h| lost(h.cause)).flat_map(|h| h.range.first.0..h.range.end.0).collect();
        let silent: BTreeSet<u64> =
            gone.difference(unsaid).filter(|seq| !said.contains(seq)).copied().collect();
        if !gone.is_subset(may_lose) || !silent.is_empty() {
            return Err(format!(
                "gone are {gone:?}, touched were {may_lose:?}, and nothing is said of {silent:?}"
            ));
        }
        gone.intersection(unsaid)
            .for_each(|seq| witness.drop_numbers(SeqRange::new(Seq(*seq), Seq(*seq + 1))));
        let accepted = site.append(&[("a", &[50])], &mut witness)?;
        if accepted.is_empty() { Err("no new event is accepted".to_owned()) } else { Ok(()) }
    }

    /// Some segments are filled, by one process after the other.
    fn goes_on(&self, world: &World) -> Result<(), String> {
        let mut witness = self.witness.clone();
        let mut site = Site::new(SimFs::of(world.clone()), 78, &small(), &self.metrics);
        site.damaged = true;
        site.start()?;
        for n in 0..12 {
            if site.append(&[("a", &[3000])], &mut witness)?.is_empty() {
                return Err(format!("the event after {n} is not accepted"));
            }
            if n % 4 == 3 {
                site.step(Step::Reopen, &mut witness)?;
            }
        }
        Ok(())
    }

    fn damaged(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> World {
        let mut world = self.world.clone();
        let mut bytes = world.read(path).unwrap();
        change(&mut bytes);
        world.rot(path, bytes).unwrap();
        world
    }

    fn flip(&self, bit: usize) -> Result<(), String> {
        let (mut at, mut files) = (bit / 8, self.files.iter());
        let (path, _) = files
            .find(|(_, b)| {
                if at < b.len() {
                    true
                } else {
                    at -= b.len();
                    false
                }
            })
            .unwrap();
        let world = self.damaged(path, |bytes| bytes[at] ^= 1 << (bit % 8));
        let told = |e| format!("bit {} of byte {at} of {}: {e}", bit % 8, path.display());
        self.judge(world, &self.touched(path, at, at + 1), &BTreeSet::new()).map_err(told)
    }

    pub(super) fn segments(&self) -> Vec<&(PathBuf, Vec<u8>)> {
        self.files.iter().filter(|(p, _)| is_segment(p)).collect()
    }

    pub(super) fn all_of(&self, path: &Path) -> BTreeSet<u64> {
        self.touched(path, 0, usize::MAX)
    }
}

pub(super) fn none() -> BTreeSet<u64> {
    BTreeSet::new()
}

#[test]
fn every_single_bit_that_flips_costs_at_most_the_block_it_hit() {
    let specimen = Specimen::new();
    let bits = specimen.size() * 8;
    let step = if soaking() { 1 } else { 61 };
    let (done, _) =
        parallel(bits / step, |n| specimen.flip(n * step).map(|()| (1, Tried::default()))).unwrap();
    println!("{done} of {bits} bits flipped, one by one");
    assert!(specimen.size() >= 64 << 10 && specimen.segments().len() >= 4, "{} bytes", specimen.size());
}

#[test]
fn the_bits_are_watched_a_reader_that_does_not_check_payloads_is_noticed() {
    let specimen = Specimen::new();
    let _wrong = Sabotage::begin(Bug::PayloadUnchecked);
    let bits = specimen.size() * 8;
    assert!((0..bits / 61).any(|n| specimen.flip(n * 61).is_err()));
}

#[test]
fn control_a_loss_that_nobody_counts_is_noticed_by_truncations_and_by_sectors() {
    let specimen = Specimen::new();
    let _wrong = Sabotage::begin(Bug::LossUncounted);
    // In a segment behind which there is another.
    let (path, bytes) = specimen.segments()[0];
    let cut = |len: usize| {
        let world = specimen.damaged(path, |bytes| bytes.truncate(len));
        specimen.judge(world, &specimen.touched(path, len, usize::MAX), &none()).err()
    };
    let zeroed = |at: usize| {
        let world = specimen.damaged(path, |bytes| bytes[at..at + 512].fill(0));
        specimen.judge(world, &specimen.touched(path, at, at + 512), &none()).err()
    };
    let truncated = (0..bytes.len()).step_by(97).find_map(cut);
    let sector = (0..bytes.len() - 511).step_by(512).find_map(zeroed);
    println!("loss-uncounted: {truncated:?}; {sector:?}");
    assert!(truncated.is_some() && sector.is_some(), "{truncated:?}; {sector:?}");
}

#[test]
fn every_truncation_costs_at_most_what_was_cut_off() {
    let specimen = Specimen::new();
    let step = if soaking() { 1 } else { 97 };
    let last = specimen.segments().last().unwrap().0.clone();
    let mut cuts = Vec::new();
    for (path, bytes) in &specimen.files {
        cuts.extend((0..bytes.len()).step_by(step).map(|len| (path, len)));
    }
    let (done, _) = parallel(cuts.len(), |n| {
        let (path, len) = cuts[n];
        let cut = specimen.touched(path, len, usize::MAX);
        // Nothing behind the last segment proves what its tail was: see `spool-format.md`, Limit.
        let unsaid = if *path == last { cut.clone() } else { none() };
        let world = specimen.damaged(path, |bytes| bytes.truncate(len));
        let told = |e| format!("{} cut to {len} bytes: {e}", path.display());
        specimen.judge(world, &cut, &unsaid).map_err(told)?;
        Ok((1, Tried::default()))
    })
    .unwrap();
    println!("{done} truncations");
}

#[test]
fn every_sector_that_is_zeroed_or_stale_costs_at_most_the_blocks_it_holds() {
    let specimen = Specimen::new();
    let mut sectors = Vec::new();
    for (path, bytes) in &specimen.files {
        sectors.extend((0..bytes.len()).step_by(512).map(|at| (path, at, (at + 512).min(bytes.len()))));
    }
    let last = specimen.segments().last().unwrap().0.clone();
    let (done, _) = parallel(sectors.len(), |n| {
        let (path, begin, end) = sectors[n];
        let touched = specimen.touched(path, begin, end);
        let unsaid = if *path == last { touched.clone() } else { none() };
        let stale: Vec<u8> = specimen
            .files
            .iter()
            .filter(|(p, b)| p != path && b.len() >= end)
            .map(|(_, b)| b[begin..end].to_vec())
            .next()
            .unwrap_or_else(|| vec![0; end - begin]);
        for with in [vec![0; end - begin], stale] {
            let world = specimen.damaged(path, |bytes| bytes[begin..end].copy_from_slice(&with));
            let told = |e| format!("sector at {begin} of {}: {e}", path.display());
            specimen.judge(world, &touched, &unsaid).map_err(told)?;
        }
        Ok((2, Tried::default()))
    })
    .unwrap();
    println!("{done} sectors zeroed or stale");
}

/// What a write leaves behind that the disk has put in the wrong place: the bytes are whole, and some of them say that they are
/// blocks of this very segment.
#[test]
fn every_sector_and_page_that_comes_from_elsewhere_in_its_file_costs_at_most_the_blocks_it_overwrites() {
    let specimen = Specimen::new();
    let step = if soaking() { 1 } else { 5 };
    let last = specimen.segments().last().unwrap().0.clone();
    let mut moves = Vec::new();
    for (path, bytes) in specimen.segments() {
        for size in [512, 4096] {
            let places: Vec<_> =
                (0..bytes.len()).step_by(size).map(|at| (at, bytes.len().min(at + size))).collect();
            let pairs = places.iter().flat_map(|to| places.iter().map(move |from| (*to, *from)));
            let pairs = pairs.filter(|(to, from)| to != from && bytes[to.0..to.1] != bytes[from.0..from.1]);
            moves.extend(pairs.step_by(step).map(|(to, from)| (path, to, from)));
        }
    }
    let (done, _) = parallel(moves.len(), |n| {
        let (path, (begin, end), (from, upto)) = moves[n];
        let len = (end - begin).min(upto - from);
        let touched = specimen.touched(path, begin, begin + len);
        let unsaid = if *path == last { touched.clone() } else { none() };
        let world = specimen.damaged(path, |bytes| bytes.copy_within(from..from + len, begin));
        let told = |e| format!("{len} bytes at {from} of {} also at {begin}: {e}", path.display());
        specimen.judge(world, &touched, &unsaid).map_err(told)?;
        // There and not where they belong.
        let touched = &touched | &specimen.touched(path, from, from + len);
        let unsaid = if *path == last { touched.clone() } else { none() };
        let world = specimen.damaged(path, |bytes| {
            let moved = bytes[from..from + len].to_vec();
            bytes[from..from + len].fill(0);
            bytes[begin..begin + len].copy_from_slice(&moved);
        });
        let told = |e| format!("{len} bytes at {from} of {} at {begin} instead: {e}", path.display());
        specimen.judge(world, &touched, &unsaid).map_err(told)?;
        Ok((2, Tried::default()))
    })
    .unwrap();
    println!("{done} sectors and pages in the wrong place");
    assert!(done > 200);
}

#[test]
fn files_that_are_swapped_doubled_renamed_or_missing_cost_only_what_is_not_there() {
    let specimen = Specimen::new();
    let segments = specimen.segments();
    let count = segments.len();
    for (i, (path, bytes)) in segments.iter().enumerate() {
        for (other, theirs) in segments.iter().skip(i + 1) {
            let mut world = specimen.world.clone();
            world.rot(path, theirs.clone()).unwrap();
            world.rot(other, bytes.clone()).unwrap();
            specimen.judge(world, &none(), &none()).unwrap_or_else(|e| panic!("{i} swapped: {e}"));
        }
        let mut world = specimen.world.clone();
        world.rot(&segment(900 + i as u64), bytes.clone()).unwrap();
        specimen.judge(world.clone(), &none(), &none()).unwrap_or_else(|e| panic!("{i} doubled: {e}"));
        world.lose(path).unwrap();
        specimen.judge(world, &none(), &none()).unwrap_or_else(|e| panic!("{i} renamed: {e}"));
        let all = specimen.all_of(path);
        let unsaid = if i + 1 == count { all.clone() } else { none() };
        let mut world = specimen.world.clone();
        world.lose(path).unwrap();
        specimen.judge(world, &all, &unsaid).unwrap_or_else(|e| panic!("{i} missing: {e}"));
        for other in [false, true] {
            let mut world = specimen.world.clone();
            world.obstruct(path, other).unwrap();
            specimen.judge(world, &all, &unsaid).unwrap_or_else(|e| panic!("{i} obstructed: {e}"));
        }
    }
    println!("{count} segments swapped pairwise, doubled, renamed, missing, a directory, a FIFO");
}

/// The number after the last one there is was taken from the name alone. With the highest there can be in it, no segment could
/// be begun any more, and nothing was accepted, until somebody took the file away.
#[test]
fn a_number_that_somebody_made_up_for_a_files_name_keeps_nobody_from_the_next_segment() {
    let specimen = Specimen::new();
    let garbage = vec![0xa5; 20_000];
    let mut beheaded = specimen.segments()[0].1.clone();
    beheaded[..usize::try_from(DATA_START).unwrap() + 100].fill(0);
    for number in [u64::MAX, u64::MAX - 1, u64::MAX - 2, 1 << 40, 90] {
        for bytes in [&garbage, &beheaded, &vec![0; 20_000], &Vec::new()] {
            let mut world = specimen.world.clone();
            world.rot(&segment(number), bytes.clone()).unwrap();
            specimen.goes_on(&world).unwrap_or_else(|e| panic!("{number}: {e}"));
            specimen.judge(world, &none(), &none()).unwrap_or_else(|e| panic!("{number}: {e}"));
        }
        for other in [false, true] {
            let mut world = specimen.world.clone();
            world.obstruct(&segment(number), other).unwrap();
            specimen.goes_on(&world).unwrap_or_else(|e| panic!("{number} obstructed: {e}"));
            specimen.judge(world, &none(), &none()).unwrap_or_else(|e| panic!("{number} obstructed: {e}"));
        }
    }
}

#[test]
fn everything_beside_the_segments_may_be_missing_or_something_else() {
    let specimen = Specimen::new();
    for (path, _) in specimen.files.iter().filter(|(p, _)| !is_segment(p)) {
        let mut world = specimen.world.clone();
        world.lose(path).unwrap();
        let told = |e| panic!("{}: {e}", path.display());
        // Without the floor, what was deleted below the first segment counts as lost: nobody can know better.
        specimen.judge(world, &none(), &none()).unwrap_or_else(told);
        if path.ends_with("LOCK") {
            continue;
        }
        for other in [false, true] {
            let mut world = specimen.world.clone();
            world.obstruct(path, other).unwrap();
            specimen.judge(world, &none(), &none()).unwrap_or_else(told);
        }
    }
}

/// A block header's field at `offset` set to `value`, its checksum put right.
fn with_field(bytes: &mut [u8], at: usize, offset: usize, value: u32) {
    let len = BlockHeader::peek_len(&bytes[at..]).unwrap();
    bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
    let crc = crc32fast::hash(&bytes[at + 8..at + len]);
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn lengths_and_counts_that_lie_with_a_right_checksum_cost_their_block() {
    const FIELDS: [usize; 3] = [16, 20, 24];
    let specimen = Specimen::new();
    let mut tried = 0;
    for (path, bytes) in specimen.segments() {
        for block in blocks(bytes).into_iter().filter(|b| !b.range.is_empty()) {
            for offset in FIELDS {
                for value in [u32::MAX, 1 << 31, 256 << 20, 0] {
                    let world = specimen.damaged(path, |b| with_field(b, block.begin, offset, value));
                    let touched = specimen.touched(path, block.begin, block.end);
                    specimen.judge(world, &touched, &none()).unwrap_or_else(|e| {
                        panic!(
                            "{value} at {offset} of the block at {} of {}: {e}",
                            block.begin,
                            path.display()
                        )
                    });
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} fields that lie");
    assert!(tried > 100);
}

#[test]
fn one_segment_of_a_newer_version_is_left_unread_and_counted() {
    let specimen = Specimen::new();
    for (path, bytes) in specimen.segments() {
        let header = SegmentHeader::decode_area(bytes).unwrap();
        let newer = SegmentHeader { incompat: 1 << 5, ..header };
        let world = specimen.damaged(path, |b| b[..8192].copy_from_slice(&newer.encode_area()));
        let all = specimen.all_of(path);
        let last = specimen.segments().last().unwrap().0 == *path;
        // Of the last segment nobody knows how far it goes but by reading it.
        let unsaid = if last { all.clone() } else { none() };
        specimen.judge(world, &all, &unsaid).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_as_it_is() {
    let specimen = Specimen::new();
    let path = Path::new("/data/FORMAT");
    for newer in [
        Root { incompat: 4, ..Root::new(crate::ids::SpoolId(7)) },
        Root { read_only: 1 << 63, ..Root::new(crate::ids::SpoolId(7)) },
    ] {
        let world = specimen.damaged(path, |bytes| *bytes = newer.encode().into_bytes());
        let fs = SimFs::of(world.clone());
        let refused = DataDir::open(fs.clone(), Path::new("/data"));
        assert!(matches!(refused, Err(OpenError::Newer { .. })), "{refused:?}");
        let same = |p: &PathBuf| fs.world().read(p) == world.read(p);
        assert!(world.paths().iter().all(same));
        assert_eq!(fs.world().paths(), world.paths());
    }
}
