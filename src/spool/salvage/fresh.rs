//! Writing the new lane: segments of blocks that keep everything but their place.

use std::path::PathBuf;

use crate::disk::{File, Fs};
use crate::ids::{LaneName, RunId, SegmentId, Seq, SeqRange, SpoolId};

use super::super::encoder::{Common, Encoder};
use super::super::error::OpenError;
use super::super::format::{BlockHeader, DATA_START, Kind, Predecessor, SegmentHeader, Verdict};
use super::super::host::Stamp;
use super::super::names;
use super::spans::Spans;

/// A segment is closed when it has this many bytes.
const SEGMENT: u64 = 64 << 20;
/// Bytes written at once.
const FLUSH: usize = 1 << 20;

/// Who writes.
#[derive(Debug, Clone)]
pub(super) struct Author {
    pub(super) spool: SpoolId,
    pub(super) lane: LaneName,
    pub(super) run: RunId,
    pub(super) stamp: Stamp,
}

#[derive(Debug)]
struct Current<T> {
    file: T,
    path: PathBuf,
    base: Seq,
    offset: u64,
    verdict: Verdict,
}

/// A lane that is being written.
#[derive(Debug)]
pub(super) struct Fresh<F: Fs> {
    fs: F,
    dir: PathBuf,
    author: Author,
    segment: SegmentId,
    predecessor: Predecessor,
    current: Option<Current<F::File>>,
    buffer: Vec<u8>,
    /// The number after the last one written, or told to be lost.
    end: Seq,
    /// What stands in it, by number and by run.
    pub(super) ranges: Vec<SeqRange>,
    pub(super) spans: Spans,
}

impl<F: Fs> Fresh<F> {
    /// `begin`: the lowest number that has to be there; `segment`: the first segment's.
    pub(super) fn new(
        fs: &F,
        dir: PathBuf,
        author: Author,
        (begin, segment): (Seq, SegmentId),
    ) -> Result<Self, OpenError> {
        fs.create_dir(&dir).map_err(OpenError::io("create", &dir))?;
        Ok(Self {
            fs: fs.clone(),
            dir,
            author,
            segment,
            predecessor: Predecessor::NONE,
            current: None,
            buffer: Vec::with_capacity(FLUSH),
            end: begin,
            ranges: Vec::new(),
            spans: Spans::default(),
        })
    }

    pub(super) fn end(&self) -> Seq {
        self.end
    }

    /// Adds a whole block at its own number, which is not below the end.
    pub(super) fn put(&mut self, bytes: &[u8], header: &BlockHeader<'_>) -> Result<(), OpenError> {
        self.put_at(bytes, header, header.first, header.run)
    }

    /// Adds a whole block at the next number, under this run.
    pub(super) fn append(&mut self, bytes: &[u8], header: &BlockHeader<'_>) -> Result<(), OpenError> {
        self.put_at(bytes, header, self.end, self.author.run)
    }

