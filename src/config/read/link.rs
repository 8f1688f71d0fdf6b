//! `tls`, `sasl`, `proxy` and `max_rate` of a `[[destination]]`

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::model::{
    Destination, HostPort, Mechanism, Pem, Proxy, ProxyKind, Sasl, Tls, TlsIdentity, TokenGrant, TokenUrl,
};
use crate::config::reading::StandIn;
use crate::config::report::Problem;
use crate::config::scalar::{self, Scalar, Wrong, quoted, show_size};
use crate::config::section::{Inner, Section, choose, label, within};
use crate::secret::{Secret, SecretSource, open_private};

/// Which mechanism; `None` for tokens.
const MECHANISMS: [(&str, Option<Mechanism>); 4] = [
    ("PLAIN", Some(Mechanism::Plain)),
    ("SCRAM-SHA-256", Some(Mechanism::ScramSha256)),
    ("SCRAM-SHA-512", Some(Mechanism::ScramSha512)),
    ("OAUTHBEARER", None),
];

pub(super) fn tls(section: &Section<'_>) -> Option<Tls> {
    let (tls, shown) = match section.inner("tls", "destination.tls", true) {
        Inner::Nothing | Inner::Flag(false) => (None, "false".to_owned()),
        Inner::Flag(true) => (Some(Tls::default()), "true".to_owned()),
        Inner::Table(inner) => (Some(tls_table(&inner)), inner.close()),
    };
    section.show_inner("tls", shown);
    tls
}

fn tls_table(inner: &Section<'_>) -> Tls {
    let ca = file(inner, "ca", readable);
    let certificate = file(inner, "certificate", readable);
    let key = file(inner, "key", private);
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        // What was not looked up is left out of what is printed, and that must be readable too.
        if inner.has(one) && !inner.has(other) && !inner.is_blind() {
            let help = format!("add {other} = \"FILE.pem\"");
            inner.refuse(one, (format!("needs `{other}` beside it"), help));
        }
    }
    let identity = certificate.zip(key).map(|(certificate, key)| TlsIdentity { certificate, key });
    let server_name = inner.optional("server_name", read_server_name, |name| quoted(name));
    Tls { ca, identity, server_name }
}

fn read_server_name(scalar: &Scalar) -> Result<String, Wrong> {
    let name = scalar::text(scalar)?;
    let sound = scalar::host_port(&format!("{name}:1")).is_ok() || name.parse::<IpAddr>().is_ok();
    let wrong = || {
        (
            format!("must be a host name or an IP address, not {}", quoted(&name)),
            "for example \"kafka.example.org\"".to_owned(),
        )
    };
    if sound { Ok(name.clone()) } else { Err(wrong()) }
}

/// The file that a key names, if it can be used.
pub(super) fn file(
    section: &Section<'_>,
    key: &'static str,
    usable: fn(&Path) -> Result<(), String>,
) -> Option<Pem> {
    let written = section.optional(key, scalar::path, |path| quoted(path))?;
    let path: PathBuf = section.reading.path(&section.place_of(key), &written);
    if section.is_blind() {
        return Some(Pem::File(path));
    }
    match usable(&path) {
        Ok(()) => Some(Pem::File(path)),
        Err(cause) => {
            let help = "name a file in PEM that this program may read".to_owned();
            section.refuse(key, (format!("names a file that can't be used: {cause}"), help));
            None
        }
    }
}

pub(super) fn readable(path: &Path) -> Result<(), String> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

pub(super) fn private(path: &Path) -> Result<(), String> {
    open_private(path).map(drop)
}

pub(super) fn sasl(section: &Section<'_>) -> Option<Sasl> {
    let Inner::Table(inner) = section.inner("sasl", "destination.sasl", false) else { return None };
    let mechanism = inner.required(
        "mechanism",
        "\"SCRAM-SHA-512\"",
        StandIn::Text("PLAIN"),
        |s| choose(s, &MECHANISMS),
        |mechanism| quoted(mechanism.map_or("OAUTHBEARER", Mechanism::name)),
    );
    let Some(mechanism) = mechanism else {
        // Without the mechanism, which other keys there are is not known: they are not called unknown.
        return None;
    };
    let sasl = match mechanism {
        Some(mechanism) => password(&inner, mechanism),
        None => token(&inner),
    };
    section.show_inner("sasl", inner.close());
    sasl
}

fn password(inner: &Section<'_>, mechanism: Mechanism) -> Option<Sasl> {
    let username =
        inner.required("username", "\"relay\"", StandIn::Text("placeholder"), label, |name| quoted(name));
    let password = required_secret(inner, "password");
    Some(Sasl::Password { mechanism, username: username?, password: password? })
}

fn token(inner: &Section<'_>) -> Option<Sasl> {
    let url = inner.required(
        "token_url",
        "\"https://login.example.org/token\"",
        StandIn::Text("https://placeholder/token"),
        |s| TokenUrl::parse(&scalar::text(s)?),
        |url| quoted(&url.to_string()),
    );
    let client_id =
        inner.required("client_id", "\"relay\"", StandIn::Text("placeholder"), label, |id| quoted(id));
    let client_secret = required_secret(inner, "client_secret");
    let scope = inner.optional("scope", label, |scope| quoted(scope));
    let ca = file(inner, "token_ca", readable);
    let (url, client_id, client_secret) = (url?, client_id?, client_secret?);
    Some(Sasl::Token(TokenGrant { url, client_id, client_secret, scope, ca }))
}

