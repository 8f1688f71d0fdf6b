//! From a directory of files to a [`Table`]: recovery. It reads only.
//!
//! INVARIANT: recovery writes nothing, so it can be repeated at will with the same result; its verdict becomes
//! durable in the header of the next segment, with the first block that is appended.
//!
//! Every segment but the last has its end recorded by its successor, so only headers are read, and the last
//! segment whole. Damage costs more reading, never the start.
//!
//! What costs the start is a disk that does not give, for now, what says which number comes next: see [`withheld`].

use std::io;
use std::path::Path;

use crate::disk::{File, Fs, insist};
use crate::ids::{LaneName, SegmentId, Seq, SeqRange, SpoolId};
use crate::sabotage::{self, Bug};

use super::candidates::{Candidate, Listed, Withheld, candidates, is_blank, start_of};
use super::error::{NEXT, OpenError, ReadError, is_damage};
use super::format::{DATA_START, Predecessor, SegmentHeader, Verdict};
use super::given::{Doubts, Given, Missing, Refused, answers, withheld};
use super::passed_over::{PassedOver, Why};
use super::scan::scan;
use super::seek::Seeker;
use super::table::{Segment, Table};
use super::walk::{Identity, Walker};

/// What a lane was found to hold.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) table: Table,
    /// What the next segment's header has to say.
    pub(super) predecessor: Predecessor,
    /// The next segment number never used.
    pub(super) next_segment: SegmentId,
    /// Numbers found to be lost.
    pub(super) holes: Vec<SeqRange>,
    /// Files that belong to no chain of segments and have nothing in them: prepared ahead and never used.
    pub(super) void: Vec<Segment>,
    /// Files that are left alone, or of which not all could be read.
    pub(super) left_alone: Vec<PassedOver>,
    /// What the end stands on that may not be as it looks.
    pub(super) doubts: Doubts,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The agent, which holds the lock and will show to readers what is found.
    Owner,
    /// A tool that looks on.
    Visitor,
}

/// So often, after the first time, a start asks for all of a lane that it is given in ever other parts.
const LOOKS: usize = 8;

/// Reads a lane's directory. `at_least`: every number below is known to have been durable.
///
/// INVARIANT: for the owner nothing counts as damaged that the disk does not give for a moment. A disk that came back in the midst of it
/// gives by now what it did not give at first, so it is asked for all of it again until all that was missing is missing again. A look that gave
/// anything more than the one before is never thrown away.
pub(super) fn recover<F: Fs>(
    fs: &F,
    dir: &Path,
    spool: SpoolId,
    lane: &LaneName,
    at_least: Seq,
    access: Access,
) -> Result<Recovered, OpenError> {
    let identity = Identity { spool, lane: lane.clone(), segment: SegmentId(0) };
    let look = |refused: &Missing| looked_over(fs, dir, &identity, at_least, (access, refused));
    let mut found = look(&Missing::default())?;
    let blind = [Bug::ErrorIsDamage, Bug::BlindStart].into_iter().any(sabotage::commits);
    for _ in 0..LOOKS {
        let missing = &found.doubts.missing;
        if access == Access::Visitor || blind || !missing.is_some() {
            return Ok(found);
        }
        // Only what was missing the last time is not insisted on: what has been given since is no bad page.
        let again = look(missing)?;
        if again.doubts.missing.holds(missing) {
            return Ok(found);
        }
        found = again;
    }
    // What one look gave another did not: none of them is all that there is.
    let source = io::Error::other("each time it is asked, it gives another part of what it holds");
    match found.doubts.missing.first().map(Path::to_owned) {
        Some(path) => Err(OpenError::Withheld { path, unknown: NEXT, source }),
        None => Ok(found),
    }
}

