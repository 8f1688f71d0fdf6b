//! What the process keeps to itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::http;
use super::support::process::{Signal, scratch};
use super::{SOON, lonely};

/// The agent, in a shell that first does something else.
fn after(what: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{what}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_spoolway")]);
    command
}

fn all_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { [all_in(&path), vec![path]].concat() } else { vec![path] })
        .collect()
}

#[test]
fn whatever_the_umask_nobody_else_can_read_what_the_agent_writes() {
    let setup = lonely("umask");
    let agent = setup.spawn_by(after("umask 000"));
    agent.wait_ready("/readyz?for=accept", SOON);
    let answer = http::post(setup.http, "/v1/events/a", "", b"x").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    agent.stop();
    let written = all_in(&setup.data_dir());
    assert!(written.len() > 5, "{written:?}");
    for path in &written {
        let mode = fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn an_agent_that_dies_leaves_no_core() {
    // The control: another program in its place, which shows whether this host would write one.
    let control = Command::new("sh")
        .current_dir(scratch("core-control"))
        .args(["-c", "ulimit -c unlimited; kill -ABRT $$"])
        .status()
        .expect("sh runs");
    assert_eq!(control.signal(), Some(6));
    let setup = lonely("core");
    let mut command = after("ulimit -c unlimited");
    command.current_dir(&setup.dir);
    let agent = setup.spawn_by(command);
    agent.wait_ready("/readyz?for=accept", SOON);
    agent.process.signal(Signal::ABORT);
    let ended = agent.process.wait(SOON);
    assert_eq!(ended.signal(), Some(6), "{ended}");
    assert!(!ended.core_dumped(), "{ended}, and the control: {control}");
}
