//! Everything that stands beside the log, as a walk finds it: none can be forgotten here.

#![expect(clippy::print_stdout, reason = "how much was tried is what a person wants of a long run")]

use std::path::Path;

use super::full::{Found, Full, beside, put, refit};

const WORKERS: usize = 4;

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
