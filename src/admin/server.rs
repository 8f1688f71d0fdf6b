//! Listening, and what clients may do.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::model::Admin;
use crate::guard::{Gate, HANDSHAKE};
use crate::metrics::Metrics;

use super::answer::{self, Answers, Way};
use super::facts::Facts;
use super::peer::Ends;
use super::route::Scope;

/// Bounds on what clients may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time to one address; further ones wait in the kernel's backlog.
    pub(super) connections: usize,
    /// From a connection's first byte or its last answer to the end of the next request's headers. Also how
    /// long an idle connection is kept.
    pub(super) head: Duration,
    /// After this a connection ends with the answer it is at.
    pub(super) life: Duration,
    /// How long that last answer may take to be taken.
    pub(super) grace: Duration,
    /// Which connections come from this host itself, and are asked for nothing.
    pub(super) from_here: fn(&TcpStream) -> bool,
}

impl Limits {
    pub(super) const DEFAULT: Limits = Limits {
        connections: 64,
        head: Duration::from_secs(30),
        life: Duration::from_secs(300),
        grace: Duration::from_secs(5),
        from_here,
    };
}

/// Bytes of a request's line and headers, and how many headers: a request to this server needs neither.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// How long to leave accept alone after it failed for lack of descriptors or memory, which nothing tells
/// the end of.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// An address that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{key} = \"{address}\": can't listen there: {source}; {remedy}")]
#[non_exhaustive]
pub struct BindError {
    /// `admin.listen` or `admin.metrics_listen`.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What to do.
    pub remedy: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl BindError {
    fn new(key: &'static str, address: SocketAddr, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program has this port (perhaps another spoolway): stop it or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "this host has no such address: choose one of its own",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): choose a higher one"
            }
            _ => "choose another address, or \"off\"",
        };
        Self { key, address, remedy, source }
    }
}

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address can't be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate, key or token of `[admin]` can't be used.
    #[error("admin: {0}")]
    Guard(String),
}

/// The running server. It ends with its token; dropping the value changes nothing.
#[derive(Debug)]
pub struct Server {
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    tasks: TaskTracker,
}

impl Server {
    /// Binds the configured addresses and serves on the current tokio runtime until `stop` is cancelled.
    ///
    /// # Errors
    /// [`StartError`] for the first address that can't be opened, or files that can't be used; then nothing is served.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        config: &Admin,
        facts: Arc<dyn Facts>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Result<Server, StartError> {
        Self::start_with(config, facts, metrics, stop, Limits::DEFAULT)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the token is the server's to keep, as the others are")]
    pub(super) fn start_with(
        config: &Admin,
        facts: Arc<dyn Facts>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        limits: Limits,
    ) -> Result<Server, StartError> {
        let gate = Arc::new(Gate::new(&config.guard).map_err(StartError::Guard)?);
        let admin = config.listen.map(|at| bind("admin.listen", at)).transpose()?;
        let metrics_only = config.metrics_listen.map(|at| bind("admin.metrics_listen", at)).transpose()?;
        let answers = Arc::new(Answers::new(facts, metrics, config.ready_max_lag));
        let tasks = TaskTracker::new();
        let serve = |(listener, address), scope| {
            let door = Door {
                scope,
                // Metrics hold no events and change nothing: whoever opens an address for them shows them.
                gate: if scope == Scope::All { Arc::clone(&gate) } else { Arc::new(Gate::open()) },
                limits,
                answers: Arc::clone(&answers),
                stop: stop.clone(),
                tasks: tasks.clone(),
            };
            tasks.spawn(door.serve(listener));
            address
        };
        let admin = admin.map(|bound| serve(bound, Scope::All));
        let metrics = metrics_only.map(|bound| serve(bound, Scope::Metrics));
        tasks.close();
        Ok(Server { admin, metrics, tasks })
    }

    /// Where everything is served, with the port that was given for port 0.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where `/metrics` alone is served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Resolves when the token was cancelled and the last connection has ended, at most some seconds later.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let open = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, bound))
    };
    open().map_err(|source| BindError::new(key, address, source))
}

/// One listening address.
#[derive(Clone)]
struct Door {
    scope: Scope,
    gate: Arc<Gate>,
    limits: Limits,
    answers: Arc<Answers>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        // Strangers leave some of them to this host: a health check must not fail because somebody far away says nothing.
        let strangers = Arc::new(Semaphore::new(self.limits.connections.saturating_mul(3).div_ceil(4)));
        let stop = self.stop.clone();
        let accepting = async {
            // The semaphore is never closed, so this ends with `stop` alone.
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let stranger = (!(self.limits.from_here)(&stream))
                            .then(|| strangers.clone().try_acquire_owned());
                        if matches!(stranger, Some(Err(_))) {
                            continue;
                        }
                        let door = self.clone();
                        self.tasks.spawn(async move {
                            door.connection(stream).await;
                            drop((place, stranger));
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin server can't accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
    }

    /// Serves one connection to its end; what goes wrong on it is the client's affair.
    async fn connection(self, stream: TcpStream) {
        let ends = stream.local_addr().and_then(|local| Ok(Ends { local, peer: stream.peer_addr()? }));
        let over_loopback = ends.ok().filter(|ends| ends.local.ip().to_canonical().is_loopback());
        let from_here = (self.limits.from_here)(&stream);
        let way = match over_loopback {
            Some(ends) => Way::Loopback(ends),
            None if from_here && !self.gate.is_open() => Way::Here,
            None => Way::Afar,
        };
        if self.gate.is_open() {
            return self.converse(TokioIo::new(stream), way, true).await;
        }
        let entering = async {
            if from_here && !greets_with_tls(&stream).await {
                return Ok(Either::Left(stream));
            }
            self.gate.enter(stream).await
        };
        match self.stop.run_until_cancelled(entering).await {
            Some(Ok(entered)) => self.converse(TokioIo::new(entered), way, from_here).await,
            Some(Err(error)) => self.gate.say("admin", &error),
            None => {}
        }
    }

    /// `known`: nothing more is asked of whoever is at the other end.
    async fn converse<S>(&self, stream: TokioIo<S>, way: Way, known: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let answers = Arc::clone(&self.answers);
            let shown = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
            let admitted = known || self.gate.admits(shown);
            async move {
                let answer = match admitted {
                    true => answers.answer(request, self.scope, way).await,
                    false => answer::unauthorized(),
                };
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(stream, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(self.limits.life) => None,
        };
        if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            // Either way the connection is over: closed by itself, or dropped here.
            let _over = tokio::time::timeout(self.limits.grace, connection).await;
        }
    }
}

/// Whether a connection comes from this host itself, as those of `spoolway status` do: over loopback, or from an address to
/// itself, which no other host can complete a handshake from.
fn from_here(stream: &TcpStream) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    let (peer, local) = (peer.ip().to_canonical(), local.ip().to_canonical());
    peer == local || peer.is_loopback() && local.is_loopback()
}

/// The first byte of a TLS handshake, which no HTTP request begins with.
const HANDSHAKE_RECORD: u8 = 0x16;

async fn greets_with_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1..))) && first == [HANDSHAKE_RECORD]
}
