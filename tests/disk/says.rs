//! What the agent says of itself: the same fault has to be seen in each place where people look.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::agent::Agent;

const SOON: Duration = Duration::from_secs(20);

/// Waits until `/readyz?for=accept` answers 503 with a reason in which `word` stands; returns the answer.
pub fn not_accepting(agent: &Agent<'_>, word: &str) -> String {
    agent.wait_refusing("/readyz?for=accept", word, SOON)
}

/// The value of a metric of lane `main`; 0 when it is not there yet.
pub fn metric(agent: &Agent<'_>, name: &str) -> f64 {
    let text = agent.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{lane=\"main\"}} ")));
    line.map_or(0.0, |value| value.trim().parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// How many lines of its log say that it takes no events.
pub fn lines_of_trouble(agent: &Agent<'_>) -> usize {
    let output = agent.process.output();
    output.count("takes no events") + output.count("the lane can't write")
}

/// Its log says so `times` times by now: what it says reaches us after it has told others.
pub fn assert_trouble_said(agent: &Agent<'_>, times: usize) {
    let deadline = Instant::now() + SOON;
    while lines_of_trouble(agent) < times && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(lines_of_trouble(agent), times, "{}", agent.process.output().tail());
}
