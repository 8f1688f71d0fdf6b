//! Lets go of what is kept for destinations that are not configured any more, once somebody has told to forget them.
//!
//! Whether they are is asked of the data directory, by a thread of its own: a drive that does not answer holds up nobody, neither a
//! signal nor what watches the others.

use std::io;
use std::path::{Path, PathBuf};

use super::asked::Asked;
use super::lanes::Lanes;
use crate::ids::{DestinationName, LaneName};

/// A destination for which a lane keeps something, by the file that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) lane: LaneName,
    pub(super) destination: DestinationName,
    pub(super) file: PathBuf,
}

/// Asks, again and again, and never twice at a time.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Which of them are forgotten, once it is known.
    asked: Asked<Vec<Held>>,
}

impl Forgotten {
    /// Lets go of what was found to be forgotten, and has it asked what is by now.
    pub(super) fn look(&mut self, lanes: &Lanes, data_dir: &Path) {
        for held in self.ask(|| lanes.held(data_dir), is_gone) {
            lanes.let_go(&held);
        }
    }

    /// What the last asking has found; begins another, of those for whom something is held then, if none is under way.
    fn ask(
        &mut self,
        held: impl FnOnce() -> Vec<Held>,
        is_gone: impl Fn(&Path) -> bool + Send + 'static,
    ) -> Vec<Held> {
        let found = self.asked.take().unwrap_or_default();
        if self.asked.is_open() {
            return found;
        }
        let mut held = held();
        held.retain(|held| !found.contains(held));
        if !held.is_empty() {
            let work = move || held.into_iter().filter(|held| is_gone(&held.file)).collect();
            self.asked.ask("forgotten", work);
        }
        found
    }
}

fn is_gone(file: &Path) -> bool {
    file.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    fn held(name: &str, file: PathBuf) -> Held {
        let (lane, destination) = (LaneName::new("main").unwrap(), DestinationName::new(name).unwrap());
        Held { lane, destination, file }
    }

    /// Asks until something is found.
    fn found(forgotten: &mut Forgotten, held: &[Held]) -> Vec<Held> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = forgotten.ask(|| held.to_vec(), is_gone);
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn those_whose_file_is_gone_are_found_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let all = ["a", "b"].map(|name| held(name, dir.path().join(name)));
        all.iter().for_each(|held| std::fs::write(&held.file, "").unwrap());
        let mut forgotten = Forgotten::default();
        assert_eq!(forgotten.ask(|| all.to_vec(), is_gone), []);
        std::fs::remove_file(&all[1].file).unwrap();
        assert_eq!(found(&mut forgotten, &all), all[1..]);
    }

    #[test]
    fn a_drive_that_does_not_answer_holds_up_nobody_and_is_asked_once() {
        let all = [held("a", PathBuf::from("a"))];
        let (begun, asked) = mpsc::sync_channel(1);
        let (answer, answers) = mpsc::sync_channel(1);
        let answers = std::sync::Mutex::new(answers);
        let mut forgotten = Forgotten::default();
        let hangs = move |_: &Path| {
            begun.send(()).unwrap();
            answers.lock().unwrap().recv().unwrap()
        };
        assert_eq!(forgotten.ask(|| all.to_vec(), hangs), []);
        asked.recv_timeout(Duration::from_secs(30)).unwrap();
        for _ in 0..3 {
            assert_eq!(forgotten.ask(|| panic!("nothing is asked beside it"), |_| panic!()), []);
        }
        answer.send(true).unwrap();
        assert_eq!(found(&mut forgotten, &[]), all);
        assert_eq!(forgotten.ask(Vec::new, |_| panic!("nothing is held")), []);
        assert!(!forgotten.asked.is_open(), "and no thread looks at nothing");
    }
}
