//! One small value in a preallocated file of checksummed slots.
//!
//! ```text
//! file = 3 slots of equal size, a multiple of 4096
//! slot = magic "SWSL" · crc u32 · generation u64 · length u32 · reserved u32 (0) · value · anything
//! ```
//! Little-endian; `crc` is CRC-32/ISO-HDLC over generation, length, reserved and value. The value with the
//! highest generation among the slots whose checksum holds is the current one.
//!
//! INVARIANT: a save never writes over the slot that was last made durable, nor over the one saved last. So a
//! kill in mid-save leaves the save before it, and a power cut at any moment leaves the last one synced. With
//! two slots only one of the two could be had, hence three.
//!
//! What is found at opening may be durable or not: until a sync has succeeded, both it and the one before it are spared.
//!
//! DURABILITY: after a failed sync, what was saved since the last good one counts as not durable, whatever a
//! later sync says; the next save writes its slot afresh, which a later sync then covers.

mod found;
mod look;
mod make;
mod names;

use std::io;
use std::path::{Path, PathBuf};

use self::found::{Found, read_all};
pub use self::look::look_at_slots;
use self::make::{make, open_or_make, or_nothing, rename};
use self::names::{LARGER, drop_rescued, finish_rescue, is_rescued};
pub use self::names::{owner_of_slots, rescued_slots};
use super::{DiskError, File, Fs, clear, insist, is_in_the_way, make_way, set_aside};
use crate::sabotage::{self, Bug};

const MAGIC: &[u8; 4] = b"SWSL";
const HEADER: usize = 24;
const PAGE: u64 = 4096;
const COUNT: u64 = 3;
/// No file of slots holds values larger than this: a damaged length must not make us allocate more.
const MAX_SLOT: u64 = 64 << 20;

/// A value that can be replaced, atomically, with no byte free on the disk.
#[derive(Debug)]
pub struct Slots<F: Fs> {
    fs: F,
    /// `None` while it may be read and not written, or can't be made.
    file: Option<F::File>,
    path: PathBuf,
    slot_size: u64,
    generation: u64,
    /// Slot of the last save that a sync has covered.
    durable: Option<u64>,
    /// Slot of the last save.
    saved: Option<u64>,
    /// Slot that was the newest when the file was opened, until a sync has covered it or a later save. It may be the
    /// last durable one, and it may stand in the page cache alone: both have to be reckoned with.
    found: Option<u64>,
    damaged: bool,
    /// Whether the file's name is known to survive a power cut.
    named: bool,
    buffer: Vec<u8>,
}

