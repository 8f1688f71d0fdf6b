//! The file that holds a [`History`]: `<data_dir>/homes`. Slots (see [`crate::disk::Slots`]) with a JSON text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::history::{Era, History, Homes};
use crate::config::model::Stream;
use crate::disk::{DiskError, Fs, Slots};
use crate::ids::{LaneName, Seq, SpoolId};

const NAME: &str = "homes";
/// Room for a history, at least.
const CAPACITY: usize = 64 << 10;
const VERSION: u32 = 1;

/// Where streams were can't be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomesError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It can't be put into words.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    spool: String,
    eras: Vec<EraRecord>,
}

#[derive(Serialize, Deserialize)]
struct EraRecord {
    /// Pattern and lane of each entry; null where they are not known.
    streams: Option<Vec<(String, String)>>,
    starts: BTreeMap<String, u64>,
}

/// Reads and writes the history of one data directory.
#[derive(Debug)]
pub struct HomesFile<F: Fs> {
    fs: F,
    path: PathBuf,
    spool: SpoolId,
    /// `None` while there is no file, and none is needed.
    slots: Option<Slots<F>>,
    /// What stands there.
    saved: Option<Vec<u8>>,
}

impl<F: Fs> HomesFile<F> {
    /// Opens the file, if there is one. One that can't be used is as none, and said.
    ///
    /// # Errors
    /// When the disk refuses to read it.
    pub fn open(fs: &F, data_dir: &Path, spool: SpoolId) -> Result<(Self, History), HomesError> {
        let path = data_dir.join(NAME);
        let mut file = Self { fs: fs.clone(), path, spool, slots: None, saved: None };
        let there = fs.list(data_dir).is_ok_and(|entries| entries.iter().any(|e| e.name == NAME));
        if !there {
            return Ok((file, History::unknown()));
        }
        let (slots, value) = Slots::open(fs, &file.path, CAPACITY)?;
        let is_damaged = slots.damaged();
        file.slots = Some(slots);
        let history = value.as_deref().and_then(|bytes| decode(bytes, spool));
        if history.is_some() {
            file.saved = value;
        } else if is_damaged || value.is_some() {
            tracing::error!(
                path = %file.path.display(),
                "it can't be read which lanes streams were in: new events wait for what is on disk in other lanes"
            );
        }
        Ok((file, history.unwrap_or_else(History::unknown)))
    }

    /// Makes the history durable, where a later process has to know it.
    ///
    /// # Errors
    /// When the disk refuses; then what was durable before still is.
    pub fn keep(&mut self, history: &History) -> Result<(), HomesError> {
        if self.slots.is_none() && !history.is_worth_keeping() {
            return Ok(());
        }
        let value = encode(history, self.spool)?;
        if self.saved.as_ref() == Some(&value) {
            return Ok(());
        }
        let fits = |slots: &Slots<F>| value.len() <= slots.capacity();
        let mut slots = match self.slots.take().filter(fits) {
            Some(slots) => slots,
            None => Slots::open(&self.fs, &self.path, CAPACITY.max(value.len()))?.0,
        };
        slots.save(&value)?;
        slots.sync()?;
        (self.slots, self.saved) = (Some(slots), Some(value));
        Ok(())
    }
}

impl<F: Fs> HomesFile<F> {
    /// The same; where no history stands yet, a disk that is full keeps nothing from starting: to a later process nothing is known
    /// then, and it lets new events wait for more than they need to.
    ///
    /// # Errors
    /// [`HomesError`].
    pub fn keep_if_it_can_be(&mut self, history: &History) -> Result<(), HomesError> {
        match self.keep(history) {
            Err(HomesError::Disk(error)) if error.is_no_making() && self.saved.is_none() => {
                tracing::error!(%error, "which lanes streams are in can't be written down; the next start tries again");
                Ok(())
            }
            kept => kept,
        }
    }
}

fn encode(history: &History, spool: SpoolId) -> Result<Vec<u8>, serde_json::Error> {
    let pair = |s: &Stream| (s.name.clone(), s.lane.to_string());
    let eras = history.eras.iter().map(|era| EraRecord {
        streams: era.homes.as_ref().map(|homes| homes.streams.iter().map(pair).collect()),
        starts: era.starts.iter().map(|(lane, start)| (lane.to_string(), start.0)).collect(),
    });
    let record = Record { version: VERSION, spool: spool.to_string(), eras: eras.collect() };
    serde_json::to_vec(&record)
}

