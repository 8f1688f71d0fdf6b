//! Up to which letter each destination's have been copied to a topic: `<data_dir>/letters-copied`, slots (see
//! [`crate::disk::Slots`]) with a JSON text.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::LettersError;
use crate::disk::{Fs, Slots};
use crate::ids::{DestinationName, SpoolId};

const NAME: &str = "letters-copied";
/// Room for some hundred destinations.
const CAPACITY: usize = 32 << 10;
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    spool: String,
    copied: BTreeMap<String, u64>,
}

/// The file, and what stands in it.
#[derive(Debug)]
pub struct Copied<F: Fs> {
    slots: Slots<F>,
    spool: SpoolId,
    copied: BTreeMap<String, u64>,
}

impl<F: Fs> Copied<F> {
    /// Opens the file, making it if need be. One that can't be used is as none: letters are copied again.
    ///
    /// # Errors
    /// When the disk refuses to make or read it.
    pub fn open(fs: &F, data_dir: &Path, spool: SpoolId) -> Result<Self, LettersError> {
        let (slots, value) = Slots::open(fs, &data_dir.join(NAME), CAPACITY)?;
        let record = value.and_then(|value| serde_json::from_slice::<Record>(&value).ok());
        let own = record.filter(|r| r.version == VERSION && r.spool == spool.to_string());
        Ok(Self { slots, spool, copied: own.map(|r| r.copied).unwrap_or_default() })
    }

    /// Number of the last letter of a destination that is known to have been copied.
    #[must_use]
    pub fn of(&self, destination: &DestinationName) -> u64 {
        self.copied.get(destination.as_str()).copied().unwrap_or_default()
    }

    /// Every letter of a destination up to `id` has been copied. Durable when this returns.
    ///
    /// # Errors
    /// When the disk refuses; then a later process copies them again.
    pub fn set(&mut self, destination: &DestinationName, id: u64) -> Result<(), LettersError> {
        self.copied.insert(destination.as_str().to_owned(), id);
        let record = Record { version: VERSION, spool: self.spool.to_string(), copied: self.copied.clone() };
        // Names and numbers: there is nothing that JSON does not have.
        let text = serde_json::to_vec(&record).unwrap_or_default();
        self.slots.save(&text)?;
        Ok(self.slots.sync()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;

    #[test]
    fn what_was_copied_is_known_to_the_next_process_and_to_no_other_spool() {
        let dir = tempfile::tempdir().unwrap();
        let (home, away) = (DestinationName::new("home").unwrap(), DestinationName::new("away").unwrap());
        let mut copied = Copied::open(&RealFs, dir.path(), SpoolId(7)).unwrap();
        assert_eq!(copied.of(&home), 0);
        copied.set(&home, 12).unwrap();
        copied.set(&away, 3).unwrap();
        drop(copied);
        let copied = Copied::open(&RealFs, dir.path(), SpoolId(7)).unwrap();
        assert_eq!((copied.of(&home), copied.of(&away)), (12, 3));
        assert_eq!(Copied::open(&RealFs, dir.path(), SpoolId(8)).unwrap().of(&home), 0);
    }
}
