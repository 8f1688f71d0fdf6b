//! A listener's certificates and its clients, for tests.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::model::{Guard, Pem, ServerTls, TlsIdentity};
use crate::pem;
use crate::secret::Secret;

#[path = "../../tests/support/certificates.rs"]
pub(crate) mod certificates;
use certificates::{Authority, Signed, put};

/// A directory with a certificate for localhost.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("ours") };
        site.renew(&site.authority.sign(&["localhost"]));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts another certificate in the place of the server's.
    pub(crate) fn renew(&self, signed: &Signed) {
        put(self.dir.path(), "key.pem", &signed.key);
        put(self.dir.path(), "cert.pem", &signed.certificate);
    }

    pub(crate) fn tls(&self, client_ca: Option<Pem>) -> Guard {
        let (certificate, key) = (Pem::File(self.path("cert.pem")), Pem::File(self.path("key.pem")));
        let identity = TlsIdentity { certificate, key };
        Guard { tls: Some(ServerTls { identity, client_ca }), token: None }
    }
}

pub(crate) fn text(pem: &str) -> Pem {
    Pem::Text(Secret::new(pem.to_owned()))
}

/// A client that trusts `authority` and shows `identity`.
pub(crate) fn client(authority: &Authority, identity: Option<&Signed>) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let roots: RootCertStore = pem::roots(&text(authority.pem())).unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(signed) => {
            let identity = TlsIdentity { certificate: text(&signed.certificate), key: text(&signed.key) };
            let (chain, key) = pem::identity(&identity).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}
