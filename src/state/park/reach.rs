//! Whether parked events can be reached, and which errors say something of a file alone.
//!
//! A file that is missing, or of which nothing can be read, is lost only where its directory and the disk are there: nothing that
//! a person puts back, or mounts again, may have been given up by then.
//!
//! - Its directory is gone by path, or can't be looked at: all that is parked waits, without limit.
//! - The disk refuses to read a file, and everything else that is parked beside it: so does it.
//! - It refuses one file, or a part of it, and gives others: that one counts as damaged after a while.
//! - Other errors (no permission, no descriptors) say nothing of the bytes. One that only this file gives, while its directory and
//!   other files can be read, is waited for as long as damage that nothing can be found behind: a reader of all topics stands before it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::codec;
use super::store::Park;
use crate::disk::{DiskError, File, Fs, Home, insist, is_damage, is_no_directory};

/// What is asked whether the disk gives anything, at most, besides the file in question.
const WITNESSES: usize = 8;
/// What can't be reached is asked for again so often, besides by those who need it: that costs some reads on the thread of delivery.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const HOME: (&str, &str) = (
    "the directory of parked events",
    "what is parked in it waits, nothing of it counts as lost, and nothing more is parked",
);

/// What an error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file is missing or damaged.
    Damage,
    /// Nothing of its bytes, but others can be read.
    Alone,
    /// Its directory or its disk is away.
    Away,
}

/// Where a park is.
#[derive(Debug)]
pub(super) struct Reach {
    data: Home,
    /// The park's own directory, once there is one.
    own: OnceLock<Home>,
    waits: Mutex<Option<Waits>>,
    pub(super) look_every: Duration,
}

/// What can't be reached, or could not when it was asked for last.
#[derive(Debug, Clone)]
struct Waits {
    path: PathBuf,
    why: String,
    asked: Instant,
}

impl Reach {
    pub(super) fn open<F: Fs>(fs: &F, data_dir: &Path, directory: &Path) -> Result<Self, DiskError> {
        let data = Home::hold(fs, data_dir, HOME).map_err(DiskError::io("open", data_dir))?;
        let reach = Self { data, own: OnceLock::new(), waits: Mutex::new(None), look_every: LOOK_EVERY };
        match Home::hold(fs, directory, HOME) {
            // Something else stands there: nothing is parked.
            Err(e) if is_no_directory(&e) => {}
            home => reach.hold(home.map_err(DiskError::io("open", directory))?),
        }
        Ok(reach)
    }

    fn waits(&self) -> MutexGuard<'_, Option<Waits>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, own: Home) {
        if own.is_held() {
            // Whoever came first holds it.
            drop(self.own.set(own));
        }
    }
}

impl<F: Fs> Park<F> {
    /// Whether its path leads to it.
    pub(super) fn at_home(&self) -> Result<(), DiskError> {
        let home = self.reach.own.get().unwrap_or(&self.reach.data);
        home.check().map_err(DiskError::io("find", &self.directory))
    }

    /// Whether what was made in its directory just now, or in what was taken for it, is where it is looked for.
    pub(super) fn settle_in(&self) -> Result<(), DiskError> {
        self.reach.data.check().map_err(DiskError::io("find", &self.directory))?;
        if self.reach.own.get().is_none() {
            let own = Home::hold(&self.fs, &self.directory, HOME);
            let own = own.map_err(DiskError::io("open", &self.directory))?;
            self.reach.data.check().map_err(DiskError::io("find", &self.directory))?;
            self.reach.hold(own);
        }
        self.at_home()
    }

    /// What an error says: of a file, or of its directory or its disk.
    pub(super) fn fault(&self, error: &DiskError) -> Fault {
        let DiskError::Io { path, source, .. } = error else { return Fault::Away };
        let found = match source.kind() {
            io::ErrorKind::NotFound if self.is_missing(path) => Fault::Damage,
            io::ErrorKind::NotFound => Fault::Away,
            io::ErrorKind::InvalidInput => Fault::Damage,
            _ if is_damage(source) && self.gives_beside(path) => Fault::Damage,
            _ if !is_damage(source) && self.is_there(path) && self.gives_others(path) => Fault::Alone,
            _ => Fault::Away,
        };
        // Afterwards: what was seen is of its directory.
        if self.at_home().is_ok() { found } else { Fault::Away }
    }

