//! The simulated file system: calls are counted, fail on demand, and are kept as moments to crash at.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::file::SimFile;
use super::world::{FileId, World, errno};
use crate::disk::{Directory, Entry, Fs, Space, Version};

/// What a program asks of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Makes a file.
    Create,
    /// Opens a file.
    Open,
    /// Reads bytes.
    Read,
    /// Has the kernel forget clean pages.
    Forget,
    /// Asks for a file's size.
    Size,
    /// Lists names.
    List,
    /// Asks for room.
    Space,
    /// Takes a lock.
    Lock,
    /// Writes bytes.
    Write,
    /// Reserves disk blocks.
    Allocate,
    /// Cuts a file.
    Truncate,
    /// Makes a file's bytes durable.
    SyncData,
    /// Makes a directory's names durable.
    SyncDir,
    /// Gives a file another name.
    Rename,
    /// Deletes a file.
    Remove,
    /// Makes a directory.
    MakeDir,
}

impl Call {
    /// Whether it changes what is on the disk, or how durable that is.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Call::Open | Call::Read | Call::Forget | Call::Size | Call::List | Call::Space | Call::Lock
        )
    }

    /// Whether a full disk can refuse it.
    #[must_use]
    pub fn takes_room(self) -> bool {
        matches!(
            self,
            Call::Create | Call::Write | Call::Allocate | Call::MakeDir | Call::Rename | Call::SyncData
        )
    }
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// One call.
    Once,
    /// Every call from there on that this error can come from, until [`SimFs::repair`].
    UntilRepaired,
    /// The same, up to the call with this number, which succeeds again.
    Before(u64),
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the call, as [`SimFs::calls`] counts.
    pub at: u64,
    /// With which error.
    pub errno: Errno,
    /// For how long.
    pub lasting: Lasting,
}

impl Fault {
    fn hits(&self, number: u64, call: Call) -> bool {
        let can = match self.errno {
            Errno::NOSPC | Errno::DQUOT => call.takes_room(),
            Errno::ROFS => call.changes(),
            // Advice, which a kernel need not take.
            Errno::NOSYS => call == Call::Forget,
            _ => true,
        };
        match self.lasting {
            Lasting::Once => number == self.at && can,
            Lasting::UntilRepaired => number >= self.at && can,
            Lasting::Before(end) => (self.at..end).contains(&number) && can,
        }
    }
}

/// A moment at which a crash can be tried.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Calls done before it.
    pub calls: u64,
    /// The call that comes next.
    pub before: Call,
    /// What is on the disk.
    pub world: World,
}

#[derive(Debug, Default)]
struct State {
    world: World,
    calls: u64,
    fault: Option<Fault>,
    hit: Vec<(u64, Call)>,
    recorded: Option<Vec<Moment>>,
    lists: u64,
    /// Of which disk is what can't be read, from which listing of names on.
    later: Vec<(u64, World)>,
    locks: BTreeSet<PathBuf>,
}

/// The simulated file system; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

/// A lock of [`SimFs`].
#[derive(Debug)]
pub struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.lock_state().locks.remove(&self.path);
    }
}

/// A directory of [`SimFs`] that is held.
#[derive(Debug)]
struct SimDirectory {
    fs: SimFs,
    id: FileId,
}

impl Directory for SimDirectory {
    fn stands_at(&self, path: &Path) -> io::Result<bool> {
        Ok(self.fs.with(|world| world.directory(&here(path)).is_ok_and(|there| there.id == self.id)))
    }
}

/// Where a path leads: a relative one begins in the working directory, which is `/`. An empty one leads nowhere.
fn here(path: &Path) -> Cow<'_, Path> {
    let nowhere = path.as_os_str().is_empty();
    if path.is_absolute() || nowhere { path.into() } else { Path::new("/").join(path).into() }
}

impl SimFs {
    /// A disk with that on it, for a program that has just started: nobody holds a lock.
    #[must_use]
    pub fn of(world: World) -> Self {
        let state = State { world, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.lock_state().world)
    }

    /// What is on it now.
    #[must_use]
    pub fn world(&self) -> World {
        self.lock_state().world.clone()
    }

