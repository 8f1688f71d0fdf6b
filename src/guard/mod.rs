//! Who may come in from other hosts: TLS, certificates of clients, bearer tokens.
//!
//! What it promises:
//! - **All that is configured is asked for.** With `tls` nothing is read before the handshake; with `client_ca` it fails
//!   without a certificate of that authority; with `token` a request without one of the tokens is refused.
//! - **Files are read again when they have changed**: a renewed certificate counts for the next connection, a changed file of
//!   tokens within a second. What can't be used leaves the last good one in force, and is logged.
//! - **Tokens are not kept**: only their digests, which are compared in constant time.
//! - **Each handshake has a deadline** ([`HANDSHAKE`]), so that silent connections don't hold their places.
//!
//! On failure: files that can't be used at the start are an error in words; a handshake that fails is a [`GateError`], which
//! concerns that connection alone.

mod tls;
mod tokens;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::config::model;
use crate::logs::Limit;

pub use tls::GateError;
pub(crate) use tls::check as check_tls;
pub(crate) use tokens::check as check_tokens;

/// Longest a handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a connection is after the gate.
pub type Entered<S> = Either<S, Box<TlsStream<S>>>;

/// The guard of one listener.
#[derive(Debug)]
pub struct Gate {
    tls: Option<tls::Tls>,
    tokens: Option<tokens::Tokens>,
    said: Limit<String>,
}

impl Gate {
    /// As it is configured. Blocking: reads the files.
    ///
    /// # Errors
    /// In words, what is wrong with a file.
    pub fn new(guard: &model::Guard) -> Result<Self, String> {
        Ok(Self {
            tls: guard.tls.as_ref().map(tls::Tls::new).transpose()?,
            tokens: guard.token.as_ref().map(tokens::Tokens::new).transpose()?,
            said: Limit::new(Duration::from_secs(30)),
        })
    }

    /// One that lets everybody in.
    #[must_use]
    pub fn open() -> Self {
        Self { tls: None, tokens: None, said: Limit::new(Duration::from_secs(30)) }
    }

    /// Whether anything is asked of anybody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.is_none() && self.tokens.is_none()
    }

    /// Whether requests have to name a token.
    #[must_use]
    pub fn asks_for_token(&self) -> bool {
        self.tokens.is_some()
    }

    /// Makes the handshake, if there is one to make.
    ///
    /// # Errors
    /// [`GateError`] says why this connection does not come in.
    pub async fn enter<S>(&self, stream: S) -> Result<Entered<S>, GateError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(tls) = &self.tls else { return Ok(Either::Left(stream)) };
        let accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await;
        accepted.map_err(|_| GateError::Late)?.map(|stream| Either::Right(Box::new(stream)))
    }

    /// Whether a request with this `Authorization` header comes in.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        self.tokens.as_ref().is_none_or(|tokens| tokens.admit(authorization))
    }

    /// Logs a handshake that failed; one line in a while for each reason.
    pub fn say(&self, door: &str, error: &GateError) {
        if let Some(suppressed) = self.said.pass(error.word()) {
            tracing::warn!(door, %error, suppressed, "a connection does not come in");
        }
    }
}
