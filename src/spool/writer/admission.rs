//! What the writer looks at before it takes a request: whether there is room.

use std::io::ErrorKind;

use crate::config::model::WhenFull;
use crate::disk::Fs;

use super::super::active::Active;
use super::super::encoder::Encoder;
use super::super::format::DATA_START;
use super::super::gate::Gate;
use super::super::queue::Request;
use super::{SEAL_ROOM, Writer};

impl<F: Fs> Writer<F> {
    /// Whether a request can be written as a whole, into one segment. Everything that can be known to go wrong
    /// goes wrong here, before a number is given.
    pub(super) fn admit(&mut self, request: &Request) -> bool {
        let need = Encoder::at_most(request.batch.as_bytes().len());
        if self.trouble.is_none() && !self.fits(need) {
            self.rotate();
        }
        self.trouble.is_none() && self.reserve(need)
    }

    /// Whether the segment that is being written has room left by `segment_size`; an empty one always has.
    pub(super) fn fits(&self, need: u64) -> bool {
        let planned = self.planned();
        self.active.is_some()
            && (planned == 0 || planned + need + SEAL_ROOM <= self.shared.settings.segment_size)
    }

    /// Bytes of the active segment once the encoder is written.
    pub(super) fn planned(&self) -> u64 {
        self.active.as_ref().map_or(0, |a| a.offset)
            + self.encoder.bytes().len() as u64
            + self.encoder.waiting()
    }

    /// Where the active segment ends once `need` more bytes and a seal are in it. With the first of them goes its header.
    fn end_with(&self, need: u64) -> u64 {
        let leads = if self.active.is_some() && self.planned() == 0 { DATA_START } else { 0 };
        self.planned() + leads + need + SEAL_ROOM
    }

    /// Bytes of the active segment that the table does not know of, those included that are not written yet.
    fn unpublished(&self) -> u64 {
        let durable = self.active.as_ref().filter(|a| a.is_begun()).map_or(0, Active::published);
        self.planned().saturating_sub(durable)
    }

    /// Whether the lane has not reached its quota by what was admitted before in this round: it is passed by one request at most, and
    /// not by all that come at once. Whoever is refused so looks at the gate, which the next round sets.
    pub(super) fn is_within_quota(&self) -> bool {
        self.shared.table().bytes().saturating_add(self.unpublished()) < self.shared.limit
    }

    /// Quota, file system, and whether this is still the directory; sets the gate.
    pub(super) fn check_room(&mut self, need: u64) -> bool {
        if self.room.is_stale(&self.shared) && !self.is_at_home() {
            return false;
        }
        let end = self.end_with(need);
        let short = self.active.as_ref().is_some_and(|a| a.needs_allocation(end));
        let wanted = if short || self.active.is_none() { self.allocation.max(need) } else { 0 };
        let Some(why) = self.room.full(&self.shared, self.unpublished(), wanted) else {
            return self.keeps_room_for_delivery(need);
        };
        self.shared.set_gate(Gate::Full(why.into()));
        let alone = self.shared.table().segments.len() == 1;
        let state = self.active.as_ref().map(|a| (a.base < self.next, a.is_begun()));
        // The last segment is never deleted: without another one, room could never come back. One that was not begun is
        // none yet: what a start has found stands before it.
        if alone && let Some((holds_events, is_begun)) = state {
            if holds_events {
                self.rotate();
            }
            if (holds_events || !is_begun) && self.trouble.is_none() {
                self.prove();
            }
        }
        self.janitor.make_room(self.shared.settings.when_full == WhenFull::DropOldest);
        false
    }

    /// Whether what delivery can have is kept back again; sets the gate. The lane itself has room, so nothing is dropped for it.
    fn keeps_room_for_delivery(&mut self, need: u64) -> bool {
        match self.shared.data.take_ballast_back() {
            Ok(false) => {
                self.shared.set_gate(Gate::Open);
                true
            }
            // There is less room now.
            Ok(true) => self.check_room(need),
            Err(e) => {
                let why = format!("what is kept back for delivery can't be had again yet: {e}");
                self.shared.set_gate(Gate::of_error(&e, why));
                self.janitor.make_room(false);
                false
            }
        }
    }

    /// Looks whether a full lane can take events again. While deliveries will give more room, it waits until there
    /// is enough that it does not flap; a lane with nothing left to delete makes do with what there is.
    pub(super) fn reopen(&mut self) -> bool {
        let last = self.shared.table().segments.len() <= 1;
        self.check_room(if last { self.allocation } else { 2 * self.allocation })
    }

    /// Reserves disk blocks for `need` more bytes.
    pub(super) fn reserve(&mut self, need: u64) -> bool {
        let end = self.end_with(need);
        let step = self.allocation;
        let Some(active) = &mut self.active else { return false };
        if !active.needs_allocation(end) {
            return true;
        }
        match active.allocate(end, step) {
            Ok(()) => true,
            // A limit of this process (`ulimit -f`): another file has room for as much again.
            Err(e) if e.kind() == ErrorKind::FileTooLarge && self.planned() > 0 => {
                self.rotate();
                self.trouble.is_none() && self.reserve(need)
            }
            Err(e) => {
                // Nothing was written: the segment is as it was.
                self.shared.set_gate(Gate::of_error(&e, format!("disk blocks can't be reserved: {e}")));
                self.worry();
                false
            }
        }
    }
}
