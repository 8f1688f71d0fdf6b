//! TLS over a stream: always verified, by files that may change.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::certificate::Expiry;
use super::trouble::{TlsError, explain};
use crate::config::model::{self, Pem};
use crate::kept::Kept;
use crate::{panics, pem};

/// What TLS may hold that the network has not taken, so that a write's end means that nearly all is on its way.
const UNSENT: usize = 16 * 1024;

/// The TLS of a destination.
#[derive(Debug)]
pub(crate) struct Tls {
    shared: Arc<Shared>,
    server_name: Option<String>,
    expiry: Option<Expiry>,
}

#[derive(Debug)]
struct Shared {
    settings: model::Tls,
    kept: Kept<Made>,
}

/// What the files give.
#[derive(Debug)]
struct Made {
    config: Arc<ClientConfig>,
    own: Option<CertificateDer<'static>>,
}

impl Tls {
    pub(super) fn new(settings: &model::Tls, expiry: Option<Expiry>) -> Self {
        let server_name = settings.server_name.clone();
        let shared = Shared { settings: settings.clone(), kept: Kept::default() };
        Self { shared: Arc::new(shared), server_name, expiry }
    }

    /// What the files give now.
    async fn made(&self) -> Result<Arc<Made>, String> {
        let shared = Arc::clone(&self.shared);
        let made = tokio::task::spawn_blocking(move || shared.get()).await;
        made.map_err(|e| panics::of_task(&e).to_owned())?
    }

    /// For a client that makes the handshake itself.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        Ok(Arc::clone(&self.made().await?.config))
    }

    /// Makes the handshake. The caller sets the time limit.
    pub(crate) async fn wrap(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, TlsError> {
        let made = self.made().await.map_err(TlsError::files)?;
        let name = self.server_name.as_deref().unwrap_or(host);
        let verified = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::name(name))?;
        let connector = TlsConnector::from(Arc::clone(&made.config));
        let limit = |connection: &mut tokio_rustls::rustls::ClientConnection| {
            connection.set_buffer_limit(Some(UNSENT));
        };
        let stream = connector.connect_with(verified, stream, limit).await.map_err(|e| explain(&e, name))?;
        if let Some(expiry) = &self.expiry {
            made.own.as_ref().inspect(|own| expiry.own(own));
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            shown.inspect(|leaf| expiry.broker(host, leaf));
        }
        Ok(stream)
    }
}

impl Shared {
    fn get(&self) -> Result<Arc<Made>, String> {
        let identity = self.settings.identity.as_ref();
        let all = [self.settings.ca.as_ref(), identity.map(|i| &i.certificate), identity.map(|i| &i.key)];
        self.kept.get(&pem::files(all), || make(&self.settings))
    }
}

fn make(settings: &model::Tls) -> Result<Made, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let builder = builder.with_root_certificates(roots(settings.ca.as_ref())?);
    let Some(identity) = &settings.identity else {
        return Ok(Made { config: Arc::new(builder.with_no_client_auth()), own: None });
    };
    let (chain, key) = pem::identity(identity)?;
    let leaf = chain.first().cloned();
    let config = builder.with_client_auth_cert(chain, key);
    let config = config.map_err(|e| format!("{}: {e}", pem::names(identity)))?;
    Ok(Made { config: Arc::new(config), own: leaf })
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, String> {
    let Some(ca) = ca else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    pem::roots(ca)
}
