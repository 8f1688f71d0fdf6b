//! The same way to a cluster for a client that is not ours.

use std::sync::Arc;

use rskafka::client::{ClientBuilder, Credentials, OauthBearerCredentials, SaslConfig};

use super::Access;

impl Access {
    /// Has rskafka go by the same TLS and SASL. It knows no proxy, and verifies the name that it connects to, whatever
    /// `server_name` says.
    ///
    /// # Errors
    /// In words, when a file or a secret can't be read.
    pub(crate) async fn guide(&self, builder: ClientBuilder) -> Result<ClientBuilder, String> {
        let builder = match self.tls() {
            Some(tls) => builder.tls_config(tls.config().await?),
            None => builder,
        };
        Ok(match self.sasl() {
            Some(sasl) => builder.sasl_config(sasl.for_rskafka().await?),
            None => builder,
        })
    }
}

/// A user's password, by a mechanism of that name.
pub(super) fn with_password(mechanism: &str, user: &str, password: &str) -> SaslConfig {
    let credentials = Credentials::new(user.to_owned(), password.to_owned());
    match mechanism {
        "SCRAM-SHA-256" => SaslConfig::ScramSha256(credentials),
        "SCRAM-SHA-512" => SaslConfig::ScramSha512(credentials),
        _ => SaslConfig::Plain(credentials),
    }
}

/// A token that is good for a while.
pub(super) fn with_token(token: &str) -> SaslConfig {
    let token = token.to_owned();
    SaslConfig::Oauthbearer(OauthBearerCredentials {
        callback: Arc::new(move || {
            let token = token.clone();
            Box::pin(async move { Ok(token) })
        }),
        authz_id: None,
        bearer_kvs: Vec::new(),
    })
}