fn decode(bytes: &[u8], spool: SpoolId) -> Option<History> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    if record.version != VERSION || record.spool != spool.to_string() || record.eras.is_empty() {
        return None;
    }
    let eras = record.eras.into_iter().map(|era| {
        let homes = era.streams.map(|streams| {
            let streams = streams
                .into_iter()
                .map(|(name, lane)| Some(Stream { name, lane: LaneName::new(&lane).ok()? }));
            Homes::new(streams.collect::<Option<_>>()?).ok()
        });
        // Known and unreadable is not unknown.
        let homes = match homes {
            None => None,
            Some(read) => Some(read?),
        };
        let starts =
            era.starts.into_iter().map(|(lane, start)| Some((LaneName::new(&lane).ok()?, Seq(start))));
        Some(Era { homes, starts: starts.collect::<Option<_>>()? })
    });
    Some(History { eras: eras.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealFs;
    use crate::ids::StreamName;
    use crate::logs::testing::said;

    const SPOOL: SpoolId = SpoolId(7);

    fn lane(name: &str) -> LaneName {
        LaneName::new(name).unwrap()
    }

    fn moved() -> History {
        let mut history = History::unknown();
        let x = Stream { name: "x*".to_owned(), lane: lane("fast") };
        history.begin(&[x], [(lane("main"), Seq(11)), (lane("fast"), Seq(1))].into()).unwrap();
        history
    }

    #[test]
    fn what_was_kept_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, unknown) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        assert!(unknown.is_settled());
        file.keep(&moved()).unwrap();
        let (_, history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        let waits = history.waits(&lane("fast"), Seq(1), &StreamName::new("x1").unwrap());
        assert_eq!(waits, [(lane("main"), Seq(11))].into());
    }

    #[test]
    fn streams_that_were_always_in_main_need_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, mut history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        history.begin(&[], [(lane("main"), Seq(1))].into()).unwrap();
        history.forget(|_, _| true);
        file.keep(&history).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_long_history_gets_a_larger_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.keep(&moved()).unwrap();
        let streams: Vec<_> =
            (0..2_000).map(|n| Stream { name: format!("{n:0>200}"), lane: lane("fast") }).collect();
        let mut long = moved();
        long.begin(&streams, [(lane("main"), Seq(12))].into()).unwrap();
        file.keep(&long).unwrap();
        let (_, history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        assert_eq!(history.eras.len(), 3);
    }

    #[test]
    fn what_is_damaged_or_of_another_spool_is_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.keep(&moved()).unwrap();
        let (_, foreign) = HomesFile::open(&RealFs, dir.path(), SpoolId(8)).unwrap();
        assert!(foreign.is_settled());
        std::fs::write(dir.path().join(NAME), vec![0xa5; 3 * 4096]).unwrap();
        let (mut file, damaged) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        assert!(damaged.is_settled());
        file.keep(&moved()).unwrap();
        let (_, history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        assert!(!history.is_settled());
    }

    #[test]
    fn a_file_that_is_there_says_so_when_streams_are_back_in_main() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.keep(&moved()).unwrap();
        let (mut file, mut history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        history.begin(&[], [(lane("main"), Seq(20))].into()).unwrap();
        history.forget(|_, _| true);
        assert!(!history.is_worth_keeping());
        file.keep(&history).unwrap();
        let (_, kept) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        assert!(kept.is_settled() && !kept.is_worth_keeping(), "{kept:?}");
    }

    #[test]
    fn what_stands_there_already_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = || std::fs::read(dir.path().join(NAME)).unwrap();
        let (mut file, _) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.keep(&moved()).unwrap();
        let before = bytes();
        file.keep(&moved()).unwrap();
        let (mut file, history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.keep(&history).unwrap();
        assert!(bytes() == before);
    }

    /// What is read from such a text: how many eras, or that it can't be read.
    fn eras(text: &str) -> Option<usize> {
        let dir = tempfile::tempdir().unwrap();
        let (mut slots, _) = Slots::open(&RealFs, &dir.path().join(NAME), CAPACITY).unwrap();
        slots.save(text.as_bytes()).unwrap();
        slots.sync().unwrap();
        let (file, history) = HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap();
        file.saved.is_some().then_some(history.eras.len())
    }

    #[test]
    fn a_history_is_read_whole_or_not_at_all() {
        let text = |version: u32, spool: SpoolId, eras: &str| {
            format!(r#"{{"version":{version},"spool":"{spool}","eras":[{eras}]}}"#)
        };
        let known = r#"{"streams":[["x*","fast"]],"starts":{"main":3}}"#;
        let unknown = r#"{"streams":null,"starts":{}}"#;
        assert_eq!(eras(&text(1, SPOOL, known)), Some(1));
        assert_eq!(eras(&text(1, SPOOL, &format!("{unknown},{known}"))), Some(2));
        assert_eq!(eras(&text(2, SPOOL, known)), None, "a later version's");
        assert_eq!(eras(&text(1, SpoolId(8), known)), None, "another spool's");
        assert_eq!(eras(&text(1, SPOOL, "")), None, "no era");
        for wrong in [
            r#"{"streams":[["x*","no lane"]],"starts":{}}"#,
            r#"{"streams":[["","fast"]],"starts":{}}"#,
            r#"{"streams":null,"starts":{"no lane":3}}"#,
        ] {
            assert_eq!(eras(&text(1, SPOOL, &format!("{known},{wrong}"))), None, "{wrong}");
        }
    }

    #[test]
    fn a_directory_that_can_not_be_listed_has_no_history_and_a_file_that_can_not_be_read_is_an_error() {
        use crate::disk::sim::{Fault, Lasting, SimFs};
        let (fs, dir) = (SimFs::default(), Path::new("/data"));
        crate::disk::Fs::create_dir(&fs, dir).unwrap();
        HomesFile::open(&fs, dir, SPOOL).unwrap().0.keep(&moved()).unwrap();
        let began = fs.calls();
        let (_, there) = HomesFile::open(&fs, dir, SPOOL).unwrap();
        assert!(!there.is_settled());
        let errno = rustix::io::Errno::IO;
        fs.break_at(Fault { at: fs.calls() + 1, errno, lasting: Lasting::UntilRepaired });
        assert!(HomesFile::open(&fs, dir, SPOOL).is_err(), "{began}");
    }

    #[test]
    fn that_a_history_can_not_be_read_is_said_and_that_there_is_none_is_not() {
        let complaints = |prepare: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let (_, lines) = said(|| HomesFile::open(&RealFs, dir.path(), SPOOL).unwrap());
            lines.iter().filter(|line| line.contains("which lanes streams were in")).count()
        };
        assert_eq!(complaints(&|_| {}), 0);
        assert_eq!(complaints(&|dir| drop(Slots::open(&RealFs, &dir.join(NAME), CAPACITY).unwrap())), 0);
        assert_eq!(complaints(&|dir| std::fs::write(dir.join(NAME), [0xa5; 3 * 4096]).unwrap()), 1);
        let of_another = |dir: &Path| {
            HomesFile::open(&RealFs, dir, SpoolId(8)).unwrap().0.keep(&moved()).unwrap();
        };
        assert_eq!(complaints(&of_another), 1);
    }

    #[test]
    fn a_disk_on_which_nothing_can_be_made_keeps_nothing_from_starting_unless_a_history_stands_there() {
        use crate::disk::sim::{Fault, Lasting, SimFs};
        use rustix::io::Errno;
        for (errno, first) in [(Errno::NOSPC, true), (Errno::ROFS, true), (Errno::IO, false)] {
            let fs = SimFs::default();
            let (mut file, _) = HomesFile::open(&fs, Path::new("/"), SPOOL).unwrap();
            fs.break_at(Fault { at: fs.calls(), errno, lasting: Lasting::UntilRepaired });
            assert_eq!(file.keep_if_it_can_be(&moved()).is_ok(), first, "{errno}");
            fs.repair();
            file.keep_if_it_can_be(&moved()).unwrap();
            let (_, stands) = HomesFile::open(&fs, Path::new("/"), SPOOL).unwrap();
            assert!(!stands.is_settled());
        }
        let fs = SimFs::default();
        let (mut file, _) = HomesFile::open(&fs, Path::new("/"), SPOOL).unwrap();
        file.keep_if_it_can_be(&moved()).unwrap();
        let mut back = moved();
        back.begin(&[], [(lane("main"), Seq(20)), (lane("fast"), Seq(20))].into()).unwrap();
        fs.break_at(Fault { at: fs.calls(), errno: Errno::ROFS, lasting: Lasting::UntilRepaired });
        file.keep_if_it_can_be(&back).unwrap_err();
    }
}
