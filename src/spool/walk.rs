//! Walking over the blocks of one segment file, in bounded memory, trusting nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use crate::disk::{File, insist_unless};
use crate::ids::{LaneName, SegmentId, SpoolId};
use crate::sabotage::{self, Bug};

use super::error::{ReadError, is_damage};
use super::format::{BLOCK_ALIGN, BLOCK_MAGIC, BlockHeader, FIXED_HEADER, FLAG_LZ4, PREFIX, padded};

/// Bytes read from the disk at once.
const CHUNK: usize = 256 << 10;
const PAGE: u64 = 4096;

/// Whose blocks count.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) spool: SpoolId,
    pub(super) lane: LaneName,
    pub(super) segment: SegmentId,
}

impl Identity {
    fn owns(&self, header: &BlockHeader<'_>) -> bool {
        header.spool == self.spool && header.segment == self.segment && header.lane == self.lane.as_str()
    }
}

/// A block whose header is whole; nothing is said yet of its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) offset: u64,
    /// The header, with its names taken out.
    pub(super) header: BlockHeader<'static>,
    header_len: u64,
    lane_len: usize,
    stream_len: usize,
    pub(super) next: u64,
}

/// Reads one segment file.
#[derive(Debug)]
pub(super) struct Walker<T: File> {
    file: T,
    path: PathBuf,
    identity: Identity,
    chunk: Bytes,
    chunk_at: u64,
    /// Unreadable pages are read as zeros and noted, instead of being an error.
    pub(super) tolerant: bool,
    /// Only if the disk gives other pages of the file at that moment: else it is the disk that does not answer.
    pub(super) wary: bool,
    /// Where they begin.
    pub(super) unreadable: BTreeSet<u64>,
    /// Those that the disk refused when it was asked before: it is asked for them once.
    pub(super) refused_before: BTreeSet<u64>,
}

impl<T: File> Walker<T> {
    pub(super) fn new(file: T, path: PathBuf, identity: Identity) -> Self {
        Self {
            file,
            path,
            identity,
            chunk: Bytes::new(),
            chunk_at: 0,
            tolerant: false,
            wary: false,
            unreadable: BTreeSet::new(),
            refused_before: BTreeSet::new(),
        }
    }

    pub(super) fn file(&self) -> &T {
        &self.file
    }

    /// Forgets what was read, for a file that has grown.
    pub(super) fn forget(&mut self) {
        self.chunk = Bytes::new();
    }

    /// The block at `offset`, if one of this segment begins there and ends before `limit`.
    pub(super) fn probe(&mut self, offset: u64, limit: u64) -> Result<Option<Sighting>, ReadError> {
        if limit.saturating_sub(offset) < FIXED_HEADER as u64 {
            return Ok(None);
        }
        self.ensure(offset, FIXED_HEADER, limit)?;
        let Some(len) = BlockHeader::peek_len(self.at(offset, PREFIX)) else { return Ok(None) };
        // What does not end before the limit is not read, or is told by where its block would end.
        self.ensure(offset, len, limit)?;
        let Some(header) = BlockHeader::decode(self.at(offset, len)) else { return Ok(None) };
        let next = offset.saturating_add(padded(len as u64 + u64::from(header.payload_len)));
        if !self.identity.owns(&header) || next > limit {
            return Ok(None);
        }
        let (lane_len, stream_len) = (header.lane.len(), header.stream.len());
        let header = BlockHeader { lane: "", stream: "", ..header };
        Ok(Some(Sighting { offset, header, header_len: len as u64, lane_len, stream_len, next }))
    }

    /// The stream of a block that was just probed.
    pub(super) fn stream(&self, block: &Sighting) -> &str {
        let at = block.offset + (FIXED_HEADER + block.lane_len) as u64;
        std::str::from_utf8(self.at(at, block.stream_len)).unwrap_or_default()
    }

    /// The payload as stored, if its checksum holds.
    pub(super) fn stored(&mut self, block: &Sighting, limit: u64) -> Result<Option<Bytes>, ReadError> {
        let at = block.offset + block.header_len;
        let len = usize::try_from(block.header.payload_len).unwrap_or(usize::MAX);
        self.ensure(at, len, limit)?;
        let start = usize::try_from(at - self.chunk_at).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        if end > self.chunk.len() {
            return Ok(None);
        }
        let bytes = self.chunk.slice(start..end);
        let whole = crc32fast::hash(&bytes) == block.header.payload_crc;
        Ok((whole || sabotage::commits(Bug::PayloadUnchecked)).then_some(bytes))
    }

    /// All bytes of a block, padding included, if its payload's checksum holds.
    pub(super) fn whole(&mut self, block: &Sighting, limit: u64) -> Result<Option<Bytes>, ReadError> {
        let len = usize::try_from(block.next - block.offset).unwrap_or(usize::MAX);
        self.ensure(block.offset, len, limit)?;
        if self.stored(block, limit)?.is_none() {
            return Ok(None);
        }
        let start = usize::try_from(block.offset.saturating_sub(self.chunk_at)).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        Ok((end <= self.chunk.len()).then(|| self.chunk.slice(start..end)))
    }

    /// The payload unpacked, if its checksum holds and this version can unpack it.
    pub(super) fn payload(&mut self, block: &Sighting, limit: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(stored) = self.stored(block, limit)? else { return Ok(None) };
        Ok(unpack(&block.header, stored))
    }

