//! Looking at a file of slots from outside: no lock, no write, beside whoever has it open.

use std::io;
use std::path::Path;

use super::{COUNT, MAX_SLOT, is_blank, newest_slot, rescued_slots};
use crate::disk::{File, Fs, insist};

/// The newest whole value in a file of slots; `None` before the first save. One that is being saved to is read as the save before:
/// a slot that is half written has a wrong checksum.
///
/// # Errors
/// When the file can't be read, or (`InvalidData`) holds something, and no value that is whole.
pub fn look_at_slots<F: Fs>(fs: &F, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match insist(|| fs.open_read(path)) {
        // A process was killed, or is at work, between moving it away and giving its name to what was rescued of it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs.open_read(&rescued_slots(path)).map_err(|_| e)?,
        opened => opened?,
    };
    let size = insist(|| file.size())?.min(COUNT * MAX_SLOT);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let len = insist(|| file.read_full_at(&mut bytes, 0))?;
    bytes.truncate(len);
    match newest_slot(&bytes) {
        None if bytes.is_empty() || !is_blank(&bytes) => Err(io::ErrorKind::InvalidData.into()),
        newest => Ok(newest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealFs, Slots};

    #[test]
    fn the_newest_value_is_seen_beside_whoever_saves_and_damage_is_no_blank_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let look = || look_at_slots(&RealFs, &path).map_err(|e| e.kind());
        assert_eq!(look(), Err(io::ErrorKind::NotFound));
        let (mut slots, _) = Slots::open(&RealFs, &path, 100).unwrap();
        assert_eq!(look(), Ok(None));
        for value in [b"one".as_slice(), b"two", b"three", b"four"] {
            slots.save(value).unwrap();
            assert_eq!(look(), Ok(Some(value.to_vec())));
        }
        std::fs::write(&path, b"damaged").unwrap();
        assert_eq!(look(), Err(io::ErrorKind::InvalidData));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(look(), Err(io::ErrorKind::InvalidData));
    }
    #[test]
    fn of_large_values_too_the_newest_is_seen_in_whichever_slot_it_is() {
        use super::super::encode;
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let file = std::fs::File::create(&path).unwrap();
        // Not a byte of it is on the disk.
        let slot = MAX_SLOT / 2;
        file.set_len(COUNT * slot).unwrap();
        let mut bytes = Vec::new();
        encode(&mut bytes, 1, b"value");
        file.write_all_at(&bytes, 2 * slot).unwrap();
        assert_eq!(look_at_slots(&RealFs, &path).unwrap().as_deref(), Some(&b"value"[..]));
    }
}
