//! What all targets have in common that are handed steps: bytes read one by one, and what is done to a disk.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::disk::sim::{Fault, Lasting, SimFs};
use crate::ids::{DestinationName, LaneName, SpoolId};

pub(super) const DATA: &str = "/data";
pub(super) const SPOOL: SpoolId = SpoolId(7);

/// The rest of an input.
pub(super) struct Script<'a>(&'a [u8]);

impl Script<'_> {
    /// The next number; 0 behind the end.
    pub(super) fn next(&mut self) -> usize {
        self.0.split_off_first().copied().unwrap_or(0).into()
    }
}

/// Takes a step for each byte that begins one, and no more than `most`.
pub(super) fn steps(bytes: &[u8], most: usize, mut step: impl FnMut(usize, &mut Script<'_>)) {
    let mut script = Script(bytes);
    for _ in 0..most {
        if script.0.is_empty() {
            return;
        }
        let op = script.next();
        step(op, &mut script);
    }
}

/// A disk with the directory of a spool on it, and nothing in it.
pub(super) fn empty_disk() -> SimFs {
    let fs = SimFs::default();
    crate::disk::Fs::create_dir(&fs, Path::new(DATA)).expect("an empty disk");
    fs
}

/// One call of the next few fails.
pub(super) fn fail(fs: &SimFs, call: usize) {
    let at = fs.calls() + u64::try_from(call).expect("small");
    fs.break_at(Fault { at, errno: Errno::IO, lasting: Lasting::Once });
}

/// The disk after a power cut; which unsynced changes are on it, the script says.
pub(super) fn after_power_cut(fs: &SimFs, script: &mut Script<'_>) -> SimFs {
    let world = fs.world();
    let draw = script.next() as u64 * 256 + script.next() as u64;
    SimFs::of(world.after_power_cut(&world.drawn_cut(draw)))
}

/// Of the files that `is_one` says yes to, the one with this number; of how many there are, it is the remainder.
pub(super) fn some_file(
    fs: &SimFs,
    number: usize,
    is_one: impl Fn(&Path) -> bool,
) -> Option<(PathBuf, Vec<u8>)> {
    let world = fs.world();
    let files: Vec<PathBuf> = world.paths().into_iter().filter(|path| is_one(path)).collect();
    let path = files.get(number % files.len().max(1))?;
    Some((path.clone(), world.read(path)?))
}

pub(super) fn rot(fs: &SimFs, path: &Path, bytes: Vec<u8>) {
    fs.tamper(|world| world.rot(path, bytes)).expect("a file");
}

pub(super) fn lane() -> LaneName {
    LaneName::new("main").expect("a name")
}

pub(super) fn home() -> DestinationName {
    DestinationName::new("home").expect("a name")
}
