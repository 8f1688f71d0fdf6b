//! A data directory: its identity, its lock, and the names in it.
//!
//! ```text
//! data_dir/FORMAT                  who it is and which version may touch it
//! data_dir/LOCK                    held with flock while an agent runs, as is data_dir itself
//! data_dir/incarnation             which life of the directory this is (see `super::incarnation`)
//! data_dir/ballast                 on some file systems, room that is let go of for delivery (see [`Ballast`])
//! data_dir/lanes/<lane>/           one directory a lane
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{
    Ballast, EntryKind, File, Fs, RealFs, clear_way, insist, is_in_the_way, is_rot, make_way, set_aside,
};
use crate::ids::{LaneName, SpoolId};

use super::candidates::spool_id_in_segments;
use super::error::{OpenError, WHOSE, is_damage};
use super::format::{HAS_INCARNATION, Root};
use super::given::ends_are_given;
use super::host::{Host, SystemHost};
use super::incarnation::{Cause, Life, Marker};
use super::names;
use super::recover::Access;

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
    marker: Mutex<Marker<F>>,
    ballast: Ballast<F>,
    _lock: Locked<F>,
}

/// A data directory on which no agent starts, and nothing else was done.
#[derive(Debug)]
pub struct Held<F: Fs = RealFs> {
    _lock: Locked<F>,
}

/// Locks a data directory that is there, and leaves it as its next start is to find it.
///
/// # Errors
/// [`OpenError::Locked`] when an agent runs on it, [`OpenError::NotASpool`] when nothing is there, [`OpenError::Newer`], or
/// [`OpenError::Io`].
pub fn hold<F: Fs>(fs: &F, path: &Path) -> Result<Held<F>, OpenError> {
    match read_root(fs, path)? {
        FoundRoot::Whole(root) if root.unwritable() != 0 => {
            Err(OpenError::Newer { path: path.to_owned(), bits: root.unwritable() })
        }
        // Locking makes the file that is locked.
        FoundRoot::Absent if spool_id_in_segments(fs, path, Access::Visitor)?.is_none() => {
            Err(OpenError::NotASpool { path: path.to_owned() })
        }
        _ => Ok(Held { _lock: lock(fs, path)? }),
    }
}

struct Locked<F: Fs> {
    _file: F::Lock,
    /// A `LOCK` that somebody deletes holds nobody back any more; the directory can't be deleted.
    _directory: Option<F::Lock>,
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
    /// [`OpenError::Locked`], [`OpenError::Newer`], [`OpenError::Withheld`], or [`OpenError::Io`]. Damage is no error: a broken `FORMAT`
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
        let lock = lock(&fs, path)?;
        clear_way(&fs, path, &path.join(names::LANES))?;
        let (root, marker) = open_identity(&fs, path, host.as_ref())?;
        let ballast = Ballast::open(&fs, &path.join(names::BALLAST));
        let (path, marker) = (path.to_owned(), Mutex::new(marker));
        Ok(Self { inner: Arc::new(Inner { fs, host, path, root, marker, ballast, _lock: lock }) })
    }

    /// The directory's identity, which its segments carry.
    #[must_use]
    pub fn spool_id(&self) -> SpoolId {
        self.inner.root.spool
    }

    /// Which life of the directory this is: the relay's incarnation, and how it came about.
    #[must_use]
    pub fn life(&self) -> Life {
        self.marker().life()
    }

    /// Whether a new incarnation was drawn since the directory was opened.
    #[must_use]
    pub fn is_renewed(&self) -> bool {
        self.marker().is_renewed()
    }

    /// What was found in the directory shows that an older state of it was put back: it goes on under a new
    /// incarnation.
    ///
    /// # Errors
    /// When the host has no randomness to give.
    pub fn note_rolled_back(&self) -> Result<(), OpenError> {
        let Inner { path, host, .. } = self.inner.as_ref();
        self.marker().renew(Cause::RolledBack, path, host.as_ref())
    }

    /// What Kafka holds shows that an older state of the directory was put back: the next start begins a new incarnation.
    pub fn note_older_copy(&self) {
        self.marker().note_older_copy(&self.inner.path);
    }

    /// An agent begins its work on the directory. What can't be written then keeps it from nothing.
    pub fn note_opening(&self) {
        self.marker().note_opening();
    }

    fn marker(&self) -> MutexGuard<'_, Marker<F>> {
        self.inner.marker.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// See [`Ballast::let_go`].
    pub(super) fn let_go_of_ballast(&self) -> bool {
        self.inner.ballast.let_go(self.monotonic())
    }

    /// See [`Ballast::take_back`].
    pub(super) fn take_ballast_back(&self) -> io::Result<bool> {
        self.inner.ballast.take_back(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.inner.host.now().monotonic)
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
    /// Why it can't be read, if it is the disk that does not give it.
    Damaged(Option<io::Error>),
    Absent,
}

