//! Reading what is parked, in the order of its numbers.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::{self, Head, MAX_HEAD, Parked};
use super::reach::Fault;
use super::store::{Park, Piece};
use crate::disk::{DiskError, File, Fs, insist};
use crate::ids::{RunId, SegmentId, Seq, SeqRange, SpoolId, StreamName, TopicName};

/// Bytes looked through at a time for the next record behind damaged ones.
const SEARCH: usize = 64 << 10;

/// What is parked next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A block.
    Block(Parked),
    /// A block that was not wanted, with its run.
    Skipped(SeqRange, StreamName, SegmentId, RunId),
    /// A block whose events are damaged.
    Lost(SeqRange),
}

/// After so many errors at one place what can't be read counts as damaged, as in the spool.
const PATIENCE: u32 = 20;
/// After so many a file of which nothing can be found does: a quarter of an hour, at one every few seconds, as in the spool.
const WHOLE_PATIENCE: u32 = 15 * PATIENCE;

/// Reads a park: of each topic the next record, and of these the one with the lowest numbers. Blocking I/O.
#[derive(Debug)]
pub struct ParkReader<F: Fs> {
    park: Arc<Park<F>>,
    places: BTreeMap<TopicName, Place<F>>,
    /// Errors in a row in looking for what comes next.
    failures: u32,
    /// Files of which nothing can be read, given up after long enough, with the number from which on nothing of them is looked for any more:
    /// others are found before and after them, which must not begin their time anew.
    given_up: BTreeMap<PathBuf, Seq>,
    /// The block whose payload could not be read the last time, and errors in a row at it: it is found before every try.
    unread: Option<(Seq, u32)>,
}

/// Where it stands among the files of a topic.
#[derive(Debug)]
struct Place<F: Fs> {
    piece: Piece,
    /// `None`: it is gone.
    file: Option<F::File>,
    /// No record of the file with numbers from here on lies before `next`.
    since: Seq,
    /// Of the record that comes next.
    offset: u64,
    next: Option<Head>,
}

impl<F: Fs> ParkReader<F> {
    pub(super) fn new(park: Arc<Park<F>>) -> Self {
        Self { park, places: BTreeMap::new(), failures: 0, given_up: BTreeMap::new(), unread: None }
    }

    /// Number of the first event that is parked with a number in `range`.
    ///
    /// # Errors
    /// When the disk can't be read for now.
    pub fn first_in(&mut self, range: SeqRange) -> Result<Option<Seq>, DiskError> {
        let topic = self.seek(range)?;
        Ok(topic.and_then(|topic| self.places.get(&topic)?.next.as_ref().map(|head| head.range.first)))
    }

    /// The segment that the first block in `range` was in, if one is parked.
    pub(super) fn segment_in(&mut self, range: SeqRange) -> Result<Option<SegmentId>, DiskError> {
        let topic = self.seek(range)?;
        Ok(topic.and_then(|topic| self.places.get(&topic)?.next.as_ref().map(|head| head.segment)))
    }

    /// The block that begins at `first`, if one is parked.
    ///
    /// # Errors
    /// When the disk can't be read for now.
    pub fn take(
        &mut self,
        first: Seq,
        want: &mut dyn FnMut(&StreamName, SeqRange) -> bool,
    ) -> Result<Option<Found>, DiskError> {
        let Some(topic) = self.seek(SeqRange::new(first, first.next()))? else { return Ok(None) };
        let Some(place) = self.places.get_mut(&topic) else { return Ok(None) };
        let Some(head) = place.next.clone() else { return Ok(None) };
        if !want(&head.stream, head.range) {
            return Ok(Some(Found::Skipped(head.range, head.stream, head.segment, head.run)));
        }
        let at = place.offset.saturating_add(head.len as u64);
        let (stored, path) = (place.read_at(at, head.stored), place.piece.path.clone());
        let Some(payload) = head.payload(self.tolerated(&topic, first, stored)?) else {
            let path = path.display();
            tracing::error!(%path, events = %head.range, %topic, "parked events are damaged: they are lost");
            return Ok(Some(Found::Lost(head.range)));
        };
        let Head { range, stream, time, run, segment, .. } = head;
        Ok(Some(Found::Block(Parked { range, stream, time, run, segment, payload })))
    }

