//! A wall clock that is set while the agent runs: a host that boots in 1970, and hears the time later.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spoolway::target::{Target, TargetOptions};

use crate::needs::find;
use crate::support::agent::{Setup, spoolway};
use crate::support::http;
use crate::trace;

const SOON: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600;

/// `agent` under `clock.py`, whose file says how far its clock is off.
fn clocked(agent: &Command, off: &Path) -> Command {
    let mut command = Command::new(find("python3").unwrap_or_else(|| PathBuf::from("python3")));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/clock.py");
    command.args(["-I", "-S"]).arg(script).arg(off).arg(agent.get_program());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Milliseconds since 1970, in earnest.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    i64::try_from(since.as_millis()).expect("not that late")
}

/// Whole seconds of it are replaced by another file, so that nobody reads half of them.
fn set(off: &Path, seconds: i64) {
    let new = off.with_extension("new");
    fs::write(&new, seconds.to_string()).expect("a file");
    fs::rename(&new, off).expect("a file");
}

fn post(setup: &Setup) {
    for _ in 0..10 {
        let answer = http::post(setup.http, "/v1/events/a", "", b"x\n").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Newest times of all batches, and how many records there are.
fn stamps(target: &Target) -> (Vec<i64>, i64) {
    let batches = target.batches("a", 0).expect("a log");
    let times = batches.iter().map(|(header, _)| header.max_timestamp).collect();
    (times, target.end_offset("a", 0).expect("a partition"))
}

pub fn what_a_host_accepted_in_1970_arrives_with_its_time_once_it_knows_it_and_no_jump_loses_or_doubles() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let options = TargetOptions { topics: vec![("a".to_owned(), 1)], ..TargetOptions::default() };
    let target = runtime.block_on(Target::start(options)).expect("a target");
    let setup = Setup::new("clock").destination("home", target.brokers()[0].port(), "");
    let off = setup.dir.join("off");
    set(&off, 100 - now() / 1000);
    let agent = setup.spawn_by(clocked(&spoolway(), &off));
    agent.wait_ready("/readyz?for=accept", SOON);
    post(&setup);
    let status = agent.wait_status("it knows the time", SOON, |status| {
        let notes = status["destinations"][0]["notes"].as_array().expect("notes");
        notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("clock")))
    });
    let last = status["sources"].as_array().expect("sources").iter().map(|row| row["last_event_at"].as_i64());
    assert!(last.flatten().all(|at| at < 1000 * DAY), "its clock is the real one: {status:#}");
    assert_eq!(stamps(&target), (vec![], 0), "nothing goes out under a time of 1970");
    let known = now();
    set(&off, 0);
    agent.wait_drained(Some("home"), SOON);
    let (times, count) = stamps(&target);
    assert_eq!(count, 10);
    assert!(
        times.iter().all(|at| (known - 60_000..=known + 1_000).contains(at)),
        "{times:?}, known at {known}"
    );
    for (turn, days) in [(2, -1), (3, 400), (4, 0)] {
        set(&off, days * DAY);
        post(&setup);
        let status = agent.wait_drained(Some("home"), SOON);
        assert_eq!(status["accounts"][0]["delivered"].as_i64(), Some(10 * turn), "{status:#}");
        assert_eq!(stamps(&target).1, 10 * turn, "{days} days off");
    }
    assert_eq!(target.counts().borrow().duplicates, 0);
    trace::kill(&agent);
}
