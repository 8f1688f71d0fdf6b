//! The file that holds a [`Positions`]: `<data_dir>/readers/<lane>/<destination>`.

use std::path::{Path, PathBuf};

use super::record::Positions;
use super::{DecodeError, codec};
use crate::disk::{DiskError, Fs, Slots, make_dir, sync_way};
use crate::ids::{DestinationName, LaneName, SpoolId};

/// Room for a record: a thousand stuck topics with the longest names, some thousand partitions, and what is
/// settled of a full buffer of tiny events.
const CAPACITY: usize = 512 << 10;

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

/// Bytes of a positions file that are left for what changes by itself, most of all for what is settled of open blocks.
const LEFT: usize = 224 << 10;

/// Whether positions that take something over leave enough room in their file for what comes.
#[must_use]
pub fn leave_room(positions: &Positions) -> bool {
    codec::least(positions) <= CAPACITY - LEFT
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
        Ok((Self { fs: fs.clone(), data_dir: data_dir.to_owned(), above, unmade, slots }, restored))
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
        Ok(self.slots.save(&codec::encode(positions, self.slots.capacity()))?)
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
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::disk::sim::SimFs;
    use crate::ids::{Seq, StreamName};
    use crate::state::positions::{Passed, PassedStream, Taken};

    fn passed(ahead: u64, dropped: bool, older: bool, change: u64) -> Passed {
        let stream = StreamName::new("s").unwrap();
        let streams =
            vec![PassedStream { stream, from: Seq(3), below: Seq(5), apart: std::sync::Arc::default() }];
        Passed { below: Seq(9), streams, waiting: -4, dropped, older, ahead, change, inexact: None }
    }

    fn taken() -> Taken {
        let from = DestinationName::new("other").unwrap();
        let passed = vec![passed(7, true, false, 2), passed(0, false, true, 0)];
        Taken { change: 6, from, position: Seq(11), passed, below: Seq(12), until: Seq(13), waiting: -2 }
    }

    /// Each alone, so that none hangs on another.
    #[test]
    fn whatever_changes_of_routes_leave_behind_is_found_again() {
        let fresh = || Positions::fresh(SpoolId(7), Seq(1));
        let mut all = vec![
            Positions { known: 5, ..fresh() },
            Positions { change: 5, ..fresh() },
            Positions { change: 6, taken: vec![taken(), Taken { waiting: 3, ..taken() }], ..fresh() },
            Positions { change: 6, kept: vec![Seq(20), Seq(30)], ..fresh() },
        ];
        for (ahead, dropped, older, change) in
            [(0, false, false, 0), (1, true, false, 4), (2, false, true, 0), (u64::MAX >> 2, true, true, 9)]
        {
            all.push(Positions { passed: vec![passed(ahead, dropped, older, change)], ..fresh() });
        }
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let (fs, data) = (SimFs::default(), Path::new("/data"));
        fs.create_dir(data).unwrap();
        let open = || Store::open_sized(&fs, data, SpoolId(7), &lane, &home, 4096).unwrap();
        for positions in all {
            open().0.save(&positions).unwrap();
            assert_eq!(open().1, Restored::Positions(Box::new(positions)));
        }
    }

    #[test]
    fn what_is_taken_over_leaves_room_for_what_changes_by_itself() {
        let fresh = Positions { change: 1, ..Positions::fresh(SpoolId(7), Seq(1)) };
        let each = 8;
        let most = (CAPACITY - LEFT - codec::least(&fresh)) / each;
        let with = |kept: usize| Positions { kept: vec![Seq(1); kept], ..fresh.clone() };
        assert!(leave_room(&fresh) && leave_room(&with(most)) && !leave_room(&with(most + 1)));
        assert!(most * each > 200 << 10, "{most}");
    }

    #[test]
    fn a_file_that_was_never_written_and_one_that_is_damaged_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        let open = || Store::open(&RealFs, dir.path(), SpoolId(7), &lane, &home).unwrap().1;
        assert_eq!([open(), open()], [Restored::Nothing, Restored::Nothing]);
        let path = directory(dir.path(), &lane).join("home");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] = 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(open(), Restored::Unusable(Unusable::Damaged));
    }
}
