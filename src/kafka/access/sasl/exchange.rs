//! What a mechanism says, message by message.

use bytes::Bytes;

use super::error::{SaslError, printable};
use super::scram::{Hash, Scram};
use crate::config::model::Mechanism;
use crate::secret::Secret;

/// An exchange that has begun.
pub(super) enum Exchange {
    /// One message says it all.
    Plain(Bytes),
    /// A token; and what the broker has against it.
    Token(Bytes, Option<String>),
    /// Proofs on both sides.
    Scram(Box<Scram>),
}

/// Ends an exchange that has failed already (RFC 7628, section 3.2.3).
const ACKNOWLEDGE: &[u8] = b"\x01";

impl Exchange {
    /// With a name and a password.
    pub(super) fn password(mechanism: Mechanism, user: &str, password: &Secret) -> Result<Self, SaslError> {
        let hash = match mechanism {
            Mechanism::Plain => return plain(user, password),
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        Ok(Self::Scram(Box::new(Scram::new(hash, user, password, &nonce()?))))
    }

    /// With a token (RFC 7628).
    pub(super) fn token(token: &Secret) -> Self {
        Self::Token(format!("n,,\x01auth=Bearer {}\x01\x01", token.reveal()).into(), None)
    }

    /// What to send first.
    pub(super) fn first(&self) -> Bytes {
        match self {
            Self::Plain(message) | Self::Token(message, _) => message.clone(),
            Self::Scram(scram) => scram.first(),
        }
    }

    /// What to send next; `None` when the broker is satisfied, and so are we.
    pub(super) async fn next(&mut self, answer: &[u8]) -> Result<Option<Bytes>, SaslError> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Token(_, None) if answer.is_empty() => Ok(None),
            // Kafka says "no" to a token with error 0 and a text in JSON, and with an error only to what follows.
            Self::Token(_, complaint @ None) => {
                *complaint = Some(printable(&String::from_utf8_lossy(answer), 200));
                Ok(Some(Bytes::from_static(ACKNOWLEDGE)))
            }
            Self::Token(_, Some(complaint)) => {
                Err(SaslError::Server(format!("it takes a token of which it said {complaint}")))
            }
            Self::Scram(scram) => scram.next(answer).await,
        }
    }

    /// What the broker had against us before it gave an error.
    pub(super) fn complaint(&self) -> Option<&str> {
        match self {
            Self::Token(_, complaint) => complaint.as_deref(),
            _ => None,
        }
    }
}

/// RFC 4616.
fn plain(user: &str, password: &Secret) -> Result<Exchange, SaslError> {
    if user.contains('\0') || password.reveal().contains('\0') {
        return Err(SaslError::Secret("PLAIN can't send a name or password with a zero byte".to_owned()));
    }
    if password.reveal().is_empty() {
        return Err(SaslError::Secret("the password is empty".to_owned()));
    }
    Ok(Exchange::Plain(format!("\0{user}\0{}", password.reveal()).into()))
}

fn nonce() -> Result<String, SaslError> {
    use base64::Engine;
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|e| SaslError::Secret(format!("the system gives no randomness: {e}")))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}
