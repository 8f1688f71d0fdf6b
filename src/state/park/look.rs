//! What tools see of parked events: file by file, beside a running agent or without one. Never writes.

use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, Parked};
use super::store::{listed, pieces};
use crate::disk::{DiskError, EntryKind, File, Fs, insist};
use crate::ids::{DestinationName, LaneName, SeqRange, SpoolId, TopicName};

/// A file of parked events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedFile {
    /// Where they were to go.
    pub destination: DestinationName,
    /// Which topic would not have them.
    pub topic: TopicName,
    /// The numbers it speaks of.
    pub covers: SeqRange,
    /// Bytes of it.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// What was found in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events in whole blocks.
    pub events: u64,
    /// Events lost to damage; where the file's own count is damaged too, those that are known of.
    pub lost: u64,
    /// Its header is damaged, which costs nothing but that count.
    pub header_damaged: bool,
}

/// The files of a lane, those of a topic in the order of their numbers.
///
/// # Errors
/// When a directory is there and can't be listed.
pub fn files<F: Fs>(fs: &F, data_dir: &Path, lane: &LaneName) -> Result<Vec<ParkedFile>, DiskError> {
    let (mut found, of_lane) = (Vec::new(), data_dir.join("parked").join(lane.as_str()));
    let directories = |path: &Path| -> Result<Vec<String>, DiskError> {
        let all = listed(fs, path)?.into_iter();
        Ok(all.filter(|(_, kind)| *kind == EntryKind::Directory).map(|(name, _)| name).collect())
    };
    for destination in directories(&of_lane)? {
        let of_destination = of_lane.join(&destination);
        let Ok(destination) = DestinationName::new(&destination) else { continue };
        for name in directories(&of_destination)? {
            let Ok(topic) = TopicName::new(&name) else { continue };
            let pieces = pieces(fs, &of_destination.join(&name))?.into_values();
            found.extend(pieces.map(|piece| ParkedFile {
                destination: destination.clone(),
                topic: topic.clone(),
                covers: piece.covers,
                bytes: piece.bytes,
                path: piece.path,
            }));
        }
    }
    Ok(found)
}

impl ParkedFile {
    /// Shows every whole block to `visit`. `None` when the file is gone: its events have arrived meanwhile.
    ///
    /// # Errors
    /// When the disk can't read it.
    pub fn read<F: Fs>(
        &self,
        fs: &F,
        spool: SpoolId,
        mut visit: impl FnMut(Parked),
    ) -> Result<Option<Seen>, DiskError> {
        let Some(bytes) = self.bytes(fs)? else { return Ok(None) };
        let header = codec::header(&bytes, spool);
        let mut seen = Seen { header_damaged: header.is_none(), ..Seen::default() };
        let mut at = header.map_or(0, |(length, _)| length);
        while let Some((begin, head)) = self.next_head(&bytes, spool, at) {
            let stored = begin.saturating_add(head.len)..begin.saturating_add(head.len + head.stored);
            let payload = bytes.get(stored.clone()).and_then(|stored| head.payload(stored.to_vec()));
            at = if payload.is_some() { stored.end } else { stored.start };
            let codec::Head { range, stream, time, run, segment, .. } = head;
            match payload {
                Some(payload) => {
                    seen.events += range.len();
                    visit(Parked { range, stream, time, run, segment, payload });
                }
                None => seen.lost += range.len(),
            }
        }
        if let Some((_, events)) = header {
            seen.lost = events.saturating_sub(seen.events);
        }
        Ok(Some(seen))
    }

    /// The record at `at`, or else the next one behind it that has a whole head.
    fn next_head(&self, bytes: &[u8], spool: SpoolId, at: usize) -> Option<(usize, codec::Head)> {
        let rest = bytes.get(at..)?;
        memchr::memmem::find_iter(rest, codec::MAGIC).find_map(|found| {
            let head = codec::head(rest.get(found..)?, spool)?;
            self.covers.contains(head.range.first).then_some((at + found, head))
        })
    }

    /// How many events it was made with, if its header is whole.
    ///
    /// # Errors
    /// When the disk can't read it.
    pub fn made_with<F: Fs>(&self, fs: &F, spool: SpoolId) -> Result<Option<u64>, DiskError> {
        let Some(file) = self.open(fs)? else { return Ok(None) };
        let mut bytes = vec![0; codec::MAX_HEADER];
        let read = insist(|| file.read_full_at(&mut bytes, 0)).map_err(DiskError::io("read", &self.path))?;
        bytes.truncate(read);
        Ok(codec::header(&bytes, spool).map(|(_, events)| events))
    }

    fn open<F: Fs>(&self, fs: &F) -> Result<Option<F::File>, DiskError> {
        match insist(|| fs.open_read(&self.path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(DiskError::io("open", &self.path)),
        }
    }

    /// All of it: no more than a few megabytes are parked in one file.
    fn bytes<F: Fs>(&self, fs: &F) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(file) = self.open(fs)? else { return Ok(None) };
        let size = insist(|| file.size()).map_err(DiskError::io("look at", &self.path))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = insist(|| file.read_full_at(&mut bytes, 0)).map_err(DiskError::io("read", &self.path))?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }
}
