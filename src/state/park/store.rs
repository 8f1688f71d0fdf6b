//! The files of a park, and what they cover.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codec::{self, About, Parked};
use super::reach::Reach;
use super::reader::{self, ParkReader};
use crate::disk::{
    DiskError, EntryKind, File, Fs, clear_way, insist, is_no_directory, make_dir, make_way, sync_way,
};
use crate::ids::{DestinationName, LaneName, RunId, SegmentId, Seq, SeqRange, SpoolId, TopicName};
use crate::sabotage::{self, Bug};

const SUFFIX: &str = ".parked";
/// What a file is called while it is written.
const NEW: &str = "new";

/// Where the events of a lane are that wait for topics of a destination.
#[must_use]
pub fn directory(data_dir: &Path, lane: &LaneName, destination: &DestinationName) -> PathBuf {
    data_dir.join("parked").join(lane.as_str()).join(destination.as_str())
}

/// What keeps events from being parked.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// The quota.
    #[error("{bytes} bytes are parked already, and {more} more would be beyond the limit of {limit}")]
    Full {
        /// That there are.
        bytes: u64,
        /// That were to come.
        more: u64,
        /// The limit.
        limit: u64,
    },
    /// The room that is to stay free.
    #[error("{available} bytes are free on its file system, {reserve} are to stay free (spool.reserve)")]
    Reserve {
        /// That are free.
        available: u64,
        /// That are to stay free.
        reserve: u64,
    },
    /// An event that no file can hold.
    #[error("the block of events {0} is larger than any that can be parked")]
    TooLarge(SeqRange),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The park of a (lane, destination).
#[derive(Debug)]
pub struct Park<F: Fs> {
    pub(super) fs: F,
    pub(super) spool: SpoolId,
    data_dir: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) reach: Reach,
    lane: LaneName,
    destination: DestinationName,
    limit: u64,
    reserve: u64,
    files: Mutex<Files>,
}

/// Whose park it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// The data directory's identity.
    pub spool: SpoolId,
    /// Where events come from.
    pub lane: &'a LaneName,
    /// Where they were to go.
    pub destination: &'a DestinationName,
}

#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) topics: BTreeMap<TopicName, BTreeMap<Seq, Piece>>,
    bytes: u64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    /// Every event of the topic with one of these numbers stands in it.
    pub(super) covers: SeqRange,
    pub(super) bytes: u64,
}

impl<F: Fs> Park<F> {
    /// Looks at what is parked. Of a file no more is looked at than its name and size.
    ///
    /// # Errors
    /// When a directory is there and can't be listed: what it holds must not be forgotten.
    pub fn open(fs: &F, data_dir: &Path, whose: Whose<'_>) -> Result<Self, DiskError> {
        let directory = directory(data_dir, whose.lane, whose.destination);
        // Where a file stands nothing is parked. One that can't be set aside now keeps nobody from starting.
        if let Err(error) = clear_way(fs, data_dir, &directory) {
            tracing::error!(%error, "what stands in the place of parked events' directory could not be set aside");
        }
        let reach = Reach::open(fs, data_dir, &directory)?;
        let mut files = Files::default();
        for (name, kind) in listed(fs, &directory)? {
            let topic = TopicName::new(&name).ok().filter(|_| kind == EntryKind::Directory);
            if let Some(topic) = topic {
                let pieces = pieces(fs, &directory.join(&name))?;
                files.bytes = pieces.values().fold(files.bytes, |sum, piece| sum.saturating_add(piece.bytes));
                files.topics.insert(topic, pieces);
            }
        }
        let Whose { spool, lane, destination } = whose;
        let (lane, destination) = (lane.clone(), destination.clone());
        let (fs, files) = (fs.clone(), Mutex::new(files));
        let data_dir = data_dir.to_owned();
        Ok(Self { fs, spool, data_dir, directory, reach, lane, destination, limit: 0, reserve: 0, files })
    }

