//! Tokens for OAUTHBEARER: asked for with the client's credentials (RFC 6749, section 4.4), kept, and renewed in time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::error::{SaslError, printable};
use super::http::{self, Answer};
use super::secret;
use crate::config::model::{self, Proxy, TokenGrant};
use crate::kafka::access::tls::Tls;
use crate::kafka::connection::{Deadline, dial};
use crate::kept::Kept;
use crate::secret::{Secret, without};

/// A token that is good for less is not used for another session.
const SHORT: Duration = Duration::from_secs(3);
/// From the first packet to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a token is taken to live whose answer does not say it.
const UNSAID: u64 = 300;
/// No token is believed to live longer than a year.
const LONGEST: u64 = 365 * 24 * 3600;
/// Longest token.
const MAX_TOKEN: usize = 48 * 1024;
/// How credentials are shown (RFC 7617).
const SCHEME: &str = "Basic ";

/// The tokens of a destination: one at a time, for all its connections.
#[derive(Debug)]
pub(super) struct Tokens {
    grant: TokenGrant,
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    secret: Arc<Kept<Secret>>,
    /// Held while a new one is asked for: whoever else wants one waits for the same.
    current: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    text: Secret,
    renew_at: Instant,
    expires_at: Instant,
}

/// What a token endpoint says.
#[derive(Deserialize)]
struct Grant {
    access_token: String,
    expires_in: Option<f64>,
}

/// What it says when it refuses.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

impl Tokens {
    pub(super) fn new(grant: &TokenGrant, proxy: Option<&Proxy>) -> Self {
        let trust = model::Tls { ca: grant.ca.clone(), ..model::Tls::default() };
        let tls = grant.url.tls.then(|| Tls::new(&trust, None));
        let (proxy, secret, current) = (proxy.cloned(), Arc::default(), Mutex::default());
        Self { grant: grant.clone(), tls, proxy, secret, current }
    }

    /// A token that lives for a while.
    pub(super) async fn get(&self) -> Result<Secret, SaslError> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.text.clone());
        }
        let late = || self.error(format!("no answer within {PATIENCE:?}"), false);
        match timeout(PATIENCE, self.fetch()).await.unwrap_or_else(|_| Err(late())) {
            Ok(token) => Ok(current.insert(token).text.clone()),
            Err(error) => match current.as_ref().filter(|token| Instant::now() < token.expires_at) {
                Some(token) => {
                    tracing::warn!(%error, hint = error.hint(), "the token can't be renewed: the old one is used while it lives");
                    Ok(token.text.clone())
                }
                None => Err(error),
            },
        }
    }

    /// The token was refused.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }

    fn error(&self, reason: impl Into<String>, refused: bool) -> SaslError {
        SaslError::Token { url: self.grant.url.to_string(), reason: reason.into(), refused }
    }

    async fn fetch(&self) -> Result<Token, SaslError> {
        let began = Instant::now();
        let secret = secret(&self.secret, &self.grant.client_secret).await?;
        let request = self.request(&secret);
        let login = request.authorization.clone();
        let url = &self.grant.url;
        let stream = dial(&url.address, self.proxy.as_ref(), Deadline::within(PATIENCE)).await;
        let stream = stream.map_err(|e| self.error(e.to_string(), false))?;
        let answer = match &self.tls {
            Some(tls) => {
                let stream = tls.wrap(stream, &url.address.host).await;
                http::post(stream.map_err(|e| self.error(e.to_string(), e.lasting))?, request).await
            }
            None => http::post(stream, request).await,
        };
        let login = login.strip_prefix(SCHEME).unwrap_or(&login);
        self.read(&answer.map_err(|reason| self.error(reason, false))?, began, &[secret.reveal(), login])
    }

    fn request(&self, secret: &Secret) -> http::Post {
        let (id, secret) = (form_encoded(&self.grant.client_id), form_encoded(secret.reveal()));
        let login = Zeroizing::new(format!("{}:{}", id.as_str(), secret.as_str()));
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.grant.scope {
            form.push_str("&scope=");
            form.push_str(&form_encoded(scope));
        }
        let url = &self.grant.url;
        http::Post {
            host: url.address.to_string(),
            path: url.path.clone(),
            authorization: Zeroizing::new(format!("{SCHEME}{}", STANDARD.encode(login.as_bytes()))),
            form,
        }
    }

    /// `hidden`: what no error repeats, though the endpoint may.
    fn read(&self, answer: &Answer, now: Instant, hidden: &[&str]) -> Result<Token, SaslError> {
        if answer.status != 200 {
            let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
            let said = format!("{} {}", refusal.error, refusal.error_description);
            let said = printable(&without(&said, hidden), 200);
            let reason =
                format!("it answers {}{}{said}", answer.status, if said.is_empty() { "" } else { ": " });
            return Err(self.error(reason, (400..500).contains(&answer.status) && answer.status != 429));
        }
        // Not what the parser says about it: that may quote the token.
        let grant: Grant = serde_json::from_slice(&answer.body)
            .map_err(|_| self.error("its answer is not JSON with an access_token", true))?;
        let token = grant.access_token;
        if token.is_empty() || token.len() > MAX_TOKEN || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(self.error("its access_token can't be one", true));
        }
        let said = grant.expires_in.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let life = said.map_or(UNSAID as f64, |seconds| seconds.min(LONGEST as f64));
        let life = Duration::from_secs_f64(life);
        let text = Secret::new(token);
        // Brokers end a session with its token, and sessions are renewed at the same share of their life.
        // A session is as long as what is left of its token, and is renewed no sooner than after a second.
        let used = life.mul_f64(0.8).min(life.saturating_sub(SHORT)).max(life / 2);
        Ok(Token { text, renew_at: now + used, expires_at: now + life })
    }
}

/// `application/x-www-form-urlencoded`
fn form_encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
