//! Tells the observer and the log how the link stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::DestinationName;
use crate::kafka::window::{LinkError, LinkState, Observer};

/// The same complaint is logged this often.
const REPEAT: Duration = Duration::from_secs(30);

/// Everything goes to the observer; the log gets what is new, and what persists now and then.
pub(super) struct Reporter {
    destination: DestinationName,
    pub(super) observer: Arc<dyn Observer>,
    up: Option<bool>,
    logged: Option<(String, Instant)>,
    unlogged: u64,
}

impl Reporter {
    pub(super) fn new(destination: DestinationName, observer: Arc<dyn Observer>) -> Self {
        Self { destination, observer, up: None, logged: None, unlogged: 0 }
    }

    /// The link is up or not. Told when it changed.
    pub(super) fn up(&mut self, up: bool, now: Instant) {
        if self.up == Some(up) {
            return;
        }
        self.up = Some(up);
        if up && self.may_log("up", now) {
            tracing::info!(destination = %self.destination, "the destination answers");
        }
        self.observer.link(LinkState { up, error: None });
    }

    /// Something went wrong. Told every time.
    pub(super) fn error(&mut self, up: bool, error: LinkError, now: Instant) {
        self.up = Some(up);
        if self.may_log(&error.message, now) {
            let unlogged = std::mem::take(&mut self.unlogged);
            tracing::warn!(
                destination = %self.destination, up, code = error.code, hint = error.hint, unlogged,
                "{}", error.message
            );
        }
        self.observer.link(LinkState { up, error: Some(error) });
    }

    /// Something worth knowing, for the log alone.
    pub(super) fn say(&self, message: &str) {
        tracing::info!(destination = %self.destination, "{message}");
    }

    fn may_log(&mut self, message: &str, now: Instant) -> bool {
        let fresh = match &self.logged {
            Some((last, at)) => {
                last != message && now.duration_since(*at) >= Duration::from_secs(1)
                    || now.duration_since(*at) >= REPEAT
            }
            None => true,
        };
        if fresh {
            self.logged = Some((message.to_owned(), now));
        } else {
            self.unlogged += 1;
        }
        fresh
    }
}