fn looked_over<F: Fs>(
    fs: &F,
    dir: &Path,
    identity: &Identity,
    at_least: Seq,
    (access, refused): (Access, &Missing),
) -> Result<Recovered, OpenError> {
    let mut listed = Listed { refused: refused.clone(), ..Listed::default() };
    let mut found = candidates(fs, dir, identity, access, &mut listed)?;
    let known = (at_least, listed.highest);
    let mut recovered = match access {
        Access::Owner => judge(fs, &found, identity, known, access),
        Access::Visitor => judge_live(fs, &mut found, identity, known),
    }?;
    recovered.left_alone.append(&mut listed.left_alone);
    let not_given = listed.withheld.iter().map(|file| file.path.clone());
    recovered.left_alone.extend(not_given.map(|file| PassedOver { file, why: Why::CannotBeRead }));
    let start = || Refused { start: true, ..Refused::default() };
    listed.withheld.iter().for_each(|file| recovered.doubts.missing.add(&file.path, start()));
    if access == Access::Owner
        && let Some(Withheld { path, source, .. }) =
            withheld(fs, listed.withheld, &found, identity, &mut recovered)
    {
        return Err(OpenError::Withheld { path, unknown: NEXT, source });
    }
    Ok(recovered)
}

/// [`judge`], beside an agent that goes on: the log as it was at one moment. A file that was without a header when
/// it was listed and has one by now was begun since, perhaps after the one before it was read and then grew: what
/// came in between would look lost. It is left out, and the rest judged again.
pub(super) fn judge_live<F: Fs>(
    fs: &F,
    found: &mut Vec<Candidate>,
    identity: &Identity,
    known: (Seq, SegmentId),
) -> Result<Recovered, OpenError> {
    loop {
        let recovered = judge(fs, found, identity, known, Access::Visitor)?;
        let before = found.len();
        found.retain(|c| c.header.is_some() || !has_header(fs, &c.path));
        if found.len() == before {
            return Ok(recovered);
        }
    }
}

fn has_header<F: Fs>(fs: &F, path: &Path) -> bool {
    fs.open_read(path).is_ok_and(|file| start_of(&file).header.is_some())
}

/// Which of the files that may be segments are the lane's log, and where each ends. `found` is in order, each
/// segment number once (see [`in_order`]).
pub(super) fn judge<F: Fs>(
    fs: &F,
    found: &[Candidate],
    identity: &Identity,
    (at_least, highest): (Seq, SegmentId),
    access: Access,
) -> Result<Recovered, OpenError> {
    let mut recovered = Recovered {
        table: Table::default(),
        predecessor: Predecessor::NONE,
        next_segment: highest.next(),
        holes: Vec::new(),
        void: Vec::new(),
        left_alone: Vec::new(),
        doubts: Doubts::default(),
    };
    for (index, candidate) in found.iter().enumerate() {
        let end = end_of(found.get(index + 1..).unwrap_or_default(), candidate, at_least);
        let previous = recovered.predecessor.end;
        match end {
            End::Void if candidate.blank && is_blank(fs, &candidate.path) => {
                recovered.void.push(void(candidate, previous));
            }
            // Given up after a failed write; or an earlier start could not open it, and it holds events.
            End::Void => {
                tracing::error!(
                    path = %candidate.path.display(),
                    "a segment that the one after it passes over: nothing in it counts, and it is left alone"
                );
                recovered.leave(candidate, Why::WriteFailed);
            }
            End::Recorded(recorded) => {
                recovered.take(recorded_segment(candidate, recorded, previous), Vec::new());
            }
            End::Unknown { proof, cap } => {
                let (segment, holes, given) =
                    scanned(fs, candidate, identity, (proof, cap, access), previous)?;
                let not_given = given.missing.start || given.missing.all;
                if given.missing.is_some() {
                    recovered.leave(candidate, Why::CannotBeRead);
                }
                recovered.doubt(candidate, given);
                if !is_empty(candidate, &segment) {
                    recovered.take(segment, holes);
                } else if is_blank(fs, &candidate.path) {
                    recovered.void.push(segment);
                } else if !not_given {
                    tracing::error!(
                        path = %candidate.path.display(),
                        "a segment has no whole header and no whole block: what it held is lost, how much can't be said; it is left alone"
                    );
                    recovered.leave(candidate, Why::Unrecognised);
                }
            }
        }
    }
    Ok(recovered)
}

impl Recovered {
    /// The number after the last event that is there; `None` when this version can't read the last segment.
    pub(super) fn end(&self) -> Option<Seq> {
        let last = self.table.segments.values().next_back();
        last.is_none_or(|s| s.readable).then_some(self.predecessor.end)
    }

