//! What can be changed through the admin address: `POST` with a small JSON body.

use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::header;
use hyper::{Method, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ids::DestinationName;

/// A body has this many bytes at most: a hundred thousand numbers.
const MAX_BODY: usize = 1 << 20;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `POST /dead-letters/replay`: sends dead letters again.
    Replay(Vec<u64>),
    /// `POST /dead-letters/purge`: throws them away.
    Purge(Vec<u64>),
    /// `POST /destinations/abandon`: gives up what is in doubt at a destination.
    Abandon(DestinationName),
    /// `POST /routes/set`: sets a route above those of the configuration.
    SetRoute(SetRoute),
    /// `POST /routes/unset`: takes it back.
    UnsetRoute(String),
}

/// A route to set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRoute {
    /// A stream's name or a glob.
    pub stream: String,
    /// The destination.
    pub to: String,
    /// The topic or its template; without one, the stream's name.
    pub topic: Option<String>,
    /// It stays when the configuration's files change.
    #[serde(default)]
    pub pin: bool,
}

/// A command that can't be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It asks for something that can't be.
    #[error("{0}")]
    Wrong(String),
    /// It can't be done for now.
    #[error("{0}")]
    Failed(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Letters {
    ids: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    destination: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    stream: String,
}

/// Paths that take a `POST`.
pub(super) const PATHS: [&str; 5] =
    ["/dead-letters/replay", "/dead-letters/purge", "/destinations/abandon", "/routes/set", "/routes/unset"];

/// Whether a request is meant to change something here.
pub(super) fn is_command<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && PATHS.contains(&request.uri().path())
}

/// Reads a command.
///
/// # Errors
/// [`CommandError::Wrong`] says what would be right.
pub(super) async fn read<B>(request: Request<B>) -> Result<Command, CommandError>
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    // A web page can send a form to an address of this host, but not this type.
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim().to_ascii_lowercase().starts_with("application/json") {
        return Err(CommandError::Wrong(
            "send a body of JSON, with Content-Type: application/json".to_owned(),
        ));
    }
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|e| {
        CommandError::Wrong(format!("the body can't be read, or is longer than {MAX_BODY} bytes: {e}"))
    })?;
    let body = body.to_bytes();
    match head.uri.path() {
        "/dead-letters/replay" => letters(&body).map(Command::Replay),
        "/dead-letters/purge" => letters(&body).map(Command::Purge),
        "/routes/set" => {
            let example = r#"{"stream": "orders", "to": "home", "topic": "{stream}", "pin": false}"#;
            shaped(&body, example).map(Command::SetRoute)
        }
        "/routes/unset" => {
            let Stream { stream } = shaped(&body, r#"{"stream": "orders"}"#)?;
            Ok(Command::UnsetRoute(stream))
        }
        _ => {
            let Named { destination } = shaped(&body, r#"{"destination": "home"}"#)?;
            let name = DestinationName::new(&destination).map_err(|e| CommandError::Wrong(e.to_string()))?;
            Ok(Command::Abandon(name))
        }
    }
}

fn letters(body: &[u8]) -> Result<Vec<u64>, CommandError> {
    shaped::<Letters>(body, r#"{"ids": [1, 2]}"#).map(|letters| letters.ids)
}

fn shaped<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, CommandError> {
    serde_json::from_slice(body).map_err(|e| CommandError::Wrong(format!("the body is not {example}: {e}")))
}