fn required_secret(inner: &Section<'_>, key: &'static str) -> Option<SecretSource> {
    if !inner.has(key) {
        inner.missing(key, "{ file = \"PATH\" }");
    }
    inner.secret(key)
}

pub(super) fn proxy(section: &Section<'_>) -> Option<Proxy> {
    let literal = section.is_literal("proxy");
    let read = |s: &Scalar| read_proxy(&scalar::text(s)?, literal);
    // One from elsewhere may hold a password, so its place is shown instead.
    let show = |p: &Proxy| section.reference("proxy").unwrap_or_else(|| quoted(&p.to_string()));
    let proxy = section.optional("proxy", read, show)?;
    let secret = section.file_of("proxy").filter(|_| proxy.login.is_some());
    secret.is_none_or(|path| section.check_private("proxy", &path)).then_some(proxy)
}

/// INVARIANT: no finding repeats what was written: it may hold a password.
fn read_proxy(text: &str, literal: bool) -> Result<Proxy, Wrong> {
    let help = || "for example \"socks5://gateway:1080\" or \"http://gateway:3128\"".to_owned();
    let (scheme, rest) = text.trim().split_once("://").unwrap_or_default();
    let kind = match scheme {
        "socks5" | "socks5h" => ProxyKind::Socks5,
        "http" => ProxyKind::Http,
        _ => return Err(("must begin with socks5:// or http://".to_owned(), help())),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, address) = match rest.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, rest),
    };
    if login.is_some() && literal {
        let help =
            "write { file = \"PATH\" } or { env = \"NAME\" }, so that it is in no file that is copied around";
        return Err(("has a secret in it and must not stand here".to_owned(), help.to_owned()));
    }
    let address: HostPort = scalar::host_port(address)
        .map_err(|_| ("must end with the proxy's host and port".to_owned(), help()))?;
    let login = login.map(|login| read_login(login).ok_or_else(|| wrong_login(&help()))).transpose()?;
    Ok(Proxy { kind, address, login })
}

fn wrong_login(help: &str) -> Wrong {
    ("must have user and password as user:password@, each of at most 255 bytes".to_owned(), help.to_owned())
}

fn read_login(login: &str) -> Option<(String, Secret)> {
    let (user, password) = login.split_once(':')?;
    let (user, password) = (percent_decoded(user)?, percent_decoded(password)?);
    let sound = |text: &str| (1..=255).contains(&text.len()) && !text.contains(char::is_control);
    (sound(&user) && sound(&password)).then(|| (user, Secret::new(password)))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

pub(super) fn max_rate(section: &Section<'_>) -> Option<u64> {
    let bounds = crate::config::section::bounds(
        1 << 10..=1 << 40,
        "a link that is slower would be taken for a dead one",
    );
    let show = |rate: &u64| format!("{}/s", show_size(*rate));
    section.optional("max_rate", |s| within(scalar::rate(s)?, &bounds, show), |rate| quoted(&show(rate)))
}

/// Says so when a password or token would cross a network that others may listen on.
pub(super) fn warn_of_open_secrets(section: &Section<'_>, destination: &Destination) {
    let Some(sasl) = destination.sasl.as_ref().filter(|sasl| sasl.needs_tls()) else { return };
    let mut findings = vec![];
    if destination.tls.is_none() && !destination.bootstrap.iter().all(is_loopback) && !section.is_blind() {
        findings
            .push(format!("{} without TLS shows the secret to whoever listens on the way", sasl.mechanism()));
    }
    if let Sasl::Token(grant) = sasl
        && !grant.url.tls
        && !is_loopback(&grant.url.address)
    {
        findings.push("a token_url without TLS shows the secret to whoever listens on the way".to_owned());
    }
    for finding in findings {
        let problem = Problem::at(&section.place_of("sasl"), finding).note();
        section
            .reading
            .problem(problem.help("add tls, and https, or choose SCRAM-SHA-512, which never sends it"));
    }
}

fn is_loopback(address: &HostPort) -> bool {
    address.host == "localhost" || address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_and_never_shown_with_its_password() {
        let proxy = read_proxy("socks5://us%40er:p%3Aw@gateway:1080", false).unwrap();
        assert_eq!(proxy.address.to_string(), "gateway:1080");
        assert_eq!(proxy.login.as_ref().map(|(u, p)| (u.as_str(), p.reveal())), Some(("us@er", "p:w")));
        assert_eq!(proxy.to_string(), "socks5://********@gateway:1080");
        assert_eq!(read_proxy("http://[::1]:3128/", true).unwrap().to_string(), "http://[::1]:3128");
        for bad in
            ["gateway:1080", "socks4://a:1", "socks5://a", "http://secret@a:1", "http://a%zz:secret@a:1"]
        {
            let (what, help) = read_proxy(bad, false).unwrap_err();
            assert!(!format!("{what}{help}").contains("secret"), "{what} {help}");
        }
        assert!(read_proxy("http://u:secret@a:1", true).unwrap_err().0.contains("must not stand here"));
    }
}
