//! Salvage: every intact event of a spool, however damaged, into a fresh one. Reads the old directory, never
//! writes there, takes no lock.
//!
//! **Promises.**
//! - An event that is part of the log keeps its identity, (run, number), and its block as it was: stream, key,
//!   headers, times. So positions stay meaningful, and lost numbers stay lost numbers.
//! - Intact blocks that the log does not reach are looked for in every file below `lanes`, under whatever name. One
//!   that is *proven*, because a later block of its run, or the segment it belongs to, says that it was durable, is
//!   salvaged: at its own number where that is lost, else at a new number behind the log, under the run of the
//!   salvage. One that is not proven was never acknowledged: it is taken on request only, always at a new number.
//! - The new directory is no spool until everything in it is durable: its lanes get their name, and it gets its
//!   `FORMAT`, at the very end.
//!
//! **How.** [`Old`] finds the files, [`stray`] the blocks beside the log, [`copy`] reads the log once, block by
//! block, and [`fresh`] writes segments, numbered above all old ones, so that no number of a segment is used twice
//! under one identity. Memory grows with the number of damaged places, not with the spool.
//!
//! **On failure** of the new disk: an error, and a new directory that is not a spool.

mod copy;
mod files;
mod fresh;
mod spans;
mod stray;

use std::path::Path;

use crate::disk::Fs;
use crate::ids::{SeqRange, SpoolId};

use super::data_dir::{FoundRoot, read_root, write_root};
use super::error::OpenError;
use super::format::{HAS_INCARNATION, Root};
use super::incarnation;
use super::names;

pub use copy::{LaneCopy, Wishes};
pub use files::Old;

/// Lanes stand under this name until all of them are whole.
const UNFINISHED: &str = "lanes.unfinished";

/// What became of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Events in the new lane.
    pub events: u64,
    /// Of these, events that the log had lost and another file had, at their own numbers.
    pub found: u64,
    /// Of these, events that had to be given new numbers.
    pub renumbered: u64,
    /// Numbers without an event, in order.
    pub lost: Vec<SeqRange>,
    /// Events in whole blocks that cannot be decoded; their blocks are kept as they are.
    pub undecodable: u64,
    /// Events of a newer version's kind, kept as they are, that this version does not read.
    pub unread: u64,
    /// Events left behind that nobody was told are kept.
    pub unproven: u64,
}

impl Salvaged {
    /// Numbers lost, and events that are there and cannot be read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|r| r.len()).sum::<u64>() + self.undecodable + self.unread
    }
}

/// Before [`finish`]: the incarnation under which the spool at `from` lived last goes on in what was salvaged of it.
///
/// # Errors
/// When a disk refuses.
pub fn carry_life<F: Fs>(fs: &F, from: &Path, into: &Path, spool: SpoolId) -> Result<(), OpenError> {
    fs.create_dir(into).map_err(OpenError::io("create", into))?;
    let never_had_one =
        matches!(read_root(fs, from)?, FoundRoot::Whole(root) if root.compat & HAS_INCARNATION == 0);
    Ok(incarnation::carry(fs, (from, into), spool, !never_had_one)?)
}

/// The last step: what was salvaged becomes a spool.
///
/// DURABILITY: every file in it is durable before, and `FORMAT` comes last.
///
/// # Errors
/// When the disk refuses.
pub fn finish<F: Fs>(fs: &F, into: &Path, spool: SpoolId) -> Result<(), OpenError> {
    let unfinished = into.join(UNFINISHED);
    fs.create_dir(&unfinished).map_err(OpenError::io("create", &unfinished))?;
    fs.sync_dir(&unfinished).map_err(OpenError::io("sync", &unfinished))?;
    let lanes = into.join(names::LANES);
    fs.rename(&unfinished, &lanes).map_err(OpenError::io("rename", &unfinished))?;
    fs.sync_dir(into).map_err(OpenError::io("sync", into))?;
    let compat = if fs.open_read(&into.join(names::INCARNATION)).is_ok() { HAS_INCARNATION } else { 0 };
    write_root(fs, into, &into.join(names::FORMAT), &Root { compat, ..Root::new(spool) })
}
