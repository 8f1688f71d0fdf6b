//! What stands in a file of slots when it is opened.

use std::io;
use std::path::Path;

use super::{COUNT, MAX_SLOT, PAGE, decode, is_blank};
use crate::disk::aside::is_rot;
use crate::disk::{File, Fs, insist};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a file of slots was found to hold.
pub(super) struct Found {
    pub(super) slot_size: u64,
    /// Index, generation and value of each whole slot, newest first.
    pub(super) whole: Vec<(u64, u64, Vec<u8>)>,
    pub(super) damaged: bool,
    /// The disk could not read some of it.
    pub(super) unreadable: bool,
    /// A slot beside whole ones is not: a save that was torn, or damage.
    pub(super) torn: bool,
    /// And what stood in it fits a sector, so that nothing tears it.
    pub(super) rotten: bool,
}

impl Found {
    /// What is not whole may have been the newest value. Where it is larger than a sector, the last save before a power cut looks the
    /// same.
    pub(super) fn say(&self, path: &Path) {
        let path = path.display();
        if self.rotten || self.unreadable && !self.damaged {
            tracing::error!(%path, "a value in this state file is damaged: if it was the newest, the one before it counts");
        } else if self.torn {
            tracing::info!(%path, "a value in this state file is torn, as by a power cut, or damaged: the newest whole one counts");
        }
    }

    pub(super) fn newest(&self) -> Option<&(u64, u64, Vec<u8>)> {
        self.whole.first()
    }

    pub(super) fn second(&self) -> Option<u64> {
        self.whole.get(1).map(|(index, _, _)| *index)
    }
}

pub(super) fn read_all<F: Fs>(file: &F::File) -> io::Result<Found> {
    let slot_size = (insist(|| file.size())? / COUNT / PAGE * PAGE).min(MAX_SLOT);
    let mut found =
        Found { slot_size, whole: Vec::new(), damaged: false, unreadable: false, torn: false, rotten: false };
    let mut slot = vec![0; usize::try_from(slot_size).unwrap_or(0)];
    let mut nonzero = slot_size == 0;
    for index in 0..COUNT {
        slot.fill(0);
        match insist(|| file.read_full_at(&mut slot, index * slot_size)) {
            Err(e) if is_rot(&e) => found.unreadable = true,
            read => drop(read?),
        }
        match decode(&slot) {
            Some((generation, value)) => found.whole.push((index, generation, value.to_vec())),
            None if is_blank(&slot) => {}
            None => {
                found.torn = true;
                found.rotten |= slot.get(SECTOR..).is_some_and(is_blank);
            }
        }
    }
    nonzero |= found.torn;
    if found.whole.is_empty() {
        (found.torn, found.rotten) = (false, false);
    }
    found.whole.sort_by_key(|(_, generation, _)| std::cmp::Reverse(*generation));
    found.damaged = (nonzero || found.unreadable) && found.whole.is_empty();
    Ok(found)
}
