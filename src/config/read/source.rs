//! `[[source]]`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::model::{Ack, ConnectionLimits, Guard, HttpLimits, Source, SourceKind};
use crate::config::reading::StandIn;
use crate::config::report::Problem;
use crate::config::routes::Pattern;
use crate::config::scalar::{self, Scalar, Wrong, quoted};
use crate::config::section::{Bounds, Section, bounds};
use crate::config::text::Place;
use crate::config::words::LATER_SOURCES;
use crate::ids::StreamName;

use super::guard::guard;
use super::stream::compiled;

/// A source, and where the parts stand that must fit the rest of the configuration.
pub(in crate::config) struct ReadSource {
    pub(in crate::config) source: Source,
    pub(in crate::config) name: Place,
    pub(in crate::config) listen: Option<(SocketAddr, Place)>,
    pub(in crate::config) path: Option<(PathBuf, Place)>,
    /// Those that are named in full.
    pub(in crate::config) streams: Vec<(StreamName, Place)>,
    pub(in crate::config) kind: Place,
}

const TYPES: [(&str, Type); 4] =
    [("http", Type::Http), ("tcp", Type::Tcp), ("unix", Type::Unix), ("stdin", Type::Stdin)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Tcp,
    Unix,
    Stdin,
}

/// `None` when something that has no default is missing or wrong, which has been reported.
pub(in crate::config) fn source(section: Section<'_>) -> Option<ReadSource> {
    let kind =
        section.required("type", "\"http\"", StandIn::Text("http"), read_type, |t| quoted(t.word()))?;
    let ack = match kind {
        Type::Http => section.choice(
            "ack",
            &[("accepted", Ack::Accepted), ("delivered", Ack::Delivered)],
            Ack::Accepted,
        ),
        _ => Ack::Accepted,
    };
    let parts = Parts::read(&section, kind);
    let default = parts.default_name(kind);
    let name = section.text("name", default.unwrap_or_else(|| kind.word().to_owned()));
    let places = ReadSource {
        source: Source { name, kind: parts.kind(&section, kind)?, ack, guard: parts.guard },
        name: section.place_of("name"),
        listen: parts.listen.map(|address| (address, section.place_of("listen"))),
        path: parts.path.map(|path| (path, section.place_of("path"))),
        streams: match parts.stream {
            Some(stream) => vec![(stream, section.place_of("stream"))],
            None => parts
                .streams
                .iter()
                .filter_map(|(p, place)| Some((p.exact()?.clone(), place.clone())))
                .collect(),
        },
        kind: section.place_of("type"),
    };
    section.finish();
    Some(places)
}

fn read_type(scalar: &Scalar) -> Result<Type, Wrong> {
    let text = scalar.as_text().unwrap_or_default();
    if LATER_SOURCES.contains(&text) {
        return Err((
            format!("{} is not in this version", quoted(text)),
            "one of \"http\", \"tcp\", \"unix\", \"stdin\"".to_owned(),
        ));
    }
    crate::config::section::choose(scalar, &TYPES)
}

/// What the types have in common, as far as it is there.
struct Parts {
    listen: Option<SocketAddr>,
    path: Option<PathBuf>,
    stream: Option<StreamName>,
    /// What senders may name instead (http).
    streams: Vec<(Pattern, Place)>,
    guard: Guard,
}

impl Parts {
    fn read(section: &Section<'_>, kind: Type) -> Self {
        let (listen, guard) = match kind {
            Type::Http | Type::Tcp => listen(section, kind),
            Type::Unix | Type::Stdin => (None, Guard::default()),
        };
        Self {
            listen,
            guard,
            path: if kind == Type::Unix { path(section) } else { None },
            stream: if kind == Type::Http { None } else { stream(section) },
            streams: if kind == Type::Http { streams(section) } else { vec![] },
        }
    }

