//! How connections are made: to a destination (TLS, SASL, a proxy), and to a listener (TLS, tokens).

use std::fmt;
use std::path::PathBuf;

use super::model::HostPort;
use super::scalar;
use crate::secret::{Secret, SecretSource};

/// `destination.tls`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `ca`: only certificates signed by one of these are trusted. `None`: the public authorities.
    pub ca: Option<Pem>,
    /// `certificate` and `key`: for brokers that ask who we are.
    pub identity: Option<TlsIdentity>,
    /// `server_name`: the name that certificates must be for, instead of the host's that is connected to.
    pub server_name: Option<String>,
}

/// What is asked of those who connect to a listener; all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `token`: a request has to name one of these, which stand one a line.
    pub token: Option<SecretSource>,
}

impl Guard {
    /// Whether nobody can read along, and nobody comes in unknown.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.client_ca.is_some() || self.token.is_some(),
            None => false,
        }
    }
}

/// `tls` of a source or of `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// `certificate` and `key`
    pub identity: TlsIdentity,
    /// `client_ca`: clients have to show a certificate that one of these has signed.
    pub client_ca: Option<Pem>,
}

/// What this host shows to a broker that asks, or to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, and those between it and the authority's.
    pub certificate: Pem,
    /// Its private key.
    pub key: Pem,
}

/// Where text in PEM is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, read again when it has changed.
    File(PathBuf),
    /// Here.
    Text(Secret),
}

/// `destination.sasl`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    /// A name and a password.
    Password {
        /// `mechanism`: how the password is proven.
        mechanism: Mechanism,
        /// `username`
        username: String,
        /// `password`
        password: SecretSource,
    },
    /// `mechanism = "OAUTHBEARER"`: a token from an authorization server.
    Token(TokenGrant),
}

/// `sasl.mechanism`, of those with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password is sent as it is.
    Plain,
    /// It is proven, and never sent.
    ScramSha256,
    /// It is proven, and never sent.
    ScramSha512,
}

/// How tokens are got: OAuth 2's client credentials (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// `token_url`
    pub url: TokenUrl,
    /// `client_id`
    pub client_id: String,
    /// `client_secret`
    pub client_secret: SecretSource,
    /// `scope`
    pub scope: Option<String>,
    /// `token_ca`: as `tls.ca`, for the authorization server.
    pub ca: Option<Pem>,
}

/// Where tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUrl {
    /// `https`, not `http`.
    pub tls: bool,
    /// Host and port, which has the scheme's default.
    pub address: HostPort,
    /// From the slash on, with the query.
    pub path: String,
}

impl TokenUrl {
    /// Reads `http[s]://host[:port][/path]`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let help = || "for example \"https://login.example.org/realms/x/token\"".to_owned();
        let (scheme, rest) = text.trim().split_once("://").unwrap_or_default();
        let (tls, port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return Err(("must begin with https:// or http://".to_owned(), help())),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(("must have no user or password in it".to_owned(), help()));
        }
        let sound =
            |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\' | '`' | '{' | '}');
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let full = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        let (Ok(address), true) = (scalar::host_port(&full), path.chars().all(sound)) else {
            return Err((format!("must be the address of a token endpoint, not {text:?}"), help()));
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { tls, address, path: format!("{slash}{path}") })
    }
}

impl fmt::Display for TokenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address, self.path)
    }
}

/// `destination.proxy`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Where it is.
    pub address: HostPort,
    /// User and password, if it asks.
    pub login: Option<(String, Secret)>,
}

/// What a proxy speaks. In both, the proxy resolves the brokers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// RFC 1928 and 1929.
    Socks5,
    /// HTTP's CONNECT.
    Http,
}

impl fmt::Display for Proxy {
    /// Without the password, and without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Socks5 => "socks5",
            ProxyKind::Http => "http",
        };
        let login = if self.login.is_some() { "********@" } else { "" };
        write!(f, "{scheme}://{login}{}", self.address)
    }
}

impl Mechanism {
    /// Kafka's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Sasl {
    /// The mechanism's name.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Password { mechanism, .. } => mechanism.name(),
            Self::Token(_) => "OAUTHBEARER",
        }
    }

    /// Whom it makes us, for people.
    #[must_use]
    pub fn who(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::Token(grant) => &grant.client_id,
        }
    }

    /// Whether whoever listens on the way learns what it takes to come in our name.
    #[must_use]
    pub const fn needs_tls(&self) -> bool {
        matches!(self, Self::Password { mechanism: Mechanism::Plain, .. } | Self::Token(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_url_has_the_port_of_its_scheme_and_no_secret() {
        let shown = |text: &str| TokenUrl::parse(text).map(|url| url.to_string());
        assert_eq!(shown("https://login.example.org").unwrap(), "https://login.example.org:443/");
        assert_eq!(shown("http://[::1]/x?y=z").unwrap(), "http://[::1]:80/x?y=z");
        assert_eq!(shown("https://[::1]:8443/x").unwrap(), "https://[::1]:8443/x");
        for bad in ["ftp://a/", "https://", "https://u:p@a/", "https://a/b c", "https://a:0/", "a"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
