//! An open file of the simulated disk.

use std::io;

use rustix::io::Errno;

use super::fs::{Call, SimFs};
use super::world::{Change, FileId, errno};
use crate::disk::File;

/// An open file of [`SimFs`]. It stays readable when its name is gone.
#[derive(Debug)]
pub struct SimFile {
    pub(super) fs: SimFs,
    pub(super) id: FileId,
    pub(super) writable: bool,
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl SimFile {
    fn len(&self) -> usize {
        self.fs.with(|world| world.files.get(&self.id).map_or(0, |f| f.live.len()))
    }

    /// Room for the file to become `len` bytes long.
    fn make_room(&self, len: usize) -> io::Result<()> {
        self.find_room(len.saturating_sub(self.len()))
    }

    /// Room for `len` bytes at `offset`.
    fn room_to_write(&self, offset: usize, len: usize) -> io::Result<()> {
        let copies = self.fs.with(|world| world.copies);
        if copies { self.find_room(len) } else { self.make_room(offset + len) }
    }

    fn find_room(&self, more: usize) -> io::Result<()> {
        let wanted = more as u64;
        let full = self.fs.with(|world| world.capacity != u64::MAX && world.used() + wanted > world.capacity);
        if more > 0 && full { Err(errno(Errno::NOSPC)) } else { Ok(()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.enter(Call::Read)?;
        self.fs.with(|world| {
            let left = world.files.get(&self.id).map_or(0, |f| f.live.len()).saturating_sub(index(offset));
            let n = left.min(buf.len());
            if world.is_worn(self.id, index(offset)..index(offset).saturating_add(n)) {
                world.refusals += 1;
                return Err(errno(Errno::IO));
            }
            let live = world.files.get(&self.id).map(|f| f.live.as_slice()).unwrap_or_default();
            if let (Some(to), Some(from)) = (buf.get_mut(..n), live.get(index(offset)..)) {
                to.copy_from_slice(from.get(..n).unwrap_or_default());
            }
            Ok(n)
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let offset = index(offset);
        let write = |part: &[u8]| {
            self.fs.with(|world| world.change(self.id, Change::Write { offset, data: part.into() }));
        };
        if !self.writable {
            return Err(errno(Errno::BADF));
        }
        let allowed = self.fs.enter(Call::Write).and_then(|()| self.room_to_write(offset, data.len()));
        if let Err(e) = allowed {
            // A short write went before the error.
            let half = data.get(..data.len() / 2).unwrap_or_default();
            if !half.is_empty() && self.room_to_write(offset, half.len()).is_ok() {
                write(half);
            }
            return Err(e);
        }
        write(data);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.enter(Call::Allocate)?;
        let len = index(len);
        self.make_room(len)?;
        if self.len() < len {
            self.fs.with(|world| world.change(self.id, Change::Resize(len)));
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.fs.enter(Call::Truncate)?;
        self.fs.with(|world| world.change(self.id, Change::Resize(index(len))));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Err(e) = self.fs.enter(Call::SyncData) {
            self.fs.with(|world| world.forget_unsynced(self.id));
            return Err(e);
        }
        self.fs.with(|world| world.sync(self.id));
        Ok(())
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.fs.enter(Call::Forget)?;
        self.fs.with(|world| world.forget_cached(self.id));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.fs.enter(Call::Size)?;
        Ok(self.len() as u64)
    }
}