    fn put_at(
        &mut self,
        bytes: &[u8],
        header: &BlockHeader<'_>,
        first: Seq,
        run: RunId,
    ) -> Result<(), OpenError> {
        if self.current.as_ref().is_some_and(|c| c.offset + self.buffer.len() as u64 >= SEGMENT) {
            self.close()?;
        }
        self.open()?;
        if let Some(current) = self.current.as_mut().filter(|_| first > self.end) {
            current.verdict = Verdict::Rotten;
        }
        let from = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        // All before it is durable before the directory is a spool: so each block proves what stands before it.
        let block = self.buffer.get_mut(from..).unwrap_or_default();
        BlockHeader::relocate(block, run, self.segment, first, first.prev());
        let range = SeqRange::new(first, first.plus(u64::from(header.count)));
        self.end = range.end;
        self.spans.add(run, range);
        match self.ranges.last_mut() {
            Some(last) if last.end == range.first => last.end = range.end,
            _ => self.ranges.push(range),
        }
        if self.buffer.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    fn open(&mut self) -> Result<(), OpenError> {
        if self.current.is_some() {
            return Ok(());
        }
        let path = self.dir.join(names::segment(self.segment));
        let file = self.fs.create(&path).map_err(OpenError::io("create", &path))?;
        let header = SegmentHeader {
            incompat: 0,
            spool: self.author.spool,
            run: self.author.run,
            segment: self.segment,
            base: self.end,
            created: self.author.stamp.time,
            predecessor: self.predecessor,
            lane: self.author.lane.as_str().to_owned(),
        };
        self.buffer.extend_from_slice(&header.encode_area());
        self.current = Some(Current { file, path, base: self.end, offset: 0, verdict: Verdict::Closed });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.file.write_at(&self.buffer, current.offset).map_err(OpenError::io("write", &current.path))?;
        current.offset += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(FLUSH);
        Ok(())
    }

    fn close(&mut self) -> Result<(), OpenError> {
        self.flush()?;
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let Author { spool, lane, run, stamp } = self.author.clone();
        let common =
            Common { spool, lane, run, segment: self.segment, synced_through: self.end.prev(), stamp };
        let mut seal = Encoder::new(false);
        seal.push_empty(&common, Kind::Seal, self.end);
        let write = current.file.write_at(seal.bytes(), current.offset);
        write.map_err(OpenError::io("write", &current.path))?;
        current.file.sync_data().map_err(OpenError::io("sync", &current.path))?;
        current.offset += seal.bytes().len() as u64;
        self.predecessor = Predecessor {
            segment: self.segment,
            end_offset: current.offset.max(DATA_START),
            end: self.end,
            verdict: current.verdict,
        };
        self.segment = self.segment.next();
        debug_assert!(current.base <= self.end);
        Ok(())
    }

    /// Closes the lane. If its last numbers are lost, a last segment without events begins behind them: its header
    /// says so for good.
    ///
    /// DURABILITY: the names of all segments, with the directory at the end.
    pub(super) fn finish(&mut self) -> Result<(), OpenError> {
        self.close()?;
        if self.end > self.predecessor.end {
            self.open()?;
            self.close()?;
        }
        self.fs.sync_dir(&self.dir).map_err(OpenError::io("sync", &self.dir))
    }

    /// Raises the end, so that what is added next comes behind lost numbers.
    pub(super) fn pass_over(&mut self, end: Seq) -> Result<(), OpenError> {
        if end > self.end {
            self.close()?;
            self.end = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::RealFs;
    use crate::disk::faulty::Syncs;
    use crate::spool::format::FLAG_LZ4;

    fn fresh<F: Fs>(fs: &F, dir: &Path) -> Fresh<F> {
        let lane = LaneName::new("main").unwrap();
        let author = Author { spool: SpoolId(5), lane, run: RunId(6), stamp: Stamp::default() };
        Fresh::new(fs, dir.to_owned(), author, (Seq(1), SegmentId(7))).unwrap()
    }

    /// A block of so many events, whose payload nobody reads here.
    fn block(first: u64, count: u32, size: usize) -> (Vec<u8>, BlockHeader<'static>) {
        let payload_len = u32::try_from(size).unwrap();
        let header = BlockHeader {
            kind: Kind::Events,
            flags: FLAG_LZ4,
            payload_crc: crc32fast::hash(&vec![0; size]),
            payload_len,
            raw_len: payload_len.min(1000),
            count,
            spool: SpoolId(5),
            run: RunId(9),
            segment: SegmentId(1),
            first: Seq(first),
            synced_through: Seq(0),
            time: 0,
            boot: 0,
            monotonic: 0,
            key_id: 0,
            lane: "main",
            stream: "a",
        };
        let mut bytes = vec![0; usize::try_from(header.block_len()).unwrap()];
        header.encode(&mut bytes);
        assert!(BlockHeader::decode(&bytes).is_some());
        (bytes, header)
    }

    fn put<F: Fs>(fresh: &mut Fresh<F>, first: u64, count: u32, size: usize) {
        let (bytes, header) = block(first, count, size);
        fresh.put(&bytes, &header).unwrap();
    }

    fn read(dir: &Path, segment: u64) -> Vec<u8> {
        std::fs::read(dir.join(names::segment(SegmentId(segment)))).unwrap()
    }

    #[test]
    fn a_segment_says_of_the_one_before_where_it_ends_and_whether_numbers_are_missing_inside() {
        for (gap, verdict) in [(0, Verdict::Closed), (4, Verdict::Rotten)] {
            let dir = tempfile::tempdir().unwrap();
            let mut lane = fresh(&RealFs, dir.path());
            put(&mut lane, 1, 2, 100);
            put(&mut lane, 3 + gap, 2, 100);
            lane.pass_over(Seq(20)).unwrap();
            put(&mut lane, 20, 1, 100);
            lane.finish().unwrap();
            let said = SegmentHeader::decode_area(&read(dir.path(), 8)).unwrap();
            let end_offset = read(dir.path(), 7).len() as u64;
            let end = Seq(5 + gap);
            assert_eq!(said.predecessor, Predecessor { segment: SegmentId(7), end_offset, end, verdict });
            assert_eq!((said.base, lane.ranges.len()), (Seq(20), if gap == 0 { 2 } else { 3 }));
        }
    }

    #[test]
    fn what_is_added_goes_to_one_segment_as_it_comes_and_a_large_block_leaves_no_memory_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut lane = fresh(&RealFs, dir.path());
        put(&mut lane, 1, 1, 600 << 10);
        assert!(!lane.buffer.is_empty() && read(dir.path(), 7).is_empty(), "too little to be written");
        put(&mut lane, 2, 1, 6 << 20);
        assert!(lane.buffer.is_empty() && read(dir.path(), 7).len() > 6 << 20);
        assert!(lane.buffer.capacity() < 2 * FLUSH);
        put(&mut lane, 3, 1, 1000);
        put(&mut lane, 4, 1, 1000);
        lane.pass_over(Seq(5)).unwrap();
        let (bytes, header) = block(99, 1, 100);
        lane.append(&bytes, &header).unwrap();
        lane.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            (lane.end(), lane.ranges.as_slice()),
            (Seq(6), [SeqRange::new(Seq(1), Seq(6))].as_slice())
        );
    }

    #[test]
    fn every_segment_is_durable_with_its_name_at_the_end() {
        let written = Syncs::made_by(
            |_| {},
            |fs, dir| {
                let mut lane = fresh(fs, dir);
                let (bytes, header) = block(1, 2, 100);
                lane.put(&bytes, &header)?;
                lane.pass_over(Seq(9))?;
                lane.finish()
            },
        );
        assert_eq!(written, Syncs::of(2, 1));
    }
}
