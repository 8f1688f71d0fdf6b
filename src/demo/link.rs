//! How the agent, a process of its own, is told to reach a cluster: lines of its configuration, and secrets beside it.
//!
//! No secret stands in the file: passwords are handed over in the environment, which nobody but root can read of an
//! agent, keys in files for us alone, in the demo's folder.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::DemoError;
use crate::config::model::{Destination, Pem, Sasl, Tls};
use crate::secret::{Secret, SecretSource};

/// Name of the variable that hands over the password, or the client's secret.
const VARIABLE: &str = "SPOOLWAY_DEMO_SECRET";

/// What the agent is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Lines of its `[[destination]]`.
    pub(super) lines: String,
    /// Of its environment.
    secret: Option<Secret>,
}

impl Told {
    /// Everything that is said of a connection in `destination`; files go to `folder`.
    pub(super) fn of(destination: &Destination, folder: &Path) -> Result<Self, DemoError> {
        let mut told = Self::default();
        told.line("client_id", &quoted(&destination.client_id));
        told.line("request_timeout", &quoted(&format!("{}ms", destination.request_timeout.as_millis())));
        if let Some(tls) = &destination.tls {
            let tls = tls_value(tls, folder)?;
            told.line("tls", &tls);
        }
        if let Some(sasl) = &destination.sasl {
            let sasl = told.sasl_value(sasl)?;
            told.line("sasl", &sasl);
        }
        Ok(told)
    }

    /// What to put into its environment.
    pub(super) fn variable(&self) -> Option<(&'static str, &str)> {
        self.secret.as_ref().map(|secret| (VARIABLE, secret.reveal()))
    }

    fn line(&mut self, key: &str, value: &str) {
        self.lines.push_str(&format!("{key} = {value}\n"));
    }

    fn sasl_value(&mut self, sasl: &Sasl) -> Result<String, DemoError> {
        let mechanism = quoted(sasl.mechanism());
        Ok(match sasl {
            Sasl::Password { username, password, .. } => format!(
                "{{ mechanism = {mechanism}, username = {}, password = {} }}",
                quoted(username),
                self.secret_value(password)?
            ),
            Sasl::Token(grant) => {
                let scope = grant.scope.as_ref().map(|scope| format!(", scope = {}", quoted(scope)));
                format!(
                    "{{ mechanism = {mechanism}, token_url = {}, client_id = {}, client_secret = {}{} }}",
                    quoted(&grant.url.to_string()),
                    quoted(&grant.client_id),
                    self.secret_value(&grant.client_secret)?,
                    scope.unwrap_or_default()
                )
            }
        })
    }

    fn secret_value(&mut self, source: &SecretSource) -> Result<String, DemoError> {
        match source {
            SecretSource::Known(secret) => {
                self.secret = Some(secret.clone());
                Ok(format!("{{ env = \"{VARIABLE}\" }}"))
            }
            SecretSource::File(path) => Ok(format!("{{ file = {} }}", quoted_path(path)?)),
        }
    }
}

fn tls_value(tls: &Tls, folder: &Path) -> Result<String, DemoError> {
    let mut parts = Vec::new();
    let identity = tls.identity.as_ref();
    let files = [
        ("ca", tls.ca.as_ref()),
        ("certificate", identity.map(|i| &i.certificate)),
        ("key", identity.map(|i| &i.key)),
    ];
    for (key, pem) in files {
        if let Some(pem) = pem {
            parts.push(format!("{key} = {}", quoted_path(&file_of(pem, key, folder)?)?));
        }
    }
    if let Some(name) = &tls.server_name {
        parts.push(format!("server_name = {}", quoted(name)));
    }
    Ok(if parts.is_empty() { "true".to_owned() } else { format!("{{ {} }}", parts.join(", ")) })
}

/// A file with it: that which there is, or a new one.
fn file_of(pem: &Pem, name: &str, folder: &Path) -> Result<PathBuf, DemoError> {
    let text = match pem {
        Pem::File(path) => return Ok(path.clone()),
        Pem::Text(text) => text,
    };
    let path = folder.join(format!("{name}.pem"));
    let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
    made.and_then(|mut file| file.write_all(text.reveal().as_bytes()))
        .map_err(|source| DemoError::Folder { path: path.clone(), source })?;
    Ok(path)
}

