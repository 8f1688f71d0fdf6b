//! The bytes of one generation: header, snapshot and groups; see [`super::file`].
//!
//! A group is written once the one before it is durable, and the first once the header and the snapshot are. So a group that is whole
//! behind bytes that are not proves that these were, and have rotted since: what a power cut tears has nothing behind it. Such groups
//! are read all the same; what they say of a window that stood before them is not believed, as that window may be among what is missing.

use std::collections::BTreeSet;

use super::codec;
use super::intent::{Before, Intent};
use crate::ids::SpoolId;

const MAGIC: &[u8; 4] = b"SWJL";
const VERSION: u16 = 1;
pub(super) const HEADER: usize = 48;
pub(super) const GROUP: usize = 8;

/// A generation whose header and snapshot are whole.
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) intents: Vec<Intent>,
    /// Some of its groups have rotted.
    pub(super) is_damaged: bool,
}

impl Generation {
    pub(super) fn read(bytes: &[u8], spool: SpoolId) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let header = header.strip_prefix(MAGIC)?;
        let (crc, header) = header.split_first_chunk::<4>()?;
        let (version, tail) = header.split_first_chunk::<2>()?;
        let (_, tail) = tail.split_first_chunk::<2>()?;
        let (length, tail) = tail.split_first_chunk::<4>()?;
        let (owner, tail) = tail.split_first_chunk::<8>()?;
        let (number, _) = tail.split_first_chunk::<8>()?;
        let (snapshot, _) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let ours = u16::from_le_bytes(*version) == VERSION && u64::from_le_bytes(*owner) == spool.0;
        if !ours || checksum([header, snapshot]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let number = u64::from_le_bytes(*number);
        (number < u64::MAX).then_some(())?;
        let mut intents = codec::take_all(snapshot)?;
        let end = take_groups(&mut intents, bytes, number, HEADER + snapshot.len());
        let behind = stray_groups(bytes, number, end);
        let is_damaged = !behind.is_empty();
        intents.extend(behind);
        Some(Self { number, intents, is_damaged })
    }
}

/// What the whole groups of a generation say that stand at `at` or behind it, whatever is between them.
pub(super) fn stray_groups(bytes: &[u8], generation: u64, mut at: usize) -> Vec<Intent> {
    let mut found = Vec::new();
    while let Some(start) = (at..bytes.len()).find(|at| group(bytes, generation, *at).is_some()) {
        let mut row = Vec::new();
        at = take_groups(&mut row, bytes, generation, start);
        found.extend(unlinked(row));
    }
    found
}

/// INVARIANT: what came before the first window of a partition is not known here. Believed to speak of an older one that is known, it
/// would settle that, which may have been withdrawn. Not believed, it leaves events unsettled that have arrived: they are looked for or
/// sent again.
fn unlinked(mut row: Vec<Intent>) -> Vec<Intent> {
    let mut seen = BTreeSet::new();
    for intent in &mut row {
        if seen.insert((intent.topic.clone(), intent.partition)) {
            intent.before = Before::Nothing;
        }
    }
    row
}

/// Takes the groups that follow each other from `at` on; returns where they end.
fn take_groups(into: &mut Vec<Intent>, bytes: &[u8], generation: u64, mut at: usize) -> usize {
    while let Some((intents, end)) = group(bytes, generation, at) {
        into.extend(intents);
        at = end;
    }
    at
}

/// The group at `at`, if one is whole there, and where it ends.
fn group(bytes: &[u8], generation: u64, at: usize) -> Option<(Vec<Intent>, usize)> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length > 0)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..length)?;
    // Asked first: where one is looked for at every byte, most of what could be a length is none.
    let sound = codec::may_begin(body) && group_checksum(generation, at, body) == u32::from_le_bytes(*crc);
    sound.then(|| codec::take_all(body))?.map(|intents| (intents, at + GROUP + length))
}

pub(super) fn seal_header(bytes: &mut [u8], spool: SpoolId, generation: u64) {
    let length = u32::try_from(bytes.len().saturating_sub(HEADER)).unwrap_or(u32::MAX);
    let mut fields = Vec::with_capacity(HEADER);
    fields.extend(VERSION.to_le_bytes());
    fields.extend([0; 2]);
    fields.extend(length.to_le_bytes());
    fields.extend(spool.0.to_le_bytes());
    fields.extend(generation.to_le_bytes());
    fields.resize(HEADER - 8, 0);
    let crc = checksum([&fields, bytes.get(HEADER..).unwrap_or_default()]);
    let header = MAGIC.iter().copied().chain(crc.to_le_bytes()).chain(fields);
    bytes.iter_mut().zip(header).for_each(|(byte, field)| *byte = field);
}

pub(super) fn seal_group(group: &mut [u8], generation: u64, at: usize) {
    let body = group.get(GROUP..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let crc = group_checksum(generation, at, body);
    let header = length.to_le_bytes().into_iter().chain(crc.to_le_bytes());
    group.iter_mut().zip(header).for_each(|(byte, field)| *byte = field);
}

fn group_checksum(generation: u64, at: usize, body: &[u8]) -> u32 {
    checksum([&generation.to_le_bytes(), &(at as u64).to_le_bytes(), body])
}

fn checksum<const N: usize>(parts: [&[u8]; N]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
