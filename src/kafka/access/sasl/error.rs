//! Why a broker does not know us.

use crate::config::model;
use crate::kafka::connection::CallError;
pub(super) use crate::kafka::errors::printable;
use crate::kafka::wire::{SaslAuthenticateAnswer, SaslHandshakeAnswer, WireError};

/// Why authentication failed. None of its texts has a secret in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The listener has other mechanisms.
    #[error("the broker does not offer {ours} on this listener, but {offered}")]
    Mechanism {
        /// What was asked for.
        ours: &'static str,
        /// What is to be had.
        offered: String,
        /// Kafka's error code.
        code: i16,
    },
    /// The credentials are wrong.
    #[error("the broker refuses the credentials of {who} ({mechanism}{reason})")]
    Refused {
        /// Name of the user or client.
        who: String,
        /// What they were shown with.
        mechanism: &'static str,
        /// What the broker says about it.
        reason: String,
        /// Kafka's error code.
        code: i16,
    },
    /// The broker does not keep to the mechanism: perhaps it is not the one it pretends to be.
    #[error("the broker does not prove itself: {0}")]
    Server(String),
    /// Our own secret can't be had.
    #[error("the secret can't be read: {0}")]
    Secret(String),
    /// No token.
    #[error("{url} gives no token: {reason}")]
    Token {
        /// The token endpoint.
        url: String,
        /// Why not.
        reason: String,
        /// It was asked, and said no.
        refused: bool,
    },
    /// The connection broke.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The broker answered what can't be understood.
    #[error("{0}")]
    Wire(#[from] WireError),
}

impl SaslError {
    pub(super) fn mechanism(ours: &'static str, answer: &SaslHandshakeAnswer) -> Self {
        let offered: Vec<String> = answer.mechanisms.iter().map(|name| printable(name, 40)).collect();
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Self::Mechanism { ours, offered, code: answer.code }
    }

    pub(super) fn refused(
        settings: &model::Sasl,
        answer: &SaslAuthenticateAnswer,
        complaint: Option<&str>,
    ) -> Self {
        let said = complaint.or(answer.message.as_deref()).unwrap_or_default();
        let said = printable(said, 200);
        let reason = if said.is_empty() { said } else { format!(": {said}") };
        let who = printable(settings.who(), 100);
        Self::Refused { who, mechanism: settings.mechanism(), reason, code: answer.code }
    }

    /// Kafka's error code, if the broker gave one.
    #[must_use]
    pub const fn code(&self) -> Option<i16> {
        match self {
            Self::Mechanism { code, .. } | Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// It will not pass before a person has acted.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        match self {
            Self::Mechanism { .. } | Self::Refused { .. } | Self::Server(_) | Self::Secret(_) => true,
            Self::Token { refused, .. } => *refused,
            Self::Call(_) | Self::Wire(_) => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Mechanism { .. } => "set sasl.mechanism to one that the listener offers",
            Self::Refused { .. } => {
                "correct sasl.username and the password or secret; one in a file is read again at the next try"
            }
            Self::Server(_) => "check that this is your broker: it may be another one in its place",
            Self::Secret(_) => "correct the file's name or its permissions",
            Self::Token { refused: true, .. } => {
                "correct sasl.client_id, the client secret and the scope; a secret in a file is read again at the next try"
            }
            Self::Token { .. } => "check sasl.token_url, and the network between here and there",
            Self::Call(_) => "look into the broker's log",
            Self::Wire(_) => "use a broker of Kafka 2.8 or later, or compatible",
        }
    }
}
