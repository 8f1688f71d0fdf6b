//! What is on the simulated disk: names and bytes, each live and durable.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::EntryKind;

/// A file, whatever its names.
pub(super) type FileId = u64;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    File(FileId),
    Directory,
    Other,
}

/// A change of a directory that no sync has covered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum NameChange {
    Set(String, Node),
    Remove(String),
    Rename { from: String, to: String, node: Node },
}

/// A change of a file that no sync has covered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Write { offset: usize, data: Arc<[u8]> },
    Resize(usize),
}

/// What a disk reads and writes at once.
pub(super) const SECTOR: usize = 512;

pub(super) type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    /// Which one it is, wherever it is moved; numbered as files are.
    pub(super) id: FileId,
    pub(super) live: Names,
    pub(super) durable: Names,
    pub(super) pending: Vec<NameChange>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileState {
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) pending: Vec<Change>,
}

/// Everything on a disk. Cheap to clone: bytes are shared until they change.
#[derive(Debug, Clone)]
pub struct World {
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    pub(super) files: BTreeMap<FileId, FileState>,
    pub(super) next_file: FileId,
    /// Bytes that files may have together.
    pub(super) capacity: u64,
    /// Whether what is written over takes room until it stands.
    pub(super) copies: bool,
    /// Sectors of files that can't be read.
    pub(super) unreadable: BTreeMap<FileId, BTreeSet<usize>>,
    /// Such as are read from memory until it is asked to forget them.
    pub(super) cached: BTreeMap<FileId, BTreeSet<usize>>,
    /// Files that can't be opened.
    pub(super) shut: BTreeSet<FileId>,
    /// Reads that failed on bad sectors.
    pub(super) refusals: u64,
}

impl Default for World {
    fn default() -> Self {
        let directories = BTreeMap::from([(PathBuf::from("/"), Directory::default())]);
        Self {
            directories,
            files: BTreeMap::new(),
            next_file: 1,
            capacity: u64::MAX,
            copies: false,
            unreadable: BTreeMap::new(),
            cached: BTreeMap::new(),
            shut: BTreeSet::new(),
            refusals: 0,
        }
    }
}

pub(super) fn errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

fn sectors_of(bytes: &Range<usize>) -> Range<usize> {
    bytes.start / SECTOR..bytes.end.div_ceil(SECTOR)
}

pub(super) fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| errno(Errno::INVAL))?;
    Ok((path.parent().unwrap_or(Path::new("/")).to_owned(), name.to_owned()))
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Resize(len) => bytes.resize(*len, 0),
            Change::Write { offset, data } => put(bytes, *offset, data),
        }
    }
}

/// Writes `data` at `offset`, with zeros before it where the file was shorter.
pub(super) fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(room) = bytes.get_mut(offset..end) {
        room.copy_from_slice(data);
    }
}

impl World {
    pub(super) fn directory(&self, path: &Path) -> io::Result<&Directory> {
        self.directories.get(path).ok_or_else(|| errno(Errno::NOENT))
    }

    /// Changes a directory, live; durable after a sync.
    pub(super) fn change_names(&mut self, path: &Path, change: NameChange) -> io::Result<()> {
        let directory = self.directories.get_mut(path).ok_or_else(|| errno(Errno::NOENT))?;
        change.apply(&mut directory.live);
        directory.pending.push(change);
        Ok(())
    }

