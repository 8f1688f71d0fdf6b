//! A data directory: its identity, its lock, and the names in it.
//!
//! ```text
//! data_dir/FORMAT                  who it is and which version may touch it
//! data_dir/LOCK                    held with flock while an agent runs
//! data_dir/lanes/<lane>/           one directory a lane
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{EntryKind, File, Fs, RealFs, insist};
use crate::ids::{LaneName, SpoolId};

use super::error::{OpenError, is_damage};
use super::format::Root;
use super::host::{Host, SystemHost};
use super::names;

/// An open data directory. While it lives, no other process can open it.
#[derive(Debug, Clone)]
pub struct DataDir<F: Fs = RealFs> {
    inner: Arc<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F: Fs> {
    fs: F,
    host: Arc<dyn Host>,
    path: PathBuf,
    root: Root,
    _lock: Locked<F>,
}

struct Locked<F: Fs> {
    _lock: F::Lock,
}

impl<F: Fs> std::fmt::Debug for Locked<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Locked")
    }
}

impl<F: Fs> DataDir<F> {
    /// Opens the directory at `path`, making it if there is none, and locks it.
    ///
    /// # Errors
    /// [`OpenError::Locked`], [`OpenError::Newer`], or [`OpenError::Io`]. Damage is no error: a broken `FORMAT`
    /// is set aside and made anew with the identity found in the segments.
    pub fn open(fs: F, path: &Path) -> Result<Self, OpenError> {
        Self::open_on(fs, path, Arc::new(SystemHost::new()))
    }

    /// [`DataDir::open`] with a clock and randomness of the caller's choice.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open_on(fs: F, path: &Path, host: Arc<dyn Host>) -> Result<Self, OpenError> {
        fs.create_dir(path).map_err(OpenError::io("create the data directory", path))?;
        let lock_path = path.join(names::LOCK);
        let lock = fs.lock(&lock_path).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { path: path.to_owned() },
            _ => OpenError::io("lock", &lock_path)(e),
        })?;
        let root = open_root(&fs, path, host.as_ref())?;
        if root.unwritable() != 0 {
            return Err(OpenError::Newer { path: path.to_owned(), bits: root.unwritable() });
        }
        let path = path.to_owned();
        Ok(Self { inner: Arc::new(Inner { fs, host, path, root, _lock: Locked { _lock: lock } }) })
    }

    /// The directory's identity: the relay's incarnation.
    #[must_use]
    pub fn spool_id(&self) -> SpoolId {
        self.inner.root.spool
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The disk it is on.
    #[must_use]
    pub fn fs(&self) -> &F {
        &self.inner.fs
    }

    pub(super) fn host(&self) -> &Arc<dyn Host> {
        &self.inner.host
    }

    /// Lanes found on disk, configured or not, sorted.
    ///
    /// # Errors
    /// When the directory of lanes is there and can't be listed.
    pub fn lane_names(&self) -> Result<Vec<LaneName>, OpenError> {
        lane_names(&self.inner.fs, &self.inner.path)
    }
}

pub(super) fn lane_names<F: Fs>(fs: &F, path: &Path) -> Result<Vec<LaneName>, OpenError> {
    let lanes = path.join(names::LANES);
    match insist(|| fs.list(&lanes)) {
        Ok(entries) => Ok(entries
            .into_iter()
            .filter(|e| e.kind == EntryKind::Directory)
            .filter_map(|e| LaneName::new(&e.name).ok())
            .collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(OpenError::io("list", &lanes)(e)),
    }
}

/// What is known of the directory before anything is written.
pub(super) enum FoundRoot {
    Whole(Root),
    Damaged,
    Absent,
}

pub(super) fn read_root<F: Fs>(fs: &F, path: &Path) -> Result<FoundRoot, OpenError> {
    let format = path.join(names::FORMAT);
    let file = match insist(|| fs.open_read(&format)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FoundRoot::Absent),
        Err(e) if !is_damage(&e) => return Err(OpenError::io("open", &format)(e)),
        // A directory, FIFO or link has that name, or its inode is unreadable.
        Err(_) => return Ok(FoundRoot::Damaged),
    };
    let mut bytes = vec![0; 4096];
    let Ok(len) = insist(|| file.read_full_at(&mut bytes, 0)) else { return Ok(FoundRoot::Damaged) };
    Ok(Root::decode(bytes.get(..len).unwrap_or_default()).map_or(FoundRoot::Damaged, FoundRoot::Whole))
}

fn open_root<F: Fs>(fs: &F, path: &Path, host: &dyn Host) -> Result<Root, OpenError> {
    let found = read_root(fs, path)?;
    if let FoundRoot::Whole(root) = found {
        return Ok(root);
    }
    let format = path.join(names::FORMAT);
    let spool = match super::recover::spool_id_in_segments(fs, path)? {
        Some(spool) => spool,
        None => SpoolId(host.random().map_err(OpenError::io("draw an identity for", path))?),
    };
    if matches!(found, FoundRoot::Damaged) {
        tracing::error!(path = %format.display(), %spool,
            "FORMAT is damaged: it is set aside and written anew, with the identity found in the segments if any");
        set_aside(fs, path, &format)?;
    }
    let root = Root::new(spool);
    write_root(fs, path, &format, &root)?;
    Ok(root)
}

fn set_aside<F: Fs>(fs: &F, dir: &Path, format: &Path) -> Result<(), OpenError> {
    let names = fs.list(dir).map_err(OpenError::io("list", dir))?;
    let free =
        (1..10_000).map(|n: u32| format!("FORMAT.aside-{n}")).find(|n| names.iter().all(|e| &e.name != n));
    let aside = dir.join(free.unwrap_or_else(|| "FORMAT.aside".to_owned()));
    fs.rename(format, &aside).map_err(OpenError::io("set aside", format))
}

/// DURABILITY: content before name, name before anything that relies on it.
pub(super) fn write_root<F: Fs>(fs: &F, dir: &Path, format: &Path, root: &Root) -> Result<(), OpenError> {
    let new = dir.join("FORMAT.new");
    match fs.remove(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(OpenError::io("remove", &new)(e)),
        _ => {}
    }
    let file = fs.create(&new).map_err(OpenError::io("create", &new))?;
    file.write_at(root.encode().as_bytes(), 0).map_err(OpenError::io("write", &new))?;
    file.sync_data().map_err(OpenError::io("sync", &new))?;
    fs.rename(&new, format).map_err(OpenError::io("rename", &new))?;
    fs.sync_dir(dir).map_err(OpenError::io("sync", dir))
}