impl<F: Fs> Slots<F> {
    /// Opens the file at `path`, making it with room for values of `capacity` bytes, and returns the newest
    /// value it holds. A file with less room is replaced by a larger one. What is no file, has too little room and no value that is
    /// whole, or can't be read in part, is renamed to `<name>.aside-<n>`; one with the room, and without a value that is whole, is used
    /// as it is: see [`Slots::damaged`]. A file that may be read and
    /// not written is taken all the same: each save then tries again to open it. So is one that can't be made, since the disk is full
    /// or may only be read: each save then tries again to make it. For want of room one with less than is wanted stays as it is.
    ///
    /// # Errors
    /// When the disk refuses to open, make or read the file.
    pub fn open(fs: &F, path: &Path, capacity: usize) -> Result<(Self, Option<Vec<u8>>), DiskError> {
        let wanted = slot_size(capacity);
        let mut damaged = false;
        match insist(|| fs.open(path)) {
            Ok(file) => {
                let found = read_all::<F>(&file).map_err(DiskError::io("read", path))?;
                found.say(path);
                if found.unreadable {
                    return match make(fs, &rescued_slots(path), wanted.max(found.slot_size)) {
                        Ok(new) => Self::rescue(fs, path, new, wanted, &found),
                        Err(e) if e.is_no_making() => {
                            tracing::error!(error = %e, "a state file that can't be read in part goes on where it is");
                            Ok(Self::of_found(fs, Some(file), path, &found))
                        }
                        Err(e) => Err(e),
                    };
                }
                let rescued = found.damaged && is_rescued(fs, path);
                if found.slot_size >= wanted && !rescued {
                    drop_rescued(fs, path);
                    return Ok(Self::of_found(fs, Some(file), path, &found));
                }
                if let Some((_, _, value)) = found.newest() {
                    drop_rescued(fs, path);
                    return match Self::enlarge(fs, path, wanted, value) {
                        Err(e) if e.is_for_want_of_room() => {
                            tracing::error!(error = %e, "this state file goes on with the room that it has");
                            Ok(Self::of_found(fs, Some(file), path, &found))
                        }
                        enlarged => enlarged,
                    };
                }
                damaged = true;
                set_aside(fs, path)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if is_in_the_way(&e) => {
                damaged = true;
                set_aside(fs, path)?;
            }
            Err(e) if is_denied(&e) => return Self::open_denied(fs, path, wanted, e),
            Err(e) => return Err(DiskError::io("open", path)(e)),
        }
        if finish_rescue(fs, path)? {
            let (slots, value) = Self::open(fs, path, capacity)?;
            let damaged = slots.damaged || (damaged && value.is_none());
            return Ok((Self { damaged, ..slots }, value));
        }
        match make(fs, path, wanted).and_then(|file| sync_parent(fs, path).map(|()| file)) {
            Ok(file) => {
                Ok((Self { named: true, ..Self::fresh(fs, Some(file), path, wanted, damaged) }, None))
            }
            Err(e) if e.is_no_making() => {
                tracing::error!(error = %e,
                    "this state file can't be made: going on without it, and it is tried again with each save; see to the disk");
                Ok((Self::fresh(fs, None, path, wanted, damaged), None))
            }
            Err(e) => Err(e),
        }
    }

    /// Without a file, as [`Slots::open`] goes on where none can be made: its directory can't be made either.
    pub(crate) fn unmade(fs: &F, path: &Path, capacity: usize) -> Self {
        Self::fresh(fs, None, path, slot_size(capacity), false)
    }

    /// Whether there is a file. One that can't be made is tried again with each save.
    pub(crate) fn is_made(&self) -> bool {
        // That which may only be read is not held open.
        self.file.is_some() || self.found.is_some()
    }

    fn fresh(fs: &F, file: Option<F::File>, path: &Path, slot_size: u64, damaged: bool) -> Self {
        Self {
            fs: fs.clone(),
            file,
            path: path.to_owned(),
            slot_size,
            generation: 0,
            durable: None,
            saved: None,
            found: None,
            damaged,
            named: false,
            buffer: Vec::new(),
        }
    }

    /// It may not be written; what it says counts.
    fn open_denied(
        fs: &F,
        path: &Path,
        wanted: u64,
        denied: io::Error,
    ) -> Result<(Self, Option<Vec<u8>>), DiskError> {
        let Ok(file) = fs.open_read(path) else { return Err(DiskError::io("open", path)(denied)) };
        let found = read_all::<F>(&file).map_err(DiskError::io("read", path))?;
        if found.slot_size < wanted {
            return Err(DiskError::io("open", path)(denied));
        }
        tracing::error!(path = %path.display(), error = %denied,
            "this state file may be read and not written: going on from what it says; see to its permissions");
        Ok(Self::of_found(fs, None, path, &found))
    }

    /// The disk can't read all of it: what could be read goes to a new file, on other blocks, which is durable before the old one
    /// loses its name.
    fn rescue(
        fs: &F,
        path: &Path,
        file: F::File,
        wanted: u64,
        found: &Found,
    ) -> Result<(Self, Option<Vec<u8>>), DiskError> {
        let new = rescued_slots(path);
        let mut slots = Self::fresh(fs, Some(file), &new, wanted.max(found.slot_size), found.damaged);
        let value = found.newest().map(|(_, _, value)| value.clone());
        if let Some(value) = &value {
            slots.save(value)?;
        }
        slots.sync()?;
        set_aside(fs, path)?;
        finish_rescue(fs, path)?;
        path.clone_into(&mut slots.path);
        Ok((slots, value))
    }

    fn of_found(fs: &F, file: Option<F::File>, path: &Path, found: &Found) -> (Self, Option<Vec<u8>>) {
        let mut slots = Self::fresh(fs, file, path, found.slot_size, found.damaged);
        let Some((index, generation, value)) = found.newest() else { return (slots, None) };
        slots.generation = *generation;
        (slots.saved, slots.found) = (Some(*index), Some(*index));
        // Read from the page cache it may not be durable yet; the one before it is kept until the next sync.
        slots.durable = found.second();
        (slots, Some(value.clone()))
    }

    fn enlarge(fs: &F, path: &Path, size: u64, value: &[u8]) -> Result<(Self, Option<Vec<u8>>), DiskError> {
        let mut slots = Self::larger(fs, path, size, value)?;
        sync_parent(fs, path)?;
        slots.named = true;
        Ok((slots, Some(value.to_vec())))
    }

    /// A file with slots of `size` bytes that has taken the name of the one at `path`; that it has is durable after the next sync.
    fn larger(fs: &F, path: &Path, size: u64, value: &[u8]) -> Result<Self, DiskError> {
        let new = LARGER.behind(path);
        let file = make(fs, &new, size)?;
        let mut slots = Self::fresh(fs, Some(file), &new, size, false);
        // Its own name is none that anybody looks for.
        slots.named = true;
        let written = slots.save(value).and_then(|()| slots.sync());
        or_nothing(fs, &new, written.and_then(|()| rename(fs, &new, path)))?;
        path.clone_into(&mut slots.path);
        slots.named = false;
        Ok(slots)
    }

    /// Replaces the value, and the file by one with room for values of `capacity` bytes. As durable as a save. Where the file could
    /// do as it is (`can_wait`), as much room again has to be left on the disk.
    ///
    /// # Errors
    /// When the disk refuses, or has not that room; then file and value stand as they were.
    pub fn grow(&mut self, capacity: usize, value: &[u8], can_wait: bool) -> Result<(), DiskError> {
        let (damaged, size) = (self.damaged, slot_size(capacity));
        // What can't tell is asked by writing.
        let space = self.path.parent().and_then(|parent| self.fs.space(parent).ok());
        let wanted = if can_wait { 2 * COUNT * size } else { COUNT * size };
        if space.is_some_and(|space| space.available < wanted) {
            return Err(DiskError::io("enlarge", &self.path)(io::ErrorKind::StorageFull.into()));
        }
        *self = Self { damaged, ..Self::larger(&self.fs, &self.path, size, value)? };
        Ok(())
    }

    /// Whether the file held something when it was opened, and no slot of it was whole.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// Bytes of the largest value that fits.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.slot_size).unwrap_or(usize::MAX).saturating_sub(HEADER)
    }

