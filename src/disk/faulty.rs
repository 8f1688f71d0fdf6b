//! A disk for tests that counts what is done to it and fails on demand.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Directory, Entry, File, Fs, RealFile, RealFs, RealLock, Space, Version};

/// What can be counted and made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Create,
    Open,
    OpenWrite,
    Write,
    Allocate,
    SyncData,
    SyncDir,
    Remove,
    Rename,
    Read,
}

/// Something that happens beside a call.
struct Meanwhile(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

#[derive(Debug, Default)]
struct State {
    meanwhile: HashMap<Op, Meanwhile>,
    counts: HashMap<Op, u64>,
    /// Calls that succeed first, and calls that fail then.
    failures: HashMap<Op, (u64, u64)>,
    error: Option<i32>,
    space: Option<Space>,
}

/// [`RealFs`] with counters and switches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

impl Faulty {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The next `times` calls of `op` fail with EIO (or what [`Faulty::error`] said).
    pub(crate) fn fail_next(&self, op: Op, times: u64) {
        self.fail_later(op, 0, times);
    }

    /// The same, after `spared` calls that succeed.
    pub(crate) fn fail_later(&self, op: Op, spared: u64, times: u64) {
        self.0.lock().unwrap().failures.insert(op, (spared, times));
    }

    /// Which error number failures carry.
    pub(crate) fn error(&self, errno: rustix::io::Errno) {
        self.0.lock().unwrap().error = Some(errno.raw_os_error());
    }

    /// This happens when `op` is called next, before it is done.
    pub(crate) fn meanwhile(&self, op: Op, happens: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap().meanwhile.insert(op, Meanwhile(Box::new(happens)));
    }

    /// How often `op` was called.
    pub(crate) fn count(&self, op: Op) -> u64 {
        self.0.lock().unwrap().counts.get(&op).copied().unwrap_or(0)
    }

    /// What `space` answers from now on.
    pub(crate) fn set_space(&self, space: Option<Space>) {
        self.0.lock().unwrap().space = space;
    }

    fn enter(&self, op: Op) -> io::Result<()> {
        let meanwhile = self.0.lock().unwrap().meanwhile.remove(&op);
        meanwhile.into_iter().for_each(|Meanwhile(happens)| happens());
        let mut state = self.0.lock().unwrap();
        *state.counts.entry(op).or_default() += 1;
        let errno = state.error.unwrap_or(rustix::io::Errno::IO.raw_os_error());
        match state.failures.get_mut(&op) {
            Some((spared, _)) if *spared > 0 => {
                *spared -= 1;
                Ok(())
            }
            Some((_, left)) if *left > 0 => {
                *left -= 1;
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }
}

/// A file of [`Faulty`].
#[derive(Debug)]
pub(crate) struct FaultyFile(RealFile, Faulty);

impl Fs for Faulty {
    type File = FaultyFile;
    type Lock = RealLock;

    fn create(&self, path: &Path) -> io::Result<FaultyFile> {
        self.enter(Op::Create)?;
        Ok(FaultyFile(RealFs.create(path)?, self.clone()))
    }
    fn open(&self, path: &Path) -> io::Result<FaultyFile> {
        self.enter(Op::OpenWrite)?;
        Ok(FaultyFile(RealFs.open(path)?, self.clone()))
    }
    fn open_read(&self, path: &Path) -> io::Result<FaultyFile> {
        self.enter(Op::Open)?;
        Ok(FaultyFile(RealFs.open_read(path)?, self.clone()))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(Op::Rename)?;
        RealFs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.enter(Op::Remove)?;
        RealFs.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealFs.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(Op::SyncDir)?;
        RealFs.sync_dir(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = self.0.lock().unwrap().space;
        space.map_or_else(|| RealFs.space(path), Ok)
    }
    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        RealFs.lock(path)
    }
    fn hold_dir(&self, path: &Path) -> io::Result<Option<Box<dyn Directory>>> {
        RealFs.hold_dir(path)
    }
    fn version(&self, path: &Path) -> io::Result<Version> {
        RealFs.version(path)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.enter(Op::Read)?;
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.enter(Op::Write)?;
        self.0.write_at(data, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.1.enter(Op::Allocate)?;
        self.0.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.enter(Op::SyncData)?;
        self.0.sync_data()
    }
    fn forget_cached(&self) -> io::Result<()> {
        self.0.forget_cached()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// Syncs that something makes, by what a disk that fails says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Syncs {
    /// Of files.
    pub(crate) files: u64,
    /// Of directories.
    pub(crate) directories: u64,
    /// Which of them, each counted among its kind from 0, may fail without an error.
    pub(crate) passed_over: Vec<(Op, u64)>,
}

impl Syncs {
    /// Such that none may fail.
    pub(crate) fn of(files: u64, directories: u64) -> Self {
        Self { files, directories, passed_over: Vec::new() }
    }

    /// Does something in a directory that has been prepared, once on a disk that is whole, and once with each of its
    /// syncs failing.
    pub(crate) fn made_by<T, E: std::fmt::Debug>(
        prepare: impl Fn(&Path),
        act: impl Fn(&Faulty, &Path) -> Result<T, E>,
    ) -> Self {
        let attempt = |fault: Option<(Op, u64)>| {
            let (fs, dir) = (Faulty::new(), tempfile::tempdir().unwrap());
            prepare(dir.path());
            fault.into_iter().for_each(|(op, spared)| fs.fail_later(op, spared, 1));
            let done = act(&fs, dir.path());
            assert!(fault.is_some() || done.is_ok(), "on a disk that is whole: {:?}", done.err());
            (done.is_ok(), fs)
        };
        let (_, whole) = attempt(None);
        let mut syncs = Self::of(whole.count(Op::SyncData), whole.count(Op::SyncDir));
        for (op, count) in [(Op::SyncData, syncs.files), (Op::SyncDir, syncs.directories)] {
            syncs.passed_over.extend((0..count).filter(|n| attempt(Some((op, *n))).0).map(|n| (op, n)));
        }
        syncs
    }
}
