//! Decoders of bytes that stand alone: whatever decodes must encode to something that decodes to the same.

use crate::config::{Environment, load_text};
use crate::event::{Event, EventBatch, EventIter, first_event_len};
use crate::spool::format::{BlockHeader, Root, SegmentHeader};

/// Reads arbitrary bytes as events. Nothing may be allocated by a count that was read.
pub fn event(bytes: &[u8]) {
    let mut rest = bytes;
    for event in EventIter::new(bytes) {
        let Ok(event) = event else { return };
        let len = first_event_len(rest).expect("an event that was decoded has a length");
        rest = &rest[len..];
        let headers: Vec<_> = event.headers.iter().collect();
        assert_eq!(headers.len(), event.headers.len());
        let mut batch = EventBatch::new();
        batch.push(&Event { key: event.key, value: event.value, headers: &headers, time: event.time });
        let again = batch.iter().next().expect("one event").expect("what we encoded decodes");
        assert_eq!((again.key, again.value, again.time), (event.key, event.value, event.time));
        assert!(again.headers.iter().eq(headers.iter().copied()));
    }
    assert!(rest.is_empty(), "without an error, every byte belongs to an event");
}

/// Reads arbitrary bytes as a block's header, a segment's header, and `FORMAT`. Checksums of block and `FORMAT` are put
/// right first.
pub fn block(bytes: &[u8]) {
    root(bytes);
    segment_header(bytes);
    block_header(&mut bytes.to_vec());
}

fn block_header(bytes: &mut [u8]) {
    let Some(len) = BlockHeader::peek_len(bytes) else { return };
    let Some(covered) = bytes.get(8..len) else { return };
    let crc = crc32fast::hash(covered);
    bytes[4..8].copy_from_slice(&(!crc).to_le_bytes());
    assert_eq!(BlockHeader::decode(bytes), None, "a header whose checksum is wrong is believed");
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let Some(header) = BlockHeader::decode(bytes) else { return };
    assert!(header.len() <= len && header.block_len() >= header.len() as u64);
    let mut again = vec![0xff; header.len()];
    header.encode(&mut again);
    assert_eq!(BlockHeader::decode(&again), Some(header));
}

fn segment_header(bytes: &[u8]) {
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

/// Reads arbitrary text as a configuration: refused with a reason that can be rendered, or accepted, and then what is
/// printed of it is accepted with the same effect.
pub fn config(text: &str) {
    match load_text("fuzz.toml", text, &Environment::Absent) {
        Ok(loaded) => {
            let printed = loaded.effective.to_string();
            let again =
                load_text("fuzz.toml", &printed, &Environment::Absent).expect("what was printed is accepted");
            assert_eq!(again.effective, loaded.effective);
        }
        Err(report) => {
            assert!(report.errors() > 0);
            assert!(!report.to_string().is_empty());
            assert!(!report.rows().is_empty());
        }
    }
}
