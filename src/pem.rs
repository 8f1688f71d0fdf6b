//! Certificates and keys in PEM, as files or as text: reading them, and saying what is wrong with them.
//!
//! INVARIANT: no error repeats anything of a private key.

use std::io::Read;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::model::{Pem, TlsIdentity};
use crate::secret::open_private;

/// Largest file of certificates. The public authorities of a whole distribution take a quarter of a megabyte.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Those of them that are files, to be looked at for changes.
pub(crate) fn files<'a>(all: impl IntoIterator<Item = Option<&'a Pem>>) -> Vec<&'a Path> {
    let file = |pem: &'a Pem| match pem {
        Pem::File(path) => Some(path.as_path()),
        Pem::Text(_) => None,
    };
    all.into_iter().flatten().filter_map(file).collect()
}

/// Where a certificate and its key come from.
pub(crate) fn names(identity: &TlsIdentity) -> String {
    format!("{} and {}", name(&identity.certificate), name(&identity.key))
}

/// Authorities to trust.
pub(crate) fn roots(ca: &Pem) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", name(ca)))?;
    }
    Ok(roots)
}

/// A certificate with those above it, and its key.
pub(crate) fn identity(
    identity: &TlsIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
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

/// Certificates, at least one.
pub(crate) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
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
