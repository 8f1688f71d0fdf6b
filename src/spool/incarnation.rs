//! The file `incarnation` of a data directory: which life of the directory this is, and what tells the directory
//! from a copy of it. `docs/decisions/0011-clones-and-old-copies.md` has the reasons.
//!
//! The record names the file it stands in (inode and time of birth, which no copying program can give to a copy)
//! and, hashed, the machine. A directory whose record names another file was copied, or put back from a copy; one
//! whose file is the right one on another machine came with its disk. Either way, and when the record is lost, the
//! directory goes on under a new incarnation, and says so.
//!
//! On failure: what can't be read or written here keeps nothing from starting. Whatever is judged wrongly costs an
//! alarm and a new incarnation, never an event: the identity of an event is (run, seq).

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::disk::{DiskError, FileIdentity, Fs, Slots, look_at_slots};
use crate::event::UnixMillis;
use crate::ids::{Incarnation, SpoolId};

use super::error::OpenError;
use super::host::Host;
use super::names;

const VERSION: u8 = 1;
const LEN: usize = 64;

/// That an older state of the directory was found by what Kafka holds, and what to do.
pub const OLDER_COPY: &str = "Kafka holds events that this data directory sent and its log has never had: an older copy of it was put back (a \
    snapshot, a rollback), or it is a clone, or the log's end is damaged. Events accepted after the copy was made and not delivered by then \
    are lost, and others may arrive twice; if the original still runs, stop one of the two. The next start begins a new incarnation";

/// Why an incarnation was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The directory was made; or comes from a version that kept no record.
    New,
    /// The directory's files are a copy: it was cloned, moved to another disk, or restored.
    Copied,
    /// The files are the same, the machine is another: its disk was cloned or moved.
    OtherHost,
    /// The log ends before what is known to have been in it.
    RolledBack,
    /// The record was lost or damaged, so that a copy can't be told from the original.
    Unmarked,
}

impl Cause {
    /// What happened and what to do, in a sentence; `None` when nothing is wrong.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Cause::New => return None,
            Cause::Copied => {
                "the data directory is a copy (cloned, moved to another disk, or restored from a backup): if the \
                 original still runs, both send what had not been delivered when it was copied, and events \
                 accepted after an older copy was made are not in it"
            }
            Cause::OtherHost => {
                "the data directory is the same but the machine is another (a cloned or moved disk): if the \
                 original still runs, both send what had not been delivered when it was cloned"
            }
            Cause::RolledBack => {
                "the log ends before what is known to have been in it, or has other events under the same numbers \
                 (an older copy was put back, or positions of another past of it; files were deleted, or its end is \
                 damaged): events that it had then and not yet delivered are lost; what is on disk is sent again \
                 where it can't be told whether it was delivered"
            }
            Cause::Unmarked => {
                "the file `incarnation` is missing or damaged, so that a copy of the data directory can't be told \
                 from the original: nothing is lost by this; if it was deleted on purpose, do not"
            }
        })
    }

    fn code(self) -> u8 {
        match self {
            Cause::New => 0,
            Cause::Copied => 1,
            Cause::OtherHost => 2,
            Cause::RolledBack => 3,
            Cause::Unmarked => 4,
        }
    }

    fn of(code: u8) -> Option<Self> {
        let all = [Cause::New, Cause::Copied, Cause::OtherHost, Cause::RolledBack, Cause::Unmarked];
        all.into_iter().find(|cause| cause.code() == code)
    }
}

/// An incarnation, and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its number.
    pub incarnation: Incarnation,
    /// Why it was drawn.
    pub cause: Cause,
    /// When; 0 if not known.
    pub since: UnixMillis,
}

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) spool: SpoolId,
    pub(super) life: Life,
    /// The machine's id, hashed; 0 if not known.
    pub(super) machine: u64,
    /// The file this record was written into.
    pub(super) file: FileIdentity,
    /// How often an agent was started on it: so that a copying program sees that the file has changed.
    pub(super) openings: u64,
    /// It was found to be an older copy while it was in use: the next start draws a new incarnation.
    pub(super) older: bool,
}

impl Record {
    /// The same record with what is known here and was not when it was written. What is not known here stays.
    fn refined(&self, here: &Record) -> Record {
        let newer = |before: u64, now: u64| if now == 0 { before } else { now };
        let born = if here.file.born == 0 { self.file.born } else { here.file.born };
        let file = FileIdentity { inode: newer(self.file.inode, here.file.inode), born };
        Record { machine: newer(self.machine, here.machine), file, ..*self }
    }
}

