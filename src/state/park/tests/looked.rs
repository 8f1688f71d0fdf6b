//! What tools see of parked events, and what of their bytes is believed.

use super::*;
use crate::disk::EntryKind;
use crate::state::park::codec::{self, About};

fn main_lane() -> LaneName {
    LaneName::new("main").unwrap()
}

fn seen(fs: &SimFs, file: &ParkedFile) -> (Vec<Parked>, Option<Seen>) {
    let mut blocks = Vec::new();
    let seen = file.read(fs, SPOOL, |block| blocks.push(block)).unwrap();
    (blocks, seen)
}

#[test]
fn every_file_is_listed_with_what_it_covers_and_read_block_by_block() {
    let fs = SimFs::default();
    let dir = Path::new("/data");
    assert_eq!(files(&fs, dir, &main_lane()).unwrap(), []);
    let park = open(&fs, dir);
    park.keep(&topic("b"), range(1, 10), &[block(4, 6)]).unwrap();
    park.keep(&topic("a"), range(20, 40), &[block(31, 33), block(35, 36)]).unwrap();
    park.keep(&topic("a"), range(1, 20), &[]).unwrap();
    // None of these is one of ours.
    fs.create_dir(Path::new("/data/parked/main/home/no topic")).unwrap();
    fs.create_dir(Path::new("/data/parked/main/no destination/a")).unwrap();
    for stray in ["parked/main/stray", "parked/main/home/stray", "parked/main/home/a/stray"] {
        fs.create(&dir.join(stray)).unwrap();
    }
    let found = files(&fs, dir, &main_lane()).unwrap();
    let named: Vec<_> = found.iter().map(|f| (f.topic.as_str(), f.covers)).collect();
    assert_eq!(named, [("a", range(1, 20)), ("a", range(20, 40)), ("b", range(1, 10))]);
    assert!(found.iter().all(|f| f.destination.as_str() == "home"));
    assert_eq!(found.iter().map(|f| f.bytes).sum::<u64>(), park.bytes());
    let counts = [0, 3, 2].map(|events| Seen { events, ..Seen::default() });
    for (file, (count, blocks)) in found.iter().zip(counts.into_iter().zip([
        vec![],
        vec![block(31, 33), block(35, 36)],
        vec![block(4, 6)],
    ])) {
        assert_eq!(seen(&fs, file), (blocks, Some(count.clone())));
        assert_eq!(file.made_with(&fs, SPOOL).unwrap(), Some(count.events));
        assert_eq!(file.made_with(&fs, SpoolId(8)).unwrap(), None, "another spool's");
    }
    park.forget(|_| Seq(40)).unwrap();
    assert_eq!(seen(&fs, &found[1]), (vec![], None), "they have arrived meanwhile");
    assert_eq!(found[1].made_with(&fs, SPOOL).unwrap(), None);
}

#[test]
fn a_disk_that_refuses_is_told_and_not_taken_for_files_that_are_gone() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    park.keep(&topic("a"), range(1, 10), &[block(4, 6)]).unwrap();
    let [file] = &files(&fs, Path::new("/data"), &main_lane()).unwrap()[..] else { panic!("one file") };
    // Its opening, its size, its bytes.
    for failing in 0..3 {
        fs.break_at(Fault { at: fs.calls() + failing, errno: Errno::IO, lasting: Lasting::UntilRepaired });
        assert!(file.read(&fs, SPOOL, |_| {}).is_err(), "call {failing}");
        fs.repair();
    }
    fs.break_at(Fault { at: fs.calls(), errno: Errno::IO, lasting: Lasting::UntilRepaired });
    assert!(file.made_with(&fs, SPOOL).is_err() && files(&fs, Path::new("/data"), &main_lane()).is_err());
    fs.repair();
    assert_eq!(fs.list(Path::new("/data/parked/main/home/a")).unwrap()[0].kind, EntryKind::File);
}

#[test]
fn every_event_of_a_damaged_file_is_seen_or_counted_as_lost() {
    let fs = SimFs::default();
    let blocks = [block(1, 4), block(5, 7), block(9, 14)];
    open(&fs, Path::new("/data")).keep(&topic("a"), range(1, 20), &blocks).unwrap();
    let [file] = &files(&fs, Path::new("/data"), &main_lane()).unwrap()[..] else { panic!("one file") };
    let bytes = fs.world().read(&file.path).unwrap();
    let (header, _) = codec::header(&bytes, SPOOL).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs.tamper(|world| world.rot(&file.path, damaged)).unwrap();
        let (found, seen) = seen(&fs, file);
        let seen = seen.unwrap();
        assert_eq!(seen.header_damaged, at < header, "byte {at}");
        assert_eq!(seen.events, found.iter().map(|b| b.range.len()).sum::<u64>());
        assert_eq!(seen.events + seen.lost, 10, "byte {at}");
        assert_eq!(found.len(), if at < header { 3 } else { 2 }, "byte {at}");
    }
    // Header and a payload: what is known of is counted. A header and a head: nobody knows of the block any more.
    let damage = |at: &[usize]| {
        let mut damaged = bytes.clone();
        at.iter().for_each(|at| damaged[*at] ^= 1);
        fs.tamper(|world| world.rot(&file.path, damaged)).unwrap();
        seen(&fs, file).1.unwrap()
    };
    let last = bytes.len() - 1;
    assert_eq!(damage(&[0, last]), Seen { events: 5, lost: 5, header_damaged: true });
    assert_eq!(damage(&[0, header]), Seen { events: 7, lost: 0, header_damaged: true });
}