    fn default_name(&self, kind: Type) -> Option<String> {
        let address = match (&self.listen, &self.path) {
            (Some(listen), _) => listen.to_string(),
            (None, Some(path)) => path.to_string_lossy().into_owned(),
            (None, None) => return None,
        };
        Some(format!("{}-{address}", kind.word()))
    }

    fn kind(&self, section: &Section<'_>, kind: Type) -> Option<SourceKind> {
        // The limits are read even when a part is missing, so that their problems are reported too.
        let limits = if kind == Type::Stdin { None } else { Some(limits(section)) };
        let http = if kind == Type::Http { Some(http_limits(section)) } else { None };
        let users = if kind == Type::Unix { Some(allow_users(section)) } else { None };
        Some(match kind {
            Type::Stdin => SourceKind::Stdin { stream: self.stream.clone()? },
            Type::Tcp => {
                SourceKind::Tcp { listen: self.listen?, stream: self.stream.clone()?, limits: limits? }
            }
            Type::Unix => {
                let allow_users = users.unwrap_or_default();
                SourceKind::Unix {
                    path: self.path.clone()?,
                    allow_users,
                    stream: self.stream.clone()?,
                    limits: limits?,
                }
            }
            Type::Http => {
                let streams = self.streams.iter().map(|(pattern, _)| pattern.clone()).collect();
                SourceKind::Http { listen: self.listen?, limits: limits?, http: http?, streams }
            }
        })
    }
}

