//! `tls`, `token` and `insecure` of what listens.

use std::net::SocketAddr;

use crate::config::model::{Guard, ServerTls, TlsIdentity};
use crate::config::section::{Inner, Section};
use crate::guard::{check_tls, check_tokens};

use super::link::{file, private, readable};

/// Reads them, and says so when a listener would be open to other hosts. `tokens`: requests have a place for a token.
pub(super) fn guard(section: &Section<'_>, tls_name: &'static str, tokens: bool) -> Guard {
    let tls = tls(section, tls_name);
    let token = if tokens { token(section) } else { None };
    Guard { tls, token }
}

fn tls(section: &Section<'_>, name: &'static str) -> Option<ServerTls> {
    let Inner::Table(inner) = section.inner("tls", name, false) else { return None };
    for key in ["certificate", "key"] {
        if !inner.has(key) {
            inner.missing(key, "\"FILE.pem\"");
        }
    }
    let certificate = file(&inner, "certificate", readable);
    let key = file(&inner, "key", private);
    let wants_ca = inner.has("client_ca");
    let client_ca = file(&inner, "client_ca", readable);
    let (blind, shown) = (inner.is_blind(), inner.close());
    section.show_inner("tls", shown);
    let identity = certificate.zip(key).map(|(certificate, key)| TlsIdentity { certificate, key })?;
    if wants_ca && client_ca.is_none() {
        // What was said about it must not end in a listener that asks for nothing.
        return None;
    }
    let tls = ServerTls { identity, client_ca };
    if !blind && let Err(cause) = check_tls(&tls) {
        let help = "name a certificate in PEM and its private key, and an authority as client_ca".to_owned();
        section.refuse("tls", (format!("can't be used: {cause}"), help));
        return None;
    }
    Some(tls)
}

fn token(section: &Section<'_>) -> Option<crate::secret::SecretSource> {
    let token = section.secret("token")?;
    if section.is_blind() {
        return Some(token);
    }
    let sound = token.read().and_then(|text| check_tokens(text.reveal()));
    sound
        .map_err(|cause| section.refuse("token", (format!("can't be used: {cause}"), MAKE.to_owned())))
        .ok()?;
    Some(token)
}

const MAKE: &str = "make one, for example with: openssl rand -base64 32";

impl Section<'_> {
    /// An address to listen on is this host's own, or guarded, or said to be `insecure` on purpose.
    pub(super) fn check_open(&self, address: SocketAddr, insecure: bool, guard: &Guard, tokens: bool) {
        // What is wrong with `tls` or `token` has been said.
        let said = self.has("tls") && guard.tls.is_none() || self.has("token") && guard.token.is_none();
        if address.ip().is_loopback() || insecure || guard.is_closed() || said {
            return;
        }
        let (lacks, add) = match (&guard.tls, tokens) {
            (None, true) => (
                "without encryption or authentication",
                "add tls = { certificate = \"FILE.pem\", key = \"FILE.pem\" } and token = { file = \"PATH\" }",
            ),
            (None, false) => (
                "without encryption or authentication",
                "add tls = { certificate = \"FILE.pem\", key = \"FILE.pem\", client_ca = \"FILE.pem\" }",
            ),
            (Some(_), true) => {
                ("without authentication", "add token = { file = \"PATH\" }, or client_ca to `tls`")
            }
            (Some(_), false) => ("without authentication", "add client_ca = \"FILE.pem\" to `tls`"),
        };
        self.refuse_open(address, lacks, add);
    }
}
