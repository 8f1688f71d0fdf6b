//! SaslHandshake (version 1) and SaslAuthenticate (versions 0 and 1).

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Cursor, Request, WireError};

/// Names that are kept of those a broker offers: no broker has as many.
const MOST_MECHANISMS: usize = 32;

/// Asks for a mechanism; what follows are SaslAuthenticate requests.
#[must_use]
pub fn sasl_handshake_request(client_id: &str, mechanism: &'static str) -> Request {
    let message = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    Request::new(client_id, 1, &message)
}

/// One message of the exchange.
#[must_use]
pub fn sasl_authenticate_request(client_id: &str, version: i16, message: Bytes) -> Request {
    Request::new(client_id, version, &SaslAuthenticateRequest::default().with_auth_bytes(message))
}

/// Whether the mechanism is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslHandshakeAnswer {
    /// 0, or 33.
    pub code: i16,
    /// What the broker offers.
    pub mechanisms: Vec<String>,
}

impl SaslHandshakeAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        let code = c.i16()?;
        let mut mechanisms = Vec::new();
        for _ in 0..c.array(false, 2)?.min(MOST_MECHANISMS) {
            mechanisms.push(c.string(false)?.to_owned());
        }
        Ok(Self { code, mechanisms })
    }
}

/// The broker's message of the exchange. Its `Debug` leaves the message out.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslAuthenticateAnswer {
    /// 0, or 58.
    pub code: i16,
    /// Why, if the broker says it.
    pub message: Option<String>,
    /// What the mechanism makes of it.
    pub bytes: Vec<u8>,
    /// How long the session lives; 0 when it does not end.
    pub session_lifetime_ms: i64,
}

impl std::fmt::Debug for SaslAuthenticateAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslAuthenticateAnswer").field("code", &self.code).finish_non_exhaustive()
    }
}

impl SaslAuthenticateAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`WireError`]
    pub fn decode(bytes: &[u8], version: i16) -> Result<Self, WireError> {
        let mut c = Cursor::new(bytes);
        Ok(Self {
            code: c.i16()?,
            message: c.nullable_string(false)?.map(str::to_owned),
            bytes: c.nullable_bytes()?.ok_or(WireError::Null)?.to_vec(),
            session_lifetime_ms: if version >= 1 { c.i64()? } else { 0 },
        })
    }
}
