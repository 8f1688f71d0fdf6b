//! Holds the code to `spool-format.md`: its hex is parsed out of it and compared both ways.

use crate::event::{Event, EventBatch};
use crate::ids::{RunId, SegmentId, Seq, SpoolId};

use super::{BlockHeader, Kind, Predecessor, Root, SegmentHeader, Verdict, padded};

const DOCUMENT: &str = include_str!("../../../spool-format.md");

/// The bytes of the document's block of hex of this name.
fn golden(name: &str) -> Vec<u8> {
    let fence = format!("```hex {name}\n");
    let (_, rest) = DOCUMENT.split_once(&fence).unwrap();
    let (hex, _) = rest.split_once("```").unwrap();
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// What the document has to hold, for when it does not.
fn as_hex(bytes: &[u8]) -> String {
    let line = |l: &[u8]| l.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

fn same(name: &str, encoded: &[u8]) {
    assert!(golden(name) == encoded, "spool-format.md, hex {name}, should be:\n{}\n", as_hex(encoded));
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        incompat: 0,
        spool: SpoolId(0x0123_4567_89ab_cdef),
        run: RunId(0x1122_3344_5566_7788),
        segment: SegmentId(7),
        base: Seq(1001),
        created: 1_700_000_000_123,
        predecessor: Predecessor {
            segment: SegmentId(5),
            end_offset: 65536,
            end: Seq(1000),
            verdict: Verdict::Torn,
        },
        lane: "main".to_owned(),
    }
}

fn events() -> EventBatch {
    let mut batch = EventBatch::new();
    batch.push(&Event::of_value(b"hello"));
    batch.push(&Event { key: Some(b"k"), value: None, headers: &[("h", None)], time: Some(-5) });
    batch
}

fn block_header(payload: &[u8]) -> BlockHeader<'static> {
    let len = u32::try_from(payload.len()).unwrap();
    BlockHeader {
        kind: Kind::Events,
        flags: 0,
        payload_crc: crc32fast::hash(payload),
        payload_len: len,
        raw_len: len,
        count: 2,
        spool: SpoolId(0x0123_4567_89ab_cdef),
        run: RunId(0x1122_3344_5566_7788),
        segment: SegmentId(7),
        first: Seq(1001),
        synced_through: Seq(1000),
        time: 1_700_000_000_456,
        boot: 0xfb77_39f1_7e94_4258,
        monotonic: 123_456_789,
        key_id: 0,
        lane: "main",
        stream: "orders",
    }
}

fn encode_block(header: &BlockHeader<'_>, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; header.len()];
    header.encode(&mut out);
    out.extend_from_slice(payload);
    out.resize(usize::try_from(padded(out.len() as u64)).unwrap(), 0);
    out
}

#[test]
fn the_documents_segment_header_is_ours() {
    same("segment", &segment_header().encode());
    assert_eq!(SegmentHeader::decode(&golden("segment")), Some(segment_header()));
}

#[test]
fn the_documents_block_is_ours() {
    let batch = events();
    let header = block_header(batch.as_bytes());
    same("block", &encode_block(&header, batch.as_bytes()));
    let bytes = golden("block");
    let decoded = BlockHeader::decode(&bytes).unwrap();
    assert_eq!(decoded, header);
    assert_eq!(decoded.block_len(), bytes.len() as u64);
    let payload = &bytes[decoded.len()..][..batch.as_bytes().len()];
    let read: Vec<_> = crate::event::EventIter::new(payload).collect::<Result<_, _>>().unwrap();
    let written: Vec<_> = batch.iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, written);
}

#[test]
fn the_documents_mark_is_ours() {
    let mark = BlockHeader {
        kind: Kind::Mark,
        first: Seq(1003),
        synced_through: Seq(1002),
        count: 0,
        stream: "",
        ..block_header(b"")
    };
    same("mark", &encode_block(&mark, b""));
    assert_eq!(BlockHeader::decode(&golden("mark")), Some(mark));
}

#[test]
fn the_documents_format_file_is_ours() {
    let (_, rest) = DOCUMENT.split_once("```text\nspoolway data directory\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let text = format!("spoolway data directory\n{text}");
    let root = Root::new(SpoolId(0x0123_4567_89ab_cdef));
    assert_eq!(text, root.encode());
    assert_eq!(Root::decode(text.as_bytes()), Ok(root));
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    for name in ["block", "mark"] {
        let bytes = golden(name);
        let whole = BlockHeader::decode(&bytes).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::decode(&flipped), None, "{name}, bit {bit}");
        }
    }
    let bytes = golden("segment");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
    }
}

#[test]
fn impossible_lengths_are_refused_though_the_checksum_holds() {
    let good = block_header(b"0123456789");
    let wrong = [
        BlockHeader { payload_len: u32::MAX, raw_len: u32::MAX, ..good },
        BlockHeader { raw_len: 11, ..good },
        BlockHeader { count: 6, ..good },
        BlockHeader { count: 0, ..good },
        BlockHeader { first: Seq(u64::MAX), ..good },
        BlockHeader { flags: super::FLAG_LZ4, raw_len: 200 << 20, ..good },
        // Larger than a payload can be, packed or unpacked, whatever the other length says; and packed by more than LZ4 can.
        BlockHeader {
            flags: super::FLAG_LZ4,
            count: 1,
            payload_len: (256 << 20) + 1,
            raw_len: 256 << 20,
            ..good
        },
        BlockHeader {
            flags: super::FLAG_LZ4,
            count: 1,
            payload_len: 256 << 20,
            raw_len: (256 << 20) + 1,
            ..good
        },
        BlockHeader { flags: super::FLAG_LZ4, raw_len: 10 * 255 + 65, ..good },
        BlockHeader { payload_len: 70_000, raw_len: 70_000, ..good },
    ];
    for header in wrong {
        let mut bytes = vec![0; header.len()];
        header.encode(&mut bytes);
        assert_eq!(BlockHeader::decode(&bytes), None, "{header:?}");
    }
    // The most that is possible is read.
    for header in [
        BlockHeader { flags: super::FLAG_LZ4, count: 1, payload_len: 256 << 20, raw_len: 256 << 20, ..good },
        BlockHeader { flags: super::FLAG_LZ4, raw_len: 10 * 255 + 64, ..good },
    ] {
        let mut bytes = vec![0; header.len()];
        header.encode(&mut bytes);
        assert_eq!(BlockHeader::decode(&bytes), Some(header));
    }
}