    pub(super) fn node(&self, path: &Path) -> io::Result<Node> {
        if self.directories.contains_key(path) {
            return Ok(Node::Directory);
        }
        let (parent, name) = split(path)?;
        self.directory(&parent)?.live.get(&name).copied().ok_or_else(|| errno(Errno::NOENT))
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<FileId> {
        match self.node(path)? {
            Node::File(id) => Ok(id),
            Node::Directory => Err(errno(Errno::ISDIR)),
            Node::Other => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    }

    pub(super) fn make_file(&mut self, path: &Path) -> io::Result<FileId> {
        if self.node(path).is_ok() {
            return Err(errno(Errno::EXIST));
        }
        let (parent, name) = split(path)?;
        self.directory(&parent)?;
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, FileState::default());
        self.change_names(&parent, NameChange::Set(name, Node::File(id)))?;
        Ok(id)
    }

    /// The file of a lock, durable at once: nothing depends on it.
    pub(super) fn make_lock(&mut self, path: &Path) -> io::Result<()> {
        if self.node(path).is_ok() {
            return Ok(());
        }
        let id = self.make_file(path)?;
        let (parent, name) = split(path)?;
        if let Some(directory) = self.directories.get_mut(&parent) {
            directory.pending.pop();
            directory.durable.insert(name, Node::File(id));
        }
        Ok(())
    }

    pub(super) fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.change_names(&parent, NameChange::Set(name, Node::Directory))?;
        let id = self.next_file;
        self.next_file += 1;
        self.directories.insert(path.to_owned(), Directory { id, ..Directory::default() });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file_at(path)?;
        let (parent, name) = split(path)?;
        self.change_names(&parent, NameChange::Remove(name))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        let ((parent, from_name), (other, to_name)) = (split(from)?, split(to)?);
        if parent != other {
            return Err(errno(Errno::XDEV));
        }
        if node == Node::Directory {
            let inside: Vec<_> = self.directories.keys().filter(|p| p.starts_with(from)).cloned().collect();
            for old in inside {
                let moved = old.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or_default();
                if let Some(directory) = self.directories.remove(&old) {
                    self.directories.insert(moved, directory);
                }
            }
        }
        self.change_names(&parent, NameChange::Rename { from: from_name, to: to_name, node })
    }

    pub(super) fn sync_names(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.directories.get_mut(path).ok_or_else(|| errno(Errno::NOENT))?;
        for change in std::mem::take(&mut directory.pending) {
            change.apply(&mut directory.durable);
        }
        Ok(())
    }

    pub(super) fn change(&mut self, id: FileId, change: Change) {
        if let Some(file) = self.files.get_mut(&id) {
            change.apply(Arc::make_mut(&mut file.live));
            file.pending.push(change);
        }
    }