    /// Whether the disk gave all that it was asked for.
    pub(super) fn is_whole(&self) -> bool {
        self.left_alone.iter().all(|left| left.why != Why::CannotBeRead)
    }

    fn leave(&mut self, candidate: &Candidate, why: Why) {
        self.left_alone.push(PassedOver { file: candidate.path.clone(), why });
    }

    fn doubt(&mut self, candidate: &Candidate, given: Given) {
        let (id, path) = (candidate.id, candidate.path.clone());
        self.doubts.missing.add(&path, given.missing);
        self.doubts.silent.extend(given.refusal.map(|source| Withheld { id, path, source }));
        self.doubts.unsealed.extend((!given.sealed).then_some(id));
    }

    fn take(&mut self, segment: Segment, mut holes: Vec<SeqRange>) {
        let gap = SeqRange::new(self.predecessor.end, segment.base);
        if !gap.is_empty() && !self.table.segments.is_empty() {
            self.holes.push(gap);
        }
        self.holes.append(&mut holes);
        self.predecessor = Predecessor {
            segment: segment.id,
            end_offset: segment.end_offset,
            end: segment.end,
            verdict: segment.verdict,
        };
        self.table.segments.insert(segment.id, segment);
    }
}

enum End {
    /// Its successor says that it does not count.
    Void,
    /// Its successor says where it ends.
    Recorded(Predecessor),
    /// It has to be read to find out; everything up to `proof` was durable once.
    /// Numbers from `cap` on are a later segment's.
    Unknown { proof: Seq, cap: Option<Seq> },
}

/// Pure: what the files after it say of a segment's end.
fn end_of(later: &[Candidate], candidate: &Candidate, at_least: Seq) -> End {
    // One without a header says nothing of its predecessor: it was prepared and never used, or its header is
    // damaged. The one behind it may still speak of this one.
    let header = later.iter().find_map(|next| next.header.as_ref());
    match header {
        Some(header) if header.predecessor.segment == candidate.id => {
            return End::Recorded(header.predecessor);
        }
        Some(header) if header.predecessor.segment < candidate.id => return End::Void,
        _ => {}
    }
    // The one between is missing, or its header is damaged: whatever came before a successor's first number was
    // durable, and whatever stands here from that number on is left over from a failed write.
    // Across a blank one only the latter holds: this segment's process ended in it, so the numbers behind its end may have been given again
    // in one that is missing by now.
    match later.first().and_then(|next| next.begins) {
        Some(begins) => End::Unknown { proof: begins.prev(), cap: Some(begins) },
        None => {
            // A position proves a number, and not whose: one behind that is not blank may have given it again.
            let proof = if later.iter().all(|later| later.blank) { at_least.prev() } else { Seq::NONE };
            End::Unknown { proof, cap: later.iter().find_map(|later| later.begins) }
        }
    }
}

/// A file without a header and without a whole block is none of the log. One that is blank was prepared and never used,
/// and goes. Of any other nobody can say whether its first sync ever came back: what it held may have been promised, and
/// a disk that answers again may give it back. So it stays.
fn is_empty(candidate: &Candidate, segment: &Segment) -> bool {
    candidate.header.is_none() && segment.end_offset <= DATA_START && segment.end <= segment.base
}

fn void(candidate: &Candidate, base: Seq) -> Segment {
    Segment {
        id: candidate.id,
        path: candidate.path.clone(),
        base,
        end: base,
        end_offset: 0,
        bytes: candidate.len,
        created: candidate.header.as_ref().map(|h| h.created),
        verdict: Verdict::Torn,
        readable: true,
    }
}

fn recorded_segment(candidate: &Candidate, recorded: Predecessor, previous: Seq) -> Segment {
    let base = candidate.header.as_ref().map_or(previous, |h| h.base);
    Segment {
        base: base.min(recorded.end),
        end: recorded.end,
        end_offset: recorded.end_offset,
        verdict: recorded.verdict,
        readable: candidate.header.as_ref().is_none_or(SegmentHeader::is_readable),
        ..void(candidate, base)
    }
}

