//! The server's side of TLS, by files that may change.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::model::ServerTls;
use crate::kept::Kept;
use crate::{panics, pem};

/// Why a connection does not come in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The handshake took too long.
    #[error("the TLS handshake took longer than {:?}", super::HANDSHAKE)]
    Late,
    /// The other end speaks something else.
    #[error("what connects does not speak TLS")]
    Foreign,
    /// It shows no certificate, and has to.
    #[error("the client shows no certificate, and client_ca asks for one")]
    NoCertificate,
    /// It shows one that is not trusted.
    #[error("the client's certificate is not trusted: {0}")]
    Certificate(String),
    /// It broke off, or the two have no version or cipher in common.
    #[error("the TLS handshake failed: {0}")]
    Failed(io::Error),
}

impl GateError {
    /// A stable word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Foreign => "foreign",
            Self::NoCertificate => "no_certificate",
            Self::Certificate(_) => "certificate",
            Self::Failed(_) => "failed",
        }
    }
}

impl From<io::Error> for GateError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidMessage(_)) => Self::Foreign,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(wrong)) => Self::Certificate(wrong.to_string()),
            _ => Self::Failed(error),
        }
    }
}

/// The TLS of a listener.
#[derive(Debug)]
pub(super) struct Tls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ServerTls,
    kept: Kept<Made>,
}

/// What the files give.
struct Made(Arc<ServerConfig>);

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Made")
    }
}

impl Tls {
    pub(super) fn new(settings: &ServerTls) -> Result<Self, String> {
        let shared = Arc::new(Shared { settings: settings.clone(), kept: Kept::default() });
        shared.get()?;
        Ok(Self { shared })
    }

    pub(super) async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = Arc::clone(&self.shared);
        let failed = |what: String| GateError::Failed(io::Error::other(what));
        let made = tokio::task::spawn_blocking(move || shared.get()).await;
        let made = made.map_err(|e| failed(panics::of_task(&e).to_owned()))?.map_err(failed)?;
        Ok(TlsAcceptor::from(Arc::clone(&made.0)).accept(stream).await?)
    }
}

impl Shared {
    fn get(&self) -> Result<Arc<Made>, String> {
        let ServerTls { identity, client_ca } = &self.settings;
        let files = pem::files([Some(&identity.certificate), Some(&identity.key), client_ca.as_ref()]);
        self.kept.get(&files, || make(&self.settings).map(Made))
    }
}

/// Whether the files can be used.
pub(crate) fn check(settings: &ServerTls) -> Result<(), String> {
    make(settings).map(drop)
}

fn make(settings: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(pem::roots(ca)?), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|e| e.to_string())?)
        }
    };
    let (chain, key) = pem::identity(&settings.identity)?;
    let config = builder.with_single_cert(chain, key);
    config.map(Arc::new).map_err(|e| format!("{}: {e}", pem::names(&settings.identity)))
}
