//! The segment that is being written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{File, Fs};
use crate::event::UnixMillis;
use crate::ids::{SegmentId, Seq};
use crate::sabotage::{self, Bug};

use super::format::{Predecessor, Verdict};
use super::names;
use super::table::Segment;

/// Disk blocks are reserved this many bytes at a time: few enough that a crash wastes little, many enough that
/// the file's size seldom changes.
pub(super) const ALLOCATION: u64 = 4 << 20;

/// A file that is ready to become a segment: its name is durable, its first bytes are reserved, nothing is in it.
#[derive(Debug)]
pub(super) struct Prepared<T> {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    pub(super) file: Arc<T>,
    pub(super) allocated: u64,
}

/// Makes the file of segment `id`.
///
/// DURABILITY: the directory is synced here, so that the sync of the first block is all that block needs.
pub(super) fn prepare<F: Fs>(fs: &F, dir: &Path, id: SegmentId, bytes: u64) -> io::Result<Prepared<F::File>> {
    let path = dir.join(names::segment(id));
    let file = fs.create(&path)?;
    let name_durable = || if sabotage::commits(Bug::NoDirectorySync) { Ok(()) } else { fs.sync_dir(dir) };
    if let Err(e) = file.allocate(bytes).and_then(|()| name_durable()) {
        // Best effort: an empty file is recognised as unused at the next start.
        if let Err(left) = fs.remove(&path) {
            tracing::warn!(path = %path.display(), error = %left, "an unused segment could not be removed");
        }
        return Err(e);
    }
    Ok(Prepared { id, path, file: Arc::new(file), allocated: bytes })
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Active<T> {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    pub(super) file: Arc<T>,
    /// What it says of the one before.
    pub(super) predecessor: Predecessor,
    pub(super) base: Seq,
    pub(super) created: UnixMillis,
    /// Where the next write goes.
    pub(super) offset: u64,
    allocated: u64,
    /// Where the last synced byte ends, and the number after the last synced event.
    durable_offset: u64,
    durable_end: Seq,
}

impl<T: File> Active<T> {
    pub(super) fn new(
        prepared: Prepared<T>,
        predecessor: Predecessor,
        base: Seq,
        created: UnixMillis,
    ) -> Self {
        let Prepared { id, path, file, allocated } = prepared;
        Self {
            id,
            path,
            file,
            predecessor,
            base,
            created,
            offset: 0,
            allocated,
            durable_offset: 0,
            durable_end: base,
        }
    }

    /// Bytes of it that the table knows of: those that are synced.
    pub(super) fn published(&self) -> u64 {
        self.durable_offset
    }

    /// Whether any block of it is durable.
    pub(super) fn is_begun(&self) -> bool {
        self.durable_offset > 0
    }

    /// Whether writing up to byte `end` needs more disk blocks than are reserved.
    pub(super) fn needs_allocation(&self, end: u64) -> bool {
        end > self.allocated
    }

    /// Reserves disk blocks up to byte `end` and some more.
    pub(super) fn allocate(&mut self, end: u64, step: u64) -> io::Result<()> {
        let wanted = end.next_multiple_of(step);
        self.file.allocate(wanted)?;
        self.allocated = wanted;
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// DURABILITY: after an error this segment is never written or synced again.
    pub(super) fn sync(&mut self, end: Seq) -> io::Result<()> {
        let mut synced = self.file.sync_data();
        if synced.is_err() && sabotage::commits(Bug::RetryAfterFailedSync) {
            synced = self.file.sync_data();
        }
        synced?;
        self.durable_offset = self.offset;
        self.durable_end = end;
        Ok(())
    }

    /// What is durable of it, as the table holds it.
    pub(super) fn segment(&self, verdict: Verdict) -> Segment {
        Segment {
            id: self.id,
            path: self.path.clone(),
            base: self.base,
            end: self.durable_end,
            end_offset: self.durable_offset,
            bytes: self.offset,
            created: Some(self.created),
            verdict,
            readable: true,
        }
    }

    /// What the next segment says of this one.
    pub(super) fn as_predecessor(&self, verdict: Verdict) -> Predecessor {
        let (end_offset, end) = (self.durable_offset, self.durable_end);
        Predecessor { segment: self.id, end_offset, end, verdict }
    }
}
