//! `--command-config client.properties`: Kafka's own names for how to reach a cluster, as its command-line tools read them.
//!
//! What is understood: `client.id`, `request.timeout.ms`, `security.protocol`, `sasl.mechanism`,
//! `sasl.jaas.config` (PlainLoginModule, ScramLoginModule, OAuthBearerLoginModule with
//! `sasl.oauthbearer.token.endpoint.url`), and trust and key stores in PEM, by `ssl.truststore.location`,
//! `ssl.truststore.certificates`, `ssl.keystore.location`, `ssl.keystore.certificate.chain` and `ssl.keystore.key`.
//! Other keys are left alone, as Kafka's tools do, but never one whose neglect would make the connection less safe than it
//! says: stores in JKS, encrypted keys, Kerberos and turned-off verification are refused with the remedy.

mod jaas;
mod properties;

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use jaas::Login;
use properties::Properties;

use super::Failure;
use crate::config::model::{Destination, Mechanism, Pem, Sasl, Tls, TlsIdentity, TokenGrant, TokenUrl};
use crate::secret::{Secret, SecretSource};

/// How to reach a cluster.
#[derive(Debug, Clone, Default)]
pub struct CommandConfig {
    /// `client.id`
    pub client_id: Option<String>,
    /// `request.timeout.ms`
    pub request_timeout: Option<Duration>,
    /// TLS.
    pub tls: Option<Tls>,
    /// SASL.
    pub sasl: Option<Sasl>,
}

/// Reads a file of properties.
///
/// # Errors
/// [`Failure`] of exit code 2 that says what is wrong and what would be right.
pub fn read(path: &Path) -> Result<CommandConfig, Failure> {
    let bytes = std::fs::read(path).map_err(|e| {
        let remedy = "it is to be a file of properties, as --command-config of Kafka's own tools";
        Failure::usage(format!("{} can't be read: {e}; {remedy}", path.display()))
    })?;
    // As Java reads them: what is no ASCII is escaped, or in UTF-8.
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    let properties = Properties::parse(&text);
    if [JAAS, "ssl.keystore.key"].iter().any(|key| properties.get(key).is_some()) {
        crate::secret::open_private(path).map_err(Failure::usage)?;
    }
    understand(&properties)
        .map_err(|(key, what)| Failure::usage(format!("{}: `{key}` {what}", path.display())))
}

impl CommandConfig {
    /// Sets what the file says of the connection. The brokers are those of `--bootstrap-server`, as with Kafka's tools.
    pub fn apply(self, destination: &mut Destination) {
        destination.client_id = self.client_id.unwrap_or_else(|| std::mem::take(&mut destination.client_id));
        destination.request_timeout = self.request_timeout.unwrap_or(destination.request_timeout);
        (destination.tls, destination.sasl) = (self.tls, self.sasl);
    }
}

/// A key, and what is wrong with it. INVARIANT: never a value that may be secret.
type Wrong = (&'static str, String);

fn understand(properties: &Properties) -> Result<CommandConfig, Wrong> {
    let (tls, sasl) = match properties.get("security.protocol").unwrap_or("PLAINTEXT").to_uppercase().as_str()
    {
        "PLAINTEXT" => (None, None),
        "SSL" => (Some(tls(properties)?), None),
        "SASL_PLAINTEXT" => (None, Some(sasl(properties)?)),
        "SASL_SSL" => (Some(tls(properties)?), Some(sasl(properties)?)),
        other => {
            let known = "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL";
            return Err(("security.protocol", format!("can't be {other:?}: it is {known}")));
        }
    };
    const TIMEOUT: &str = "request.timeout.ms";
    // As `request_timeout` of a destination.
    let allowed = 100..=600_000;
    let millis =
        properties.get(TIMEOUT).map(|text| text.parse::<u32>().ok().filter(|ms| allowed.contains(ms)));
    let request_timeout = match millis {
        Some(None) => {
            return Err((TIMEOUT, "must be a number of milliseconds from 100 to 600000".to_owned()));
        }
        millis => millis.flatten().map(|ms| Duration::from_millis(u64::from(ms))),
    };
    let client_id = properties.get("client.id").filter(|id| !id.is_empty()).map(str::to_owned);
    Ok(CommandConfig { client_id, request_timeout, tls, sasl })
}

fn tls(properties: &Properties) -> Result<Tls, Wrong> {
    const NAMES: &str = "ssl.endpoint.identification.algorithm";
    if properties.get(NAMES).is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("https")) {
        return Err((
            NAMES,
            "turns the check of names off, which spoolway always makes: remove it".to_owned(),
        ));
    }
    const ENCRYPTED: &str = "ssl.key.password";
    if properties.get(ENCRYPTED).is_some() {
        let remedy = "store the key without a passphrase, readable by its owner alone, and remove it";
        return Err((ENCRYPTED, format!("is for an encrypted key, which spoolway does not read: {remedy}")));
    }
    pem_alone(properties, "ssl.truststore.type", ["ssl.truststore.location", "ssl.truststore.certificates"])?;
    pem_alone(properties, "ssl.keystore.type", ["ssl.keystore.location", "ssl.keystore.key"])?;
    let file = |key: &str| properties.get(key).map(|path| Pem::File(PathBuf::from(path)));
    let text = |key: &str| properties.get(key).map(|text| Pem::Text(Secret::new(text.to_owned())));
    let ca = file("ssl.truststore.location").or_else(|| text("ssl.truststore.certificates"));
    let identity = match file("ssl.keystore.location") {
        // Kafka's PEM stores have the key and the certificates in one file.
        Some(both) => Some(TlsIdentity { certificate: both.clone(), key: both }),
        None => {
            let (chain, key) = (text("ssl.keystore.certificate.chain"), text("ssl.keystore.key"));
            chain.zip(key).map(|(certificate, key)| TlsIdentity { certificate, key })
        }
    };
    Ok(Tls { ca, identity, server_name: None })
}

