//! Which files below `lanes` hold blocks of which lane, whatever their names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, File, Fs};
use crate::ids::{LaneName, SegmentId, SpoolId};

use super::super::candidates::{Candidate, Start, start_of};
use super::super::error::{OpenError, is_damage};
use super::super::format::{BLOCK_ALIGN, BLOCK_MAGIC, BlockHeader, DATA_START, MAX_HEADER};
use super::super::given::Refused;
use super::super::inspect::identify;
use super::super::names;

/// Bytes searched at once.
const CHUNK: usize = 256 << 10;

/// A spool that is to be salvaged: its files by lane.
#[derive(Debug)]
pub struct Old<F: Fs> {
    pub(super) fs: F,
    /// Its identity, which the salvaged spool keeps.
    pub spool: SpoolId,
    pub(super) lanes: BTreeMap<LaneName, OldLane>,
    /// What was passed over, in words.
    pub notes: Vec<String>,
}

/// Files of one lane.
#[derive(Debug, Default)]
pub(super) struct OldLane {
    pub(super) files: Vec<Candidate>,
    /// Directories whose floor speaks of this lane.
    pub(super) dirs: Vec<PathBuf>,
}

impl<F: Fs> Old<F> {
    /// The identity of the spool at `path`.
    ///
    /// # Errors
    /// [`OpenError::NotASpool`], [`OpenError::Newer`], or when a directory can't be listed.
    pub fn identify(fs: &F, path: &Path) -> Result<SpoolId, OpenError> {
        identify(fs, path)
    }

    /// Finds the files of the spool at `path`.
    ///
    /// # Errors
    /// When a directory can't be listed or a file may not be read.
    pub fn find(fs: &F, path: &Path, spool: SpoolId) -> Result<Self, OpenError> {
        let mut old = Self { fs: fs.clone(), spool, lanes: BTreeMap::new(), notes: Vec::new() };
        let lanes = path.join(names::LANES);
        old.look_into(&lanes, None)?;
        for entry in list(fs, &lanes)?.into_iter().filter(|e| e.kind == EntryKind::Directory) {
            old.look_into(&lanes.join(&entry.name), LaneName::new(&entry.name).ok())?;
        }
        Ok(old)
    }

    /// Adds a lane that may have no file left.
    pub fn know(&mut self, lane: &LaneName) {
        self.lanes.entry(lane.clone()).or_default();
    }

    /// Its lanes.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneName> {
        self.lanes.keys().cloned().collect()
    }

    /// Bytes of its segments, copies left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lanes.values().flat_map(|l| &l.files).filter(|c| c.name_fits).map(|c| c.len).sum()
    }

    /// `home` is the lane whose directory this is by its name.
    fn look_into(&mut self, dir: &Path, home: Option<LaneName>) -> Result<(), OpenError> {
        let mut owners = BTreeSet::new();
        for entry in list(&self.fs, dir)? {
            let path = dir.join(&entry.name);
            if entry.kind != EntryKind::File || entry.name == names::FLOOR {
                continue;
            }
            match self.whose(&path, home.as_ref(), names::parse_segment(&entry.name)) {
                Ok(Some((lane, candidate))) => {
                    owners.insert(lane.clone());
                    self.lanes.entry(lane).or_default().files.push(candidate);
                }
                Ok(None) => {}
                // Deleted by its agent between the listing and now.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if !is_damage(&e) => return Err(OpenError::io("open", &path)(e)),
                Err(e) => self.notes.push(format!("{} cannot be opened: {e}", path.display())),
            }
        }
        // A floor speaks of the lane in whose directory it stands, whatever the directory is called by now.
        owners.extend(home.filter(|_| owners.is_empty()));
        if let (1, Some(lane)) = (owners.len(), owners.first()) {
            self.lanes.entry(lane.clone()).or_default().dirs.push(dir.to_owned());
        }
        Ok(())
    }

    fn whose(
        &mut self,
        path: &Path,
        home: Option<&LaneName>,
        name: Option<SegmentId>,
    ) -> io::Result<Option<(LaneName, Candidate)>> {
        let file = self.fs.open_read(path)?;
        let len = file.size()?;
        let Start { header, owner, begins, blank, .. } = start_of(&file);
        let owner = owner.or_else(|| first_block(&file, len, self.spool));
        let (lane, id) = match (owner, home, name) {
            (Some((spool, _, _)), _, _) if spool != self.spool => {
                self.notes.push(format!("{} is of spool {spool}: left alone", path.display()));
                return Ok(None);
            }
            (Some((_, lane, id)), _, _) => match LaneName::new(&lane) {
                Ok(lane) => (lane, id),
                Err(_) => return Ok(None),
            },
            (None, Some(home), Some(id)) if id <= names::LAST_BY_NAME => (home.clone(), id),
            (None, _, _) => return Ok(None),
        };
        if owner_is_elsewhere(home, name, &lane, id) {
            self.notes.push(format!("{} holds segment {id} of lane {lane}", path.display()));
        }
        let name_fits = home == Some(&lane) && name == Some(id);
        let (path, refused) = (path.to_owned(), Refused::default());
        Ok(Some((lane, Candidate { id, name_fits, path, len, header, begins, blank, refused })))
    }
}

fn owner_is_elsewhere(
    home: Option<&LaneName>,
    name: Option<SegmentId>,
    lane: &LaneName,
    id: SegmentId,
) -> bool {
    home != Some(lane) || name != Some(id)
}

fn list<F: Fs>(fs: &F, dir: &Path) -> Result<Vec<crate::disk::Entry>, OpenError> {
    match fs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        done => done.map_err(OpenError::io("list", dir)),
    }
}

/// Whose block is the first whole one behind a header area that is destroyed. Unreadable places are passed over.
fn first_block<T: File>(file: &T, len: u64, spool: SpoolId) -> Option<(SpoolId, String, SegmentId)> {
    let step = usize::try_from(BLOCK_ALIGN).unwrap_or(8);
    let mut chunk = vec![0; CHUNK + MAX_HEADER.next_multiple_of(step)];
    let mut at = DATA_START;
    while at < len {
        let read = file.read_full_at(&mut chunk, at).unwrap_or(0);
        let window = chunk.get(..read).unwrap_or_default();
        for offset in (0..read.min(CHUNK)).step_by(step) {
            let Some(rest) = window.get(offset..).filter(|rest| rest.starts_with(&BLOCK_MAGIC)) else {
                continue;
            };
            if let Some(block) = BlockHeader::decode(rest).filter(|b| b.spool == spool) {
                return Some((block.spool, block.lane.to_owned(), block.segment));
            }
        }
        at += CHUNK as u64;
    }
    None
}
