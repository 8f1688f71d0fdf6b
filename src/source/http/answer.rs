//! What the sender is told.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::ids::StreamName;
use crate::intake::{Appended, Refused};

/// A complete answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Seconds after which a sender may try again; short, since the spool is drained all the time.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// A definite no: nothing of the request is kept.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    text: Box<Text>,
    /// What it counts for in `spoolway_events_rejected_total`: its events, or 1 when they are not known.
    pub(super) events: u64,
}

#[derive(Debug, Serialize)]
struct Text {
    #[serde(skip)]
    header: Option<(HeaderName, HeaderValue)>,
    error: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
}

impl Refusal {
    /// `word` is stable, for programs; `message` says what is wrong and what would be right.
    pub(super) fn new(status: StatusCode, word: &'static str, message: impl Into<String>) -> Self {
        let text = Text { header: None, error: word, message: message.into(), event: None, nearest: None };
        Self { status, text: Box::new(text), events: 1 }
    }

    pub(super) fn bad_request(word: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, word, message)
    }

    /// Whether it says that nobody knows the sender.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// None of the tokens that let in is named.
    pub(super) fn unauthorized() -> Self {
        let message = "this address wants a token: send Authorization: Bearer TOKEN";
        let refusal = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        refusal.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// A browser sends `Origin` with what pages send: any page could send events in the name of whoever looks at it.
    pub(super) fn web_page() -> Self {
        let message =
            "events are not taken from web pages (a request with Origin) unless the source has a token";
        Self::new(StatusCode::FORBIDDEN, "web_page", message)
    }

    /// The source takes other streams.
    pub(super) fn stream_forbidden(stream: &StreamName) -> Self {
        let message = format!(
            "nobody may send events of stream {:?} here (streams of this [[source]])",
            stream.as_str()
        );
        Self::new(StatusCode::FORBIDDEN, "stream_forbidden", message)
    }

    /// Nothing was found at the path.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "nothing is here; events go to POST /v1/events/{stream}",
        )
    }

    /// The path takes `POST` only.
    pub(super) fn method() -> Self {
        let refusal =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "events are sent with POST");
        refusal.with(ALLOW, HeaderValue::from_static("POST"))
    }

    /// The body is over the limit, as sent or decompressed.
    pub(super) fn body_too_large(limit: usize) -> Self {
        let message =
            format!("the body has more than {limit} bytes (max_body_size, as sent and decompressed)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// It may work later.
    pub(super) fn unavailable(word: &'static str, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, word, message);
        refusal.with(RETRY_AFTER, RETRY_SECONDS)
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.text.header = Some((name, value));
        self
    }

    /// Names the event that is to blame, from 0.
    pub(super) fn at_event(mut self, index: u32) -> Self {
        self.text.event = Some(index);
        self
    }

    /// Counts for `events` events.
    pub(super) fn of(mut self, events: u32) -> Self {
        self.events = u64::from(events.max(1));
        self
    }

    /// The stable word.
    pub(super) fn word(&self) -> &'static str {
        self.text.error
    }

    /// As a response.
    pub(super) fn into_answer(self, close: bool) -> Answer {
        let body = serde_json::to_vec(&self.text).unwrap_or_default();
        let mut answer = json(self.status, body.into());
        if let Some((name, value)) = self.text.header {
            answer.headers_mut().insert(name, value);
        }
        if close {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (word, message) = (refused.reason(), refused.to_string());
        match refused {
            Refused::TooLarge { index, .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, word, message).at_event(index)
            }
            Refused::StreamName { .. } => Self::bad_request(word, message),
            Refused::NoRoute { nearest, .. } => {
                let mut refusal = Self::new(StatusCode::NOT_FOUND, word, message);
                refusal.text.nearest = nearest;
                refusal
            }
            Refused::TooManyStreams { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, word, message),
            Refused::Full(_) | Refused::Failing(_) | Refused::ShuttingDown => {
                Self::unavailable(word, message)
            }
        }
    }
}

/// `200` or, with `delivered` false, `202`: kept, not yet delivered.
pub(super) fn accepted(count: u32, at: &Appended, delivered: bool) -> Answer {
    let (first, last) = (at.first, at.last);
    let numbers = format!("\"accepted\":{count},\"first_seq\":{first},\"last_seq\":{last}");
    if delivered {
        json(StatusCode::OK, format!("{{{numbers}}}").into())
    } else {
        json(StatusCode::ACCEPTED, format!("{{{numbers},\"delivered\":false}}").into())
    }
}

/// The request was right and had no event in it.
pub(super) fn nothing() -> Answer {
    json(StatusCode::OK, Bytes::from_static(b"{\"accepted\":0}"))
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
