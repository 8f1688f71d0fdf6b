//! What a request asks for, from its request line and headers: pure functions, no body is touched.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::answer::Refusal;
use crate::event::UnixMillis;
use crate::ids::StreamName;
use crate::intake::Refused;

const PREFIX: &str = "/v1/events/";
const KEY: &str = "spoolway-key";
const TIMESTAMP: &str = "spoolway-timestamp";

/// How the body is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One event a line.
    Lines,
    /// A JSON array of events, or one JSON value.
    Json,
    /// The body is one event.
    Whole,
}

/// How the body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream: StreamName,
    pub(super) key: Option<Bytes>,
    pub(super) time: Option<UnixMillis>,
    pub(super) format: Format,
    pub(super) coding: Coding,
    /// `Content-Length`.
    pub(super) length: Option<usize>,
}

impl Head {
    /// Reads a request's head. `known` gives the stream of a name that was used before.
    pub(super) fn of(parts: &Parts, known: impl Fn(&str) -> Option<StreamName>) -> Result<Self, Refusal> {
        let name = parts.uri.path().strip_prefix(PREFIX).ok_or_else(Refusal::not_found)?;
        if parts.method != Method::POST {
            return Err(Refusal::method());
        }
        let stream = stream(name, known)?;
        let (mut key, mut time) = query(parts.uri.query().unwrap_or_default())?;
        let headers = &parts.headers;
        if let Some(value) = single(headers, KEY)? {
            both("key", key.is_some())?;
            key = Some(Bytes::copy_from_slice(value.as_bytes()));
        }
        if let Some(value) = single(headers, TIMESTAMP)? {
            both("timestamp", time.is_some())?;
            time = Some(timestamp(value.as_bytes())?);
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        Ok(Head { stream, key, time, format: format(headers)?, coding: coding(headers)?, length })
    }
}

fn stream(raw: &str, known: impl Fn(&str) -> Option<StreamName>) -> Result<StreamName, Refusal> {
    if let Some(stream) = known(raw) {
        return Ok(stream);
    }
    let decoded = percent_decode(raw, false)
        .ok_or_else(|| Refusal::bad_request("stream_name", "the stream's name has a broken %-escape"))?;
    let name = String::from_utf8_lossy(&decoded);
    StreamName::new(&name)
        .map_err(|cause| Refused::StreamName { name: name.chars().take(300).collect(), cause }.into())
}

fn query(query: &str) -> Result<(Option<Bytes>, Option<UnixMillis>), Refusal> {
    let (mut key, mut time) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode(value, true)
            .ok_or_else(|| Refusal::bad_request("bad_parameter", format!("{name}: broken %-escape")))?;
        match name {
            "key" => {
                both(name, key.is_some())?;
                key = Some(Bytes::from(value.into_owned()));
            }
            "timestamp" => {
                both(name, time.is_some())?;
                time = Some(timestamp(&value)?);
            }
            // Passing over a misspelt key would scatter over partitions what belongs together.
            _ => {
                let message = format!("unknown parameter {name:?}: there are \"key\" and \"timestamp\"");
                return Err(Refusal::bad_request("unknown_parameter", message));
            }
        }
    }
    Ok((key, time))
}

fn both(name: &str, given: bool) -> Result<(), Refusal> {
    if given { Err(Refusal::bad_request("bad_parameter", format!("{name} is given twice"))) } else { Ok(()) }
}

fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    both(name, values.next().is_some())?;
    Ok(first)
}

fn timestamp(text: &[u8]) -> Result<UnixMillis, Refusal> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<i64>().ok());
    number.filter(|millis| *millis >= 0).ok_or_else(|| {
        let message = "a timestamp is a whole number of milliseconds since 1970, not negative";
        Refusal::bad_request("bad_timestamp", message)
    })
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Format::Lines) };
    let text = value.to_str().unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default().trim();
    let is = |names: &[&str]| names.iter().any(|name| media.eq_ignore_ascii_case(name));
    // curl's `--data-binary` says form-urlencoded unless told otherwise, and means "these bytes".
    if is(&["application/x-ndjson", "application/x-www-form-urlencoded", "text/plain", "application/ndjson"])
        || is(&["application/jsonl", "application/x-jsonlines"])
    {
        Ok(Format::Lines)
    } else if is(&["application/json"]) {
        Ok(Format::Json)
    } else if is(&["application/octet-stream"]) {
        Ok(Format::Whole)
    } else {
        let message = format!(
            "content type {media:?} is not known: use application/x-ndjson, application/json or application/octet-stream"
        );
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message))
    }
}

fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = codings.next() else { return Ok(Coding::Identity) };
    let is = |name| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name);
    match () {
        () if codings.next().is_some() => {}
        () if is(b"identity") => return Ok(Coding::Identity),
        () if is(b"gzip") || is(b"x-gzip") => return Ok(Coding::Gzip),
        () if is(b"zstd") => return Ok(Coding::Zstd),
        () => {}
    }
    let message = "the content encoding is not known: use gzip or zstd, once, or none";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", message))
}

/// Undoes %-escapes, and with `plus` also `+` for a space; `None` when an escape is broken.
fn percent_decode(text: &str, plus: bool) -> Option<Cow<'_, [u8]>> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Head, &'static str> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Head::of(&parts, |_| None).map_err(|refusal| refusal.word())
    }

    fn post(uri: &str) -> Result<Head, &'static str> {
        head("POST", uri, &[])
    }

    #[test]
    fn a_path_names_the_stream_and_nothing_else() {
        assert_eq!(post("/v1/events/orders.eu").unwrap().stream.as_str(), "orders.eu");
        assert_eq!(post("/v1/events/o%72ders").unwrap().stream.as_str(), "orders");
        for bad in ["..", "%2e%2e", "a/b", "a%2fb", "", "a%", "a%zz", "%00", "%ff", "a+b", "a%20b"] {
            assert_eq!(post(&format!("/v1/events/{bad}")).unwrap_err(), "stream_name", "{bad}");
        }
        for unknown in ["/", "/v1/events", "/v1/event/x", "/v2/events/x"] {
            assert_eq!(post(unknown).unwrap_err(), "not_found", "{unknown}");
        }
        assert_eq!(head("GET", "/v1/events/x", &[]).unwrap_err(), "method_not_allowed");
    }

    #[test]
    fn key_and_time_come_from_the_query_or_from_headers() {
        let asked = post("/v1/events/x?key=a%20b%ff+c&timestamp=1700000000000").unwrap();
        assert_eq!(asked.key.as_deref(), Some(b"a b\xff c".as_slice()));
        assert_eq!(asked.time, Some(1_700_000_000_000));
        let asked =
            head("POST", "/v1/events/x", &[("Spoolway-Key", "k"), ("Spoolway-Timestamp", "0")]).unwrap();
        assert_eq!((asked.key.as_deref(), asked.time), (Some(b"k".as_slice()), Some(0)));
        assert_eq!(post("/v1/events/x?key=").unwrap().key.as_deref(), Some(b"".as_slice()));
        assert_eq!(post("/v1/events/x").unwrap().key, None);
    }

    #[test]
    fn what_is_ambiguous_or_misspelt_is_refused() {
        assert_eq!(post("/v1/events/x?kye=1").unwrap_err(), "unknown_parameter");
        assert_eq!(post("/v1/events/x?key=1&key=1").unwrap_err(), "bad_parameter");
        assert_eq!(
            head("POST", "/v1/events/x?key=1", &[("spoolway-key", "2")]).unwrap_err(),
            "bad_parameter"
        );
        assert_eq!(
            head("POST", "/v1/events/x", &[("spoolway-key", "2"), ("spoolway-key", "2")]).unwrap_err(),
            "bad_parameter"
        );
        for bad in ["-1", "1.5", "", "99999999999999999999", "soon"] {
            assert_eq!(post(&format!("/v1/events/x?timestamp={bad}")).unwrap_err(), "bad_timestamp", "{bad}");
        }
    }

    #[test]
    fn content_types_and_encodings_are_those_documented() {
        let with = |name, value| head("POST", "/v1/events/x", &[(name, value)]);
        assert_eq!(
            with("content-type", "application/x-ndjson; charset=utf-8").unwrap().format,
            Format::Lines
        );
        assert_eq!(with("content-type", "Application/JSON").unwrap().format, Format::Json);
        assert_eq!(with("content-type", "application/octet-stream").unwrap().format, Format::Whole);
        assert_eq!(with("content-type", "application/x-www-form-urlencoded").unwrap().format, Format::Lines);
        assert_eq!(with("content-type", "application/xml").unwrap_err(), "content_type");
        assert_eq!(with("content-encoding", "gzip").unwrap().coding, Coding::Gzip);
        assert_eq!(with("content-encoding", " ZSTD ").unwrap().coding, Coding::Zstd);
        for bad in ["br", "gzip, gzip", "deflate", ""] {
            assert_eq!(with("content-encoding", bad).unwrap_err(), "content_encoding", "{bad}");
        }
    }
}