    /// Changes what is on it behind everybody's back.
    pub fn tamper<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        self.with(work)
    }

    /// From the listing of names on that is the `nth` from now, what can't be read or opened is what can't be on that disk.
    pub fn wears_later(&self, nth: u64, worn: World) {
        let mut state = self.lock_state();
        let at = state.lists + nth;
        state.later.push((at, worn));
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock_state().calls
    }

    /// Makes a call fail.
    pub fn break_at(&self, fault: Fault) {
        self.lock_state().fault = Some(fault);
    }

    /// Ends every fault; returns which calls failed.
    pub fn repair(&self) -> Vec<(u64, Call)> {
        let mut state = self.lock_state();
        state.fault = None;
        std::mem::take(&mut state.hit)
    }

    /// Whether a call has failed since the last [`SimFs::repair`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.lock_state().hit.is_empty()
    }

    /// The calls that have failed since the last [`SimFs::repair`].
    #[must_use]
    pub fn hits(&self) -> Vec<(u64, Call)> {
        self.lock_state().hit.clone()
    }

    /// Whether it can get full.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.lock_state().world.capacity != u64::MAX
    }

    /// Keeps moments from now on.
    pub fn record(&self) {
        self.lock_state().recorded = Some(Vec::new());
    }

    /// The moments kept since [`SimFs::record`], which goes on.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.lock_state().recorded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Counts a call; an error if it is the one that fails.
    pub(super) fn enter(&self, call: Call) -> io::Result<()> {
        let mut state = self.lock_state();
        let number = state.calls;
        if call.changes() && state.recorded.is_some() {
            let moment = Moment { calls: number, before: call, world: state.world.clone() };
            state.recorded.iter_mut().for_each(|r| r.push(moment.clone()));
        }
        state.calls += 1;
        if call == Call::List {
            let lists = state.lists;
            state.lists += 1;
            let due = state.later.iter().position(|(at, _)| *at == lists);
            if let Some((_, worn)) = due.map(|due| state.later.swap_remove(due)) {
                state.world.wear_as(worn);
            }
        }
        match state.fault {
            Some(fault) if fault.hits(number, call) => {
                state.hit.push((number, call));
                Err(errno(fault.errno))
            }
            _ => Ok(()),
        }
    }

    fn open_as(&self, path: &Path, writable: bool) -> io::Result<SimFile> {
        self.enter(Call::Open)?;
        let id = self.with(|world| world.file_at(&here(path))).map_err(|e| match e.kind() {
            // The kernel opens a directory for reading; that it is no file is found out afterwards.
            io::ErrorKind::IsADirectory if !writable => io::ErrorKind::InvalidInput.into(),
            _ => e,
        })?;
        if self.with(|world| world.shut.contains(&id)) {
            return Err(errno(Errno::IO));
        }
        Ok(SimFile { fs: self.clone(), id, writable })
    }
}

impl Fs for SimFs {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let path = here(path);
        // A kernel looks for the directory first.
        let is_astray = path.parent().is_some_and(|above| self.with(|world| world.directory(above).is_err()));
        self.enter(Call::Create).or_else(|e| if is_astray { Ok(()) } else { Err(e) })?;
        let id = self.with(|world| world.make_file(&path))?;
        Ok(SimFile { fs: self.clone(), id, writable: true })
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.open_as(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Call::Rename)?;
        self.with(|world| world.rename(&here(from), &here(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::Remove)?;
        self.with(|world| world.remove(&here(path)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.with(|world| world.directory(&here(path)).is_ok()) {
            return Ok(());
        }
        let path = &*here(path);
        let above = path.parent().unwrap_or(Path::new("/"));
        self.create_dir(above)?;
        self.enter(Call::MakeDir)?;
        self.with(|world| world.make_directory(path))?;
        self.sync_dir(above)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.enter(Call::List)?;
        self.with(|world| world.list(&here(path)))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(Call::SyncDir)?;
        self.with(|world| world.sync_names(&here(path)))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.enter(Call::Space)?;
        Ok(self.with(|world| Space {
            available: world.capacity.saturating_sub(if world.capacity == u64::MAX {
                0
            } else {
                world.used()
            }),
            total: world.capacity,
        }))
    }

    fn writes_in_place(&self, _dir: &Path) -> bool {
        self.with(|world| !world.copies)
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        self.enter(Call::Lock)?;
        let path = &*here(path);
        let mut state = self.lock_state();
        state.world.make_lock(path)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(SimLock { fs: self.clone(), path: path.to_owned() })
    }

    fn hold_dir(&self, path: &Path) -> io::Result<Option<Box<dyn Directory>>> {
        let id = self.with(|world| world.directory(&here(path)).map(|directory| directory.id))?;
        Ok(Some(Box::new(SimDirectory { fs: self.clone(), id })))
    }

    /// No clock here, so the bytes themselves stand for when they were changed.
    fn version(&self, path: &Path) -> io::Result<Version> {
        self.with(|world| {
            let id = world.file_at(&here(path))?;
            let bytes = world.files.get(&id).map(|f| f.live.as_slice()).unwrap_or_default();
            let changed = i64::from(crc32fast::hash(bytes)).saturating_add(1);
            Ok(Version { len: bytes.len() as u64, changed })
        })
    }
}
