//! Where events come from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::link::Guard;
use crate::config::routes::Pattern;
use crate::ids::StreamName;

/// `[[source]]`
#[derive(Debug, Clone)]
pub struct Source {
    /// Unique; label of its metrics. Default: type and address.
    pub name: String,
    /// Where events come from.
    pub kind: SourceKind,
    /// When the sender is answered (http only).
    pub ack: Ack,
    /// What is asked of those who connect (http, tcp).
    pub guard: Guard,
}

/// `source.ack`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// When durable here.
    Accepted,
    /// When the destination has it.
    Delivered,
}

/// `source.type` and what belongs to it.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Lines of standard input.
    Stdin {
        /// Their stream.
        stream: StreamName,
    },
    /// Newline-delimited events over TCP.
    Tcp {
        /// Address to bind.
        listen: SocketAddr,
        /// Their stream.
        stream: StreamName,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
    },
    /// Newline-delimited events over a Unix stream socket.
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// Users that may connect besides root and the agent's own, by name or number; none: the file is for its owner alone.
        allow_users: Vec<String>,
        /// Their stream.
        stream: StreamName,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
    },
    /// HTTP ingest; the stream is in the URL.
    Http {
        /// Address to bind.
        listen: SocketAddr,
        /// Bounds on what clients may do.
        limits: ConnectionLimits,
        /// Bounds on requests.
        http: HttpLimits,
        /// The streams that its senders may name; none: any.
        streams: Vec<Pattern>,
    },
}

impl SourceKind {
    /// The streams of its events that are named in full.
    pub fn named_streams(&self) -> Vec<&StreamName> {
        match self {
            SourceKind::Stdin { stream }
            | SourceKind::Tcp { stream, .. }
            | SourceKind::Unix { stream, .. } => vec![stream],
            SourceKind::Http { streams, .. } => streams.iter().filter_map(Pattern::exact).collect(),
        }
    }

    /// Whether senders may name others than those.
    #[must_use]
    pub fn takes_others(&self) -> bool {
        let SourceKind::Http { streams, .. } = self else { return false };
        streams.is_empty() || streams.iter().any(|pattern| pattern.exact().is_none())
    }
}

/// Bounds on what comes over a listening source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max_connections` (default 1024): further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// `idle_timeout` (default 5 min; http: between requests): a connection without a byte for this long
    /// is closed.
    pub idle_timeout: Duration,
}

/// Bounds on HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// `max_body_size` (default 16 MiB), as sent and after decompression.
    pub max_body_size: usize,
    /// `max_header_size` (default 16 KiB): request line and headers.
    pub max_header_size: usize,
    /// `header_timeout` (default 10 s): from the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// `body_timeout` (default 60 s): from the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// `block_timeout` (default 30 s): how long a request is held while the spool is full.
    pub block_timeout: Duration,
    /// `delivered_timeout` (default 30 s): with `ack = "delivered"`, then 202 is answered.
    pub delivered_timeout: Duration,
}