    /// Whether its directory is there and has no such file.
    fn is_missing(&self, path: &Path) -> bool {
        self.is_listed(path) == Some(false)
    }

    /// Whether its directory is there and has it.
    fn is_there(&self, path: &Path) -> bool {
        self.is_listed(path) == Some(true)
    }

    fn is_listed(&self, path: &Path) -> Option<bool> {
        let (directory, name) = path.parent().zip(path.file_name())?;
        let listed = insist(|| self.fs.list(directory)).ok()?;
        Some(listed.iter().any(|entry| name == entry.name.as_str()))
    }

    /// Whether the disk gives anything that is parked but what was asked of the file at `path`: another part of it, or others.
    fn gives_beside(&self, path: &Path) -> bool {
        let last = |size: u64| size.saturating_sub(codec::MAX_HEADER as u64);
        self.gives(path, |_| 0) || self.gives(path, last) || self.gives_others(path)
    }

    fn gives_others(&self, path: &Path) -> bool {
        self.witnesses(path).iter().any(|other| self.gives(other, |_| 0))
    }

    /// Other files: of each topic the first and the last.
    fn witnesses(&self, but: &Path) -> Vec<PathBuf> {
        let files = self.files();
        let ends =
            files.topics.values().flat_map(|pieces| [pieces.first_key_value(), pieces.last_key_value()]);
        let paths = ends.flatten().map(|(_, piece)| &piece.path).filter(|path| *path != but);
        paths.take(WITNESSES).cloned().collect()
    }

    fn gives(&self, path: &Path, from: fn(u64) -> u64) -> bool {
        self.read_some(path, from).is_ok_and(|read| read > 0)
    }

    /// Reads a little of a file: of the disk, not of what the kernel holds of it.
    fn read_some(&self, path: &Path, from: fn(u64) -> u64) -> io::Result<usize> {
        let file = self.fs.open_read(path)?;
        file.forget_if_possible()?;
        let mut bytes = [0; codec::MAX_HEADER];
        file.read_full_at(&mut bytes, from(file.size()?))
    }

    /// What was asked for waits for its directory or its disk: that is said once. Of a directory that is elsewhere it is said there.
    pub(super) fn note_wait(&self, error: &DiskError) {
        let DiskError::Io { path, .. } = error else { return };
        if self.at_home().is_err() {
            return;
        }
        let waits = Waits { path: path.clone(), why: why(error), asked: Instant::now() };
        if self.reach.waits().replace(waits).is_none() {
            tracing::error!("{}", why(error));
        }
    }

    /// Looks whether what is parked can be reached. What a person should know while it can't. To be called every second or so.
    pub fn look(&self) -> Option<String> {
        let _anything = self.first()?;
        if let Err(error) = self.at_home() {
            return Some(why(&error));
        }
        let waits = self.reach.waits().clone()?;
        if waits.asked.elapsed() < self.reach.look_every {
            return Some(waits.why);
        }
        let still = if self.is_parked(&waits.path) { self.ask(&waits.path) } else { Ok(()) };
        match still {
            Err(error) if self.fault(&error) == Fault::Away => {
                let why = why(&error);
                *self.reach.waits() = Some(Waits { why: why.clone(), asked: Instant::now(), ..waits });
                Some(why)
            }
            _ => {
                tracing::info!(path = %waits.path.display(), "what is parked can be reached again, or is needed no more");
                *self.reach.waits() = None;
                None
            }
        }
    }

    fn is_parked(&self, path: &Path) -> bool {
        self.files().topics.values().flat_map(BTreeMap::values).any(|piece| piece.path == path)
    }

    fn ask(&self, path: &Path) -> Result<(), DiskError> {
        insist(|| self.read_some(path, |_| 0)).map(drop).map_err(DiskError::io("read", path))
    }
}

fn why(error: &DiskError) -> String {
    format!(
        "{error}: what is parked there waits, nothing of it counts as lost, and it goes on by itself when that is mended; see to the \
         disk, or put back what was moved (or start the agent again without it)"
    )
}