/// Pure: what the record found says of the place it was found in. `None`: nothing is wrong.
///
/// `expected`: the directory is known to have had one.
pub(super) fn judge(found: Option<&Record>, expected: bool, here: &Record) -> Option<Cause> {
    let Some(found) = found else { return expected.then_some(Cause::Unmarked) };
    if found.spool != here.spool {
        return Some(Cause::Unmarked);
    }
    if !is_same_file(found.file, here.file) {
        return Some(Cause::Copied);
    }
    if found.older {
        return Some(Cause::RolledBack);
    }
    let known = found.machine != 0 && here.machine != 0;
    (known && found.machine != here.machine).then_some(Cause::OtherHost)
}

/// A birth is exact and can't be copied, and some file systems number inodes anew at every mount: so births alone
/// decide where both are known.
fn is_same_file(a: FileIdentity, b: FileIdentity) -> bool {
    if a.born != 0 && b.born != 0 {
        return a.born == b.born;
    }
    a.inode == b.inode || a.inode == 0 || b.inode == 0
}

/// The open file.
#[derive(Debug)]
pub(super) struct Marker<F: Fs> {
    /// `None` when it could not be opened or made.
    slots: Option<Slots<F>>,
    record: Record,
    renewed: bool,
}

impl<F: Fs> Marker<F> {
    /// Opens the file in `dir`, making it if there is none, and draws a new incarnation if it has to be.
    pub(super) fn open(
        fs: &F,
        dir: &Path,
        spool: SpoolId,
        expected: bool,
        host: &dyn Host,
    ) -> Result<Self, OpenError> {
        let path = dir.join(names::INCARNATION);
        let (slots, value) = match Slots::open(fs, &path, LEN) {
            Ok((slots, value)) => (Some(slots), value),
            Err(e) => {
                unwritable(&e);
                (None, None)
            }
        };
        let first = Life { incarnation: Incarnation(spool.0), cause: Cause::New, since: host.now().time };
        let file = fs.identity(&path).unwrap_or_default();
        let machine = machine(host, spool);
        let here = Record { spool, life: first, machine, file, openings: 0, older: false };
        let found = value.as_deref().and_then(decode);
        let expected = expected || slots.as_ref().is_some_and(Slots::damaged) || value.is_some();
        let cause = judge(found.as_ref(), expected, &here);
        let life = found.as_ref().map_or(first, |f| f.life);
        let openings = found.as_ref().map_or(0, |f| f.openings);
        let mut marker = Self { slots, record: Record { life, openings, ..here }, renewed: false };
        match (cause, &found) {
            (Some(cause), _) => marker.renew(cause, dir, host)?,
            (None, None) => marker.keep(),
            (None, Some(found)) => marker.record = found.refined(&here),
        }
        Ok(marker)
    }

    /// Counts an opening, and writes down what is known of the place now.
    pub(super) fn note_opening(&mut self) {
        self.record.openings = self.record.openings.saturating_add(1);
        self.keep();
    }

    /// The next opening draws a new incarnation; this one goes on, since what is sent by it is counted under it.
    pub(super) fn note_older_copy(&mut self, dir: &Path) {
        if std::mem::replace(&mut self.record.older, true) {
            return;
        }
        tracing::error!(data_dir = %dir.display(), "{OLDER_COPY}");
        // Twice, as when it is drawn.
        self.keep();
        self.keep();
    }

    /// From now on the directory lives under a new incarnation. Once an opening: what else is found wrong then is
    /// part of the same.
    pub(super) fn renew(&mut self, cause: Cause, dir: &Path, host: &dyn Host) -> Result<(), OpenError> {
        if std::mem::replace(&mut self.renewed, true) {
            return Ok(());
        }
        let drawn = host.random().map_err(OpenError::io("draw an incarnation for", dir))?;
        let before = self.record.life.incarnation;
        self.record.life = Life { incarnation: Incarnation(drawn), cause, since: host.now().time };
        tracing::error!(
            data_dir = %dir.display(), ?cause, before = %before, incarnation = %self.record.life.incarnation,
            "this spool goes on under a new incarnation: {}", cause.advice().unwrap_or_default()
        );
        // Twice: so that damage to one copy does not bring the incarnation before back.
        self.keep();
        self.keep();
        Ok(())
    }