/// As it stands in a file that is elsewhere.
fn quoted_path(path: &Path) -> Result<String, DemoError> {
    let absolute = std::path::absolute(path);
    let absolute = absolute.map_err(|source| DemoError::Folder { path: path.to_owned(), source })?;
    Ok(quoted(&absolute.to_string_lossy()))
}

/// A JSON string is a TOML basic string, too, for everything that stands here.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{HostPort, Mechanism, TlsIdentity, TokenGrant, TokenUrl};
    use crate::config::{Environment, load_text};
    use crate::ids::DestinationName;

    fn destination(tls: Option<Tls>, sasl: Option<Sasl>) -> Destination {
        let brokers = vec![HostPort { host: "kafka".to_owned(), port: 9092 }];
        let named = Destination::new(DestinationName::new("target").unwrap(), brokers);
        Destination { client_id: "a \"b\"".to_owned(), tls, sasl, ..named }
    }

    /// What an agent that is told so would do.
    fn as_read(told: &Told) -> Destination {
        let text = format!(
            "[relay]\nid = \"a\"\n[[source]]\ntype = \"http\"\nlisten = \"127.0.0.1:1\"\n[[destination]]\nname = \"target\"\n\
             bootstrap = [\"kafka:9092\"]\n{}",
            told.lines
        );
        let (name, value) = told.variable().unwrap_or_default();
        let lookup = |asked: &str| (asked == name).then(|| value.to_owned());
        let loaded = load_text("demo.toml", &text, &Environment::Lookup(&lookup));
        loaded.unwrap_or_else(|report| panic!("{report}\n{text}")).config.destinations.remove(0)
    }

    fn known(text: &str) -> SecretSource {
        SecretSource::Known(Secret::new(text.to_owned()))
    }

    #[test]
    fn an_agent_that_is_told_reaches_the_cluster_as_its_owner_does_and_no_secret_stands_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca \"x\".pem");
        std::fs::write(&ca, "").unwrap();
        let tls = Tls { ca: Some(Pem::File(ca)), ..Tls::default() };
        let (mechanism, username) = (Mechanism::ScramSha512, "u\\ser".to_owned());
        let password = Sasl::Password { mechanism, username, password: known("hunter2 \"\\") };
        let grant = TokenGrant {
            url: TokenUrl::parse("https://login/t?x=1").unwrap(),
            client_id: "me".to_owned(),
            client_secret: known("hunter2"),
            scope: Some("s".to_owned()),
            ca: None,
        };
        let ways = [
            (None, None),
            (Some(Tls::default()), None),
            (Some(tls), Some(password)),
            (
                Some(Tls { server_name: Some("kafka.example".to_owned()), ..Tls::default() }),
                Some(Sasl::Token(grant)),
            ),
        ];
        for (tls, sasl) in ways {
            let owners = destination(tls, sasl);
            let told = Told::of(&owners, dir.path()).unwrap();
            assert!(!told.lines.contains("hunter2"), "{}", told.lines);
            let read = as_read(&told);
            assert_eq!(
                (&read.tls, &read.sasl, &read.client_id, read.request_timeout),
                (&owners.tls, &owners.sasl, &owners.client_id, owners.request_timeout)
            );
        }
    }

    #[test]
    fn a_key_that_stands_in_the_properties_is_in_a_file_for_us_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let text = |text: &str| Pem::Text(Secret::new(text.to_owned()));
        let identity = TlsIdentity { certificate: text("its certificate"), key: text("hunter2") };
        let tls = Tls { ca: Some(text("theirs")), identity: Some(identity), server_name: None };
        let told = Told::of(&destination(Some(tls), None), dir.path()).unwrap();
        assert!(!told.lines.contains("hunter2"), "{}", told.lines);
        let Some(Tls { identity: Some(TlsIdentity { key: Pem::File(key), .. }), .. }) = as_read(&told).tls
        else {
            panic!("{}", told.lines)
        };
        assert_eq!(std::fs::read_to_string(&key).unwrap(), "hunter2");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