    /// The first block at or after `from` that is one of this segment's.
    pub(super) fn search(&mut self, from: u64, limit: u64) -> Result<Option<Sighting>, ReadError> {
        let mut at = from.next_multiple_of(BLOCK_ALIGN);
        while limit.saturating_sub(at) >= FIXED_HEADER as u64 {
            self.ensure(at, FIXED_HEADER, limit)?;
            let start = usize::try_from(at - self.chunk_at).unwrap_or(usize::MAX);
            let window = self.chunk.get(start..).unwrap_or_default();
            let step = usize::try_from(BLOCK_ALIGN).unwrap_or(8);
            if window.len() < FIXED_HEADER {
                return Ok(None);
            }
            match window.chunks_exact(step).position(|unit| unit.starts_with(&BLOCK_MAGIC)) {
                Some(units) => at += (units * step) as u64,
                None => {
                    at += (window.len() / step * step).max(step) as u64;
                    continue;
                }
            }
            if let Some(found) = self.probe(at, limit)? {
                return Ok(Some(found));
            }
            at += BLOCK_ALIGN;
        }
        Ok(None)
    }

    /// `len` bytes at `offset` of what is in memory; fewer if the file ends before.
    fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = usize::try_from(offset.saturating_sub(self.chunk_at)).unwrap_or(usize::MAX);
        let rest = self.chunk.get(start..).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    /// Brings `len` bytes at `offset` into memory, and what follows up to `limit` and a chunk.
    fn ensure(&mut self, offset: u64, len: usize, limit: u64) -> Result<(), ReadError> {
        let have = self.chunk_at + self.chunk.len() as u64;
        if offset >= self.chunk_at && offset.saturating_add(len as u64) <= have {
            return Ok(());
        }
        let room = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = len.max(CHUNK).min(room);
        let kept = if (self.chunk_at..have).contains(&offset) {
            self.chunk.split_off(usize::try_from(offset - self.chunk_at).unwrap_or(0))
        } else {
            Bytes::new()
        };
        let mut chunk = self.reuse(want);
        chunk.resize(want, 0);
        let filled = kept.len().min(want);
        if let (Some(to), Some(from)) = (chunk.get_mut(..filled), kept.get(..filled)) {
            to.copy_from_slice(from);
        }
        let rest = chunk.get_mut(filled..).unwrap_or_default();
        let read = self.read(rest, offset + filled as u64)?;
        chunk.truncate(filled + read);
        self.chunk = chunk.freeze();
        self.chunk_at = offset;
        Ok(())
    }

    /// The memory of the chunk before, if nobody holds a part of it.
    fn reuse(&mut self, want: usize) -> BytesMut {
        match std::mem::take(&mut self.chunk).try_into_mut() {
            Ok(old) if old.capacity() >= want => old,
            _ => BytesMut::with_capacity(want),
        }
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        if self.tolerant && self.was_refused(offset, buf.len()) {
            return self.read_by_page(buf, offset);
        }
        match self.file.read_full_at(buf, offset) {
            Ok(read) => Ok(read),
            Err(e) if self.tolerant && is_damage(&e) => self.read_by_page(buf, offset),
            Err(source) => Err(self.refused(offset, source)),
        }
    }

    fn refused(&mut self, offset: u64, source: std::io::Error) -> ReadError {
        self.forget();
        ReadError { path: self.path.clone(), offset, source }
    }

    /// Whether a page with some of these bytes was refused before.
    fn was_refused(&self, offset: u64, len: usize) -> bool {
        let pages = offset / PAGE * PAGE..offset.saturating_add(len as u64);
        [&self.unreadable, &self.refused_before]
            .into_iter()
            .any(|set| set.range(pages.clone()).next().is_some())
    }

    /// Page after page; one that can't be read stays zero and is noted.
    fn read_by_page(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let page = usize::try_from(PAGE - at % PAGE).unwrap_or(buf.len()).min(buf.len() - done);
            let Some(window) = buf.get_mut(done..done + page) else { break };
            let refused = self.was_refused(at, page);
            match insist_unless(refused, || self.file.read_full_at(window, at)) {
                Ok(read) if read < page => return Ok(done + read),
                Ok(_) => {}
                Err(e) if !is_damage(&e) || (self.wary && !self.answers()) => {
                    return Err(self.refused(at, e));
                }
                Err(_) => {
                    window.fill(0);
                    self.unreadable.insert(at / PAGE * PAGE);
                }
            }
            done += page;
        }
        Ok(done)
    }
}

impl<T: File> Walker<T> {
    /// Whether the disk gives either copy of the file's header, now and not from memory.
    fn answers(&self) -> bool {
        let mut page = [0; 4096];
        let mut reads = |at| self.file.read_full_at(&mut page, at).is_ok();
        self.file.forget_if_possible().is_ok() && (reads(0) || reads(PAGE))
    }
}

/// Undoes compression. `None` for what this version does not know: other flags, an encryption key.
pub(super) fn unpack(header: &BlockHeader<'_>, stored: Bytes) -> Option<Bytes> {
    if header.flags & !FLAG_LZ4 != 0 || header.key_id != 0 {
        return None;
    }
    if header.flags & FLAG_LZ4 == 0 {
        return Some(stored);
    }
    let mut raw = vec![0; usize::try_from(header.raw_len).ok()?];
    let len = lz4_flex::block::decompress_into(&stored, &mut raw).ok()?;
    (len == raw.len()).then(|| Bytes::from(raw))
}