    /// With at most `limit` bytes, and `reserve` left free on the file system; without this, nothing is parked.
    #[must_use]
    pub fn bounded(self, limit: u64, reserve: u64) -> Self {
        Self { limit, reserve, ..self }
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk it is on.
    #[must_use]
    pub fn fs(&self) -> &F {
        &self.fs
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().bytes
    }

    /// Bytes that there may be.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that may still be parked, if these are at least `least`.
    ///
    /// # Errors
    /// [`ParkError::Full`] or [`ParkError::Reserve`].
    pub fn room(&self, least: u64) -> Result<u64, ParkError> {
        let bytes = self.bytes();
        let left = self.limit.saturating_sub(bytes);
        if least > left {
            return Err(ParkError::Full { bytes, more: least, limit: self.limit });
        }
        let available = self.fs.space(&self.data_dir).map_or(u64::MAX, |space| space.available);
        let free = available.saturating_sub(self.reserve);
        if least > free {
            return Err(ParkError::Reserve { available, reserve: self.reserve });
        }
        Ok(left.min(free))
    }

    /// The lowest number that is covered for any topic.
    #[must_use]
    pub fn first(&self) -> Option<Seq> {
        self.files().topics.values().filter_map(|pieces| pieces.keys().next().copied()).min()
    }

    /// Up to where everything of `topic` from `position` on is covered: `position` itself if it is not.
    #[must_use]
    pub fn covered(&self, topic: &TopicName, position: Seq) -> Seq {
        let files = self.files();
        let Some(pieces) = files.topics.get(topic) else { return position };
        let mut upto = position;
        while let Some(further) = holding(pieces, upto) {
            upto = further.covers.end;
        }
        upto
    }

    /// Makes `blocks`, which are all of the topic's with numbers in `covers`, durable.
    ///
    /// # Errors
    /// [`ParkError`]; then nothing is covered that was not before.
    pub fn keep(&self, topic: &TopicName, covers: SeqRange, blocks: &[Parked]) -> Result<(), ParkError> {
        let bytes = self.encode(topic, covers, blocks)?;
        let more = bytes.len() as u64;
        self.room(more)?;
        let directory = self.directory.join(topic.as_str());
        self.at_home()?;
        if self.files().topics.contains_key(topic) {
            // One that was moved away is not made anew.
            insist(|| self.fs.list(&directory)).map_err(DiskError::io("list", &directory))?;
        }
        let path = self.write(&directory, covers, &bytes)?;
        self.settle_in()?;
        let mut files = self.files();
        files.bytes = files.bytes.saturating_add(more);
        let replaced = files
            .topics
            .entry(topic.clone())
            .or_default()
            .insert(covers.first, Piece { path, covers, bytes: more });
        files.bytes = files.bytes.saturating_sub(replaced.map_or(0, |piece| piece.bytes));
        Ok(())
    }

    fn encode(&self, topic: &TopicName, covers: SeqRange, blocks: &[Parked]) -> Result<Vec<u8>, ParkError> {
        let events = blocks.iter().map(|block| block.range.len()).sum();
        let mut bytes = Vec::new();
        let Self { spool, lane, destination, .. } = self;
        codec::put_header(&mut bytes, &About { spool: *spool, lane, destination, topic, covers, events });
        for block in blocks {
            if !codec::put(&mut bytes, self.spool, block) {
                return Err(ParkError::TooLarge(block.range));
            }
        }
        Ok(bytes)
    }

    /// DURABILITY: a file's bytes are durable before it has its name, and its name before anybody hears of it.
    fn write(&self, directory: &Path, covers: SeqRange, bytes: &[u8]) -> Result<PathBuf, DiskError> {
        let fs = &self.fs;
        make_dir(fs, &self.data_dir, directory)?;
        let path = directory.join(format!("{:020}-{:020}{SUFFIX}", covers.first.0, covers.end.0));
        let early = sabotage::commits(Bug::ParkedUnderItsName);
        let new = if early { path.clone() } else { directory.join(NEW) };
        if insist(|| fs.remove(&new)).is_err() {
            make_way(fs, &new)?;
        }
        let file = fs.create(&new).map_err(DiskError::io("create", &new))?;
        file.allocate(bytes.len() as u64).map_err(DiskError::io("reserve room for", &new))?;
        file.write_at(bytes, 0).map_err(DiskError::io("write", &new))?;
        file.sync_data().map_err(DiskError::io("sync", &new))?;
        fs.rename(&new, &path).map_err(DiskError::io("rename", &new))?;
        if let Err(e) = sync_way(fs, &self.data_dir, directory) {
            // Nobody hears of it, so it would take room that is not counted; unless it took the place of one that counts.
            let counts =
                self.files().topics.values().flat_map(BTreeMap::values).any(|piece| piece.path == path);
            if !counts {
                let _gone = insist(|| fs.remove(&path));
            }
            return Err(e);
        }
        Ok(path)
    }

    /// Nobody needs any more what is covered below the number that `below` says for a topic: those files go. What can't be
    /// deleted now is tried again the next time.
    ///
    /// # Errors
    /// The first refusal of the disk.
    pub fn forget(&self, below: impl Fn(&TopicName) -> Seq) -> Result<(), DiskError> {
        self.at_home()?;
        let mut files = self.files();
        let Files { topics, bytes } = &mut *files;
        for (topic, pieces) in &mut *topics {
            let below = below(topic);
            while let Some(piece) = pieces.first_entry().filter(|piece| piece.get().covers.end <= below) {
                let path = &piece.get().path;
                match insist(|| self.fs.remove(path)) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(DiskError::io("delete", path)(e));
                    }
                    _ => {
                        // What was deleted, or was not there, was this file only then.
                        self.at_home()?;
                        *bytes = bytes.saturating_sub(piece.remove().bytes);
                    }
                }
            }
        }
        topics.retain(|_, pieces| !pieces.is_empty());
        Ok(())
    }

    /// The first file of each topic that covers something at or beyond `from`.
    pub(super) fn from(&self, from: Seq) -> Vec<(TopicName, Piece)> {
        let files = self.files();
        let first = files.topics.iter().filter_map(|(topic, pieces)| {
            let piece =
                holding(pieces, from).or_else(|| pieces.range(from..).next().map(|(_, piece)| piece))?;
            Some((topic.clone(), piece.clone()))
        });
        first.collect()
    }

    /// Whether `seq` is covered for any topic, and up to where that holds or does not hold.
    #[must_use]
    pub fn reach(&self, seq: Seq) -> (bool, Seq) {
        let files = self.files();
        let covered =
            files.topics.values().filter_map(|pieces| holding(pieces, seq)).map(|p| p.covers.end).max();
        let next =
            files.topics.values().filter_map(|pieces| pieces.range(seq..).next().map(|(from, _)| *from));
        covered.map_or_else(|| (false, next.min().unwrap_or(Seq(u64::MAX))), |end| (true, end))
    }

    /// The segment that the first block with numbers in `range` was in, if one is parked.
    ///
    /// # Errors
    /// When the disk can't be read for now.
    pub fn segment_in(self: &Arc<Self>, range: SeqRange) -> Result<Option<SegmentId>, DiskError> {
        self.reader().segment_in(range)
    }

    /// The run under which the block that begins at `first` has its numbers, if one is parked and can be read. Blocking I/O.
    #[must_use]
    pub fn run_of(&self, first: Seq) -> Option<RunId> {
        reader::run_of(self, first).unwrap_or_else(|error| {
            tracing::warn!(lane = %self.lane, destination = %self.destination, seq = first.0, %error,
                "a parked event that the journal names can't be read; the journal is taken as it is");
            None
        })
    }

    /// Reads what is parked.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> ParkReader<F> {
        ParkReader::new(Arc::clone(self))
    }
}

