//! What work costs.

use std::time::Duration;

/// Processor time this thread has used: what a save costs, however busy the host is otherwise.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
