//! Everything that stands beside the log, as a walk finds it: none can be forgotten here.

#![expect(clippy::print_stdout, reason = "how much was tried is what a person wants of a long run")]

use std::path::{Path, PathBuf};

use super::files::{THINGS, make};
use super::full::{Found, Full, beside, put, refit};

const WORKERS: usize = 4;
/// Things of [`THINGS`] that a push puts in the place of each file: those that come first, and some in turn.
const SLICE: usize = 19;
/// They stand there at times only.
const AT_TIMES: [&str; 8] = [
    "handover",
    "handover.new",
    "FORMAT.new",
    "lanes/main/catalogue.new",
    "lanes/main/floor.new",
    "parked/side/home/unmade/new",
    "dead-letters/new",
    "readers/main/gone",
];

fn soak() -> bool {
    std::env::var_os("SPOOLWAY_SOAK").is_some()
}

/// Tries what is of this worker, in a directory of its own.
fn shared_out(trials: impl Fn(&Full, usize) -> usize + Sync) -> usize {
    std::thread::scope(|scope| {
        let work = |n| {
            let trials = &trials;
            scope.spawn(move || trials(&Full::live(), n))
        };
        let workers: Vec<_> = (0..WORKERS).map(work).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}

impl Full {
    /// Lost is nothing but what stood in that file alone: parked events, which are log, and then they are counted; dead
    /// letters.
    fn judge(&self, found: &Found, file: &Path, harm: &str) {
        let allowed = match file.components().next().and_then(|c| c.as_os_str().to_str()) {
            Some("parked") => &self.parked,
            Some("dead-letters") => &self.refused,
            _ => &std::collections::BTreeSet::new(),
        };
        let missing: Vec<_> = found.missing.difference(allowed).collect();
        assert!(missing.is_empty(), "{harm} at {}: {missing:?} are missing: {found:?}", file.display());
        if allowed.is_empty() {
            assert_eq!(found.counted, 0, "{harm} at {}: {found:?}", file.display());
        }
        if file.starts_with("parked") {
            assert_eq!(found.missing.len() as u64, found.counted, "{harm} at {}: {found:?}", file.display());
        }
    }
}

#[test]
fn one_of_everything_stands_in_the_directory_that_is_tried() {
    let base = Full::live();
    let found = beside(&base.late);
    let has = |name: &str| found.iter().any(|path| path.to_str().unwrap().starts_with(name));
    for name in [
        "FORMAT",
        "LOCK",
        "incarnation",
        "homes",
        "routes",
        "overrides",
        "dead-letters/marks",
        "letters-copied",
        "readers/main/home",
        "readers/side/home",
        "journal/main/home.",
        "journal/side/home.",
        "lanes/main/floor",
        "lanes/main/catalogue",
        "lanes/side/floor",
        "parked/side/home/unmade/",
        "ledger/db",
    ] {
        assert!(has(name), "{name} is not among {found:?}");
    }
    let letters = found.iter().filter(|p| p.starts_with("dead-letters")).count();
    assert!(letters > 2, "marks and letters: {found:?}");
    let unharmed = base.trial(&base.late, "nothing", |_| ());
    assert_eq!((unharmed.missing.len(), unharmed.counted, unharmed.again.len()), (0, 0, 0), "{unharmed:?}");
}

#[test]
fn whatever_stands_in_the_place_of_any_file_the_agent_starts_and_loses_only_what_stood_there_alone() {
    let tried = shared_out(|base, worker| {
        let mut files = beside(&base.late);
        files.extend(AT_TIMES.map(PathBuf::from));
        let mut tried = 0;
        for (n, file) in files.iter().enumerate() {
            for (k, thing) in THINGS.iter().enumerate() {
                let due = soak() || k == 0 || (n + k).is_multiple_of(SLICE);
                if !due || (n + k) % WORKERS != worker {
                    continue;
                }
                let harm = format!("{thing} at {}", file.display());
                let found = base.trial(&base.late, &harm, |dir| make(&dir.join(file), thing));
                base.judge(&found, file, thing);
                tried += 1;
            }
        }
        tried
    });
    println!("{tried} things in the places of files: nothing else lost");
}

#[test]
fn any_part_can_be_older_or_newer_than_the_log() {
    let tried = shared_out(|base, worker| {
        let moments = [(&base.early, &base.late, "older"), (&base.late, &base.early, "newer")];
        let mut tried = 0;
        for (of, into, what) in moments {
            let there = beside(of);
            for file in there.iter().skip(worker).step_by(WORKERS) {
                let harm = format!("{what} {}", file.display());
                let found = base.trial(into, &harm, |dir| {
                    put(&of.join(file), &dir.join(file));
                    refit(dir);
                });
                // A newer one knows numbers that this log never gave out, and counts them.
                let lost = if what == "newer" {
                    Found { counted: found.missing.len() as u64, ..found }
                } else {
                    found
                };
                let lost = if file.starts_with("parked") { lost } else { Found { counted: 0, ..lost } };
                base.judge(&lost, file, what);
                tried += 1;
            }
        }
        tried
    });
    println!("{tried} parts of another moment: nothing else lost");
}

/// Bytes of a file to harm: all that are not zero and some that are in the long version, else a few.
fn places(bytes: &[u8], slice: usize) -> Vec<usize> {
    let full: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0 || at.is_multiple_of(4099)).collect();
    let most = if soak() { full.len() } else { slice };
    full.iter().copied().step_by((full.len() / most.max(1)).max(1)).collect()
}

#[test]
fn any_byte_of_any_file_can_be_another() {
    let tried = shared_out(|base, worker| {
        let mut tried = 0;
        for file in beside(&base.late) {
            let path = base.late.join(&file);
            let Some(bytes) = path.is_file().then(|| std::fs::read(&path).unwrap()) else { continue };
            for at in places(&bytes, 2).into_iter().skip(worker).step_by(WORKERS) {
                let harm = format!("{} byte {at}", file.display());
                let found = base.trial(&base.late, &harm, |dir| {
                    let mut bytes = std::fs::read(dir.join(&file)).unwrap();
                    // What the copy was fitted with may be shorter.
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 0x41;
                    }
                    std::fs::write(dir.join(&file), bytes).unwrap();
                });
                base.judge(&found, &file, &harm);
                tried += 1;
            }
        }
        tried
    });
    println!("{tried} bytes: nothing else lost");
}
