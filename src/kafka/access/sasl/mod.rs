//! SASL: proving to a broker who we are, when a connection begins and before its session ends (KIP-368).
//!
//! The messages travel in SaslHandshake and SaslAuthenticate requests; [`Sasl::authenticate`] is handed a [`Wire`] to send
//! them on, so that the beginning of a connection and its renewal go the same way.

mod error;
mod exchange;
mod http;
mod scram;
mod token;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rskafka::client::SaslConfig;

pub use error::SaslError;
use exchange::Exchange;
use token::Tokens;

use super::others;
use crate::config::model;
use crate::kafka::connection::CallError;
use crate::kafka::wire::{
    Request, SaslAuthenticateAnswer, SaslHandshakeAnswer, sasl_authenticate_request, sasl_handshake_request,
};
use crate::kept::Kept;
use crate::panics;
use crate::secret::{Secret, SecretSource};

/// More messages than any mechanism needs.
const MOST_STEPS: usize = 6;

/// A connection on which nothing else is sent meanwhile.
pub(crate) trait Wire: Send {
    /// Sends a request and waits for its answer, for as long as a broker may take.
    fn ask(&mut self, request: Request) -> impl Future<Output = Result<Bytes, CallError>> + Send;
}

/// The SASL of a destination.
#[derive(Debug)]
pub(crate) struct Sasl {
    settings: model::Sasl,
    password: Arc<Kept<Secret>>,
    tokens: Option<Tokens>,
}

impl Sasl {
    pub(super) fn new(settings: &model::Sasl, proxy: Option<&model::Proxy>) -> Self {
        let tokens = match settings {
            model::Sasl::Token(grant) => Some(Tokens::new(grant, proxy)),
            model::Sasl::Password { .. } => None,
        };
        Self { settings: settings.clone(), password: Arc::default(), tokens }
    }

    /// Authenticates; returns how long the broker will take it for granted, if it says so.
    pub(crate) async fn authenticate(
        &self,
        wire: &mut impl Wire,
        client_id: &str,
        version: i16,
    ) -> Result<Option<Duration>, SaslError> {
        let mut exchange = self.begin().await?;
        let mechanism = self.settings.mechanism();
        let answer = wire.ask(sasl_handshake_request(client_id, mechanism)).await?;
        let answer = SaslHandshakeAnswer::decode(&answer)?;
        if answer.code != 0 {
            return Err(SaslError::mechanism(mechanism, &answer));
        }
        let mut message = exchange.first();
        for _ in 0..MOST_STEPS {
            let answer = wire.ask(sasl_authenticate_request(client_id, version, message)).await?;
            let answer = SaslAuthenticateAnswer::decode(&answer, version)?;
            if answer.code != 0 {
                self.refused().await;
                return Err(SaslError::refused(&self.settings, &answer, exchange.complaint()));
            }
            match exchange.next(&answer.bytes).await? {
                Some(next) => message = next,
                None => return Ok(lifetime(answer.session_lifetime_ms)),
            }
        }
        Err(SaslError::Server("it asks for more messages than the mechanism has".to_owned()))
    }

    async fn begin(&self) -> Result<Exchange, SaslError> {
        match (&self.settings, &self.tokens) {
            (model::Sasl::Token(_), Some(tokens)) => Ok(Exchange::token(&tokens.get().await?)),
            (model::Sasl::Password { mechanism, username, password }, _) => {
                let password = secret(&self.password, password).await?;
                Exchange::password(*mechanism, username, &password)
            }
            (model::Sasl::Token(_), None) => Err(SaslError::Secret("there is no token".to_owned())),
        }
    }

    /// The same for rskafka.
    pub(super) async fn for_rskafka(&self) -> Result<SaslConfig, String> {
        match (&self.settings, &self.tokens) {
            (model::Sasl::Password { username, password, .. }, _) => {
                let password = secret(&self.password, password).await.map_err(|e| e.to_string())?;
                Ok(others::with_password(self.settings.mechanism(), username, password.reveal()))
            }
            (model::Sasl::Token(_), Some(tokens)) => {
                let token = tokens.get().await.map_err(|e| e.to_string())?;
                Ok(others::with_token(token.reveal()))
            }
            (model::Sasl::Token(_), None) => Err("there is no token".to_owned()),
        }
    }

    /// A token that was not taken is not shown again.
    async fn refused(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.forget().await;
        }
    }
}

/// A secret as it is now, or as it was when its file could last be read.
async fn secret(kept: &Arc<Kept<Secret>>, source: &SecretSource) -> Result<Arc<Secret>, SaslError> {
    let (kept, source) = (Arc::clone(kept), source.clone());
    let read = move || {
        let files: Vec<&Path> = match &source {
            SecretSource::File(path) => vec![path],
            SecretSource::Known(_) => vec![],
        };
        kept.get(&files, || source.read())
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|e| SaslError::Secret(format!("the secret was not read: {}", panics::of_task(&e))))?
        .map_err(SaslError::Secret)
}

fn lifetime(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