impl Type {
    fn word(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

fn listen(section: &Section<'_>, kind: Type) -> (Option<SocketAddr>, Guard) {
    let example = if kind == Type::Http { "\"127.0.0.1:8080\"" } else { "\"127.0.0.1:5170\"" };
    let address =
        section.required("listen", example, StandIn::Address, scalar::listen, |a| quoted(&a.to_string()));
    let insecure = section.flag("insecure", false);
    // Lines have no place for a token.
    let tokens = kind == Type::Http;
    let guard = guard(section, "source.tls", tokens);
    if let Some(address) = address {
        section.check_open(address, insecure, &guard, tokens);
    }
    (address, guard)
}

fn stream(section: &Section<'_>) -> Option<StreamName> {
    section.required("stream", "\"app\"", StandIn::Name, read_stream, |s| quoted(s.as_str()))
}

fn read_stream(scalar: &Scalar) -> Result<StreamName, Wrong> {
    let text = scalar::text(scalar)?;
    StreamName::new(&text).map_err(|e| (format!("can't be {}", quoted(&text)), e.to_string()))
}

/// What senders may name: all of it, where nothing is said.
fn streams(section: &Section<'_>) -> Vec<(Pattern, Place)> {
    let mut streams = vec![];
    for (scalar, place) in section.texts_if_any("streams", "[\"orders\", \"audit.*\"]") {
        let scalar = match scalar {
            Scalar::Placeholder => section.reading.stand_in(StandIn::Name),
            scalar => scalar,
        };
        match compiled(&scalar) {
            Ok(pattern) => streams.push((pattern, place)),
            Err(wrong) => section.wrong("streams", &place, wrong),
        }
    }
    let any = streams.is_empty().then(|| "*".to_owned());
    let shown = streams.iter().map(|(pattern, _): &(Pattern, Place)| pattern.as_str().to_owned());
    section.show_list("streams", shown.chain(any));
    streams
}

/// A Unix socket's path has 107 bytes at most (`sun_path`, unix(7)).
const MAX_SOCKET_PATH: usize = 107;

fn path(section: &Section<'_>) -> Option<PathBuf> {
    let place = section.place_of("path");
    let read = |s: &Scalar| {
        let path = section.reading.path(&place, &scalar::path(s)?);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            let what = format!(
                "has {} bytes, and a socket's path has {MAX_SOCKET_PATH} at most",
                path.as_os_str().len()
            );
            return Err((what, "choose a shorter one, for example in /run/spoolway".to_owned()));
        }
        Ok(path)
    };
    section
        .required("path", "\"/run/spoolway/app.sock\"", StandIn::Name, read, |p| quoted(&p.to_string_lossy()))
}

/// Who may connect to a socket, besides its owner.
fn allow_users(section: &Section<'_>) -> Vec<String> {
    let mut users = vec![];
    for (scalar, place) in section.optional_texts("allow_users", "[\"www-data\", \"1000\"]") {
        let scalar = match scalar {
            Scalar::Placeholder => section.reading.stand_in(StandIn::Name),
            scalar => scalar,
        };
        match scalar::text(&scalar) {
            Ok(user) => users.push(user),
            Err(wrong) => section.wrong("allow_users", &place, wrong),
        }
    }
    section.show_list("allow_users", users.iter().cloned());
    users
}

fn limits(section: &Section<'_>) -> ConnectionLimits {
    let default = ConnectionLimits::default();
    ConnectionLimits {
        max_connections: section.count(
            "max_connections",
            default.max_connections,
            &bounds(1..=65_536, "each connection holds memory and a file descriptor"),
        ),
        idle_timeout: section.duration(
            "idle_timeout",
            default.idle_timeout,
            &bounds(
                Duration::from_millis(10)..=Duration::from_hours(24),
                "an idle connection holds one of max_connections",
            ),
        ),
    }
}

fn http_limits(section: &Section<'_>) -> HttpLimits {
    let default = HttpLimits::default();
    HttpLimits {
        max_body_size: section.memory(
            "max_body_size",
            default.max_body_size,
            &bounds(1 << 10..=256 << 20, "a body is held in memory until it is accepted"),
        ),
        max_header_size: section.memory(
            "max_header_size",
            default.max_header_size,
            // hyper panics on a `max_buf_size` below 8192.
            &bounds(8 << 10..=1 << 20, "the headers are read into one buffer, which has 8 KiB at least"),
        ),
        header_timeout: section.duration("header_timeout", default.header_timeout, &wait()),
        body_timeout: section.duration("body_timeout", default.body_timeout, &wait()),
        block_timeout: section.duration("block_timeout", default.block_timeout, &wait()),
        delivered_timeout: section.duration("delivered_timeout", default.delivered_timeout, &wait()),
    }
}

fn wait() -> Bounds<Duration> {
    bounds(
        Duration::from_millis(10)..=Duration::from_hours(1),
        "meanwhile the request holds one of max_connections",
    )
}

/// Sources that can't be there together.
pub(in crate::config) fn check_twice(sources: &[ReadSource], report: &mut impl FnMut(Problem)) {
    for (index, source) in sources.iter().enumerate() {
        let before = sources.get(..index).unwrap_or_default();
        if let Some(first) = before.iter().find(|s| s.source.name == source.source.name) {
            report(
                Problem::at(&source.name, format!("two sources have the name {:?}", source.source.name))
                    .label("here again")
                    .other(&first.name, "first here")
                    .help("give each a `name` of its own"),
            );
        }
        let is_stdin = |s: &ReadSource| matches!(s.source.kind, SourceKind::Stdin { .. });
        if let Some(first) = before.iter().find(|s| is_stdin(s) && is_stdin(source)) {
            report(
                Problem::at(&source.kind, "standard input can't be read by two sources")
                    .label("here again")
                    .other(&first.kind, "first here")
                    .help("remove one of the two"),
            );
        }
        let same_path = |s: &&ReadSource| s.path.is_some() && path_of(s) == path_of(source);
        if let (Some(first), Some((path, place))) = (before.iter().find(same_path), &source.path) {
            let first = first.path.as_ref().map_or(place, |(_, place)| place);
            report(
                Problem::at(place, format!("two sources have the socket {}", path.display()))
                    .label("here again")
                    .other(first, "first here")
                    .help("give each a path of its own"),
            );
        }
    }
}

fn path_of(source: &ReadSource) -> Option<&PathBuf> {
    source.path.as_ref().map(|(path, _)| path)
}
