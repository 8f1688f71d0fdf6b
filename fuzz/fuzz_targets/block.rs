//! Decodes arbitrary bytes as what stands in a data directory: a block's header, a segment's header, `FORMAT`.
//! Checksums are put right first, so that the fields behind them are reached. Whatever decodes must encode to
//! something that decodes to the same, and nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolway::spool::format::{BlockHeader, Root, SegmentHeader};

fn block(bytes: &mut [u8]) {
    let Some(len) = BlockHeader::peek_len(bytes) else { return };
    let Some(covered) = bytes.get(8..len) else { return };
    let crc = crc32fast::hash(covered).to_le_bytes();
    bytes[4..8].copy_from_slice(&crc);
    let Some(header) = BlockHeader::decode(bytes) else { return };
    assert!(header.len() <= len && header.block_len() >= header.len() as u64);
    let mut again = vec![0xff; header.len()];
    header.encode(&mut again);
    assert_eq!(BlockHeader::decode(&again), Some(header));
}

fn segment(bytes: &[u8]) {
    if let Some(header) = SegmentHeader::decode_area(bytes) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Some(header.clone()));
        assert_eq!(SegmentHeader::decode_area(&header.encode_area()), Some(header));
    }
}

fn root(bytes: &[u8]) {
    let mut text = bytes.to_vec();
    text.extend_from_slice(format!("crc {:08x}\n", crc32fast::hash(bytes)).as_bytes());
    if let Ok(root) = Root::decode(&text) {
        assert_eq!(Root::decode(root.encode().as_bytes()), Ok(root));
    }
}

fuzz_target!(|bytes: &[u8]| {
    root(bytes);
    segment(bytes);
    block(&mut bytes.to_vec());
});
