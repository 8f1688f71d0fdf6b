//! The segment that a reader stands in.

use super::super::error::ReadError;
use super::super::seek::{Seeker, counts};
use super::super::walk::{Sighting, Walker};
use crate::disk::Fs;
use crate::ids::{SegmentId, Seq};

/// A segment, and how far it was read.
#[derive(Debug)]
pub(super) struct Current<F: Fs> {
    pub(super) id: SegmentId,
    pub(super) walker: Walker<F::File>,
    pub(super) offset: u64,
    /// Number of the block that is due at `offset`.
    pub(super) next: Seq,
    /// Where the segment ends, in bytes and in numbers.
    pub(super) limit: u64,
    pub(super) end: Seq,
    /// Nothing was read of it yet, and it begins before the reader's position.
    pub(super) midway: bool,
    /// From the first place on where the block that was due does not stand.
    pub(super) seeker: Option<Seeker>,
}

impl<F: Fs> Current<F> {
    /// The block that is due, if its header stands here.
    pub(super) fn due(&mut self) -> Result<Option<Sighting>, ReadError> {
        let (next, end) = (self.next, self.end);
        let block = self.walker.probe(self.offset, self.limit)?;
        Ok(block.filter(|b| b.header.first == next && counts(b, Some(end))))
    }

    pub(super) fn pass(&mut self, block: &Sighting) {
        (self.offset, self.next) = (block.next, block.header.end());
    }

    /// Goes to the block that goes on from `position`; whether there is one.
    pub(super) fn seek(&mut self, position: Seq) -> Result<bool, ReadError> {
        let seeker = self.seeker.get_or_insert_with(|| Seeker::new(self.offset, self.next));
        let (place, bounds) = ((self.offset, position, self.midway), (self.limit, Some(self.end)));
        let found = seeker.seek(&mut self.walker, place, bounds)?;
        if let Some(block) = &found {
            (self.offset, self.next) = (block.offset, block.header.first);
        }
        Ok(found.is_some())
    }
}