    /// A payload, or nothing in its place after long enough.
    fn tolerated(
        &mut self,
        topic: &TopicName,
        first: Seq,
        stored: Result<Vec<u8>, DiskError>,
    ) -> Result<Vec<u8>, DiskError> {
        let unread = self.unread.take();
        let Err(error) = stored else { return stored };
        // It may be the handle: what stands at the path by now is asked the next time.
        self.places.remove(topic);
        let Some(patience) = self.patience(&error, PATIENCE) else { return Err(error) };
        let failures = unread.filter(|(at, _)| *at == first).map_or(0, |(_, failures)| failures);
        if failures >= patience {
            return Ok(Vec::new());
        }
        self.unread = Some((first, failures.saturating_add(1)));
        Err(error)
    }

    /// How many errors like this one a file is given, of which damage gets `damaged`. `None`: it is not of the file, and waits.
    fn patience(&self, error: &DiskError, damaged: u32) -> Option<u32> {
        match self.park.fault(error) {
            Fault::Damage => Some(damaged),
            Fault::Alone => Some(WHOLE_PATIENCE),
            Fault::Away => {
                self.park.note_wait(error);
                None
            }
        }
    }

    /// Counts an error of a file of which nothing can be found. Whether there have been enough.
    fn is_enough(&mut self, error: &DiskError) -> bool {
        let Some(patience) = self.patience(error, WHOLE_PATIENCE) else {
            self.failures = 0;
            return false;
        };
        let enough = self.failures >= patience;
        self.failures = self.failures.saturating_add(u32::from(!enough));
        enough
    }

    /// Moves on to the first record of each topic with numbers in `range`; the topic that has the lowest.
    fn seek(&mut self, range: SeqRange) -> Result<Option<TopicName>, DiskError> {
        let mut best: Option<(Seq, TopicName)> = None;
        let mut pieces = self.park.from(range.first);
        pieces.sort_by_key(|(_, piece)| piece.covers.first);
        for (topic, piece) in pieces {
            let below = best.as_ref().map_or(range.end, |(least, _)| *least);
            if piece.covers.first.max(range.first) >= below {
                // Whether it can be read does not matter yet.
                break;
            }
            if let Some(first) = self.seek_topic(&topic, piece, SeqRange::new(range.first, below))? {
                best = Some((first, topic));
            }
        }
        self.failures = 0;
        Ok(best.map(|(_, topic)| topic))
    }

    fn seek_topic(
        &mut self,
        topic: &TopicName,
        piece: Piece,
        range: SeqRange,
    ) -> Result<Option<Seq>, DiskError> {
        let mut piece = Some(piece);
        while let Some(one) = piece.take().filter(|piece| piece.covers.first < range.end) {
            match self.seek_piece(topic, &one, range.first) {
                Ok(Some(first)) => return Ok(Some(first).filter(|first| *first < range.end)),
                Ok(None) => {}
                Err(error) if !self.is_enough(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, %topic, "parked events can't be read: what can't is lost");
                    self.places.remove(topic);
                    self.given_up.insert(one.path.clone(), range.first);
                    // The next has a time of its own.
                    self.failures = 0;
                }
            }
            let end = one.covers.end;
            piece = self.park.from(end).into_iter().find(|(of, _)| of == topic).map(|(_, next)| next);
        }
        Ok(None)
    }
}

impl<F: Fs> ParkReader<F> {
    fn seek_piece(&mut self, topic: &TopicName, piece: &Piece, from: Seq) -> Result<Option<Seq>, DiskError> {
        if self.given_up.get(&piece.path).is_some_and(|since| *since <= from) {
            return Ok(None);
        }
        let stays = self.places.get(topic).is_some_and(|p| p.piece == *piece && p.since <= from);
        if !stays {
            self.places.insert(topic.clone(), Place::open(&self.park, piece, from)?);
        }
        let Some(place) = self.places.get_mut(topic) else { return Ok(None) };
        let sought = place.seek(self.park.spool, from);
        if sought.is_err() {
            // Where it stands by now is not known.
            self.places.remove(topic);
        }
        sought
    }
}

