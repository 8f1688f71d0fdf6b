//! What is wrong with TLS, in plain words.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// Why there is no TLS with a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TlsError {
    /// What is wrong.
    pub message: String,
    /// What a person can do about it.
    pub hint: &'static str,
    /// It will not pass before a person has acted.
    pub lasting: bool,
}

const FILES: &str = "correct the files of `tls`; they are read again at the next connection";
const NAME: &str =
    "use a name in `bootstrap` and advertised.listeners that the certificate is for, or set tls.server_name";
const CLOCK: &str = "renew the certificate on the broker, and check this host's clock";
const UNTRUSTED: &str = "name the authority that signed it: tls = { ca = \"FILE.pem\" }; without `ca`, only public authorities are trusted";
const IDENTITY: &str =
    "set tls.certificate and tls.key to ones that the broker trusts, and check that they have not expired";
const LISTENER: &str = "check that this listener of the broker speaks TLS";

impl TlsError {
    fn lasting(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint, lasting: true }
    }

    /// Our own files can't be used.
    pub(super) fn files(reason: String) -> Self {
        Self::lasting(reason, FILES)
    }

    /// A name that no certificate can be for.
    pub(super) fn name(name: &str) -> Self {
        Self::lasting(format!("{name:?} is no name that a certificate can be for"), NAME)
    }

    /// The broker has sent this alert after the handshake, when it had seen our certificate, or its absence.
    pub(crate) fn late_alert(reason: &str) -> Self {
        Self::lasting(format!("the broker ends TLS: {reason}"), IDENTITY)
    }
}

/// Explains why the handshake with `host` failed.
pub(super) fn explain(error: &io::Error, host: &str) -> TlsError {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(wrong)) => certificate(wrong, host),
        Some(Error::AlertReceived(alert)) => refused(*alert),
        Some(Error::InvalidMessage(_)) => TlsError::lasting("what answers does not speak TLS", LISTENER),
        Some(other) => TlsError::lasting(format!("TLS failed: {other}"), LISTENER),
        None if error.kind() == io::ErrorKind::UnexpectedEof => TlsError {
            message: "the broker closed the connection during the TLS handshake".to_owned(),
            hint: LISTENER,
            lasting: false,
        },
        None => TlsError { message: format!("TLS failed: {error}"), hint: LISTENER, lasting: false },
    }
}

fn certificate(wrong: &CertificateError, host: &str) -> TlsError {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => {
            TlsError::lasting("the broker's certificate has expired", CLOCK)
        }
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            TlsError::lasting("the broker's certificate is not valid yet", CLOCK)
        }
        Wrong::NotValidForName => {
            TlsError::lasting(format!("the broker's certificate is not for {host:?}"), NAME)
        }
        Wrong::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().take(8).map(String::as_str).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            TlsError::lasting(
                format!("the broker's certificate is not for {host:?}; it is for {names}"),
                NAME,
            )
        }
        Wrong::UnknownIssuer => {
            TlsError::lasting("the broker's certificate is signed by nobody who is trusted here", UNTRUSTED)
        }
        Wrong::BadSignature => TlsError::lasting(
            "the broker's certificate has a signature that is not its authority's",
            UNTRUSTED,
        ),
        other => TlsError::lasting(format!("the broker's certificate can't be trusted: {other}"), UNTRUSTED),
    }
}

fn refused(alert: AlertDescription) -> TlsError {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnknownCA
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::AccessDenied
        | Alert::NoCertificate => {
            TlsError::lasting(format!("the broker does not take our certificate ({alert:?})"), IDENTITY)
        }
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => TlsError::lasting(
            format!("the broker offers no TLS that is safe enough ({alert:?})"),
            "let the broker speak TLS 1.2 or 1.3, or give it a certificate that it can use; if it asks for ours, set tls.certificate",
        ),
        _ => TlsError::lasting(format!("the broker ended the TLS handshake ({alert:?})"), LISTENER),
    }
}
