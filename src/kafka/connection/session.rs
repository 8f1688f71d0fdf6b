//! A connection's session with SASL: it begins before anything else is sent, and is renewed before it ends (KIP-368).
//!
//! A broker with `connections.max.reauth.ms` closes a connection on which a request comes after the session's end. So the
//! writer, which knows when it is about to send, renews the session first where it is due. It waits for the broker's
//! answers and sends nothing else meanwhile, which the protocol demands. An idle connection is renewed when it is next used:
//! brokers allow it after the end too.

use std::time::Duration;

use tokio::time::Instant;

use super::Options;
use crate::kafka::access::sasl::Wire;
use crate::kafka::access::{Access, SaslError};

/// Brokers refuse a renewal within a second of the last.
const SOONEST: Duration = Duration::from_millis(1_100);

/// The session.
#[derive(Debug)]
pub(super) struct Session {
    access: Access,
    client_id: String,
    /// In which version of SaslAuthenticate.
    version: i16,
    /// When to renew it; `None` when it does not end.
    renew_at: Option<Instant>,
}

impl Session {
    pub(super) fn new(options: &Options) -> Self {
        let (access, client_id) = (options.access.clone(), options.client_id.clone());
        Self { access, client_id, version: 0, renew_at: None }
    }

    /// Authenticates for the first time.
    pub(super) async fn begin(&mut self, version: i16, wire: &mut impl Wire) -> Result<(), SaslError> {
        self.version = version;
        self.authenticate(wire).await
    }

    /// Authenticates again, if it is time.
    pub(super) async fn renew(&mut self, wire: &mut impl Wire) -> Result<(), String> {
        if self.renew_at.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        let renewed = self.authenticate(wire).await;
        renewed.map_err(|e| format!("the session is over, and can't be renewed: {e}"))
    }

    async fn authenticate(&mut self, wire: &mut impl Wire) -> Result<(), SaslError> {
        let Some(sasl) = self.access.sasl() else { return Ok(()) };
        let lifetime = sasl.authenticate(wire, &self.client_id, self.version).await?;
        // A fifth of it is left for what is being written when the time comes.
        self.renew_at = lifetime.map(|life| Instant::now() + (life * 4 / 5).max(SOONEST));
        Ok(())
    }
}
