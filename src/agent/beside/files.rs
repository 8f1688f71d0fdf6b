//! Each file deleted, garbled, replaced by another kind of thing, or by itself at another moment.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::world::{Base, Found, copy};
use crate::sabotage::{Bug, Sabotage};
use crate::spool::Cause;

/// Files and directories beside the log, relative to the data directory. Of [`super::full`] all are tried.
const BESIDE: [&str; 4] = ["incarnation", "readers/main/home", "lanes/main/floor", "ledger/db"];

pub(super) fn remove(path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}

pub(super) fn make(path: &Path, what: &str) {
    if path.symlink_metadata().is_ok() {
        remove(path);
    }
    // Some stand there at times only.
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    match what {
        "nothing" => {}
        "an empty file" => std::fs::write(path, b"").unwrap(),
        "garbage" => std::fs::write(path, vec![0xa5; 70_000]).unwrap(),
        "zeros" => std::fs::write(path, vec![0; 70_000]).unwrap(),
        "a directory" => std::fs::create_dir(path).unwrap(),
        "a directory with something in it" => {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("something"), b"x").unwrap();
        }
        "a FIFO" => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        "a link to nothing" => std::os::unix::fs::symlink("/nonexistent/nothing", path).unwrap(),
        "a link to itself" => std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap(),
        "a link to a file" => std::os::unix::fs::symlink("/proc/version", path).unwrap(),
        other => panic!("{other}"),
    }
}

pub(super) const THINGS: [&str; 10] = [
    "nothing",
    "an empty file",
    "garbage",
    "zeros",
    "a directory",
    "a directory with something in it",
    "a FIFO",
    "a link to nothing",
    "a link to itself",
    "a link to a file",
];

#[test]
fn whatever_stands_in_a_files_place_the_agent_starts_and_nothing_is_lost() {
    let base = Base::live();
    for file in BESIDE {
        for thing in THINGS {
            let found = base.trial(&base.late, 500, |dir| make(&dir.join(file), thing));
            found.assert_lossless(&format!("{thing} at {file}"));
            assert_eq!(found.account.lost_to_damage, 0, "{thing} at {file}: {found:?}");
        }
    }
}

#[test]
fn without_any_harm_nothing_is_doubled_and_the_counts_go_on() {
    let base = Base::live();
    let found = base.trial(&base.late, 500, |_| ());
    assert_eq!((found.missing.len(), found.doubled), (0, 0), "{found:?}");
    assert_eq!((found.account.since_seq.0, found.account.delivered), (1, 510), "{found:?}");
    assert_eq!(found.life.cause, Cause::Copied);
}

#[test]
fn everything_beside_the_log_at_once_can_be_gone() {
    let base = Base::live();
    let found = base.trial(&base.late, 500, |dir| {
        ["FORMAT", "LOCK", "incarnation", "readers", "ledger"].iter().for_each(|n| remove(&dir.join(n)));
        remove(&dir.join("lanes/main/floor"));
    });
    found.assert_lossless("");
    assert_eq!(found.life.cause, Cause::Unmarked);
}

/// `part` of the one directory in the other.
fn mixed(base: &Base, (of, into): (&PathBuf, &PathBuf), known: u64, part: &str) -> Found {
    base.trial(into, known, |dir| {
        let path = dir.join(part);
        remove(&path);
        let from = of.join(part);
        if from.is_dir() {
            copy(&from, &path);
        } else {
            std::fs::copy(from, path).unwrap();
        }
    })
}

#[test]
fn each_part_can_be_older_than_the_log() {
    let base = Base::live();
    for part in
        ["FORMAT", "incarnation", "readers", "readers/main/home", "journal", "lanes/main/floor", "ledger"]
    {
        let found = mixed(&base, (&base.early, &base.late), 500, part);
        found.assert_lossless(part);
        assert_ne!(found.life.cause, Cause::RolledBack, "{part}: nothing is ahead of the log");
    }
}

#[test]
fn each_part_can_be_newer_than_the_log() {
    let base = Base::live();
    for part in
        ["FORMAT", "incarnation", "readers", "readers/main/home", "journal", "lanes/main/floor", "ledger"]
    {
        let found = mixed(&base, (&base.late, &base.early), 200, part);
        found.assert_lossless(part);
    }
}

#[test]
fn positions_ahead_of_the_log_are_not_believed() {
    let base = Base::live();
    let found = mixed(&base, (&base.late, &base.early), 200, "readers");
    found.assert_lossless("the log of an earlier moment under positions of a later one");
    // Segments that were delivered may have been deleted before the copy was made.
    let on_disk = 201 - found.account.since_seq.0;
    assert_eq!(found.doubled, on_disk, "all that is on disk is sent again: {found:?}");
    assert_eq!(found.account.lost_to_damage, 200, "the numbers that this log never had: {found:?}");
}

#[test]
fn control_an_agent_that_believes_a_position_ahead_of_the_log_loses_events_and_is_caught() {
    let base = Base::live();
    let dir = base.world.copy(&base.early);
    remove(&dir.join("readers"));
    copy(&base.late.join("readers"), &dir.join("readers"));
    let topic = base.world.topic();
    let _sabotage = Sabotage::begin(Bug::PositionBeyondTheLog);
    let agent = base.world.start(&dir, &topic).unwrap();
    agent.accept(1000..1010);
    agent.settle();
    agent.stop();
    assert_eq!(topic.copies().len(), 0, "ten events were accepted, and count as delivered");
}

#[test]
fn control_a_log_that_is_harmed_itself_is_seen_by_the_same_trial() {
    let base = Base::live();
    let found = base.trial(&base.late, 500, |dir| remove(&dir.join("lanes")));
    assert_eq!(found.missing, (400..500).collect::<Vec<_>>(), "{found:?}");
}

/// The log itself is gone then; the agent is not to stay away for it. A link that leads nowhere may lead to a disk that is not
/// mounted yet, with all of it.
#[test]
fn whatever_stands_in_the_place_of_the_logs_directories_the_agent_starts_but_for_a_link_to_what_is_not_there()
{
    let base = Base::live();
    for name in ["lanes", "lanes/main"] {
        for thing in THINGS {
            if thing == "a link to nothing" {
                let dir = base.world.copy(&base.late);
                make(&dir.join(name), thing);
                let refused =
                    base.world.start(&dir, &base.world.topic()).map(|_| ()).unwrap_err().to_string();
                assert!(refused.contains("leads nowhere"), "{name}: {refused}");
                assert!(dir.join(name).is_symlink(), "it stays");
                continue;
            }
            let found = base.trial(&base.late, 500, |dir| make(&dir.join(name), thing));
            assert_eq!(found.missing, (400..500).collect::<Vec<_>>(), "{thing} at {name}: {found:?}");
        }
    }
}