    /// Replaces the value. Survives the death of this process; a power cut only after [`Slots::sync`].
    ///
    /// # Errors
    /// [`DiskError::TooLarge`], or when the disk refuses; then the value before it stands.
    pub fn save(&mut self, value: &[u8]) -> Result<(), DiskError> {
        if value.len() > self.capacity() {
            let (size, capacity) = (value.len(), self.capacity());
            return Err(DiskError::TooLarge { size, capacity, path: self.path.clone() });
        }
        let generation = self.generation.saturating_add(1);
        encode(&mut self.buffer, generation, value);
        let index = self.free();
        let at = index * self.slot_size;
        let file = match &self.file {
            Some(file) => file,
            None => {
                self.named = false;
                self.file.insert(open_or_make(&self.fs, &self.path, self.slot_size)?)
            }
        };
        file.write_at(&self.buffer, at).map_err(DiskError::io("write", &self.path))?;
        self.generation = generation;
        self.saved = Some(index);
        Ok(())
    }

    /// Makes the last save durable.
    ///
    /// # Errors
    /// When the disk refuses; then the last save that was durable still is, and the next save starts afresh.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        if !self.named {
            // It was there when it was opened, perhaps made by a process that was killed before it synced the
            // directory: a power cut could take the file away with all that was made durable in it.
            sync_parent(&self.fs, &self.path)?;
            self.named = true;
        }
        match self.file.as_ref().map_or(Ok(()), File::sync_data) {
            Ok(()) => {
                (self.durable, self.found) = (self.saved, None);
                Ok(())
            }
            Err(e) => {
                self.saved = self.durable;
                Err(DiskError::io("sync", &self.path)(e))
            }
        }
    }

    /// Sets the file aside, durably: what it says must not be read again, and it can't be written over. The next save makes another one;
    /// until then an empty one has its name, which is opened as a damaged one. One that is missing would say that nothing was known.
    ///
    /// # Errors
    /// When the disk refuses; then the file may stand where it was, and what is saved from now on goes to another one if it does not.
    pub fn begin_anew(&mut self) -> Result<(), DiskError> {
        let (fs, path) = (self.fs.clone(), self.path.clone());
        let empty = rescued_slots(&path);
        make_way(&fs, &empty)?;
        fs.create(&empty).map_err(DiskError::io("create", &empty))?;
        or_nothing(&fs, &empty, clear(&fs, &path))?;
        *self = Self::fresh(&fs, None, &path, self.slot_size, self.damaged);
        finish_rescue(&fs, &path).map(drop)
    }

    /// A slot that is neither the last durable one, nor perhaps that, nor the last saved one. Where there is none, the last
    /// saved one goes: no sync has covered it.
    fn free(&self) -> u64 {
        let spared = |i: u64| [self.durable, self.found].contains(&Some(i));
        let free = (0..COUNT).filter(|i| !spared(*i));
        free.min_by_key(|i| Some(*i) == self.saved).unwrap_or(0)
    }
}