    /// The life this is.
    pub(super) fn life(&self) -> Life {
        self.record.life
    }

    /// Whether it stands on disk.
    pub(super) fn stands(&self) -> bool {
        self.slots.as_ref().is_some_and(Slots::is_made)
    }

    /// Whether this opening has drawn a new incarnation.
    pub(super) fn is_renewed(&self) -> bool {
        self.renewed
    }

    fn keep(&mut self) {
        let value = encode(&self.record);
        let kept = self.slots.as_mut().map_or(Ok(()), |s| s.save(&value).and_then(|()| s.sync()));
        if let Err(e) = kept {
            unwritable(&e);
        }
    }
}

/// The identity of the data directory at `dir` by this file, for when nothing else tells it.
pub(super) fn spool_in_file<F: Fs>(fs: &F, dir: &Path) -> Option<SpoolId> {
    record_in_file(fs, dir).map(|record| record.spool)
}

/// The incarnation under which the data directory at `dir` lived last, looked at without judging or changing it.
pub(super) fn last_known<F: Fs>(fs: &F, dir: &Path, spool: SpoolId) -> Incarnation {
    let record = record_in_file(fs, dir).filter(|record| record.spool == spool);
    record.map_or(Incarnation(spool.0), |record| record.life.incarnation)
}

/// The life of the spool at `from` goes on in what was salvaged of it at `into`. The record names no file: the first start
/// takes the one it stands in for its own. `expected`: it is known to have had one; if that is lost, this is told.
///
/// DURABILITY: it is durable when this returns.
pub(super) fn carry<F: Fs>(
    fs: &F,
    (from, into): (&Path, &Path),
    spool: SpoolId,
    expected: bool,
) -> Result<(), DiskError> {
    let found = record_in_file(fs, from).filter(|record| record.spool == spool);
    let value = match found {
        Some(record) => encode(&Record { file: FileIdentity::default(), ..record }),
        // No record that anybody could read: the next start takes it for damaged.
        None if expected => Vec::new(),
        None => return Ok(()),
    };
    let (mut slots, _) = Slots::open(fs, &into.join(names::INCARNATION), LEN)?;
    // Twice, as when it was drawn. Nobody relies on the first before both are durable.
    slots.save(&value)?;
    slots.save(&value)?;
    slots.sync()
}

fn record_in_file<F: Fs>(fs: &F, dir: &Path) -> Option<Record> {
    decode(&look_at_slots(fs, &dir.join(names::INCARNATION)).ok()??)
}

fn unwritable(error: &DiskError) {
    tracing::error!(%error, "the file `incarnation` can't be kept: until it can, a copy of this data directory may not be \
        told from the original, and the next start may draw a new incarnation; see to the disk");
}

/// 64 bits that say which machine this is to nobody but this directory.
fn machine(host: &dyn Host, spool: SpoolId) -> u64 {
    let Some(id) = host.machine() else { return 0 };
    let hash = Sha256::new().chain_update(b"spoolway machine").chain_update(spool.0.to_le_bytes());
    let hash: [u8; 32] = hash.chain_update(id.as_bytes()).finalize().into();
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first).max(1))
}

fn encode(record: &Record) -> Vec<u8> {
    let Record { spool, life, machine, file, openings, older } = record;
    let mut out = vec![VERSION, life.cause.code(), u8::from(*older), 0, 0, 0, 0, 0];
    let since = life.since.cast_unsigned();
    let fields =
        [spool.0, life.incarnation.0, since, *machine, file.inode, file.born.cast_unsigned(), *openings];
    fields.iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    out
}

/// Reads the value of the file.
pub(super) fn decode(value: &[u8]) -> Option<Record> {
    let (head, mut rest) = value.split_first_chunk::<8>()?;
    let [VERSION, cause, older, ..] = *head else { return None };
    let mut field = || {
        let (first, more) = rest.split_first_chunk::<8>()?;
        rest = more;
        Some(u64::from_le_bytes(*first))
    };
    let spool = SpoolId(field()?);
    let (incarnation, since) = (Incarnation(field()?), field()?.cast_signed());
    let (machine, inode, born) = (field()?, field()?, field()?.cast_signed());
    let life = Life { incarnation, cause: Cause::of(cause)?, since };
    Some(Record {
        spool,
        life,
        machine,
        file: FileIdentity { inode, born },
        openings: field()?,
        older: older == 1,
    })
}

#[cfg(test)]
mod tests;