impl<F: Fs> Place<F> {
    fn open(park: &Park<F>, piece: &Piece, since: Seq) -> Result<Self, DiskError> {
        let path = &piece.path;
        let opened = insist(|| park.fs.open_read(path)).map_err(DiskError::io("open", path));
        // Afterwards, so that a file of what has taken the directory's place is not believed either.
        park.at_home()?;
        let file = match opened {
            Err(error) if is_gone(&error) && park.fault(&error) == Fault::Damage => {
                tracing::error!(%error, "parked events are gone: they are lost");
                None
            }
            file => Some(file?),
        };
        let mut place = Self { piece: piece.clone(), file, since, offset: 0, next: None };
        if place.file.is_some() {
            let start = place.read_at(0, codec::MAX_HEADER)?;
            let length = codec::header(&start, park.spool).map(|(length, _)| length);
            if length.is_none() {
                tracing::warn!(path = %path.display(), "the header of parked events is damaged: it is done without");
            }
            place.offset = length.unwrap_or(0) as u64;
        }
        place.load(park.spool)?;
        Ok(place)
    }

    /// Moves on to the first record that begins at or beyond `seq`; its number.
    fn seek(&mut self, spool: SpoolId, seq: Seq) -> Result<Option<Seq>, DiskError> {
        while let Some(head) = self.next.as_ref().filter(|head| head.range.first < seq) {
            self.offset = self.offset.saturating_add((head.len + head.stored) as u64);
            self.load(spool)?;
        }
        self.since = seq;
        Ok(self.next.as_ref().map(|head| head.range.first))
    }

    /// Reads the record at `offset`, or else the next one behind it that is whole.
    fn load(&mut self, spool: SpoolId) -> Result<(), DiskError> {
        let bytes = self.read_at(self.offset, MAX_HEAD)?;
        self.next = codec::head(&bytes, spool).filter(|head| self.piece.covers.contains(head.range.first));
        if self.next.is_some() || bytes.is_empty() {
            return Ok(());
        }
        tracing::error!(
            path = %self.piece.path.display(),
            offset = self.offset,
            "a record of parked events is damaged: what can't be found behind it is lost"
        );
        self.search(spool)
    }

    fn search(&mut self, spool: SpoolId) -> Result<(), DiskError> {
        loop {
            let bytes = self.read_at(self.offset, SEARCH + MAX_HEAD)?;
            let window = bytes.as_slice();
            let whole = memchr::memmem::find_iter(window, codec::MAGIC).find_map(|at| {
                let head = codec::head(window.get(at..)?, spool)?;
                self.piece.covers.contains(head.range.first).then_some((at, head))
            });
            if let Some((at, head)) = whole {
                self.offset = self.offset.saturating_add(at as u64);
                self.next = Some(head);
                return Ok(());
            }
            if bytes.len() < SEARCH + MAX_HEAD {
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                return Ok(());
            }
            self.offset = self.offset.saturating_add(SEARCH as u64);
        }
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let mut bytes = vec![0; len];
        let read = insist(|| file.read_full_at(&mut bytes, offset));
        bytes.truncate(read.map_err(DiskError::io("read", &self.piece.path))?);
        Ok(bytes)
    }
}

/// The run under which the block that begins at `first` has its numbers, if one is parked.
pub(super) fn run_of<F: Fs>(park: &Park<F>, first: Seq) -> Result<Option<RunId>, DiskError> {
    for (_, piece) in park.from(first).into_iter().filter(|(_, piece)| piece.covers.contains(first)) {
        let mut place = Place::open(park, &piece, first)?;
        if place.seek(park.spool, first)? == Some(first) {
            return Ok(place.next.map(|head| head.run));
        }
    }
    Ok(None)
}

/// Whether no file stands there.
fn is_gone(error: &DiskError) -> bool {
    matches!(error, DiskError::Io { source, .. } if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput))
}
