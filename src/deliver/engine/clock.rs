//! A clock that can't be right: a host without a battery boots in 1970, and learns the time when it has a network.
//!
//! What is stamped by it would be deleted by Kafka as it comes. So nothing is put into windows until the clock is set, or for a while: a
//! host that never learns the time delivers all the same.

use std::time::Duration;

use super::super::log::Log;
use super::{Engine, Now, Sink};

/// How long it is waited for, from the start on.
const PATIENCE: Duration = Duration::from_secs(120);

impl<L: Log, S: Sink> Engine<L, S> {
    /// Whether nothing may be put into windows yet. The clock does not say when it is set: whoever calls comes round.
    pub(super) fn awaits_clock(&mut self, now: Now) -> bool {
        let began = *self.began.get_or_insert(now.instant);
        self.clock_is_wrong = now.unix < self.settings.earliest && now.instant < began + PATIENCE;
        self.clock_is_wrong
    }
}
