//! Segments of which something was lost: put aside, not deleted, when the log needs them no more.
//!
//! What can't be read today a disk may give back tomorrow, and what is damaged a person may want to look at. So before
//! numbers of a segment are given up, it is marked; and a marked one that every reader is past gets another name.
//!
//! One name stands for both, `<segment>.seg.damaged`: an empty file while the segment is in the log, and the segment itself
//! afterwards, since renaming replaces what has the name. No reader takes it for part of the log.
//!
//! INVARIANT: the mark is durable before anybody hears of the loss, so before a position lies beyond it.
//!
//! What is put aside counts as used of the lane's quota, and takes no more than an [`SHARE`]th of it: the oldest goes for the
//! newest, which stays whatever its size.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, File, Fs, insist};
use crate::ids::SegmentId;

use super::names;
use super::shared::Shared;
use super::table::Segment;

/// Which part of the quota what is put aside may take.
const SHARE: u64 = 8;

/// What is marked, and what is put aside.
#[derive(Debug, Default)]
pub(super) struct Kept {
    marked: BTreeSet<SegmentId>,
    aside: BTreeMap<SegmentId, u64>,
}

impl Kept {
    /// What an earlier start has left. A file whose size can't be found out counts as a mark.
    pub(super) fn find<F: Fs>(fs: &F, dir: &Path) -> io::Result<Self> {
        let mut kept = Self::default();
        for (id, path) in named(fs, dir)? {
            match size(fs, &path) {
                Ok(bytes) if bytes > 0 => drop(kept.aside.insert(id, bytes)),
                _ => drop(kept.marked.insert(id)),
            }
        }
        Ok(kept)
    }

    /// Bytes of what is put aside.
    pub(super) fn bytes(&self) -> u64 {
        self.aside.values().sum()
    }

    /// The oldest of several that are more than fits.
    fn oldest_beyond(&self, limit: u64) -> Option<SegmentId> {
        let beyond = self.aside.len() > 1 && self.bytes() > limit / SHARE;
        self.aside.keys().next().copied().filter(|_| beyond)
    }
}

fn named<F: Fs>(fs: &F, dir: &Path) -> io::Result<Vec<(SegmentId, PathBuf)>> {
    let files = insist(|| fs.list(dir))?.into_iter().filter(|entry| entry.kind == EntryKind::File);
    Ok(files.filter_map(|e| Some((names::parse_damaged(&e.name)?, dir.join(&e.name)))).collect())
}

fn size<F: Fs>(fs: &F, path: &Path) -> io::Result<u64> {
    insist(|| fs.open_read(path)).and_then(|file| insist(|| file.size()))
}

/// Segments of the lane at `dir` that are put aside: where each is, and its bytes.
pub(super) fn put_aside<F: Fs>(fs: &F, dir: &Path) -> io::Result<Vec<(SegmentId, PathBuf, u64)>> {
    let sized = |(id, path): (SegmentId, PathBuf)| match size(fs, &path) {
        // Its agent has removed the mark meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((id, path, 0)),
        sized => sized.map(|bytes| (id, path, bytes)),
    };
    let found: Vec<_> = named(fs, dir)?.into_iter().map(sized).collect::<io::Result<_>>()?;
    Ok(found.into_iter().filter(|(_, _, bytes)| *bytes > 0).collect())
}

impl<F: Fs> Shared<F> {
    fn damaged_path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(names::damaged(id))
    }

    /// Something of a segment is about to be given up. Without a mark, which can fail like every write, it is deleted after
    /// the next start when it is needed no more.
    pub(super) fn mark(&self, id: SegmentId) {
        let readable = self.table().segments.get(&id).is_some_and(|s| s.readable);
        if !readable || !self.kept().marked.insert(id) {
            return;
        }
        let (fs, path) = (self.data.fs(), self.damaged_path(id));
        let made = match fs.create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop),
        };
        if let Err(error) = made.and_then(|()| fs.sync_dir(&self.dir)) {
            tracing::error!(path = %path.display(), %error, "a segment of which events are lost can't be marked as one to be kept");
        }
    }

    /// Whether something of it was given up.
    pub(super) fn is_marked(&self, id: SegmentId) -> bool {
        self.kept().marked.contains(&id)
    }

    /// Puts a marked segment aside, which is out of the log.
    pub(super) fn keep(&self, segment: &Segment) -> io::Result<()> {
        let path = self.damaged_path(segment.id);
        self.data.fs().rename(&segment.path, &path)?;
        tracing::error!(lane = %self.name, path = %path.display(),
            "a segment of which events are lost is put aside under this name, and not deleted; to have its room back, delete it");
        {
            let mut kept = self.kept();
            kept.marked.remove(&segment.id);
            kept.aside.insert(segment.id, segment.bytes);
        }
        while let Some(oldest) = { self.kept().oldest_beyond(self.limit) } {
            self.let_go(oldest);
        }
        self.table().aside = self.kept().bytes();
        Ok(())
    }

    fn let_go(&self, id: SegmentId) {
        self.kept().aside.remove(&id);
        let path = self.damaged_path(id);
        match self.data.fs().remove(&path) {
            Ok(()) => tracing::error!(path = %path.display(),
                "a segment that was put aside is deleted: those put aside since leave it no room"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a segment that was put aside could not be deleted");
            }
        }
    }

    /// A segment is gone: so is its mark.
    pub(super) fn unmark(&self, id: SegmentId) {
        if !self.is_marked(id) {
            return;
        }
        self.kept().marked.remove(&id);
        if let Err(error) = self.data.fs().remove(&self.damaged_path(id)) {
            tracing::warn!(lane = %self.name, segment = %id, %error, "the mark of a segment that is gone could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::{Faulty, Op};

    #[test]
    fn an_empty_file_is_a_mark_and_any_other_was_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = |id| dir.path().join(names::damaged(SegmentId(id)));
        std::fs::write(path(1), b"").unwrap();
        std::fs::write(path(2), b"events").unwrap();
        let kept = Kept::find(&Faulty::new(), dir.path()).unwrap();
        assert_eq!((kept.marked, kept.aside), ([SegmentId(1)].into(), [(SegmentId(2), 6)].into()));
        // What can't be opened is no less to be kept.
        let fs = Faulty::new();
        fs.fail_next(Op::Open, 1000);
        let kept = Kept::find(&fs, dir.path()).unwrap();
        assert_eq!((kept.marked.len(), kept.aside.len()), (2, 0));
    }

    #[test]
    fn what_is_put_aside_may_take_its_share_to_the_last_byte() {
        let aside = [(SegmentId(1), 10), (SegmentId(2), 6)].into();
        let kept = Kept { aside, ..Kept::default() };
        assert_eq!(kept.oldest_beyond(16 * SHARE), None);
        assert_eq!(kept.oldest_beyond(16 * SHARE - 1), Some(SegmentId(1)));
    }

    #[test]
    fn a_mark_that_went_meanwhile_is_none_and_a_disk_that_refuses_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(names::damaged(SegmentId(1)));
        std::fs::write(&path, b"events").unwrap();
        let fs = Faulty::new();
        fs.fail_next(Op::Open, 1000);
        put_aside(&fs, dir.path()).unwrap_err();
        fs.fail_next(Op::Open, 0);
        assert_eq!(put_aside(&fs, dir.path()).unwrap(), [(SegmentId(1), path.clone(), 6)]);
        fs.meanwhile(Op::Open, move || std::fs::remove_file(path).unwrap());
        assert_eq!(put_aside(&fs, dir.path()).unwrap(), []);
    }
}