/// Reads a whole segment: where it ends, what is missing in it, and what the disk gave of it. One that cannot be opened or read is kept in the table, empty, so that its file stays.
pub(super) fn scanned<F: Fs>(
    fs: &F,
    candidate: &Candidate,
    identity: &Identity,
    (proof, cap, access): (Seq, Option<Seq>, Access),
    previous: Seq,
) -> Result<(Segment, Vec<SeqRange>, Given), OpenError> {
    let base = candidate.header.as_ref().map(|h| h.base);
    let readable = candidate.header.as_ref().is_none_or(SegmentHeader::is_readable);
    let mut segment = Segment { readable, ..void(candidate, base.unwrap_or(previous)) };
    if !readable {
        tracing::error!(path = %segment.path.display(), "a segment of a newer version is set aside unread");
        segment.verdict = Verdict::Rotten;
        return Ok((segment, Vec::new(), Given { sealed: true, ..Given::default() }));
    }
    let identity = Identity { segment: candidate.id, ..identity.clone() };
    match scan_file(fs, (candidate, &mut segment), identity, base, (proof, cap, access)) {
        Ok((holes, given)) => Ok((segment, holes, given)),
        // As with opening: an error that says nothing of the bytes must not give them up.
        Err(e) if access == Access::Owner && !is_damage(&e.source) => {
            Err(OpenError::io("read", &segment.path)(e.source))
        }
        Err(e) => {
            tracing::error!(error = %e, "a segment cannot be read and is set aside");
            segment.verdict = Verdict::Rotten;
            Ok((segment, Vec::new(), Given::nothing(e.source)))
        }
    }
}

fn scan_file<F: Fs>(
    fs: &F,
    (candidate, segment): (&Candidate, &mut Segment),
    identity: Identity,
    base: Option<Seq>,
    (proof, cap, access): (Seq, Option<Seq>, Access),
) -> Result<(Vec<SeqRange>, Given), ReadError> {
    let path = segment.path.clone();
    let read_error = |source| ReadError { path: path.clone(), offset: 0, source };
    let file = insist(|| fs.open_read(&path)).map_err(read_error)?;
    if access == Access::Owner && !sabotage::commits(Bug::LeftoversBelieved) {
        settle(&file, &path);
    }
    let limit = insist(|| file.size()).map_err(read_error)?;
    let mut walker = Walker::new(file, path.clone(), identity);
    walker.tolerant = true;
    walker.refused_before.clone_from(&candidate.refused.pages);
    if base.is_none() {
        let mut first = walker.probe(DATA_START, limit)?;
        // Nothing before it says which number is expected.
        if first.is_none() && segment.base <= Seq::FIRST {
            let mut seeker = Seeker::new(DATA_START, segment.base);
            first = seeker.seek(&mut walker, (DATA_START, segment.base, false), (limit, cap))?;
        }
        segment.base = first.map_or(segment.base, |block| block.header.first);
    }
    let found = scan(&mut walker, segment.base, (proof, cap), limit)?;
    segment.end = found.end;
    segment.end_offset = found.end_offset;
    segment.verdict = found.verdict;
    let mut missing = Refused { pages: std::mem::take(&mut walker.unreadable), ..Refused::default() };
    // A header that was read before may have come from the page cache, or the disk may have gone away since.
    let refusal = match access {
        Access::Owner if missing.is_some() => answers(walker.file(), found.end_offset).err(),
        _ => None,
    };
    if refusal.is_some() {
        // Of a dead disk each page of each segment would be remembered.
        missing = Refused { all: true, ..Refused::default() };
    }
    Ok((found.holes, Given { missing, sealed: found.sealed, refusal }))
}

/// DURABILITY: what is read of a segment that nobody closed may stand in the page cache alone. Its process may have
/// been killed before the sync: then this one makes it durable. Or its sync has failed, and pages that the kernel
/// takes for clean read as if they were on the disk, whatever a later sync says: so they are forgotten, and what is
/// read from then on is what the disk has. If the disk refuses, nothing of it was ever acknowledged under
/// sync = "always"; the refusal is told.
fn settle<T: File>(file: &T, path: &Path) {
    if let Err(e) = file.sync_data() {
        tracing::error!(path = %path.display(), error = %e, "the last segment could not be synced at the start");
    }
    if let Err(e) = file.forget_cached() {
        tracing::warn!(path = %path.display(), error = %e, "what the kernel holds of the last segment could not be put to the test");
    }
}
