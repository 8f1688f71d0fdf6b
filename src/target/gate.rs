//! The state of the link and of the power, which every connection and listener watches.

use std::time::Duration;

use tokio::sync::watch;

/// Whether the brokers can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// They can.
    Up,
    /// Nothing listens and no connection is open, but the brokers live.
    Cut,
    /// The brokers are dead.
    Dead,
}

/// What a connection must look at before it goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    pub(super) link: Link,
    /// Connections of an earlier generation are closed at once.
    pub(super) generation: u64,
    /// Nothing is accepted, read or worked on: a stopped process, or a link that swallows.
    pub(super) stalled: bool,
    /// The same of this broker alone, which still takes connections.
    pub(super) stalled_broker: Option<i32>,
    /// Produce requests are worked on, their answers are kept back.
    pub(super) holding: bool,
    /// Answers go out this late.
    pub(super) delay: Duration,
}

impl Gate {
    /// Down until the listeners are bound.
    pub(super) fn down() -> watch::Sender<Self> {
        watch::Sender::new(Self {
            link: Link::Dead,
            generation: 0,
            stalled: false,
            stalled_broker: None,
            holding: false,
            delay: Duration::ZERO,
        })
    }
}

/// Waits until `open` holds. Ends too when the target is gone, where the caller is about to be ended itself.
pub(super) async fn until(gate: &watch::Sender<Gate>, open: impl Fn(&Gate) -> bool) {
    let _ = gate.subscribe().wait_for(open).await;
}