fn pem_alone(properties: &Properties, kind: &'static str, stores: [&str; 2]) -> Result<(), Wrong> {
    let said = properties.get(kind).unwrap_or("JKS");
    if said.eq_ignore_ascii_case("PEM") || stores.iter().all(|store| properties.get(store).is_none()) {
        return Ok(());
    }
    let remedy =
        "keytool -importkeystore … -deststoretype PKCS12, then openssl pkcs12 -nodes; and say PEM here";
    Err((kind, format!("is {said}, and spoolway reads PEM alone: convert the store ({remedy})")))
}

fn sasl(properties: &Properties) -> Result<Sasl, Wrong> {
    const MECHANISM: &str = "sasl.mechanism";
    let mechanism = match properties.get(MECHANISM).unwrap_or("GSSAPI") {
        "PLAIN" => Mechanism::Plain,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        "OAUTHBEARER" => return token(properties),
        other => {
            let known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
            return Err((MECHANISM, format!("is {other}, and spoolway knows {known}")));
        }
    };
    let module = if mechanism == Mechanism::Plain { "PlainLoginModule" } else { "ScramLoginModule" };
    let login = login(properties, module)?;
    let username = required(&login, "username")?.reveal().to_owned();
    let password = SecretSource::Known(required(&login, "password")?);
    Ok(Sasl::Password { mechanism, username, password })
}

const JAAS: &str = "sasl.jaas.config";

fn login(properties: &Properties, module: &str) -> Result<Login, Wrong> {
    let example = format!("{module} required username=\"…\" password=\"…\";");
    let text = properties.get(JAAS).ok_or_else(|| (JAAS, format!("is missing: {example}")))?;
    let login =
        Login::parse(text).ok_or_else(|| (JAAS, format!("can't be read; it looks like {example}")))?;
    if !login.module.ends_with(module) {
        return Err((JAAS, format!("does not fit sasl.mechanism: it must begin with {module}")));
    }
    Ok(login)
}

fn required(login: &Login, option: &str) -> Result<Secret, Wrong> {
    let found = login.get(option).filter(|value| !value.is_empty());
    found.map(|value| Secret::new(value.to_owned())).ok_or_else(|| (JAAS, format!("has no {option}=\"…\"")))
}

fn token(properties: &Properties) -> Result<Sasl, Wrong> {
    const URL: &str = "sasl.oauthbearer.token.endpoint.url";
    let login = login(properties, "OAuthBearerLoginModule")?;
    let url = properties.get(URL).ok_or_else(|| (URL, "is missing".to_owned()))?;
    let url = TokenUrl::parse(url).map_err(|(what, help)| (URL, format!("{what}: {help}")))?;
    let client_id = required(&login, "clientId")?.reveal().to_owned();
    let client_secret = SecretSource::Known(required(&login, "clientSecret")?);
    let scope = login.get("scope").map(str::to_owned);
    Ok(Sasl::Token(TokenGrant { url, client_id, client_secret, scope, ca: None }))
}

#[cfg(test)]
mod tests;