/// A record whose head is whole, with something in it changed.
fn forged(change: impl Fn(&mut Vec<u8>)) -> Option<codec::Head> {
    let mut bytes = Vec::new();
    assert!(codec::put(&mut bytes, SPOOL, &block(5, 8)));
    change(&mut bytes);
    let end = codec::FIXED + 1 + usize::from(bytes[codec::FIXED]);
    let crc = crc32fast::hash(&bytes[8..end]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    codec::head(&bytes, SPOOL)
}

#[test]
fn a_head_is_believed_only_if_all_of_it_can_be_true() {
    let set =
        |at: usize, value: u32| forged(move |bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()));
    let head = forged(|_| {}).unwrap();
    assert_eq!((head.range, head.len, head.segment), (range(5, 8), codec::FIXED + 2, SegmentId(0)));
    const STORED: usize = 12;
    const UNPACKED: usize = 16;
    const COUNT: usize = 20;
    assert_eq!(set(COUNT, 0), None, "no event");
    assert_eq!(set(COUNT, 1).unwrap().range, range(5, 6));
    assert_eq!(set(STORED, 1 << 20), None, "longer packed than unpacked");
    assert_eq!(set(UNPACKED, 256 << 20).unwrap().range, head.range);
    assert_eq!(set(UNPACKED, (256 << 20) + 1), None, "larger than any");
    let of = |spool: u64| forged(move |bytes| bytes[24..32].copy_from_slice(&spool.to_le_bytes()));
    assert_eq!(of(8), None, "another spool's");
    let first = |first: u64| forged(move |bytes| bytes[32..40].copy_from_slice(&first.to_le_bytes()));
    assert_eq!(first(u64::MAX - 2), None, "numbers beyond the last");
    assert_eq!(first(u64::MAX - 3).unwrap().range.end, Seq(u64::MAX));
    assert_eq!(forged(|bytes| bytes[codec::FIXED + 1] = b'/'), None, "no name of a stream");
}

#[test]
fn a_header_is_read_where_it_stands_and_only_of_this_spool_and_version() {
    let (lane, home, a) = (main_lane(), DestinationName::new("home").unwrap(), topic("a"));
    let about =
        About { spool: SPOOL, lane: &lane, destination: &home, topic: &a, covers: range(1, 9), events: 77 };
    let mut bytes = b"before".to_vec();
    codec::put_header(&mut bytes, &about);
    let header = bytes.split_off(6);
    assert_eq!(bytes, b"before");
    assert_eq!(codec::header(&header, SPOOL), Some((header.len(), 77)));
    assert_eq!(codec::header(&header, SpoolId(8)), None);
    assert_eq!(codec::header(&header[..header.len() - 1], SPOOL), None);
    let mut newer = header;
    newer[12] = 2;
    let crc = crc32fast::hash(&newer[8..]);
    newer[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(codec::header(&newer, SPOOL), None);
}

#[test]
fn a_payload_is_read_back_as_it_was_however_well_it_packs() {
    let mut even = 0;
    for (length, repeated) in (1..120).flat_map(|length| (0..length).step_by(3).map(move |r| (length, r))) {
        let mut payload = noise(length as u64, length).to_vec();
        payload[..repeated].fill(7);
        even += u32::from(lz4_flex::block::compress(&payload).len() == length);
        let sent = Parked { payload: payload.into(), ..block(5, 8) };
        let mut bytes = Vec::new();
        assert!(codec::put(&mut bytes, SPOOL, &sent));
        let head = codec::head(&bytes, SPOOL).unwrap();
        assert!(head.stored <= length);
        let stored = &bytes[head.len..];
        assert_eq!(stored.len(), head.stored);
        assert_eq!(head.payload(stored.to_vec()), Some(sent.payload), "{repeated} of {length}");
        assert_eq!(head.payload(stored[1..].to_vec()), None);
    }
    assert!(even > 0, "some are as long packed as unpacked");
}

#[test]
fn a_block_that_could_not_be_read_again_is_refused() {
    let fs = SimFs::default();
    let park = open(&fs, Path::new("/data"));
    let large = Parked { payload: vec![0; (256 << 20) + 1].into(), ..block(5, 8) };
    let refused = park.keep(&topic("a"), range(1, 9), &[large]).unwrap_err();
    assert!(matches!(refused, ParkError::TooLarge(of) if of == range(5, 8)), "{refused}");
    let many = Parked { range: range(1, (1 << 32) + 1), ..block(1, 2) };
    assert!(park.keep(&topic("a"), range(1, 9), &[many]).is_err());
    assert_eq!((park.bytes(), park.first()), (0, None));
}
