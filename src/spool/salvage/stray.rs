//! Whole blocks that the log does not reach: in copies of segments, in segments that were passed over, behind the
//! end of a segment. Kept as stretches of files, not block by block.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::disk::{File, Fs};
use crate::ids::{RunId, SegmentId, Seq, SeqRange};

use super::super::error::ReadError;
use super::super::table::Table;
use super::super::walk::{Identity, Sighting, Walker};

/// A stretch ends at this many bytes, so that looking for a number reads little.
const STRETCH: u64 = 1 << 20;

/// Blocks that follow each other in a file and in their numbers.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) path: PathBuf,
    pub(super) segment: SegmentId,
    offset: u64,
    end_offset: u64,
    range: SeqRange,
}

/// All of a lane.
#[derive(Debug, Default)]
pub(super) struct Strays {
    pub(super) stretches: Vec<Stretch>,
    proof: HashMap<u64, Seq>,
}

/// One block of them.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) segment: SegmentId,
    pub(super) block: Sighting,
}

impl Place {
    pub(super) fn range(&self) -> SeqRange {
        SeqRange::new(self.block.header.first, self.block.header.end())
    }

    pub(super) fn run(&self) -> RunId {
        self.block.header.run
    }
}

impl Strays {
    /// What a block says of those before it in its run: numbers up to its `synced_through` were durable, and a run
    /// gives a number once.
    pub(super) fn learn(&mut self, run: RunId, synced_through: Seq) {
        let proof = self.proof.entry(run.0).or_default();
        *proof = (*proof).max(synced_through);
    }

    /// Takes in the blocks of a file from byte `at` up to `limit`.
    pub(super) fn collect<T: File>(
        &mut self,
        walker: &mut Walker<T>,
        (path, segment): (&PathBuf, SegmentId),
        (mut at, limit): (u64, u64),
    ) -> Result<(), ReadError> {
        while let Some((block, _)) = next_whole(walker, &mut at, limit)? {
            self.learn(block.header.run, block.header.synced_through);
            if block.header.count > 0 {
                self.add(path, segment, &block);
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, path: &PathBuf, segment: SegmentId, block: &Sighting) {
        let range = SeqRange::new(block.header.first, block.header.end());
        if let Some(last) = self.stretches.last_mut()
            && last.path == *path
            && (last.range.end == range.first && last.end_offset - last.offset < STRETCH)
        {
            last.range.end = range.end;
            last.end_offset = block.next;
            return;
        }
        let (offset, end_offset) = (block.offset, block.next);
        self.stretches.push(Stretch { path: path.clone(), segment, offset, end_offset, range });
    }

    /// Whether a block was durable once, and so may have been acknowledged: a later block of its run says so, or
    /// it is a copy of what the log once held.
    pub(super) fn is_proven(&self, place: &Place, table: &Table) -> bool {
        let range = place.range();
        let by_run = self.proof.get(&place.run().0).is_some_and(|proof| range.end <= proof.next());
        let within = table
            .segments
            .get(&place.segment)
            .is_some_and(|s| s.base <= range.first && range.end <= s.end && place.block.next <= s.end_offset);
        by_run || within
    }

    /// Blocks that lie within these numbers, in the order of their numbers.
    pub(super) fn within<F: Fs>(
        &self,
        fs: &F,
        identity: &Identity,
        range: SeqRange,
    ) -> Result<Vec<Place>, ReadError> {
        let mut places = Vec::new();
        let near = |s: &&Stretch| s.range.first < range.end && range.first < s.range.end;
        for stretch in self.stretches.iter().filter(near) {
            let fits = |p: &Place| range.first <= p.range().first && p.range().end <= range.end;
            places.extend(stretch.places(fs, identity)?.into_iter().filter(fits));
        }
        places.sort_by_key(|p| (p.range().first, p.segment));
        Ok(places)
    }
}

impl Stretch {
    pub(super) fn places<F: Fs>(&self, fs: &F, identity: &Identity) -> Result<Vec<Place>, ReadError> {
        let mut places = Vec::new();
        // One that is gone by now has no blocks.
        let Some(mut walker) = walker(fs, &self.path, self.segment, identity)? else { return Ok(places) };
        let mut at = self.offset;
        while let Some((block, _)) = next_whole(&mut walker, &mut at, self.end_offset)? {
            if block.header.count > 0 {
                places.push(Place { path: self.path.clone(), segment: self.segment, block });
            }
        }
        Ok(places)
    }
}

/// Opens a file of blocks of `segment`; `None` if it is not there any more or its inode is damaged. Pages that
/// cannot be read are damage.
pub(super) fn walker<F: Fs>(
    fs: &F,
    path: &Path,
    segment: SegmentId,
    identity: &Identity,
) -> Result<Option<Walker<F::File>>, ReadError> {
    match fs.open_read(path) {
        Ok(file) => {
            let mut walker = Walker::new(file, path.to_owned(), Identity { segment, ..identity.clone() });
            walker.tolerant = true;
            Ok(Some(walker))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || super::super::error::is_damage(&e) => Ok(None),
        Err(source) => Err(ReadError { path: path.to_owned(), offset: 0, source }),
    }
}

/// The next whole block at or behind `at`, which moves behind it.
pub(super) fn next_whole<T: File>(
    walker: &mut Walker<T>,
    at: &mut u64,
    limit: u64,
) -> Result<Option<(Sighting, Bytes)>, ReadError> {
    loop {
        let found = match walker.probe(*at, limit)? {
            None => walker.search(*at, limit)?,
            found => found,
        };
        let Some(block) = found else { return Ok(None) };
        *at = block.next;
        if let Some(bytes) = walker.whole(&block, limit)? {
            return Ok(Some((block, bytes)));
        }
    }
}

#[cfg(test)]
mod tests;
