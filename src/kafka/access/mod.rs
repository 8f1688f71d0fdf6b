//! How a connection gets from here to a broker that trusts us: the proxy on the way, TLS, SASL.
//!
//! What this room promises:
//! - **Every connection takes the same way.** The producer, its control connection, the consumer that reads back, the
//!   checks of the command line and the client of the token endpoint share one [`Access`]; there is no way round it.
//! - **Nobody is trusted unproven.** A certificate is verified against the trusted authorities and the name that was
//!   connected to; there is no key that turns this off. With SCRAM the broker proves that it knows the password too.
//! - **Files are read again when they have changed.** The next connection uses a renewed certificate, authority or
//!   password. A changed file that can't be used leaves the last good one in force, and is logged ([`crate::kept`]).
//! - **Secrets stay secret**: see [`crate::secret`]. No error, log line or `Debug` has one.
//! - **Nothing from the other end is believed**: lengths are checked before anything is allocated, what a SCRAM server may
//!   ask for is bounded, answers of proxies and token endpoints are capped, and each step has a deadline.
//!
//! On failure: the errors say what is wrong in plain words, and what a person can do. Those that a person must act on
//! (wrong credentials, untrusted certificates) are told apart, so that they are tried again at a slower pace.

mod certificate;
mod others;
pub(crate) mod proxy;
pub(crate) mod sasl;
pub(crate) mod tls;
mod trouble;

use std::sync::Arc;

use crate::config::model::{self, Destination};
use crate::metrics::Metrics;

pub use proxy::ProxyError;
pub use sasl::SaslError;
pub use trouble::TlsError;

/// What every connection to a cluster has in common. Cheap to clone; clones share what has been read and the token.
#[derive(Debug, Clone, Default)]
pub struct Access {
    parts: Arc<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    tls: Option<tls::Tls>,
    sasl: Option<sasl::Sasl>,
    proxy: Option<model::Proxy>,
}

impl Access {
    /// By these settings. Nothing is read yet.
    #[must_use]
    pub fn new(tls: Option<&model::Tls>, sasl: Option<&model::Sasl>, proxy: Option<&model::Proxy>) -> Self {
        let parts = Parts {
            tls: tls.map(|tls| tls::Tls::new(tls, None)),
            sasl: sasl.map(|sasl| sasl::Sasl::new(sasl, proxy)),
            proxy: proxy.cloned(),
        };
        Self { parts: Arc::new(parts) }
    }

    /// As a destination is configured.
    #[must_use]
    pub fn of(destination: &Destination) -> Self {
        Self::new(destination.tls.as_ref(), destination.sasl.as_ref(), destination.proxy.as_ref())
    }

    /// As a destination is configured, telling when its certificates expire.
    #[must_use]
    pub fn measured(destination: &Destination, metrics: &Metrics) -> Self {
        let expiry = || certificate::Expiry::new(destination.name.as_str(), metrics);
        let (sasl, proxy) = (destination.sasl.as_ref(), destination.proxy.as_ref());
        let parts = Parts {
            tls: destination.tls.as_ref().map(|tls| tls::Tls::new(tls, Some(expiry()))),
            sasl: sasl.map(|sasl| sasl::Sasl::new(sasl, proxy)),
            proxy: proxy.cloned(),
        };
        Self { parts: Arc::new(parts) }
    }

    pub(crate) fn tls(&self) -> Option<&tls::Tls> {
        self.parts.tls.as_ref()
    }

    pub(crate) fn sasl(&self) -> Option<&sasl::Sasl> {
        self.parts.sasl.as_ref()
    }

    pub(crate) fn proxy(&self) -> Option<&model::Proxy> {
        self.parts.proxy.as_ref()
    }
}

#[cfg(test)]
mod tests;