pub(super) fn read_root<F: Fs>(fs: &F, path: &Path) -> Result<FoundRoot, OpenError> {
    let format = path.join(names::FORMAT);
    let file = match insist(|| fs.open_read(&format)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FoundRoot::Absent),
        // A directory, FIFO or link has that name, or its inode is unreadable.
        Err(e) if is_in_the_way(&e) || is_damage(&e) => {
            return Ok(FoundRoot::Damaged(Some(e).filter(is_rot)));
        }
        Err(e) => return Err(OpenError::io("open", &format)(e)),
    };
    let mut bytes = vec![0; 4096];
    let len = match insist(|| file.read_full_at(&mut bytes, 0)) {
        Ok(len) => len,
        Err(e) => return Ok(FoundRoot::Damaged(Some(e))),
    };
    let root = Root::decode(bytes.get(..len).unwrap_or_default());
    Ok(root.map_or(FoundRoot::Damaged(None), FoundRoot::Whole))
}

fn lock<F: Fs>(fs: &F, dir: &Path) -> Result<Locked<F>, OpenError> {
    let path = dir.join(names::LOCK);
    let failed = |path: &Path, e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: dir.to_owned() },
        _ => OpenError::io("lock", path)(e),
    };
    let directory = fs.lock_dir(dir).map_err(|e| failed(dir, e))?;
    let file = match fs.lock(&path) {
        Err(e) if is_in_the_way(&e) => {
            set_aside(fs, &path)?;
            fs.lock(&path)
        }
        locked => locked,
    };
    Ok(Locked { _file: file.map_err(|e| failed(&path, e))?, _directory: directory })
}

/// Who the directory is, and which life of it this is.
fn open_identity<F: Fs>(fs: &F, path: &Path, host: &dyn Host) -> Result<(Root, Marker<F>), OpenError> {
    let found = read_root(fs, path)?;
    let (before, is_damaged) = match &found {
        FoundRoot::Whole(root) => (Some(*root), false),
        FoundRoot::Damaged(_) => (None, true),
        FoundRoot::Absent => (None, false),
    };
    let mut root = match found {
        FoundRoot::Whole(root) => root,
        FoundRoot::Damaged(refusal) => lost_root(fs, path, host, refusal)?,
        FoundRoot::Absent => lost_root(fs, path, host, None)?,
    };
    if root.unwritable() != 0 {
        return Err(OpenError::Newer { path: path.to_owned(), bits: root.unwritable() });
    }
    // Before anything is written, made anew or set aside.
    ends_are_given(fs, path, root.spool)?;
    let expected = root.compat & HAS_INCARNATION != 0;
    let marker = Marker::open(fs, path, root.spool, expected, host)?;
    if marker.stands() {
        root.compat |= HAS_INCARNATION;
    }
    if before != Some(root)
        && let Err(error) = replace_root(fs, path, &root, is_damaged)
    {
        // Segments carry the identity: the next start finds it there.
        tracing::error!(%error, "FORMAT can't be written; going on without it: see to the disk");
    }
    Ok((root, marker))
}

/// The root of a directory without a whole `FORMAT`: a new one, or one whose segments say who it is. `refusal`: why the disk does
/// not give it, if it is that. By another identity everything there is would be another spool's, so none is drawn then.
fn lost_root<F: Fs>(
    fs: &F,
    path: &Path,
    host: &dyn Host,
    refusal: Option<io::Error>,
) -> Result<Root, OpenError> {
    if let Some(spool) = spool_id_in_segments(fs, path, Access::Owner)? {
        tracing::error!(data_dir = %path.display(), %spool,
            "FORMAT is damaged or missing: it is written anew, with the identity found in the segments");
        return Ok(Root { compat: HAS_INCARNATION, ..Root::new(spool) });
    }
    // A start that was cut off before FORMAT, or everything else is gone.
    if let Some(spool) = super::incarnation::spool_in_file(fs, path) {
        return Ok(Root { compat: HAS_INCARNATION, ..Root::new(spool) });
    }
    if let Some(source) = refusal {
        return Err(OpenError::Withheld { path: path.join(names::FORMAT), unknown: WHOSE, source });
    }
    let spool = SpoolId(host.random().map_err(OpenError::io("draw an identity for", path))?);
    Ok(Root::new(spool))
}

fn replace_root<F: Fs>(fs: &F, dir: &Path, root: &Root, aside: bool) -> Result<(), OpenError> {
    let format = dir.join(names::FORMAT);
    if aside {
        set_aside(fs, &format)?;
    }
    write_root(fs, dir, &format, root)
}

/// DURABILITY: content before name, name before anything that relies on it.
pub(super) fn write_root<F: Fs>(fs: &F, dir: &Path, format: &Path, root: &Root) -> Result<(), OpenError> {
    let new = dir.join("FORMAT.new");
    make_way(fs, &new)?;
    let file = fs.create(&new).map_err(OpenError::io("create", &new))?;
    file.write_at(root.encode().as_bytes(), 0).map_err(OpenError::io("write", &new))?;
    file.sync_data().map_err(OpenError::io("sync", &new))?;
    fs.rename(&new, format).map_err(OpenError::io("rename", &new))?;
    fs.sync_dir(dir).map_err(OpenError::io("sync", dir))
}
