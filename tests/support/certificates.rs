//! Certificates made for a test: an authority, and what it signs.

use std::path::{Path, PathBuf};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// One that signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

fn parameters(names: &[&str], common: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.distinguished_name.push(DnType::CommonName, common);
    parameters
}

impl Authority {
    /// A new one, self-signed.
    pub fn new(name: &str) -> Self {
        let mut parameters = parameters(&[], name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = pem("CERTIFICATE", parameters.self_signed(&key).expect("a certificate").der());
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for these names, for brokers and clients, valid from one year to another.
    pub fn sign_for(&self, names: &[&str], years: (i32, i32)) -> Signed {
        let mut parameters = parameters(names, names.first().copied().unwrap_or("nobody"));
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Signed {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }

    /// Signs one that is valid now.
    pub fn sign(&self, names: &[&str]) -> Signed {
        self.sign_for(names, (2020, 2080))
    }
}

/// Puts text into a file by a rename, as tools do that renew certificates; only its owner may read it.
pub fn put(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let (fresh, path) = (dir.join(format!("{name}.new")), dir.join(name));
    std::fs::write(&fresh, text).expect("a writable directory");
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    std::fs::rename(&fresh, &path).expect("a writable directory");
    path
}
