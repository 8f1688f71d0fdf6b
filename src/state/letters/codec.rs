//! Bytes of a letter.
//!
//! ```text
//! record = magic "SWDL" · crc u32 · length u32 · version u16 (1) · 0 u16 · spool u64 · id u64 · letter (`length` bytes)
//! letter = at i64 · time i64 · seq u64 · run u64 · partition i32 · code i16 ·
//!          lane · destination · stream · topic · reason (texts: length u8, bytes) · message (length u16, bytes) · event
//! ```
//! Little-endian. The crc (CRC-32/ISO-HDLC) covers everything from `length` on. Decoding bounds everything it reads.

use super::letter::{Letter, Reason, Stored};
use crate::ids::{DestinationName, LaneName, RunId, Seq, SpoolId, StreamName, TopicName};

/// Begins every record; what is searched for behind damaged bytes.
pub(super) const MAGIC: &[u8; 4] = b"SWDL";
/// Bytes before the letter.
pub(super) const HEADER: usize = 32;
const VERSION: u16 = 1;
/// No letter has a number beyond.
pub(super) const LAST: u64 = 1 << 62;
/// Words beyond this are cut off.
const MAX_MESSAGE: usize = 1000;

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, spool: SpoolId, id: u64, letter: &Letter) {
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 8]);
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 2]);
    out.extend(spool.0.to_le_bytes());
    out.extend(id.to_le_bytes());
    put_letter(out, letter);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    set(out, start + 8, length);
    let crc = crc32fast::hash(out.get(start + 8..).unwrap_or_default());
    set(out, start + 4, crc);
}

fn set(out: &mut [u8], at: usize, value: u32) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn put_letter(out: &mut Vec<u8>, letter: &Letter) {
    out.extend(letter.at.to_le_bytes());
    out.extend(letter.time.to_le_bytes());
    out.extend(letter.seq.0.to_le_bytes());
    out.extend(letter.run.0.to_le_bytes());
    out.extend(letter.partition.to_le_bytes());
    out.extend(letter.code.to_le_bytes());
    let names =
        [letter.lane.as_str(), letter.destination.as_str(), letter.stream.as_str(), letter.topic.as_str()];
    for text in names.into_iter().chain([letter.reason.name()]) {
        out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        out.extend(text.as_bytes());
    }
    let message = letter.message.get(..letter.message.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default();
    out.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(message.as_bytes());
    out.extend(&letter.event);
}

/// The record at the beginning of `bytes`, and its length. `None` where there is no whole one of spool `spool`.
pub(super) fn take(bytes: &[u8], spool: SpoolId) -> Option<(Stored, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (crc, covered) = rest.split_first_chunk::<4>()?;
    let (length, _) = covered.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let covered = covered.get(..(HEADER - 8).checked_add(length)?)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut rest = covered.get(4..)?;
    let version = u16::from_le_bytes(array(&mut rest)?);
    let _reserved: [u8; 2] = array(&mut rest)?;
    let owner = u64::from_le_bytes(array(&mut rest)?);
    let id = u64::from_le_bytes(array(&mut rest)?);
    let ours = version == VERSION && owner == spool.0 && (1..=LAST).contains(&id);
    let letter = ours.then(|| take_letter(rest)).flatten()?;
    Some((Stored { id, letter }, HEADER + length))
}

fn take_letter(mut rest: &[u8]) -> Option<Letter> {
    let rest = &mut rest;
    let at = i64::from_le_bytes(array(rest)?);
    let time = i64::from_le_bytes(array(rest)?);
    let seq = Seq(u64::from_le_bytes(array(rest)?));
    let run = RunId(u64::from_le_bytes(array(rest)?));
    let partition = i32::from_le_bytes(array(rest)?);
    let code = i16::from_le_bytes(array(rest)?);
    let lane = LaneName::new(text(rest)?).ok()?;
    let destination = DestinationName::new(text(rest)?).ok()?;
    let stream = StreamName::new(text(rest)?).ok()?;
    let topic = TopicName::new(text(rest)?).ok()?;
    let reason = Reason::of(text(rest)?)?;
    let length = u16::from_le_bytes(array(rest)?);
    let message = std::str::from_utf8(take_bytes(rest, length.into())?).ok()?.to_owned();
    let event = rest.to_vec();
    Some(Letter {
        at,
        lane,
        destination,
        seq,
        run,
        stream,
        topic,
        partition,
        reason,
        code,
        message,
        time,
        event,
    })
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = array(rest)?;
    std::str::from_utf8(take_bytes(rest, length.into())?).ok()
}
