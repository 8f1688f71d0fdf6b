//! The writer and its segments: closing one, opening the next, marking what is durable.

use std::io;
use std::sync::Arc;

use crate::disk::Fs;

use super::super::active::{Active, Prepared};
use super::super::encoder::Common;
use super::super::format::{DATA_START, Kind, Verdict};
use super::super::gate::Gate;
use super::{SEAL_ROOM, Writer};

/// Bytes that a segment needs to be begun: its header, the mark that [`Writer::prove`] writes, a seal.
const LEAST: u64 = DATA_START + 3 * SEAL_ROOM;

impl<F: Fs> Writer<F> {
    /// Closes the active segment and opens the next.
    pub(super) fn rotate(&mut self) {
        self.commit();
        if self.trouble.is_some() || (self.dirty_since.is_some() && !self.sync()) {
            return;
        }
        self.seal();
        self.open_next();
    }

    /// Ends the active segment. INVARIANT: all of it is synced before; the seal itself need not be.
    pub(super) fn seal(&mut self) {
        let Some(mut active) = self.active.take() else { return };
        self.mark_at = None;
        if !active.is_begun() {
            self.shared.remove_unused(&active.path);
            return;
        }
        let before = active.offset;
        let common = Common { segment: active.id, ..self.common() };
        self.encoder.push_empty(&common, Kind::Seal, self.next);
        let sealed = active.write(self.encoder.bytes());
        self.encoder.clear();
        self.predecessor = active.as_predecessor(Verdict::Closed);
        let mut segment = active.segment(Verdict::Closed);
        match sealed {
            Ok(()) => self.predecessor.end_offset = active.offset,
            Err(e) => {
                tracing::warn!(path = %active.path.display(), error = %e, "a segment could not be sealed");
                segment.bytes = before;
            }
        }
        segment.end_offset = self.predecessor.end_offset;
        self.janitor.closed(Arc::clone(&active.file), segment.end_offset);
        self.shared.publish(segment);
    }

    /// Gets the file of the next segment. Its header waits for the first block.
    pub(super) fn open_next(&mut self) {
        let ready = self.janitor.take_prepared().and_then(Result::ok).filter(|p| p.id == self.next_segment);
        let prepared = match ready {
            Some(prepared) => Ok(prepared),
            None => self
                .shared
                .make_path_durable()
                .and_then(|()| self.shared.prepare(self.next_segment, self.allocation))
                .or_else(|e| self.prepare_least(e)),
        };
        self.asked_ahead = false;
        match prepared {
            Ok(prepared) => {
                self.next_segment = prepared.id.next();
                let created = self.shared.data.host().now().time;
                self.active = Some(Active::new(prepared, self.predecessor, self.next, created));
            }
            Err(e) => {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    self.next_segment = self.next_segment.next();
                }
                self.shared.set_gate(Gate::of_error(&e, format!("a new segment can't be made: {e}")));
                self.worry();
            }
        }
    }

    /// Where the disk has no room for all that is to be reserved: as much as a header and a mark need. Without a successor
    /// the segment before is the last one, which is never deleted, though everything in it be delivered.
    fn prepare_least(&self, e: io::Error) -> io::Result<Prepared<F::File>> {
        let least = LEAST.min(self.allocation);
        match Gate::of_error(&e, String::new()) {
            Gate::Full(_) => self.shared.prepare_at_least(self.next_segment, least),
            _ => Err(e),
        }
    }

    /// Proves by a later block that the last commit is durable.
    pub(super) fn mark(&mut self) {
        // There is room for it: `reserve` kept some for a seal, which takes less than half of that.
        if !self.active.as_ref().is_some_and(Active::is_begun) {
            return;
        }
        let common = self.common();
        self.encoder.push_empty(&common, Kind::Mark, self.next);
        let _ = self.flush(&common) && self.sync();
    }
}
