//! The bytes of one partition's log: in memory, or in a file that is only ever appended to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes that only grow, until a restart cuts off what a death left half-written.
#[derive(Debug)]
pub(super) enum Store {
    /// Gone with the process.
    Memory(Vec<u8>),
    /// Kept by the operating system when the process dies.
    File { file: Arc<File>, len: u64 },
}

impl Store {
    /// A new, empty file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self::File { file: Arc::new(file), len: 0 })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(all) => all.extend_from_slice(bytes),
            Self::File { file, len } => {
                file.write_all_at(bytes, *len)?;
                *len += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// `len` bytes at `at`.
    pub(super) fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(all) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                let bytes = all.get(at..).and_then(|rest| rest.get(..len));
                bytes.map(Bytes::copy_from_slice).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File { file, .. } => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes.into())
            }
        }
    }

    pub(super) fn truncate(&mut self, to: u64) -> io::Result<()> {
        match self {
            Self::Memory(all) => all.truncate(usize::try_from(to).map_err(io::Error::other)?),
            Self::File { file, len } => {
                file.set_len(to)?;
                *len = to;
            }
        }
        Ok(())
    }

    /// A handle to sync without holding the partition's lock; `None` in memory.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        match self {
            Self::Memory(_) => None,
            Self::File { file, .. } => Some(Arc::clone(file)),
        }
    }
}