/// All bytes at once: this is much faster than to look for one that is not zero.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

/// The newest whole value in the bytes of a file of slots.
fn newest_slot(bytes: &[u8]) -> Option<Vec<u8>> {
    let size = usize::try_from(bytes.len() as u64 / COUNT / PAGE * PAGE).ok().filter(|size| *size > 0)?;
    let newest = bytes.chunks_exact(size).filter_map(decode).max_by_key(|(generation, _)| *generation);
    newest.map(|(_, value)| value.to_vec())
}

fn slot_size(capacity: usize) -> u64 {
    ((capacity + HEADER) as u64).next_multiple_of(PAGE).min(MAX_SLOT)
}

fn encode(out: &mut Vec<u8>, generation: u64, value: &[u8]) {
    out.clear();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(value);
    let crc = crc32fast::hash(out.get(8..).unwrap_or_default()).to_le_bytes();
    if let Some(field) = out.get_mut(4..8) {
        field.copy_from_slice(&crc);
    }
}

fn decode(slot: &[u8]) -> Option<(u64, &[u8])> {
    let rest = slot.strip_prefix(MAGIC)?;
    let (crc, covered) = rest.split_first_chunk::<4>()?;
    let (generation, rest) = covered.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let value = rest.get(4..)?.get(..len)?;
    let sound = crc32fast::hash(covered.get(..16 + len)?) == u32::from_le_bytes(*crc);
    (sound || sabotage::commits(Bug::SlotUnchecked)).then_some((u64::from_le_bytes(*generation), value))
}

fn sync_parent<F: Fs>(fs: &F, path: &Path) -> Result<(), DiskError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs.sync_dir(parent).map_err(DiskError::io("sync", parent))
}

fn is_denied(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests;
