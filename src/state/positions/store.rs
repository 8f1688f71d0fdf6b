//! The file that holds a [`Positions`]: `<data_dir>/readers/<lane>/<destination>`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::record::Positions;
use super::{DecodeError, codec};
use crate::disk::{DiskError, Fs, Slots, make_dir, sync_way};
use crate::ids::{DestinationName, LaneName, SpoolId};

/// Room for a record: half a thousand stuck topics with the longest names, some thousand partitions, and what is
/// settled of a full buffer of tiny events. Where there is more to say, the file grows.
const CAPACITY: usize = 512 << 10;
/// A disk that has no room for a larger file is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The positions of a (lane, destination) can't be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What was found at opening.
#[derive(Debug, PartialEq, Eq)]
pub enum Restored {
    /// There was no file: a new destination, or a file that was deleted.
    Nothing,
    /// Where it stood.
    Positions(Box<Positions>),
    /// A file that can't be used; everything on disk will be sent again.
    Unusable(Unusable),
}

/// Why a positions file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// No slot's checksum is right.
    #[error("its checksums are wrong")]
    Damaged,
    /// The checksum is right and the content is not.
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// It belongs to another data directory.
    #[error("it belongs to spool {0}, not to this one")]
    Foreign(SpoolId),
}

/// The largest file has room for this: some hundred thousand stuck topics.
const MOST: usize = 32 << 20;
/// Bytes of a positions file that are left for what changes by itself, most of all for what is settled of blocks that will be read.
const LEFT: usize = 224 << 10;

/// Whether positions that take something over leave enough room in their file for what comes. What is known of blocks is in nobody's hands
/// yet, and no reader counts it before it has read them.
#[must_use]
pub fn leave_room(positions: &Positions) -> bool {
    codec::least(positions) + codec::blocks(positions) <= CAPACITY - LEFT
}

/// Reads and writes one positions file.
pub struct Store<F: Fs> {
    fs: F,
    data_dir: PathBuf,
    /// The directory above the lane's, until its name and what is in it are durable.
    above: Option<PathBuf>,
    /// The directory of the file, while that can't be made.
    unmade: Option<PathBuf>,
    slots: Slots<F>,
    /// The disk had no room for a larger file: it is not asked again before.
    grows_after: Option<Instant>,
}

/// The directory of the positions files of a lane.
#[must_use]
pub fn directory(data_dir: &Path, lane: &LaneName) -> PathBuf {
    data_dir.join("readers").join(lane.as_str())
}

impl<F: Fs> Store<F> {
    /// Opens the file of `destination` in `lane`, making it if need be. On a disk that is full or may only be read it is made by the
    /// first save that can.
    ///
    /// # Errors
    /// When the disk refuses to make or read it.
    pub fn open(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        lane: &LaneName,
        destination: &DestinationName,
    ) -> Result<(Self, Restored), StoreError> {
        Self::open_sized(fs, data_dir, spool, lane, destination, CAPACITY)
    }

    /// With room for so many bytes.
    pub(crate) fn open_sized(
        fs: &F,
        data_dir: &Path,
        spool: SpoolId,
        lane: &LaneName,
        destination: &DestinationName,
        capacity: usize,
    ) -> Result<(Self, Restored), StoreError> {
        let directory = directory(data_dir, lane);
        let unmade = match make_dir(fs, data_dir, &directory) {
            Err(e) if e.is_no_making() => Some(directory.clone()),
            made => made.map(|()| None)?,
        };
        let path = directory.join(destination.as_str());
        let (slots, value) = match &unmade {
            Some(_) => (Slots::unmade(fs, &path, capacity), None),
            None => Slots::open(fs, &path, capacity)?,
        };
        let restored = match value {
            None if slots.damaged() => Restored::Unusable(Unusable::Damaged),
            None => Restored::Nothing,
            Some(bytes) => read(&bytes, spool),
        };
        let above = directory.parent().map(Path::to_owned);
        let (fs, data_dir) = (fs.clone(), data_dir.to_owned());
        Ok((Self { fs, data_dir, above, unmade, slots, grows_after: None }, restored))
    }

    /// Whether its file stands on the disk: so that its going means that somebody has taken it away.
    pub(crate) fn is_made(&self) -> bool {
        self.slots.is_made()
    }

    /// Writes `positions`. Survives the death of this process; a power cut only after [`Store::sync`]. What
    /// does not fit (settled events of partial blocks first, then counters) is left out.
    ///
    /// # Errors
    /// When the disk refuses; then what was saved before still stands.
    pub fn save(&mut self, positions: &Positions) -> Result<(), StoreError> {
        if let Some(directory) = &self.unmade {
            make_dir(&self.fs, &self.data_dir, directory)?;
            self.unmade = None;
        }
        let bytes = codec::encode(positions, self.slots.capacity());
        // Nearly always there is room for as much again.
        let fits = bytes.len() <= self.slots.capacity();
        if bytes.len() + LEFT > self.slots.capacity() && self.has_grown_for(positions, fits) {
            return Ok(());
        }
        Ok(self.slots.save(&bytes)?)
    }

    /// Whether the positions stand in a larger file by now, since this one has too little room left for what changes by itself. Where
    /// the disk has no room for one, what fits in this one is kept. Where that is nothing (`fits`), a larger one may take all the room that
    /// there is: without one no segment goes any more. So that is asked for each time.
    fn has_grown_for(&mut self, positions: &Positions, fits: bool) -> bool {
        let wanted = codec::needs(positions) + LEFT;
        let capacity = self.slots.capacity();
        if wanted <= capacity || (fits && self.grows_after.is_some_and(|at| Instant::now() < at)) {
            return false;
        }
        let larger = wanted.next_power_of_two().min(MOST);
        let bytes = codec::encode(positions, larger);
        if larger <= capacity || bytes.len() > larger {
            return false;
        }
        match self.slots.grow(larger, &bytes, fits) {
            Ok(()) => {
                self.grows_after = None;
                true
            }
            Err(error) => {
                if self.grows_after.is_none_or(|at| Instant::now() >= at) {
                    tracing::warn!(%error, "a larger positions file can't be made: what this one has no room for may be sent again after a kill");
                    self.grows_after = Some(Instant::now() + ASK_AGAIN);
                }
                false
            }
        }
    }

    /// Makes the last save durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(above) = &self.above {
            sync_way(&self.fs, &self.data_dir, above)?;
            self.above = None;
        }
        Ok(self.slots.sync()?)
    }

    /// Writes over what an earlier process has saved, durably; what can't be written over is set aside, for nobody may believe it again.
    ///
    /// # Errors
    /// When the disk refuses both.
    pub fn replace(&mut self, positions: &Positions) -> Result<(), StoreError> {
        let replaced = self.save(positions).and_then(|()| self.sync());
        let Err(error) = replaced else { return Ok(()) };
        tracing::error!(%error, "positions that nobody may believe can't be written over, and are set aside");
        self.slots.begin_anew()?;
        if let Err(error) = self.save(positions).and_then(|()| self.sync()) {
            tracing::error!(%error, "the positions file that takes their place can't be made yet; it is tried again with the next save");
        }
        Ok(())
    }
}

/// What a value of a positions file says to spool `spool`.
pub(super) fn read(bytes: &[u8], spool: SpoolId) -> Restored {
    match codec::decode(bytes) {
        Ok(positions) if positions.spool == spool => Restored::Positions(Box::new(positions)),
        Ok(positions) => Restored::Unusable(Unusable::Foreign(positions.spool)),
        Err(e) => Restored::Unusable(Unusable::Content(e)),
    }
}

#[cfg(test)]
mod tests;
