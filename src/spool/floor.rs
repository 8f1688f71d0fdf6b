//! What was deleted on purpose, durably: so that after a restart "dropped" and "delivered" are told from "lost".

use std::path::Path;

use crate::disk::{DiskError, Fs, Slots};
use crate::ids::Seq;

use super::names;
use super::table::FloorMark;

const VERSION: u8 = 1;
const LEN: usize = 24;

/// The file `floor` of a lane.
#[derive(Debug)]
pub(super) struct Floor<F: Fs> {
    slots: Slots<F>,
    mark: FloorMark,
    durable: bool,
    /// The mark has not been written down yet.
    owed: bool,
}

impl<F: Fs> Floor<F> {
    /// Opens it. A lost or damaged one means that what is missing counts as lost: never as delivered.
    pub(super) fn open(fs: &F, lane_dir: &Path) -> Result<Self, DiskError> {
        Self::open_in(fs, lane_dir, || false)
    }

    /// [`Floor::open`]; where there is no room, `make_room` says whether there may be by now.
    pub(super) fn open_in(
        fs: &F,
        lane_dir: &Path,
        make_room: impl FnOnce() -> bool,
    ) -> Result<Self, DiskError> {
        let path = lane_dir.join(names::FLOOR);
        let (slots, value) = Slots::open(fs, &path, LEN)?;
        let mark = value.as_deref().and_then(decode);
        if slots.damaged() || (mark.is_none() && value.is_some()) {
            tracing::error!(path = %path.display(),
                "the floor is damaged and begun anew: to a destination whose position is below the first segment, \
                 what was deleted on purpose there now counts as lost; see to the disk");
        }
        let mut floor = Self { slots, mark: mark.unwrap_or_default(), durable: true, owed: mark.is_some() };
        // DURABILITY: what was found is written afresh. Its sync may have failed under the process before: then only the page cache
        // has it, takes it for written, and no later sync covers it. Where nothing can be written, nobody can tell.
        let mut afresh = floor.raise(FloorMark::default());
        if afresh.as_ref().is_err_and(|e| e.is_for_want_of_room() && make_room()) {
            afresh = floor.raise(FloorMark::default());
        }
        if let Err(e) = afresh {
            floor.durable = false;
            tracing::error!(path = %path.display(), error = %e,
                "what was deleted on purpose can't be made sure of: until the next start no segment that came back \
                 is deleted for its sake; see to the disk");
        }
        Ok(floor)
    }

    /// DURABILITY: whether the mark it was opened with survives a power cut. It may have been written by a process
    /// that was killed before the sync; who deletes a file for its sake has to know.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    pub(super) fn mark(&self) -> FloorMark {
        self.mark
    }

    /// SABOTAGE: see [`crate::sabotage::Bug::DeleteBeforePosition`].
    pub(super) fn pretend(&mut self, mark: FloorMark) {
        self.mark = self.mark.raised_by(mark);
    }

    /// DURABILITY: before the files go; see [`Floor::owe`].
    pub(super) fn raise(&mut self, mark: FloorMark) -> Result<(), DiskError> {
        let mark = self.mark.raised_by(mark);
        if mark != self.mark || self.owed {
            self.slots.save(&encode(mark))?;
            self.slots.sync()?;
            (self.mark, self.owed) = (mark, false);
        }
        Ok(())
    }

    /// Takes the mark for raised, to write it down as soon as there is room: on a full disk without a floor file, what makes room is
    /// a delivered segment that goes.
    ///
    /// INVARIANT: only of what has been released. The positions of all who read it are durable behind it, so nobody needs the
    /// floor for it, unless a position is lost as well: then what was delivered counts as lost, as it does wherever the floor is lost.
    pub(super) fn owe(&mut self, released: Seq) {
        self.mark = self.mark.raised_by(FloorMark { dropped: Seq::NONE, released });
        self.owed = true;
    }
}

fn encode(mark: FloorMark) -> Vec<u8> {
    let mut out = vec![VERSION, 0, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&mark.dropped.0.to_le_bytes());
    out.extend_from_slice(&mark.released.0.to_le_bytes());
    out
}

