//! TLS over a stream: always verified, by files that may change.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::certificate::Expiry;
use super::kept::Kept;
use super::trouble::{TlsError, explain};
use crate::config::model::{self, Pem, TlsIdentity};
use crate::secret::open_private;

/// Largest file of certificates. The public authorities of a whole distribution take a quarter of a megabyte.
const MAX_FILE: u64 = 4 * 1024 * 1024;
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

    /// Makes the handshake. The caller sets the time limit.
    pub(crate) async fn wrap(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, TlsError> {
        let shared = Arc::clone(&self.shared);
        let made = tokio::task::spawn_blocking(move || shared.get()).await;
        let made = made.map_err(|e| TlsError::files(e.to_string()))?.map_err(TlsError::files)?;
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
        let files: Vec<&Path> = all
            .into_iter()
            .flatten()
            .filter_map(|pem| match pem {
                Pem::File(path) => Some(path.as_path()),
                Pem::Text(_) => None,
            })
            .collect();
        self.kept.get(&files, || make(&self.settings))
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
    let (chain, key) = own(identity)?;
    let leaf = chain.first().cloned();
    let config = builder.with_client_auth_cert(chain, key);
    let config =
        config.map_err(|e| format!("{} and {}: {e}", name(&identity.certificate), name(&identity.key)))?;
    Ok(Made { config: Arc::new(config), own: leaf })
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, String> {
    let Some(ca) = ca else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", name(ca)))?;
    }
    Ok(roots)
}

fn own(identity: &TlsIdentity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(&identity.certificate)?;
    let text = text(&identity.key, true)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound if contains(&text, b"ENCRYPTED PRIVATE KEY") => format!(
            "{}: the private key is encrypted; store it without a passphrase, readable by its owner alone",
            name(&identity.key)
        ),
        // Not what the crate says about it: that may quote the key.
        pem::Error::NoItemsFound => format!("{}: there is no private key in PEM in it", name(&identity.key)),
        _ => format!("{}: it is not PEM", name(&identity.key)),
    })?;
    Ok((chain, key))
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = text(pem, false)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match read {
        Ok(read) if read.is_empty() => Err(format!("{}: there is no certificate in PEM in it", name(pem))),
        Ok(read) => Ok(read),
        Err(_) => Err(format!("{}: it is not PEM", name(pem))),
    }
}

fn text(pem: &Pem, private: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = match pem {
        Pem::Text(text) => return Ok(Zeroizing::new(text.reveal().as_bytes().to_vec())),
        Pem::File(path) => path,
    };
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = if private { open_private(path)? } else { std::fs::File::open(path).map_err(named)? };
    let mut text = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(named)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{}: it has more than 4 MiB", path.display()));
    }
    Ok(text)
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => "the text in PEM".to_owned(),
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    memchr::memmem::find(text, words).is_some()
}
