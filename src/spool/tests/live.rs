//! Looking on while an agent writes: bytes that are read at different times. Found by the tools beside a busy agent.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::disk::{File, RealFs};
use crate::ids::SegmentId;
use crate::spool::candidates::{Candidate, Start, start_of};
use crate::spool::format::Verdict;
use crate::spool::given::Refused;
use crate::spool::recover::judge_live;
use crate::spool::scan::scan;
use crate::spool::walk::{Identity, Walker};

/// A file whose first read finds zeros at one place, which was being written just then.
#[derive(Debug)]
struct Growing {
    bytes: Vec<u8>,
    late: std::ops::Range<usize>,
    read: AtomicBool,
}

impl File for Growing {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.bytes.clone();
        if !self.read.swap(true, Ordering::Relaxed) {
            bytes[self.late.clone()].fill(0);
        }
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

/// A sealed segment of five blocks, its identity, and where its second block lies.
fn five_blocks(dir: &Path) -> (Vec<u8>, Identity, std::ops::Range<usize>) {
    let lane = open(&RealFs, dir, &settings(), Seq::NONE);
    (0..5u8).for_each(|i| drop(append(&lane, "a", &[vec![i; 90]]).unwrap()));
    lane.close();
    let bytes = std::fs::read(&segments(dir)[0]).unwrap();
    let first =
        format::BlockHeader::decode(&bytes[format::DATA_START as usize..]).unwrap().block_len() as usize;
    let begin = format::DATA_START as usize + first;
    let second = format::BlockHeader::decode(&bytes[begin..]).unwrap().block_len() as usize;
    let identity = Identity { spool: lane.spool_id(), lane: lane_name(), segment: SegmentId(1) };
    (bytes, identity, begin..begin + second)
}

#[test]
fn a_block_that_was_half_written_when_it_was_read_is_no_rot_if_it_is_whole_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, identity, second) = five_blocks(dir.path());
    let look = |bytes: Vec<u8>, late| {
        let limit = bytes.len() as u64;
        let file = Growing { bytes, late, read: AtomicBool::new(false) };
        let mut walker = Walker::new(file, PathBuf::new(), identity.clone());
        // As when the proof is found in bytes that are read later.
        let scan = scan(&mut walker, Seq(1), (Seq(3), None), limit).unwrap();
        (scan.end, scan.verdict, scan.holes.len())
    };
    assert_eq!(look(bytes.clone(), second.clone()), (Seq(6), Verdict::Closed, 0));
    // One that stays as it is remains rot.
    let mut rotten = bytes;
    rotten[second.start + 20] ^= 1;
    assert_eq!(look(rotten, 0..0), (Seq(6), Verdict::Rotten, 1));
}

#[test]
fn a_segment_that_was_begun_after_the_listing_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![1; 90]]).unwrap();
    lane.close();
    drop(lane);
    let lane = open(&RealFs, dir.path(), &settings(), Seq::NONE);
    append(&lane, "a", &[vec![2; 90]]).unwrap();
    lane.close();
    let identity = Identity { spool: lane.spool_id(), lane: lane_name(), segment: SegmentId(0) };
    let mut found: Vec<Candidate> = segments(dir.path())
        .into_iter()
        .zip(1..)
        .map(|(path, id)| {
            let Start { header, begins, .. } = start_of(&RealFs.open_read(&path).unwrap());
            let (len, blank, refused) = (1 << 20, false, Refused::default());
            Candidate { id: SegmentId(id), name_fits: true, len, header, begins, blank, path, refused }
        })
        .collect();
    let last = found.last_mut().unwrap();
    (last.header, last.begins, last.blank) = (None, None, true);
    let judged = judge_live(&RealFs, &mut found, &identity, (Seq::NONE, SegmentId(2))).unwrap();
    assert_eq!((judged.table.segments.len(), judged.predecessor.end), (1, Seq(2)));
    assert!(judged.holes.is_empty());
}
