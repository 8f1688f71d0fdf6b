//! `tracer.py` around a program: which calls it made, and a blow at one of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::needs::find;
use crate::support::agent::Agent;
use crate::support::process::Signal;

/// A command that runs what is added to it under the tracer.
pub fn tracer(log: &Path, point: &str, blow: &str, scope: &str) -> Command {
    let python = find("python3").unwrap_or_else(|| PathBuf::from("python3"));
    let mut command = Command::new(python);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/tracer.py");
    command.args(["-I", "-S"]).arg(script).arg(log).args([point, blow, scope]);
    command
}

/// `agent` under the tracer.
pub fn traced(agent: &Command, log: &Path, point: &str, blow: &str, scope: &str) -> Command {
    let mut command = tracer(log, point, blow, scope);
    command.arg(agent.get_program());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Has the tracer count from now on.
pub fn arm(agent: &Agent<'_>, log: &Path) {
    agent.process.signal(Signal::USR1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !read(log).lines().any(|line| line == "armed") {
        assert!(Instant::now() < deadline, "the tracer does not answer; {}", agent.process.output().tail());
        thread::sleep(Duration::from_millis(2)); // another process's state can only be asked for
    }
}

/// Kills the agent under the tracer, and waits until both are gone: its lock, too.
pub fn kill(agent: &Agent<'_>) {
    agent.process.signal(Signal::TERM);
    agent.process.wait(Duration::from_secs(10));
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// The calls that a log tells of: thread, call, what it was made on.
pub fn calls(log: &Path) -> Vec<String> {
    let text = read(log);
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    rows.filter(|(number, _)| number.parse::<u64>().is_ok()).map(|(_, call)| call.to_owned()).collect()
}

/// The call that was struck, if it came to that.
pub fn struck(log: &Path) -> Option<String> {
    let text = read(log);
    let mut before = "";
    for line in text.lines() {
        if line == "struck" {
            return Some(before.to_owned());
        }
        before = line;
    }
    None
}
