//! What the agent says of itself: the same fault has to be seen in each place where people look.

use crate::support::agent::Agent;

/// Waits until `/readyz?for=accept` answers 503 with a reason in which `word` stands; returns the answer.
pub fn not_accepting(agent: &Agent<'_>, word: &str) -> String {
    agent.wait_refusing("/readyz?for=accept", word, std::time::Duration::from_secs(20))
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
