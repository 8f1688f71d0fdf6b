//! Where a segment goes on when the block that is due does not stand where it should.
//!
//! It need not be the next in the file, nor stand behind: a disk that writes a sector in the wrong place leaves a copy of
//! one block among others. `spool-format.md` has the rule, under *Reading a segment*.

use crate::disk::File;
use crate::ids::Seq;

use super::error::ReadError;
use super::format::{BLOCK_ALIGN, Kind};
use super::walk::{Sighting, Walker};

/// Up to which byte a segment's blocks count, and up to which number: the one after the last that may stand there.
pub(super) type Bounds = (u64, Option<Seq>);

/// Whether a block is within the numbers that count.
pub(super) fn counts(block: &Sighting, cap: Option<Seq>) -> bool {
    cap.is_none_or(|cap| block.header.end() <= cap)
}

/// Looks for blocks of one segment in all of it.
#[derive(Debug)]
pub(super) struct Seeker {
    /// What stands before this byte was read, block after block, and is below every number that is looked for.
    from: u64,
    /// Up to where headers follow each other from the segment's first byte on, each with the number that is due: the byte,
    /// and the number due there. These stand where they belong, so their lengths are right though their payloads be bad.
    run: (u64, Seq),
    /// Within these bounds all whole blocks were seen to stand in the order of their numbers.
    in_order: Option<Bounds>,
}

impl Seeker {
    /// `at` is the first byte, in a segment read from its first one on, where the block that is due there does not stand.
    pub(super) fn new(at: u64, due: Seq) -> Self {
        Self { from: at, run: (at, due), in_order: None }
    }

    /// The whole block with number `expected` or, if there is none, with the lowest above, to go on with from the bad place
    /// at `at`. With `midway` it may begin before that number: for who does not read from a segment's beginning.
    pub(super) fn seek<T: File>(
        &mut self,
        walker: &mut Walker<T>,
        (at, expected, midway): (u64, Seq, bool),
        bounds: Bounds,
    ) -> Result<Option<Sighting>, ReadError> {
        // Where all stand in order, what was passed is below.
        let in_order = self.in_order == Some(bounds);
        let (mut best, mut highest, mut ordered) = (None::<Sighting>, Seq::NONE, true);
        let mut sightings = self.sightings(walker, if in_order { at } else { self.from }, bounds)?;
        while let Some((block, whole)) = sightings.next(walker)? {
            if !whole {
                continue;
            }
            let first = block.header.first;
            (ordered, highest) = (ordered && first >= highest, highest.max(first));
            if !(goes_on(&block, expected) || (midway && straddles(&block, expected))) {
                continue;
            }
            if best.is_none_or(|best| first < best.header.first) {
                best = Some(block);
            }
            if in_order || first <= expected {
                return Ok(best);
            }
        }
        if ordered && !in_order {
            self.in_order = Some(bounds);
        }
        Ok(best)
    }

    /// The highest `synced_through` of any header. A whole header is enough to be believed, wherever it stands.
    pub(super) fn proof<T: File>(
        &mut self,
        walker: &mut Walker<T>,
        bounds: Bounds,
    ) -> Result<Seq, ReadError> {
        let mut proof = Seq::NONE;
        let mut sightings = self.sightings(walker, self.from, bounds)?;
        while let Some((block, _)) = sightings.next(walker)? {
            proof = proof.max(block.header.synced_through);
        }
        Ok(proof)
    }

    /// Whether a whole block with `expected` or a higher number is there at all.
    pub(super) fn holds<T: File>(
        &mut self,
        walker: &mut Walker<T>,
        expected: Seq,
        bounds: Bounds,
    ) -> Result<bool, ReadError> {
        let mut sightings = self.sightings(walker, self.from, bounds)?;
        while let Some((block, whole)) = sightings.next(walker)? {
            if whole && goes_on(&block, expected) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sightings<T: File>(
        &mut self,
        walker: &mut Walker<T>,
        at: u64,
        bounds: Bounds,
    ) -> Result<Sightings, ReadError> {
        let (limit, cap) = bounds;
        while let Some(block) = walker.probe(self.run.0, limit)? {
            if block.header.first != self.run.1 || !counts(&block, cap) {
                break;
            }
            self.run = (block.next, block.header.end());
        }
        Ok(Sightings { at, run: self.run.0, bounds })
    }
}

/// Whether the log goes on from `expected` with this block. One without events brings nothing, unless it ends the segment.
fn goes_on(block: &Sighting, expected: Seq) -> bool {
    block.header.first >= expected && (block.header.count > 0 || block.header.kind == Kind::Seal)
}

fn straddles(block: &Sighting, expected: Seq) -> bool {
    block.header.first < expected && expected < block.header.end()
}

/// Headers of a segment, one behind the other, and whether their blocks are whole.
struct Sightings {
    at: u64,
    run: u64,
    bounds: Bounds,
}

impl Sightings {
    fn next<T: File>(&mut self, walker: &mut Walker<T>) -> Result<Option<(Sighting, bool)>, ReadError> {
        let (limit, cap) = self.bounds;
        let Some(block) = walker.search(self.at, limit)? else { return Ok(None) };
        self.at = block.offset + BLOCK_ALIGN;
        // Of one that does not count nothing is read. What it says of others holds.
        let counts = counts(&block, cap);
        let whole = counts && walker.stored(&block, limit)?.is_some();
        // The length of one that is not whole says nothing elsewhere: it may stand in a sector that was written in the
        // wrong place, with intact blocks where its events should be.
        if whole || (counts && block.offset < self.run) {
            self.at = block.next;
        }
        Ok(Some((block, whole)))
    }
}