    pub(super) fn sync(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            for change in std::mem::take(&mut file.pending) {
                change.apply(Arc::make_mut(&mut file.durable));
            }
        }
    }

    /// A sync has failed: the pages are clean now, so that no later sync writes them.
    pub(super) fn forget_unsynced(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.pending.clear();
        }
    }

    /// Clean pages are dropped: what reads back is what the disk has, and what is still to be written.
    pub(super) fn forget_cached(&mut self, id: FileId) {
        let worn = self.cached.remove(&id).unwrap_or_default();
        self.unreadable.entry(id).or_default().extend(worn);
        if let Some(file) = self.files.get_mut(&id) {
            file.live = Arc::clone(&file.durable);
            for change in &file.pending {
                change.apply(Arc::make_mut(&mut file.live));
            }
        }
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        self.directories.values().flat_map(|d| d.live.values()).map(|node| self.size_of(*node)).sum()
    }

    fn size_of(&self, node: Node) -> u64 {
        match node {
            Node::File(id) => self.files.get(&id).map_or(0, |f| f.live.len() as u64),
            Node::Directory | Node::Other => 0,
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<crate::disk::Entry>> {
        let names = &self.directory(path)?.live;
        let entry = |(name, node): (&String, &Node)| crate::disk::Entry {
            name: name.clone(),
            kind: match node {
                Node::File(_) => EntryKind::File,
                Node::Directory => EntryKind::Directory,
                Node::Other => EntryKind::Other,
            },
            inode: match node {
                Node::File(id) => id.saturating_add(1),
                Node::Directory | Node::Other => 0,
            },
        };
        Ok(names.iter().map(entry).collect())
    }

    /// The bytes of a file as programs see them.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let file = self.files.get(&self.file_at(path).ok()?)?;
        Some(file.live.as_ref().clone())
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let is_file = |node: &Node| matches!(node, Node::File(_));
        let of = |(path, directory): (&PathBuf, &Directory)| {
            let names: Vec<_> =
                directory.live.iter().filter(|(_, n)| is_file(n)).map(|(n, _)| path.join(n)).collect();
            names
        };
        self.directories.iter().flat_map(of).collect()
    }

    /// Replaces the bytes of a file, durably, behind everybody's back; makes the file if there is none.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn rot(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let id = match self.file_at(path) {
            Ok(id) => id,
            Err(_) => self.make_file(path)?,
        };
        self.settle(path)?;
        let bytes = Arc::new(bytes);
        self.files.insert(id, FileState { live: Arc::clone(&bytes), durable: bytes, pending: Vec::new() });
        Ok(())
    }

    /// From now on no sector of a file that holds some of these bytes can be read: a read that touches one fails.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn wear(&mut self, path: &Path, bytes: Range<usize>) -> io::Result<()> {
        let id = self.file_at(path)?;
        self.unreadable.entry(id).or_default().extend(sectors_of(&bytes));
        Ok(())
    }

    /// The same, but what a page cache holds of them is read from there until it is told to forget it.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn wear_below_cache(&mut self, path: &Path, bytes: Range<usize>) -> io::Result<()> {
        let id = self.file_at(path)?;
        self.cached.entry(id).or_default().extend(sectors_of(&bytes));
        Ok(())
    }

    /// Whether the disk refuses to read these bytes of a file.
    pub(super) fn is_worn(&self, id: FileId, bytes: Range<usize>) -> bool {
        let sectors = sectors_of(&bytes);
        !bytes.is_empty() && self.unreadable.get(&id).is_some_and(|worn| worn.range(sectors).next().is_some())
    }

    /// What says where the bytes of a file lie can't be read: it is there, and can't be opened.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn shut(&mut self, path: &Path) -> io::Result<()> {
        let id = self.file_at(path)?;
        self.shut.insert(id);
        Ok(())
    }

    /// What can't be read or opened is what can't be on that disk.
    pub(super) fn wear_as(&mut self, other: World) {
        (self.unreadable, self.cached, self.shut) = (other.unreadable, other.cached, other.shut);
    }

    /// How many reads have failed on bad sectors.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Every sector can be read again, and every file opened.
    pub fn mend(&mut self) {
        self.unreadable.clear();
        self.cached.clear();
        self.shut.clear();
    }

    /// Deletes a name, durably.
    ///
    /// # Errors
    /// When there is none.
    pub fn lose(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.node(path)?;
        self.directories.retain(|p, _| !p.starts_with(path));
        self.change_names(&parent, NameChange::Remove(name))?;
        self.settle(path)
    }

    /// Puts a directory, or with `other` a FIFO, where a file is expected.
    ///
    /// # Errors
    /// When the directory above is not there.
    pub fn obstruct(&mut self, path: &Path, other: bool) -> io::Result<()> {
        if self.node(path).is_ok() {
            self.lose(path)?;
        }
        if other {
            let (parent, name) = split(path)?;
            self.change_names(&parent, NameChange::Set(name, Node::Other))?;
        } else {
            self.make_directory(path)?;
        }
        self.settle(path)
    }

    fn settle(&mut self, path: &Path) -> io::Result<()> {
        let (parent, _) = split(path)?;
        self.sync_names(&parent)
    }

    /// Whether bytes that are written over need as much room again, as on btrfs or ZFS.
    pub fn copy_on_write(&mut self, copies: bool) {
        self.copies = copies;
    }

    /// Leaves so many bytes free.
    pub fn fill_up_to(&mut self, left: u64) {
        self.capacity = self.used() + left;
    }

    /// How many bytes files may have together.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }
}
