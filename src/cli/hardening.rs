//! What a process owes to the secrets and events it holds, before it reads the first of them.

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};

use super::Command;

/// No core dumps, and no other process of the same user looking into this one's memory; and files of its own for nobody
/// else.
pub(super) fn harden(command: &Command) {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        anstream::eprintln!("warning: core dumps can't be turned off, and one would hold secrets: {error}");
    }
    if let Err(error) = take_all_files() {
        anstream::eprintln!("warning: the limit of open files can't be raised: {error}");
    }
    if !writes_for_others(command) {
        umask(Mode::RWXG | Mode::RWXO);
    }
}

/// As many open files as the system would give: connections take them from segments and from each other. The lower limit is for programs
/// that use `select`.
fn take_all_files() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
}

/// What these write holds neither events nor secrets and is meant to be read by others.
const fn writes_for_others(command: &Command) -> bool {
    matches!(command, Command::Init(_) | Command::Man(_) | Command::Completions(_))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_process_that_was_hardened_leaves_no_core_and_can_not_be_looked_into() {
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        // One that leaves the umask alone, which all tests of this process share.
        harden(&Cli::parse_from(["spoolway", "init"]).command);
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let files = getrlimit(Resource::Nofile);
        assert_eq!(files.current, files.maximum);
    }

    #[test]
    fn only_what_is_meant_for_others_is_written_for_others() {
        let for_others =
            |line: &[&str]| writes_for_others(&Cli::parse_from(["spoolway"].iter().chain(line)).command);
        assert!(for_others(&["init"]) && for_others(&["man"]) && for_others(&["completions", "zsh"]));
        assert!(!for_others(&["run"]) && !for_others(&["demo"]) && !for_others(&["spool", "inspect", "x"]));
    }
}
