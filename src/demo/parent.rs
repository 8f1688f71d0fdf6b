//! The agents of a demo end with it, however it ends.
//!
//! A child that is to die with its parent has to say so itself: between fork and exec it can't without unsafe code. So the demo
//! says whose child it is in the environment, and an agent that finds itself there asks the kernel for the signal. The ledger needs none
//! of this: its input ends.

use std::ffi::OsString;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::DemoError;

/// The demo's process id.
const PARENT: &str = "SPOOLWAY_DEMO";

/// What an agent of this demo is told.
///
/// The signal comes when the *thread* ends that started the child: a demo starts its agents from the main one, which is its last.
pub(super) fn variable() -> (&'static str, OsString) {
    (PARENT, std::process::id().to_string().into())
}

/// As an agent of a demo, dies by SIGKILL when that ends; else does nothing.
///
/// # Errors
/// [`DemoError::Part`] when the demo has ended already.
pub fn end_with_the_demo() -> Result<(), DemoError> {
    let Some(demo) = std::env::var_os(PARENT) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| DemoError::process("asking to end with the demo")(error.into()))?;
    // It may have ended before that was asked.
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    if demo == OsString::from(parent.to_string()) {
        return Ok(());
    }
    Err(DemoError::Part(format!("{PARENT} is set, and its process has not started this one: unset it")))
}