/// Reads the value of a floor file.
pub(super) fn decode(bytes: &[u8]) -> Option<FloorMark> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let (dropped, rest) = rest.split_first_chunk::<8>()?;
    let (released, _) = rest.split_first_chunk::<8>()?;
    let mark = FloorMark {
        dropped: Seq(u64::from_le_bytes(*dropped)),
        released: Seq(u64::from_le_bytes(*released)),
    };
    (head.first() == Some(&VERSION)).then_some(mark)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::disk::faulty::{Faulty, Op};
    use crate::disk::sim::{Fault, Lasting, SimFs};

    fn mark(dropped: u64, released: u64) -> FloorMark {
        FloorMark { dropped: Seq(dropped), released: Seq(released) }
    }

    #[test]
    fn a_mark_that_can_not_be_synced_at_the_start_counts_and_is_not_relied_on() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Faulty::new();
        let mut floor = Floor::open(&fs, dir.path()).unwrap();
        assert_eq!((floor.mark(), floor.is_durable()), (FloorMark::default(), true));
        floor.raise(mark(3, 5)).unwrap();
        drop(floor);
        fs.fail_next(Op::SyncData, 1);
        for durable in [false, true] {
            let floor = Floor::open(&fs, dir.path()).unwrap();
            assert_eq!((floor.mark(), floor.is_durable()), (mark(3, 5), durable));
        }
    }

    /// After a failed sync the kernel takes the bytes for written, and a later sync of the same bytes says "done".
    #[test]
    fn a_mark_whose_sync_failed_under_the_process_before_is_durable_once_it_is_said_to_be() {
        let (fs, dir) = (SimFs::default(), Path::new("/"));
        let mut floor = Floor::open(&fs, dir).unwrap();
        floor.raise(mark(3, 5)).unwrap();
        // After the write.
        fs.break_at(Fault { at: fs.calls() + 1, errno: Errno::IO, lasting: Lasting::Once });
        floor.raise(mark(9, 9)).unwrap_err();
        assert_eq!(fs.hits().len(), 1);
        drop(floor);
        let floor = Floor::open(&fs, dir).unwrap();
        assert_eq!((floor.mark(), floor.is_durable()), (mark(9, 9), true));
        let world = fs.world();
        for cut in world.cuts(u64::MAX) {
            let after = SimFs::of(world.after_power_cut(&cut));
            assert_eq!(Floor::open(&after, dir).unwrap().mark(), mark(9, 9));
        }
    }

    /// Found by reading: it was synced as it stood, and after a sync that had failed the next one says "done" of anything.
    #[test]
    fn a_mark_that_can_not_be_written_afresh_counts_and_is_owed_and_is_not_relied_on() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Faulty::new();
        Floor::open(&fs, dir.path()).unwrap().raise(mark(3, 5)).unwrap();
        for (errno, op) in [(Errno::NOSPC, Op::Write), (Errno::NOSPC, Op::SyncData), (Errno::IO, Op::Write)] {
            fs.error(errno);
            fs.fail_next(op, 1);
            let mut floor = Floor::open(&fs, dir.path()).unwrap();
            assert_eq!((floor.mark(), floor.is_durable()), (mark(3, 5), false), "{op:?} {errno}");
            let written = fs.count(Op::Write);
            floor.raise(mark(1, 1)).unwrap();
            assert_eq!(fs.count(Op::Write), written + 1, "{op:?} {errno}: it is written down with the next");
        }
    }

    #[test]
    fn on_a_full_disk_that_writes_nothing_over_in_place_a_mark_of_a_failed_sync_is_not_said_to_be_durable() {
        let (fs, dir) = (SimFs::default(), Path::new("/"));
        let mut floor = Floor::open(&fs, dir).unwrap();
        floor.raise(mark(3, 5)).unwrap();
        fs.break_at(Fault { at: fs.calls() + 1, errno: Errno::IO, lasting: Lasting::Once });
        floor.raise(mark(9, 9)).unwrap_err();
        drop(floor);
        fs.tamper(|world| {
            world.copy_on_write(true);
            world.fill_up_to(0);
        });
        let floor = Floor::open(&fs, dir).unwrap();
        let after = SimFs::of(fs.world().after_power_cut(&[]));
        after.tamper(|world| world.set_capacity(u64::MAX));
        assert_eq!((floor.mark(), Floor::open(&after, dir).unwrap().mark()), (mark(9, 9), mark(3, 5)));
        assert!(!floor.is_durable());
    }

    #[test]
    fn a_mark_that_is_owed_is_written_down_with_the_next_and_by_itself_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut floor = Floor::open(&Faulty::new(), dir.path()).unwrap();
        floor.raise(mark(3, 5)).unwrap();
        floor.owe(Seq(9));
        assert_eq!(floor.mark(), mark(3, 9));
        let on_disk = || Floor::open(&Faulty::new(), dir.path()).unwrap().mark();
        assert_eq!(on_disk(), mark(3, 5));
        floor.raise(floor.mark()).unwrap();
        assert_eq!(on_disk(), mark(3, 9));
    }

    #[test]
    fn a_mark_rises_each_half_by_itself_and_only_once_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Faulty::new();
        let mut floor = Floor::open(&fs, dir.path()).unwrap();
        floor.raise(mark(3, 5)).unwrap();
        floor.raise(mark(4, 0)).unwrap();
        assert_eq!(floor.mark(), mark(4, 5));
        let (written, synced) = (fs.count(Op::Write), fs.count(Op::SyncData));
        floor.raise(mark(1, 5)).unwrap();
        assert_eq!((fs.count(Op::Write), fs.count(Op::SyncData)), (written, synced), "nothing new to write");
        for op in [Op::Write, Op::SyncData] {
            fs.fail_next(op, 1);
            assert!(floor.raise(mark(9, 9)).is_err());
            assert_eq!(floor.mark(), mark(4, 5));
        }
        floor.raise(mark(9, 9)).unwrap();
        assert_eq!(Floor::open(&fs, dir.path()).unwrap().mark(), mark(9, 9));
    }
}
