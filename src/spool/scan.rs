//! Torn or rotten: where a segment ends that nobody closed, and what is missing before that.
//!
//! A bad block at X is **rot** when something durable proves that the event expected there was durable: a later
//! block's `synced_through`, a reader's position, a later segment. It is **torn** otherwise: its bytes were never
//! covered by a sync, nobody was told that they are kept, and the log ends there, whatever whole blocks the
//! kernel happened to write behind it.

use crate::disk::File;
use crate::ids::{Seq, SeqRange};

use super::error::ReadError;
use super::format::{DATA_START, Kind, Verdict};
use super::seek::{Bounds, Seeker, counts};
use super::walk::{Sighting, Walker};

/// Holes remembered one by one. Further ones are told by the reader that comes to them.
const MAX_HOLES: usize = 1000;

/// What a segment was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where its last good block ends.
    pub(super) end_offset: u64,
    /// The number after its last event.
    pub(super) end: Seq,
    /// How it came to its end.
    pub(super) verdict: Verdict,
    /// What is damaged inside of it.
    pub(super) holes: Vec<SeqRange>,
    /// It ends with a seal.
    pub(super) sealed: bool,
}

/// What a bad block means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Torn,
    Rot,
}

/// INVARIANT: an event up to `proof` was durable once; the log never ends before it without saying so.
fn judge(expected: Seq, proof: Seq) -> Gap {
    if expected <= proof { Gap::Rot } else { Gap::Torn }
}

/// Walks over a whole segment that begins with number `base`. `proof` is what is known from elsewhere to have
/// been durable; `cap` is the number from which on a later segment has the events, so that blocks beyond it are
/// left over from a failed write; `limit` is the file's length.
pub(super) fn scan<T: File>(
    walker: &mut Walker<T>,
    base: Seq,
    (proof, cap): (Seq, Option<Seq>),
    limit: u64,
) -> Result<Scan, ReadError> {
    let end_offset = DATA_START.min(limit);
    let mut scan = Scan { end_offset, end: base, verdict: Verdict::Torn, holes: Vec::new(), sealed: false };
    let bounds = (limit, cap);
    let (mut at, mut proof, mut said) = (scan.end_offset, proof, Seq::NONE);
    let (mut seeker, mut read_again) = (None::<Seeker>, None);
    loop {
        if let Some(block) = good_block(walker, at, scan.end, bounds)? {
            said = said.max(block.header.synced_through);
            scan.end = block.header.end();
            at = block.next;
            scan.end_offset = scan.end_offset.max(at);
            if block.header.kind == Kind::Seal {
                (scan.verdict, scan.sealed) = (Verdict::Closed, true);
                break;
            }
            continue;
        }
        let seeker = match &mut seeker {
            Some(seeker) => seeker,
            none => {
                let seeker = none.insert(Seeker::new(at, scan.end));
                said = said.max(seeker.proof(walker, bounds)?);
                proof = proof.max(said);
                seeker
            }
        };
        if judge(scan.end, proof) == Gap::Torn {
            break;
        }
        // Its agent may be writing: the bytes at hand can be older than the proof. By now the block is whole, if it
        // ever was.
        if read_again != Some(at) {
            read_again = Some(at);
            walker.forget();
            continue;
        }
        let Some(block) = seeker.seek(walker, (at, scan.end, false), bounds)? else { break };
        note(&mut scan.holes, SeqRange::new(scan.end, block.header.first));
        scan.end = block.header.first;
        at = block.offset;
    }
    let cut_off = scan.end <= proof && scan.verdict != Verdict::Closed;
    // Nothing whole follows, and yet a header behind, whose payload is bad, says that more was durable: that is
    // lost, and told, and its numbers are not given out again.
    let lost = SeqRange::new(scan.end, cap.map_or(said.next(), |cap| said.next().min(cap)));
    if scan.verdict != Verdict::Closed && !lost.is_empty() {
        scan.end = lost.end;
        note(&mut scan.holes, lost);
    }
    if cut_off || !walker.unreadable.is_empty() || !scan.holes.is_empty() {
        scan.verdict = Verdict::Rotten;
    }
    Ok(scan)
}

fn note(holes: &mut Vec<SeqRange>, hole: SeqRange) {
    let many = holes.len() >= MAX_HOLES;
    match holes.last_mut() {
        _ if hole.is_empty() => {}
        Some(last) if last.end == hole.first => last.end = hole.end,
        _ if many => {}
        _ => holes.push(hole),
    }
}

/// The block at `offset`, if it is whole and begins with number `expected`.
fn good_block<T: File>(
    walker: &mut Walker<T>,
    offset: u64,
    expected: Seq,
    (limit, cap): Bounds,
) -> Result<Option<Sighting>, ReadError> {
    let due = |block: &Sighting| block.header.first == expected && counts(block, cap);
    let Some(block) = walker.probe(offset, limit)?.filter(due) else { return Ok(None) };
    Ok(walker.stored(&block, limit)?.is_some().then_some(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_that_follow_each_other_are_one_and_an_empty_one_is_none() {
        let range = |first, end| SeqRange::new(Seq(first), Seq(end));
        let mut holes = Vec::new();
        for hole in [range(1, 3), range(3, 5), range(5, 5), range(7, 9)] {
            note(&mut holes, hole);
        }
        assert_eq!(holes, [range(1, 5), range(7, 9)]);
    }
}
