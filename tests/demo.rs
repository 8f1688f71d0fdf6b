//! `spoolway demo` as anyone runs it: the agent is proven, the control is caught, nothing stays behind.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use spoolway::target::{Target, TargetOptions};

/// A demo that runs, and the process of its first agent.
fn begun(folder: &Path, arguments: &[&str]) -> (Child, u32) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_spoolway"));
    command.env("TMPDIR", folder).arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = command.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let started = lines.find(|line| line.contains("agent started (process ")).unwrap();
    let agent = started.split_once("(process ").unwrap().1.split_once(')').unwrap().0.parse().unwrap();
    // It goes on to speak, and whoever does not listen would end it.
    std::thread::spawn(move || lines.for_each(drop));
    (demo, agent)
}

/// Waits for the end of a process that is not ours to wait for.
fn ends(pid: u32) -> bool {
    // One that nobody has waited for has no command line any more.
    let lives = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    let deadline = Instant::now() + Duration::from_secs(30);
    while lives() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10)); // another program's end can only be asked for
    }
    !lives()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Its agent lived on, with its ports and its folder.
#[test]
fn a_demo_that_is_killed_takes_its_agent_along() {
    let folder = tempfile::tempdir().unwrap();
    let (mut demo, agent) = begun(folder.path(), &[]);
    demo.kill().unwrap();
    demo.wait().unwrap();
    let ended = ends(agent);
    if !ended {
        let agent = rustix::process::Pid::from_raw(agent.cast_signed()).unwrap();
        rustix::process::kill_process(agent, rustix::process::Signal::KILL).unwrap();
    }
    assert!(ended, "the agent lives on");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (demo, agent) = begun(folder.path(), &[]);
    signal(&demo, rustix::process::Signal::TERM);
    let output = demo.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("interrupted; nothing of the demo is left"), "{text}");
    assert!(ends(agent), "the agent lives on");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

/// A hangup comes from the shell and from the kernel, the SIGTERM of `timeout` twice from itself. The second ended the demo while its
/// topic was being deleted.
#[test]
fn signals_that_come_several_times_are_one_interrupt_and_a_later_one_ends_the_demo() {
    use rustix::process::Signal;

    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = runtime.block_on(Target::start(TargetOptions::default())).unwrap();
    let address = cluster.brokers()[0].to_string();
    let (mut demo, agent) = begun(folder.path(), &["-b", &address]);
    cluster.faults().stall();
    signal(&demo, Signal::HUP);
    // It has taken the first one for an interrupt when its agent is gone.
    assert!(ends(agent), "the agent lives on");
    signal(&demo, Signal::HUP);
    signal(&demo, Signal::TERM);
    std::thread::sleep(Duration::from_millis(1500)); // what must not happen can only be waited for
    assert!(demo.try_wait().unwrap().is_none(), "the topic is not deleted yet");
    signal(&demo, Signal::TERM);
    let output = demo.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("interrupted again before all was cleaned up"), "{text}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

fn demo(folder: &std::path::Path) -> Command {
    let mut command = Command::cargo_bin("spoolway").unwrap();
    command.env("TMPDIR", folder).arg("demo");
    command
}

#[test]
fn the_demo_proves_the_agent_catches_the_control_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64).unwrap();
    assert_eq!(report.pointer("/proven"), Some(&true.into()), "{text}");
    assert_eq!(report.pointer("/control_caught"), Some(&true.into()), "{text}");
    assert!(number("/agent/accepted") > 10_000, "{text}");
    assert_eq!(number("/agent/delivered"), number("/agent/accepted"), "{text}");
    assert_eq!(number("/agent/missing") + number("/agent/reordered"), 0, "{text}");
    assert_eq!(number("/agent/doubled"), 0, "{text}");
    assert!(number("/control/missing") > 0, "{text}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn a_cluster_that_is_not_there_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).args(["--bootstrap-server", "127.0.0.1:1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("connecting to a broker at 127.0.0.1:1"), "{text}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn the_sabotaged_agent_serves_the_demo_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spoolway.toml");
    let text = format!(
        "[relay]\ndata_dir = \"{}\"\n[[source]]\ntype = \"stdin\"\nstream = \"x\"\n[[destination]]\nname = \"a\"\n\
         bootstrap = [\"127.0.0.1:1\"]\n",
        folder.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::cargo_bin("spoolway").unwrap();
    let output = command.args(["demo-part", "sabotaged", "-c"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("serves `spoolway demo` alone"));
}
