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
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::disk::sim::SimFs;
    use crate::ids::{Seq, StreamName, TopicName};
    use crate::state::positions::{Counter, Partial, Passed, PassedStream, Side, Taken, TopicCounters};

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

    /// So many topics are stuck, each with a name as long as can be, and of each a partition was written to.
    fn stuck(topics: u64) -> Positions {
        let name = |n: u64| TopicName::new(&format!("{n:x>249}")).unwrap();
        let side = |n| Side {
            topic: name(n),
            from: Seq(1),
            position: Seq(2),
            end: None,
            waiting: 1,
            since: 3,
            dropped: false,
            missing_for: 4,
            streams: vec![(StreamName::new(name(n).as_str()).unwrap(), Seq(1))],
            apart: Vec::new(),
        };
        let counter = Counter { epoch: 5, next: 6 };
        let counters =
            |n| TopicCounters { partitions: [(0, counter)].into(), ..TopicCounters::none(name(n), [7; 16]) };
        Positions {
            sides: (0..topics).map(side).collect(),
            counters: (0..topics).map(counters).collect(),
            // As much as may be settled behind what is not.
            partial: (0..2 * 96 * 1024 / 24).map(|n| Partial::new(Seq(10 + n), 1)).collect(),
            ..Positions::fresh(SpoolId(7), Seq(1))
        }
    }

    fn on(fs: &SimFs) -> (Store<SimFs>, Restored) {
        let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
        Store::open(fs, Path::new("/data"), SpoolId(7), &lane, &home).unwrap()
    }

    fn disk() -> SimFs {
        let fs = SimFs::default();
        fs.create_dir(Path::new("/data")).unwrap();
        fs
    }

    /// Found by an audit: of some hundreds what is settled of single blocks was left out, and sent again after a kill; of some thousands
    /// nothing could be kept, so no segment went, and the lane filled up.
    #[test]
    fn however_many_topics_are_stuck_all_that_is_known_of_them_is_kept_in_a_file_that_grows_with_it() {
        let fs = disk();
        for topics in [1, 500, 1000, 3000] {
            let positions = stuck(topics);
            let (mut store, _) = on(&fs);
            store.save(&positions).unwrap();
            assert!(on(&fs).1 == Restored::Positions(Box::new(positions)), "{topics} topics");
            store.sync().unwrap();
        }
        let (mut store, _) = on(&fs);
        store.save(&stuck(1)).unwrap();
        assert!(on(&fs).1 == Restored::Positions(Box::new(stuck(1))), "in the file that it has");
    }

    #[test]
    fn where_there_is_no_room_for_a_larger_file_what_fits_is_kept_until_there_is() {
        let fs = disk();
        let (mut store, _) = on(&fs);
        store.save(&stuck(1)).unwrap();
        store.sync().unwrap();
        fs.tamper(|world| world.fill_up_to(0));
        let positions = stuck(800);
        store.save(&positions).unwrap();
        let Restored::Positions(kept) = on(&fs).1 else { panic!("nothing is kept") };
        assert!(kept.sides == positions.sides && kept.partial.len() < positions.partial.len());
        let creates = fs.calls();
        store.save(&positions).unwrap();
        assert_eq!(fs.calls() - creates, 1, "the disk is not asked for room each time");
        assert!(store.save(&stuck(3000)).is_err(), "the least of it does not fit");
        fs.tamper(|world| world.set_capacity(u64::MAX));
        store.grows_after = None;
        store.save(&positions).unwrap();
        assert!(on(&fs).1 == Restored::Positions(Box::new(positions)));
    }

    /// Found by reading: the lane filled up on a disk with room for the larger file, since it had not room for two.
    #[test]
    fn a_larger_file_takes_most_of_the_room_only_where_nothing_can_be_kept_in_the_one_that_there_is() {
        let fs = disk();
        let (mut store, _) = on(&fs);
        store.save(&stuck(1)).unwrap();
        store.sync().unwrap();
        let room = |positions| 3 * ((codec::needs(positions) + LEFT).next_power_of_two() as u64 + 8192);
        let [fits, does_not] = [stuck(800), stuck(3000)];
        fs.tamper(|world| world.fill_up_to(room(&fits)));
        store.save(&fits).unwrap();
        let Restored::Positions(kept) = on(&fs).1 else { panic!("nothing is kept") };
        assert!(kept.sides == fits.sides && kept.partial.len() < fits.partial.len());
        fs.tamper(|world| world.fill_up_to(room(&does_not)));
        store.save(&does_not).unwrap();
        assert!(on(&fs).1 == Restored::Positions(Box::new(does_not)));
    }

    #[test]
    fn while_a_file_grows_a_power_cut_leaves_what_was_saved_before_or_what_is_being_saved_and_then_that() {
        let fs = disk();
        let (mut store, _) = on(&fs);
        let [before, after] = [stuck(1), stuck(500)];
        store.save(&before).unwrap();
        store.sync().unwrap();
        fs.record();
        store.save(&after).unwrap();
        store.sync().unwrap();
        let moments = fs.moments();
        assert!(moments.len() > 5, "{}", moments.len());
        for moment in &moments {
            for choices in moment.world.cuts(32) {
                let Restored::Positions(read) = on(&SimFs::of(moment.world.after_power_cut(&choices))).1
                else {
                    panic!("before {:?}", moment.before)
                };
                assert!(*read == before || *read == after, "before {:?}", moment.before);
            }
            let Restored::Positions(read) = on(&SimFs::of(moment.world.clone())).1 else { panic!("killed") };
            assert!(*read == before || *read == after, "killed before {:?}", moment.before);
        }
        for choices in fs.world().cuts(32) {
            let cut = SimFs::of(fs.world().after_power_cut(&choices));
            assert!(on(&cut).1 == Restored::Positions(Box::new(after.clone())));
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
        // Found by a review: what is known of blocks did not count.
        let block = Partial::new(Seq(1), 64);
        let taken = 24 / each;
        let and_a_block = |kept| Positions { partial: vec![block.clone()], ..with(kept) };
        assert!(leave_room(&and_a_block(most - taken)) && !leave_room(&and_a_block(most - taken + 1)));
    }

    #[test]
    fn what_is_replaced_is_durable_or_nobody_reads_it_again() {
        use crate::disk::sim::{Fault, Lasting};
        use rustix::io::Errno;
        let [old, new] = [stuck(1), Positions::fresh(SpoolId(7), Seq(9))];
        let fs = disk();
        let (mut store, _) = on(&fs);
        store.save(&old).unwrap();
        store.sync().unwrap();
        store.replace(&new).unwrap();
        for choices in fs.world().cuts(64) {
            let cut = SimFs::of(fs.world().after_power_cut(&choices));
            assert!(on(&cut).1 == Restored::Positions(Box::new(new.clone())));
        }
        fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::Once });
        store.replace(&old).unwrap();
        assert_eq!(fs.repair().len(), 1);
        assert!(on(&fs).1 != Restored::Positions(Box::new(new)));
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

    #[test]
    fn where_nothing_can_be_made_it_opens_and_knows_that_it_has_no_file_until_it_has() {
        use crate::disk::sim::{Fault, Lasting};
        use rustix::io::Errno;
        for (errno, opens) in [(Errno::NOSPC, true), (Errno::ROFS, true), (Errno::IO, false)] {
            let (fs, dir) = (SimFs::default(), Path::new("/data"));
            fs.create_dir(dir).unwrap();
            fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
            let (lane, home) = (LaneName::new("main").unwrap(), DestinationName::new("home").unwrap());
            let opened = Store::open(&fs, dir, SpoolId(7), &lane, &home);
            assert_eq!(opened.is_ok(), opens, "{errno}");
            let Ok((mut store, _)) = opened else { continue };
            assert!(!store.is_made(), "{errno}");
            fs.repair();
            store.save(&Positions::fresh(SpoolId(7), Seq(1))).unwrap();
            assert!(store.is_made(), "{errno}");
        }
    }
}
