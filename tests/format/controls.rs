//! Negative controls: a reader that is wrong on purpose, and a spool with one wrong bit, are noticed.

use std::path::{Path, PathBuf};

use crate::golden::Golden;
use crate::readers::{program, second, second_at, second_reader};
use crate::support::process::scratch;

/// File of the second reader, what stands there, and what is wrong instead.
const MISTAKES: [(&str, &str, &str); 9] = [
    ("spool_format.py", "time = time >> 1 ^ -(time & 1)", "time = time >> 1"),
    ("spool_format.py", "_take(body, at, length - 1)", "_take(body, at, length)"),
    ("spool_format.py", "generation > best[0]", "generation < best[0] or best[0] < 0"),
    ("spool_format.py", "HEADER_COPIES = (0, 4096)", "HEADER_COPIES = (8192,)"),
    ("spool_lz4.py", "copied + 4", "copied + 3"),
    ("spool_lane.py", "if proven < self.expected:", "if proven <= NEVER:"),
    ("spool_lane.py", "if self.expected < number:", "if False:"),
    ("spool_lane.py", "self.begin = max(1, *self._floor())", "self.begin = 1"),
    ("spool_lane.py", "block.next <= segment.limit", "block.next <= NEVER"),
];

fn reader_with(mistake: (&str, &str, &str)) -> PathBuf {
    let (file, right, wrong) = mistake;
    let (from, to) = (second_reader(), scratch("mistaken"));
    for entry in std::fs::read_dir(from.parent().expect("its directory")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "py") {
            let name = path.file_name().expect("a name");
            let mut text = std::fs::read_to_string(&path).expect("text");
            if name == file {
                assert_eq!(text.matches(right).count(), 1, "{right:?} stands once in {file}");
                text = text.replace(right, wrong);
            }
            std::fs::write(to.join(name), text).expect("a writable place");
        }
    }
    to.join(from.file_name().expect("a name"))
}

#[test]
fn each_mistake_in_a_reader_is_noticed_by_a_golden_spool() {
    let goldens: Vec<_> = Golden::all()
        .into_iter()
        .map(|golden| {
            let data = scratch("for-mistakes").join("data");
            golden.copy(&data);
            (golden.expected(), data)
        })
        .collect();
    for mistake in MISTAKES {
        let reader = reader_with(mistake);
        let wrong = |(expected, data): &&(_, PathBuf)| {
            std::panic::catch_unwind(|| second_at(&reader, data)).map_or(true, |said| said != *expected)
        };
        assert!(goldens.iter().any(|g| wrong(&g)), "{mistake:?} goes unnoticed");
    }
}

/// Bytes of a segment that belong to a block's payload.
fn payload_byte(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|w| w == needle).expect("an event's value")
}

fn segment(data: &Path, number: u64) -> PathBuf {
    data.join(format!("lanes/main/{number:020}.seg"))
}

#[test]
fn one_flipped_bit_of_a_golden_spool_is_noticed_by_both_readers() {
    let golden = Golden::v1("killed");
    let data = scratch("flipped").join("data");
    golden.copy(&data);
    let path = segment(&data, 1);
    let mut bytes = std::fs::read(&path).expect("a segment");
    let at = payload_byte(&bytes, b"value");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("a writable place");
    let said = program(&data);
    assert_ne!(said, golden.expected());
    assert_eq!(said.lost, [("main".to_owned(), 4, 7)], "the block that the bit is in, and nothing else");
    assert_eq!(second(&data), said);
}

#[test]
fn both_readers_agree_on_every_golden_spool_with_damage_spread_over_it() {
    let (mut tried, mut lossy) = (0, 0);
    for golden in Golden::all() {
        let data = scratch("spread").join("data");
        golden.copy(&data);
        for number in 1..=3 {
            let path = segment(&data, number);
            let Ok(whole) = std::fs::read(&path) else { continue };
            let used = whole.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            // A prime, so that other bits and fields are hit in each.
            for bit in (8..used * 8).step_by(49_999).chain([8192 * 8 + 411]) {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bytes).expect("a writable place");
                let said = program(&data);
                assert_eq!(second(&data), said, "{}, segment {number}, bit {bit}", golden.name);
                tried += 1;
                lossy += usize::from(said != golden.expected());
            }
            std::fs::write(&path, &whole).expect("a writable place");
        }
    }
    assert!(tried > 60 && lossy > 20, "{tried} bits, of which {lossy} cost something");
}

/// A disk that writes in the wrong place: sectors and pages of a segment also elsewhere in it, or there alone.
#[test]
fn both_readers_agree_on_every_golden_spool_with_a_piece_of_it_in_the_wrong_place() {
    let (mut tried, mut lossy) = (0, 0);
    for golden in Golden::all() {
        let data = scratch("misplaced").join("data");
        golden.copy(&data);
        for number in 1..=3 {
            let path = segment(&data, number);
            let Ok(whole) = std::fs::read(&path) else { continue };
            let used = whole.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1).next_multiple_of(512);
            let used = used.min(whole.len());
            let mut moves = Vec::new();
            for size in [512, 4096] {
                let places: Vec<_> = (8192..used.saturating_sub(size - 1)).step_by(512).collect();
                let pairs = places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to, size)));
                moves.extend(pairs.filter(|(from, to, _)| from != to));
            }
            // So many of each that all of them take some seconds.
            let step = moves.len() / 6 + 1;
            for (nth, (from, to, size)) in moves.into_iter().step_by(step).enumerate() {
                let mut bytes = whole.clone();
                if nth % 2 == 1 {
                    bytes[from..from + size].fill(0);
                }
                bytes[to..to + size].copy_from_slice(&whole[from..from + size]);
                std::fs::write(&path, &bytes).expect("a writable place");
                let said = program(&data);
                let told =
                    format!("{}, segment {number}, {size} bytes at {from} to {to}, {nth}", golden.name);
                assert_eq!(second(&data), said, "{told}");
                tried += 1;
                lossy += usize::from(said != golden.expected());
            }
            std::fs::write(&path, &whole).expect("a writable place");
        }
    }
    assert!(tried > 40 && lossy > 20, "{tried} pieces, of which {lossy} cost something");
}
