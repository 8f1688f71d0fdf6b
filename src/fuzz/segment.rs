//! A whole segment, read as a tool reads it and as an agent does.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::settings;
use crate::disk::sim::SimFs;
use crate::ids::{LaneName, RunId, SegmentId, Seq, SpoolId};
use crate::metrics::Metrics;
use crate::spool::format::{BLOCK_MAGIC, BlockHeader, DATA_START, Predecessor, Root, SegmentHeader};
use crate::spool::inspect::{Snapshot, patient};
use crate::spool::stepped::{SteppedHost, SteppedLane};
use crate::spool::{DataDir, Item, Reader};

const SPOOL: SpoolId = SpoolId(0x0123_4567_89ab_cdef);

/// The first byte says what is done to the rest: bit 0, checksums, spool, lane and segment are put right; bit 1, the
/// rest is a whole file, not what stands behind the header.
pub fn segment(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut file = if mode & 2 == 0 { header() } else { Vec::new() };
    file.extend_from_slice(rest);
    if mode & 1 != 0 {
        mend(&mut file);
    }
    let sound = sound(&file);
    let fs = disk(file);
    let snapshot = Snapshot::take(&fs, Path::new("/data")).expect("damage does not keep a tool from looking");
    let seen = read(&mut snapshot.lanes[0].reader(Seq::FIRST));
    assert_eq!(seen, read(&mut snapshot.lanes[0].reader(Seq::FIRST)), "reading twice gives the same");
    let believed =
        seen.iter().filter_map(|item| if let Item::Block(block) = item { Some(block) } else { None });
    // A block that begins below where the log does is read from there on.
    let ends: Vec<Seq> = believed.map(|block| block.range().end).collect();
    assert!(ends.iter().all(|end| sound.contains(end)), "read, and no checksum holds: {ends:?} of {sound:?}");
    let host = Arc::new(SteppedHost::new(1));
    let data = DataDir::open_on(fs, Path::new("/data"), host).expect("damage does not keep it from opening");
    let lane = SteppedLane::open(&data, lane(), &settings(), Seq::NONE, &Metrics::new());
    let lane = lane.expect("damage does not keep it from opening");
    assert_eq!(seen, read(&mut lane.lane().reader(Seq::FIRST)), "an agent reads what a tool reads");
}

/// Where blocks end whose payloads have the checksum that their headers say.
fn sound(file: &[u8]) -> BTreeSet<Seq> {
    let headers = file.windows(BLOCK_MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == BLOCK_MAGIC);
    let sound = headers.filter_map(|(at, _)| {
        let header = BlockHeader::decode(&file[at..])?;
        let begin = at + header.len();
        let payload = file.get(begin..begin.checked_add(usize::try_from(header.payload_len).ok()?)?)?;
        let holds = crc32fast::hash(payload) == header.payload_crc;
        holds.then(|| Seq(header.first.0.saturating_add(u64::from(header.count))))
    });
    sound.collect()
}

fn lane() -> LaneName {
    LaneName::new("main").expect("a name")
}

fn header() -> Vec<u8> {
    SegmentHeader {
        incompat: 0,
        spool: SPOOL,
        run: RunId(7),
        segment: SegmentId(1),
        base: Seq::FIRST,
        created: 0,
        predecessor: Predecessor::NONE,
        lane: "main".to_owned(),
    }
    .encode_area()
}

fn disk(file: Vec<u8>) -> SimFs {
    let fs = SimFs::default();
    let lane = Path::new("/data/lanes/main");
    crate::disk::Fs::create_dir(&fs, lane).expect("an empty disk");
    fs.tamper(|world| {
        world.rot(Path::new("/data/FORMAT"), Root::new(SPOOL).encode().into_bytes()).expect("a directory");
        world.rot(&lane.join("00000000000000000001.seg"), file).expect("a directory");
    });
    fs
}

/// Makes of everything that begins like a block one whose checksums hold.
fn mend(file: &mut [u8]) {
    let start = usize::try_from(DATA_START).expect("small").min(file.len());
    for at in (start..file.len()).step_by(8) {
        let block = &mut file[at..];
        if !block.starts_with(&BLOCK_MAGIC) {
            continue;
        }
        let Some(len) = BlockHeader::peek_len(block).filter(|len| *len <= block.len()) else { continue };
        let stored = u32::from_le_bytes(block[16..20].try_into().expect("four bytes"));
        let end = usize::try_from(stored).ok().and_then(|stored| len.checked_add(stored));
        if let Some(payload) = end.and_then(|end| block.get(len..end)) {
            let crc = crc32fast::hash(payload).to_le_bytes();
            block[12..16].copy_from_slice(&crc);
        }
        block[32..40].copy_from_slice(&SPOOL.0.to_le_bytes());
        block[48..56].copy_from_slice(&1u64.to_le_bytes());
        let crc = crc32fast::hash(&block[8..len]).to_le_bytes();
        block[4..8].copy_from_slice(&crc);
    }
}

/// Everything that a reader gives, checked: ranges follow each other without a gap.
fn read(reader: &mut Reader<SimFs>) -> Vec<Item> {
    let (mut items, mut expected) = (Vec::new(), reader.position());
    while let Some(item) = patient(reader, |_, _| true).expect("the disk answers") {
        let (first, end) = match &item {
            Item::Block(block) => {
                // Whether they can be decoded or not.
                block.events().for_each(drop);
                (block.range().first, block.range().end)
            }
            Item::Hole(hole) => (hole.range.first, hole.range.end),
            Item::Skipped(..) => panic!("nothing was to be skipped"),
        };
        assert!(first == expected && end > first, "{item:?} at {expected}");
        expected = end;
        items.push(item);
    }
    items
}