/// The file that covers `seq`, the one that reaches furthest.
fn holding(pieces: &BTreeMap<Seq, Piece>, seq: Seq) -> Option<&Piece> {
    let before = pieces.range(..=seq).rev().take(2).map(|(_, piece)| piece);
    before.filter(|piece| seq < piece.covers.end).max_by_key(|piece| piece.covers.end)
}

pub(super) fn listed<F: Fs>(fs: &F, directory: &Path) -> Result<Vec<(String, EntryKind)>, DiskError> {
    match insist(|| fs.list(directory)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || is_no_directory(&e) => Ok(Vec::new()),
        listed => {
            let listed = listed.map_err(DiskError::io("list", directory))?;
            Ok(listed.into_iter().map(|entry| (entry.name, entry.kind)).collect())
        }
    }
}

pub(super) fn pieces<F: Fs>(fs: &F, directory: &Path) -> Result<BTreeMap<Seq, Piece>, DiskError> {
    let mut pieces = BTreeMap::new();
    for (name, kind) in listed(fs, directory)? {
        let Some(covers) = covers(&name).filter(|_| kind == EntryKind::File) else { continue };
        let path = directory.join(&name);
        let size = insist(|| fs.open_read(&path)).and_then(|file| file.size());
        let bytes = size.unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "parked events can't be read");
            0
        });
        put(&mut pieces, Piece { path, covers, bytes });
    }
    Ok(pieces)
}

/// Of two that begin at the same number the one that reaches further counts: the other is of a time when keeping it
/// failed at last, so that it was not said to be there.
fn put(pieces: &mut BTreeMap<Seq, Piece>, piece: Piece) {
    let first = piece.covers.first;
    if pieces.get(&first).is_none_or(|other| other.covers.end < piece.covers.end) {
        pieces.insert(first, piece);
    }
}

fn covers(name: &str) -> Option<SeqRange> {
    let (from, upto) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let (from, upto) = (from.parse().ok()?, upto.parse().ok()?);
    (from < upto).then(|| SeqRange::new(Seq(from), Seq(upto)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_files_that_begin_together_the_one_that_reaches_further_counts_however_they_are_listed() {
        let piece = |end: u64| Piece {
            path: end.to_string().into(),
            covers: SeqRange::new(Seq(1), Seq(end)),
            bytes: 5,
        };
        for order in [[20, 30], [30, 20]] {
            let mut pieces = BTreeMap::new();
            order.into_iter().for_each(|end| put(&mut pieces, piece(end)));
            assert_eq!(pieces.into_values().collect::<Vec<_>>(), [piece(30)]);
        }
    }
}
