//! What is in segments that were put aside, as far as their files can still tell.
//!
//! Where such a segment ended the one after it says. Once that is deleted too, only its own blocks do: then there may have been more.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Fs, insist};
use crate::ids::{SegmentId, Seq};

use super::candidates::{Candidate, Start, start_of};
use super::given::Refused;
use super::inspect::LaneSnapshot;
use super::kept;
use super::reader::Log;
use super::recover::{Access, scanned};

/// A segment that was put aside, since something of it was lost. It is not part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAside {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// `None` where that can't be told: the disk does not give it, or it has no whole block.
    pub contents: Option<Contents>,
}

/// What is in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// The number of its first event.
    pub first: Seq,
    /// The number after its last one.
    pub end: Seq,
    /// Whether the segment after it says so; else it may have had more.
    pub is_all: bool,
    /// Events that are whole in it.
    pub events: u64,
    /// Those that are not: numbers between the first and the last.
    pub lost: u64,
}

impl<F: Fs> LaneSnapshot<F> {
    /// Segments that were put aside, and what is in them: by the headers of its blocks, or with `thorough` by every byte.
    ///
    /// # Errors
    /// When the lane's directory can't be listed, or the size of a file not be found out.
    pub fn put_aside(&self, thorough: bool) -> io::Result<Vec<PutAside>> {
        let found = kept::put_aside(self.log().fs(), self.directory())?;
        let looked = found.iter().map(|(id, file, bytes)| PutAside {
            file: file.clone(),
            bytes: *bytes,
            contents: self.contents((*id, file, *bytes), &found, thorough),
        });
        Ok(looked.collect())
    }

    fn contents(
        &self,
        (id, path, len): (SegmentId, &Path, u64),
        aside: &[(SegmentId, PathBuf, u64)],
        thorough: bool,
    ) -> Option<Contents> {
        let start = self.start(path)?;
        let others = self.segments().map(|segment| (segment.id, &segment.path));
        let others = others.chain(aside.iter().map(|(id, path, _)| (*id, path)));
        let next = others.filter(|(other, _)| *other > id).min()?.1;
        let said = self.start(next).and_then(|next| next.header).map(|header| header.predecessor);
        let said = said.filter(|predecessor| predecessor.segment == id);
        let (header, begins) = (start.header, start.begins);
        let (path, refused) = (path.to_owned(), Refused::default());
        let candidate = Candidate { id, name_fits: true, path, len, header, begins, blank: false, refused };
        let (known, previous) = ((Seq::NONE, None, Access::Visitor), begins.unwrap_or(Seq::FIRST));
        let (mut segment, ..) =
            scanned(self.log().fs(), &candidate, &self.log().identity(id), known, previous).ok()?;
        let is_told = segment.end > segment.base || begins.is_some() && said.is_some();
        if !segment.readable || !is_told {
            return None;
        }
        if let Some(said) = said {
            (segment.end, segment.end_offset) = (said.end, said.end_offset);
        }
        let (first, end) = (segment.base, segment.end);
        let found = self.alone(segment).ok()?.look_over(thorough).ok()?;
        let events = found.streams.values().sum::<u64>().saturating_sub(found.undecodable);
        Some(Contents { first, end, is_all: said.is_some(), events, lost: found.lost() })
    }

    fn start(&self, path: &Path) -> Option<Start> {
        insist(|| self.log().fs().open_read(path)).ok().map(|file| start_of(&file))
    }
}
