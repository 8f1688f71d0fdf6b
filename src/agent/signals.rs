//! The signals that end the agent, or have it look at its configuration again.

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::AgentError;

/// The one that does not end it.
pub(super) const HANGUP: &str = "SIGHUP";

/// For as long as the process lives: what comes while nobody waits is told later.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// It would end the process where a file grows beyond `ulimit -f`. Since it is listened to, the write fails instead, as on a
    /// full disk.
    _file_too_large: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, AgentError> {
        let listen = |kind| signal(kind).map_err(AgentError::system("listening for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            _file_too_large: listen(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => HANGUP,
        }
    }

    /// One that ends the agent, whatever else comes.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            let name = self.next().await;
            if name != HANGUP {
                return name;
            }
        }
    }
}
