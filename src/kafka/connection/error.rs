//! Why there is no connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::kafka::access::{ProxyError, SaslError, TlsError};
use crate::kafka::window::LinkError;
use crate::kafka::wire::WireError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("the host name can't be resolved: {0}")]
    Resolve(std::io::Error),
    /// None of its addresses takes a connection; the last one's error.
    #[error("{address} refuses: {source}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Nothing answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The proxy can't be connected to.
    #[error("the proxy {address} can't be reached: {source}")]
    ProxyAway {
        /// The proxy's address.
        address: String,
        /// Why it failed.
        source: Box<ConnectError>,
    },
    /// The proxy does not let us through.
    #[error("{0}")]
    Proxy(ProxyError),
    /// No TLS.
    #[error("{0}")]
    Tls(TlsError),
    /// No authentication.
    #[error("{0}")]
    Sasl(SaslError),
    /// Something answered, but not ApiVersions.
    #[error("it does not answer like a Kafka broker: {0}")]
    Handshake(String),
    /// It takes the connection and what it is asked, and says nothing.
    #[error("it takes connections, and answers nothing in time")]
    Silent,
    /// It answers ApiVersions, but not what it was asked next.
    #[error("it does not say which cluster it belongs to: {0}")]
    Mute(String),
    /// A broker that we can't talk to.
    #[error("{0}")]
    Protocol(WireError),
}

impl ConnectError {
    /// As told to people. `who` names the broker and its address.
    #[must_use]
    pub fn link_error(&self, who: &str) -> LinkError {
        let (code, hint) = match self {
            Self::Resolve(_) => (None, "check the name, and this host's name servers"),
            Self::Connect { .. } => (None, "check that the broker runs and listens at this address"),
            Self::Timeout(_) => (None, "check the network and firewalls between here and the broker"),
            Self::ProxyAway { .. } => (None, "check `proxy`, and that the proxy runs"),
            Self::Proxy(error) => (None, error.hint()),
            Self::Tls(error) => (None, error.hint),
            Self::Sasl(error) => (error.code(), error.hint()),
            Self::Handshake(_) => {
                (None, "check that this listener of the broker speaks TLS if `tls` is set, and only then")
            }
            Self::Mute(_) | Self::Silent => {
                (None, "check whether the broker hangs, is overloaded or stopped, and the network")
            }
            Self::Protocol(error) => {
                let code = if let WireError::Code(code) = error { Some(*code) } else { None };
                (code, "use a broker of Kafka 2.8 or later, or compatible")
            }
        };
        LinkError { code, message: format!("can't connect to {who}: {self}"), hint: hint.to_owned() }
    }

    /// It will not pass before a person has acted: wrong credentials, an untrusted certificate. To be tried again, but
    /// slowly.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        match self {
            Self::Tls(error) => error.lasting,
            Self::Sasl(error) => error.is_lasting(),
            Self::Proxy(ProxyError::Credentials(_) | ProxyError::Foreign(_)) => true,
            _ => false,
        }
    }
}
