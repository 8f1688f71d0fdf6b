//! An agent that is attacked, and what must hold of it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::agent::{Agent, Setup, spoolway};
use super::support::http;
use super::support::process::{Process, Signal};

/// Resident memory, at most, over the agent's whole life: what an agent at full load may have (docs/performance.md, 32 MiB), the memory
/// that senders share (6 MiB), and one largest request beyond it: a JSON array of 16 MiB is there three times, as it came and as events
/// of twice its size. glibc may keep as much again of what it was given back.
const MOST: u64 = (32 + 6 + 2 * 48) << 20;

/// What `spool verify` finds.
#[derive(Debug)]
pub struct Found {
    /// Whole events.
    pub events: u64,
    /// Numbers whose events are not there.
    pub lost: u64,
}

/// Attacks an agent, and asks everything of it that must hold afterwards. Returns the most memory that it had resident.
pub fn attack(setup: &Setup, attack: impl FnOnce(&Agent<'_>)) -> u64 {
    let (most, _) = attacked(setup, &[0], attack);
    most
}

/// Starts an agent on a data directory that was damaged, and asks the same of it. Its spool may have lost something.
pub fn survives(setup: &Setup, what: &str) -> Found {
    let (most, found) = attacked(setup, &[0, 3], |_| {});
    println!("{what}: {found:?}, {} MiB resident at most", most >> 20);
    assert!(!is_too_much(most), "{what}: {} MiB were resident", most >> 20);
    found
}

fn attacked(setup: &Setup, codes: &[i32], attack: impl FnOnce(&Agent<'_>)) -> (u64, Found) {
    attacked_by(spoolway(), setup, codes, attack)
}

/// `program` gets `run -c FILE`.
fn attacked_by(
    program: Command,
    setup: &Setup,
    codes: &[i32],
    attack: impl FnOnce(&Agent<'_>),
) -> (u64, Found) {
    let agent = setup.spawn_by(program);
    agent.wait_ready("/readyz?for=accept", Duration::from_secs(20));
    let before = accepted(&agent);
    attack(&agent);
    // Honest senders are served, and what they hand over is there.
    let answer = http::post(setup.http, "/v1/events/honest", "", b"still here\n").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(accepted(&agent) > before);
    agent.wait_ready("/healthz", Duration::from_secs(5));
    let most = resident_at_most(agent.process.pid());
    agent.process.signal(Signal::TERM);
    let status = agent.process.wait(Duration::from_secs(15));
    let said = agent.process.output().tail();
    assert!(!has_panicked(&agent.process), "{said}");
    assert!(status.success(), "ended with {status}; {said}");
    (most, verified(setup, codes))
}

/// The same, within the bound.
pub fn withstands(setup: &Setup, input: impl FnOnce(&Agent<'_>)) {
    withstands_by(spoolway(), setup, input);
}

/// The same, of an agent that is started in a way of its own.
pub fn withstands_by(program: Command, setup: &Setup, input: impl FnOnce(&Agent<'_>)) {
    let (most, _) = attacked_by(program, setup, &[0], input);
    assert!(!is_too_much(most), "{} MiB were resident", most >> 20);
    println!("{} MiB resident at most", most >> 20);
}

/// Whether it ever did, before it ended.
pub fn has_panicked(process: &Process) -> bool {
    process.output().all(Duration::from_secs(5)).contains("panicked")
}

/// Whether that much is more than an agent may take.
pub fn is_too_much(bytes: u64) -> bool {
    bytes > MOST
}

fn accepted(agent: &Agent<'_>) -> u64 {
    let status = agent.status();
    status["accounts"]
        .as_array()
        .and_then(|rows| rows.first())
        .and_then(|row| row["accepted"].as_u64())
        .unwrap_or(0)
}

/// `VmHWM`, in bytes.
fn resident_at_most(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// What `spool verify` finds; its exit code must be one of these.
pub fn verified(setup: &Setup, codes: &[i32]) -> Found {
    let mut command: Command = spoolway();
    command.args(["spool", "verify", "--json"]).arg(setup.data_dir());
    let output = command.output().expect("spoolway runs");
    let code = output.status.code().expect("it ends by itself");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(codes.contains(&code), "{code}: {told}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let count = |field: &str| told["lanes"][0][field].as_u64().expect("a number");
    Found { events: count("events"), lost: count("lost") }
}
